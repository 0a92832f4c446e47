"""KeyboardInterrupt is the user's, not a step's: it ends the run and comes out."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kairos_async import Step, StepContext
from tests.clocks import run_virtual
from tests.engine.tools import SKIPPING, Events, returns, run


async def plain(ctx: StepContext) -> None:
    """Raise it where the action runs."""
    await anyio.sleep(1)
    raise KeyboardInterrupt


async def grouped(ctx: StepContext) -> None:
    """Raise it in a task group of the action's own."""
    async with anyio.create_task_group() as group:
        group.start_soon(plain, ctx)
        group.start_soon(anyio.sleep, 100)


def interrupts(error: BaseException) -> list[BaseException]:
    """Return the interrupts in an exception, which may be a group of them."""
    if isinstance(error, BaseExceptionGroup):
        return [found for member in error.exceptions for found in interrupts(member)]
    return [error] if isinstance(error, KeyboardInterrupt) else []


@pytest.mark.parametrize("action", [plain, grouped])
def test_an_interrupt_comes_out_of_the_run(action: Any) -> None:
    """On trio, whose loop goes on until every task has ended; asyncio's own stops where it stands."""
    events = Events()

    async def main() -> None:
        await run(Step("a", action, failure_policy=SKIPPING), Step("b", returns(1, after=50)), hooks=[events])

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        run_virtual(main, on="trio")
    assert len(interrupts(caught.value)) == 1
    assert events.check().data["status"] == "cancelled"
