"""What a command does to its process is undone: in life it is the last thing that the process does."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Forget the modules that a test's commands loaded, and where they were found."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    yield
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) is None or "site-packages" not in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
