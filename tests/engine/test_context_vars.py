"""Context variables: the caller's reach every step, and what a step sets reaches nobody."""

from __future__ import annotations

import contextvars
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import structlog

from kairos_async import FailureAction, FailurePolicy, Limiter, Step, StepContext, Workflow
from tests.engine.tools import retrying, returns, run

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="default")
MUTABLE: contextvars.ContextVar[list[str]] = contextvars.ContextVar("MUTABLE")
OBJECT: contextvars.ContextVar[object] = contextvars.ContextVar("OBJECT")


def sync(ctx: StepContext) -> list[str]:
    """Return what is seen, then set something."""
    seen = [VARIABLE.get()]
    VARIABLE.set(f"set by {ctx.step_id}{ctx.index}{ctx.attempt}")
    return seen


async def asynchronous(ctx: StepContext) -> list[str]:
    """Do the same, with waiting in between: what was set is still there, and what others set is not."""
    seen = [VARIABLE.get()]
    mine = f"set by {ctx.step_id}{ctx.index}{ctx.attempt}"
    VARIABLE.set(mine)
    for _ in range(3):
        await anyio.sleep(1)
        await anyio.lowlevel.checkpoint()
        if VARIABLE.get() != mine:
            seen.append(VARIABLE.get())
    return seen


@pytest.mark.parametrize("action", [sync, asynchronous])
async def test_a_step_sees_the_callers_variables_and_not_those_of_other_steps(action: Any) -> None:
    """In chains, which run in one task, and side by side."""
    VARIABLE.set("caller")
    chain = [Step(f"c{i}", action, depends_on=[f"c{i - 1}"] if i else []) for i in range(5)]
    result = await run(*chain, *(Step(f"p{i}", action) for i in range(5)), max_concurrency=3)
    assert [done.output for done in result.step_results.values()] == [["caller"]] * 10
    assert VARIABLE.get() == "caller"


@pytest.mark.parametrize("action", [sync, asynchronous])
async def test_items_and_attempts_are_kept_apart(action: Any) -> None:
    """Each starts from the caller's variables."""

    async def tries(ctx: StepContext) -> object:
        seen = VARIABLE.get()
        VARIABLE.set(f"attempt {ctx.attempt}")
        if ctx.attempt < 3:
            raise ValueError
        return seen

    VARIABLE.set("caller")
    result = await run(
        Step("each", action, foreach="items", max_concurrency=2),
        Step("tries", tries, failure_policy=retrying(2)),
        inputs={"items": [*range(6)]},
    )
    assert result.step_results["each"].output == [["caller"]] * 6
    assert result.step_results["tries"].output == "caller"


async def test_a_sync_step_that_returns_an_awaitable_keeps_its_variables_to_itself() -> None:
    """The awaitable is awaited in a context of its own."""

    def act(ctx: StepContext) -> Any:
        return asynchronous(ctx)

    VARIABLE.set("caller")
    result = await run(Step("a", act), Step("b", act, depends_on=["a"]))
    assert [done.output for done in result.step_results.values()] == [["caller"], ["caller"]]


async def test_runs_that_share_a_limiter_keep_their_variables_apart() -> None:
    """Although one run's worker starts another run's steps."""
    limiter = Limiter(1)
    workflow = Workflow("w", [Step(f"s{i}", asynchronous) for i in range(3)], max_concurrency=limiter)
    seen: dict[str, object] = {}

    async def one(name: str) -> None:
        VARIABLE.set(name)
        result = await workflow.run()
        seen[name] = [done.output for done in result.step_results.values()]

    async with anyio.create_task_group() as group:
        for name in ("x", "y", "z"):
            group.start_soon(one, name)
    assert seen == {name: [[name]] * 3 for name in ("x", "y", "z")}


@pytest.mark.parametrize("slow", [True, False])
async def test_planners_and_handlers_see_the_callers_variables(slow: bool) -> None:
    """And not what the failed step set."""
    seen: list[str] = []

    async def fails(ctx: StepContext) -> None:
        VARIABLE.set("failed step")
        raise ValueError

    async def answer(failure: object) -> FailureAction:
        seen.append(VARIABLE.get())
        return FailureAction.REPLAN

    def planner(request: object) -> list[Step]:
        seen.append(VARIABLE.get())
        return [Step("next", asynchronous if slow else sync)]

    VARIABLE.set("caller")
    policy = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=answer)
    result = await run(Step("a", fails, failure_policy=policy), planner=planner)
    assert seen == ["caller", "caller"]
    assert result.output == ["caller"]


async def test_an_equal_value_of_another_step_is_not_the_callers() -> None:
    """What a step sets stays with it, also if it compares equal to what was there."""
    mine: list[str] = []
    MUTABLE.set(mine)
    seen: list[bool] = []

    async def act(ctx: StepContext) -> None:
        seen.append(MUTABLE.get() is mine)
        MUTABLE.set([])

    await run(Step("a", act), Step("b", act, depends_on=["a"]))
    assert seen == [True, True]


async def test_a_variable_that_cannot_be_compared_harms_nobody() -> None:
    """Arrays are such values: `==` of two of them is no bool."""

    class Uncomparable:
        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = object.__hash__

    first = Uncomparable()
    OBJECT.set(first)

    async def act(ctx: StepContext) -> bool:
        same = OBJECT.get() is first
        OBJECT.set(Uncomparable())
        return same

    result = await run(
        Step("a", act),
        Step("b", act, depends_on=["a"]),
        Step("each", act, foreach="xs"),
        inputs={"xs": [1, 2]},
        max_concurrency=1,
    )
    assert [done.output for done in result.step_results.values()] == [True, True, [True, True]]


async def test_variables_bound_for_logging_do_not_leak() -> None:
    """The usual reason to care."""

    async def act(ctx: StepContext) -> object:
        before = structlog.contextvars.get_contextvars()
        structlog.contextvars.bind_contextvars(step=ctx.step_id)
        return before

    with structlog.contextvars.bound_contextvars(request=7):
        result = await run(Step("a", act), Step("b", act, depends_on=["a"]))
    assert [done.output for done in result.step_results.values()] == [{"request": 7}] * 2


async def test_scopes_and_task_groups_of_an_action_work_inside_its_context() -> None:
    """Cancel scopes, tasks and time see the same task as outside."""

    async def child(number: int) -> None:
        await anyio.sleep(number)
        VARIABLE.set("child")

    async def act(ctx: StepContext) -> object:
        VARIABLE.set("mine")
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(child, number)
        with anyio.move_on_after(1) as scope:
            await anyio.sleep(10)
        return [VARIABLE.get(), scope.cancelled_caught, anyio.current_time()]

    assert (await run(Step("a", act), Step("b", returns(1), depends_on=["a"]))).step_results["a"].output == [
        "mine",
        True,
        3.0,
    ]
