"""Do something after the k-th step of an event loop's tasks, each from one await to the next."""

from __future__ import annotations

import asyncio
import math
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

import anyio
import trio

from kairos_async.testing import VirtualClockLoop

T = TypeVar("T")


class Steps:
    """Counts the steps of all tasks, from one await to the next, and calls `then` after the k-th."""

    def __init__(self, k: float, then: Callable[[], object]) -> None:
        self.made = 0
        self._k = k
        self._then = then

    def made_one(self) -> None:
        """Count a step."""
        self.made += 1
        if self.made == self._k:
            self._then()


class _Instrument(trio.abc.Instrument):
    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps.made_one()


@types.coroutine
def _counted(coroutine: Coroutine[Any, Any, Any], steps: Steps) -> Generator[Any, Any, Any]:
    send: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
    while True:
        try:
            yielded = send()
        except StopIteration as stop:
            return stop.value
        steps.made_one()
        try:
            sent = yield yielded
        except BaseException as error:
            send = lambda thrown=error: coroutine.throw(thrown)  # type: ignore[misc]  # noqa: E731
        else:
            send = lambda sent=sent: coroutine.send(sent)  # type: ignore[misc]  # noqa: E731


async def _as_coroutine(coroutine: Coroutine[Any, Any, T], steps: Steps) -> T:
    return await _counted(coroutine, steps)  # type: ignore[no-any-return]


async def stepwise(work: Callable[[], Awaitable[T]], steps: Steps) -> T:
    """Await the work while the steps of all tasks that start from now on, and on trio of all others, are counted."""
    if trio.lowlevel.in_trio_run():
        instrument = _Instrument(steps)
        trio.lowlevel.add_instrument(instrument)
        try:
            return await work()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    loop = asyncio.get_running_loop()

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        return asyncio.Task(_as_coroutine(coroutine, steps), loop=loop, **options)

    loop.set_task_factory(factory)
    try:
        return await work()
    finally:
        loop.set_task_factory(None)


def jump(seconds: float) -> None:
    """Move the virtual clock, whatever the tasks are doing."""
    if trio.lowlevel.in_trio_run():
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)
        return
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    loop._now += seconds


async def settled() -> None:
    """Let every other task do what it can do now."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


NEVER = math.inf
