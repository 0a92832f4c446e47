"""What a command does to its process is undone: in life it is the last thing that the process does."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """Forget the modules that a test's commands loaded, where they were found, and what structlog was told."""
    modules, finders = set(sys.modules), list(sys.meta_path)
    yield
    structlog.reset_defaults()
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) is None or "site-packages" not in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]
