"""A run as an async iterator of its events."""

from __future__ import annotations

import contextvars
import math
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeAlias

import anyio

from kairos_async.events import Event, Hook

Execute: TypeAlias = Callable[[Hook], Awaitable[object]]
"""Runs a workflow with one more hook."""


async def stream_events(execute: Execute) -> AsyncGenerator[Event, None]:
    """Yield the events of a run while it runs. Leaving the iteration early cancels the run and waits for its end.

    Raises:
        BaseException: what `execute` raised, after the events that came before.
    """
    send, receive = anyio.create_memory_object_stream[Event](math.inf)
    scope = anyio.CancelScope()
    ended = anyio.Event()
    raised: list[BaseException] = []

    async def run() -> None:
        try:
            with scope, send:
                await execute(send.send_nowait)
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    _spawn(run)
    try:
        async for event in receive:
            yield event
    finally:
        scope.cancel()
        with anyio.CancelScope(shield=True):
            await ended.wait()
        receive.close()
    if raised:
        raise raised[0]


def _spawn(function: Callable[[], Awaitable[None]]) -> None:
    """Start a task that belongs to no task group.

    An async generator must not hold a task group open across its yields (PEP 789): it may be closed from another task.
    So the run's host is a task of its own, which `stream_events` ends and awaits in every way out. anyio has no call
    for that; this is the one place that asks which event loop is running.
    """
    trio: Any = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        trio.lowlevel.spawn_system_task(function, context=contextvars.copy_context())
        return
    asyncio: Any = sys.modules["asyncio"]
    task = asyncio.get_running_loop().create_task(function())
    _running.add(task)
    task.add_done_callback(_running.discard)


_running: set[object] = set()
"""asyncio keeps only weak references to its tasks."""
