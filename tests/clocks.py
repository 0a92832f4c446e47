"""Which backends and which clocks tests run on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio
import trio.testing

from kairos_async.testing import VirtualClockLoop

T = TypeVar("T")
BACKENDS = ("asyncio", "trio")


def backend(name: str, *, real_time: bool = False) -> tuple[str, dict[str, Any]]:
    """Return a backend and its options as anyio wants them: a new virtual clock, or the real one."""
    if real_time:
        return name, {}
    if name == "asyncio":
        return name, {"loop_factory": VirtualClockLoop}
    return name, {"clock": trio.testing.MockClock(autojump_threshold=0)}


def run_virtual(function: Callable[..., Awaitable[T]], *args: object, on: str = "asyncio") -> T:
    """Run an async function in virtual time, for tests that are not async themselves (Hypothesis, many runs)."""
    name, options = backend(on)
    return anyio.run(function, *args, backend=name, backend_options=options)
