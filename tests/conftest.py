"""Every async test runs twice, on asyncio and on trio, on a virtual clock; `real_time` asks for the real one."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings

from kairos_async.adapters import prices
from tests.clocks import BACKENDS, backend

# The same examples on every run: a failure is the change's own. `--hypothesis-profile=explore` looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2_000)
settings.load_profile("default")

prices.prepare()  # Else the first test that asks a model loads it in a thread, over which a virtual clock jumps.


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector away from what is loaded for all tests: looking at it takes a sixth of their time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Choose the backend of one test. A clock of its own for each, so that none sees another's time."""
    return backend(request.param, real_time=request.node.get_closest_marker("real_time") is not None)


@pytest.fixture(autouse=True, scope="session")
def blocking_calls_fail() -> Iterator[None]:
    """Make a blocking call of the package on asyncio's thread an error: it would stop every run of the process."""
    with blockbuster_ctx("kairos_async"):
        yield
