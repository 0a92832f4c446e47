"""A run as an async iterator of its events."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

import anyio

from kairos_async.engine.tasks import start_detached
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

    start_detached(run)  # an async generator must not hold a task group open across its yields (PEP 789)
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
