"""KeyboardInterrupt is the user's and ends the run. What a step does to its own task is the step's affair."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio
import pytest

from kairos_async import (
    Event,
    ExecutionError,
    Failure,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    ReplanRequest,
    Step,
    StepContext,
    Workflow,
)
from tests.clocks import run_virtual
from tests.engine.tools import NO_RETRY, SKIPPING, Events, retrying, returns, run


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


async def returns_anyway(ctx: StepContext) -> str:
    """End before the request is delivered."""
    cancel_own_task()
    return "done"


async def swallows(ctx: StepContext) -> str:
    """Go on after it was delivered."""
    cancel_own_task()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)
    return "done"


async def lets_it_through(ctx: StepContext) -> None:
    """Be cancelled by the request."""
    cancel_own_task()
    await asyncio.sleep(0)


async def raises_first(ctx: StepContext) -> None:
    """Fail before it is delivered."""
    cancel_own_task()
    raise ValueError("first")


def cancel_own_task() -> None:
    """Ask asyncio to cancel the task of the caller."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def has_a_task_group(ctx: StepContext) -> str:
    """Count on it that nobody has asked to cancel this task."""

    async def fails() -> None:
        raise LookupError

    await asyncio.sleep(0)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(9)
    except* LookupError:
        pass
    return "went on"


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("with_factory", [False, True])
@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        (returns_anyway, "done"),
        (swallows, "done"),
        (lets_it_through, "CancelledError"),
        (raises_first, "ValueError"),
    ],
)
async def test_a_step_that_cancels_its_own_task_harms_no_other(
    anyio_backend: object, with_factory: bool, action: Any, outcome: str
) -> None:
    """What it returns or raises counts. The request is not delivered to the engine, nor to a step that follows."""
    if with_factory:
        asyncio.get_running_loop().set_task_factory(lambda loop, coro, **more: asyncio.Task(coro, loop=loop, **more))
    retrying = FailurePolicy(max_retries=1, fallback_action=FailureAction.SKIP)
    result = await run(
        Step("a", action, failure_policy=retrying),
        Step("beside", returns(1, after=1)),
        Step("b", has_a_task_group, depends_on=["a"]),
        Step("c", returns(2), depends_on=["b", "beside"]),
        Step("each", action, foreach="items", foreach_policy=ForeachPolicy.FAIL_FAST, failure_policy=retrying),
        inputs={"items": [1, 2]},
        output="b",
    )
    done = result.step_results["a"]
    assert (result.status, result.output) == ("complete", "went on")
    assert (done.output or done.error_type) == outcome
    assert len(done.attempts) == (1 if outcome == "done" else 2)


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_handler_and_a_planner_that_cancel_their_own_task_harm_nobody(anyio_backend: object) -> None:
    """They run in the engine's task too."""

    async def handler(failure: Failure) -> FailureAction:
        cancel_own_task()
        return FailureAction.REPLAN

    async def planner(request: ReplanRequest) -> list[Step]:
        cancel_own_task()
        return [Step("instead", returns("done"))]

    asking = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=handler)
    steps = [Step("a", raises_first, failure_policy=asking), Step("beside", returns(1, after=1))]
    assert (await run(*steps, planner=planner)).step_results["instead"].output == "done"


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("with_factory", [False, True])
@pytest.mark.parametrize("policy", ForeachPolicy)
async def test_a_step_may_cancel_its_own_task_at_the_moment_in_which_another_failure_cancels_it(
    anyio_backend: object, with_factory: bool, policy: ForeachPolicy
) -> None:
    """Both requests arrive as one cancellation. The failure is the outcome, of the foreach or of the run."""
    if with_factory:
        asyncio.get_running_loop().set_task_factory(lambda loop, coro, **more: asyncio.Task(coro, loop=loop, **more))

    async def act(ctx: StepContext) -> None:
        await asyncio.sleep(1)
        if ctx.item == "fails" or ctx.step_id == "fails":
            raise ValueError("now")
        cancel_own_task()
        await asyncio.sleep(9)

    steps = [Step("each", act, foreach="items", foreach_policy=policy), Step("beside", act), Step("fails", act)]
    if policy is ForeachPolicy.FAIL_FAST:
        steps = steps[:1]
    result = await run(*steps, inputs={"items": ["cancels", "fails"]}, failure_policy=NO_RETRY)
    assert (result.status, result.error_type) == ("failed", "ValueError")


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
@pytest.mark.parametrize("with_factory", [False, True])
async def test_a_worker_that_others_cancel_while_it_waits_is_an_error_and_no_cancellation(
    anyio_backend: object, with_factory: bool
) -> None:
    """Nobody has cancelled the caller. No action is there that could fail of it, so the run does."""
    if with_factory:
        asyncio.get_running_loop().set_task_factory(lambda loop, coro, **more: asyncio.Task(coro, loop=loop, **more))
    workers: list[asyncio.Task[Any] | None] = []

    async def fails(ctx: StepContext) -> None:
        workers.append(asyncio.current_task())
        raise ValueError

    async def meddles(ctx: StepContext) -> None:
        await asyncio.sleep(1)
        if workers[0] is not None:
            workers[0].cancel()
        await asyncio.sleep(9)

    events = Events()
    with pytest.raises(ExecutionError, match="cancelled by somebody who does not own it"):
        await run(Step("a", fails, failure_policy=retrying(1, delay=5)), Step("b", meddles), hooks=[events])
    assert events.check().data["status"] == "cancelled"
    assert len(asyncio.all_tasks()) == 2
