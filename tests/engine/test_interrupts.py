"""KeyboardInterrupt is the user's, not a step's: it ends the run and comes out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio
import pytest

from kairos_async import Event, FailurePolicy, Step, StepContext, Workflow
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


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_generator_exit_of_a_steps_own_is_its_failure(threaded: bool) -> None:
    """Nobody closes the step: it raised what it likes, and the run has it as data."""

    async def leaves(ctx: StepContext) -> None:
        await anyio.sleep(1)
        raise GeneratorExit("enough")

    def leaves_thread(ctx: StepContext) -> None:
        raise GeneratorExit("enough")

    result = await run(Step("a", leaves_thread if threaded else leaves, failure_policy=SKIPPING))
    assert (result.status, result.step_results["a"].error_type) == ("complete", "GeneratorExit")


async def test_a_hook_that_raises_a_generator_exit_harms_nobody() -> None:
    """As any other error of a hook, it is a warning."""

    def hook(event: Event) -> None:
        raise GeneratorExit

    result = await run(Step("a", returns(1)), hooks=[hook])
    assert result.status == "complete"
    assert "GeneratorExit" in result.warnings[0]


def test_a_run_whose_coroutine_is_closed_half_way_ends_there() -> None:
    """A loop that goes away without ending its tasks closes their coroutines: no step of them goes on."""
    went_on: list[str] = []

    async def waits(ctx: StepContext) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            went_on.append(ctx.step_id)

    retrying = FailurePolicy(max_retries=5, retry_delay=0)
    loop = asyncio.new_event_loop()
    task = loop.create_task(Workflow("w", [Step("a", waits, failure_policy=retrying)]).run())
    loop.run_until_complete(asyncio.sleep(0.01))
    (worker,) = asyncio.all_tasks(loop) - {task}
    coroutine = worker.get_coro()
    assert coroutine is not None
    with contextlib.suppress(RuntimeError):  # anyio's scopes are not left outside of their task
        coroutine.close()
    task.cancel()
    ended = loop.run_until_complete(asyncio.gather(worker, task, return_exceptions=True))
    loop.close()
    assert went_on == ["a"]
    assert all(isinstance(error, BaseException) for error in ended)
