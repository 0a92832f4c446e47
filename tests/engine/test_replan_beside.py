"""REPLAN while other steps, foreachs and re-plans are under way."""

from __future__ import annotations

import anyio
import pytest

from kairos_async import (
    FailureAction,
    ForeachPolicy,
    Limiter,
    ReplanRequest,
    Step,
    StepContext,
    WorkflowStatus,
)
from tests.engine.tools import Clocked, Events, output_of, raises, replanning, returns, run, statuses

REPLAN = replanning()


async def test_what_is_running_goes_on_and_nothing_else_starts_while_the_planner_thinks() -> None:
    """Running steps end as they would; steps that become ready wait for the plan, and may be dropped by it."""
    clocked = Clocked()
    seen: list[tuple[str, ...]] = []

    async def planner(request: ReplanRequest) -> list[Step]:
        seen.append(request.running)
        await anyio.sleep(10)
        kept = [step for step in request.unfinished if step.name == "kept"]
        return [*kept, clocked.step("planned", 1)]

    result = await run(
        Step("bad", raises(ValueError, after=1), failure_policy=REPLAN),
        clocked.step("running", 5),
        clocked.step("kept", 1, depends_on=["running"]),
        clocked.step("dropped", 1, depends_on=["running"]),
        planner=planner,
    )
    assert seen == [("running",)]
    assert clocked.started == {"running": 0, "kept": 11, "planned": 11}
    assert clocked.ended["running"] == 5
    assert statuses(result) == {"running": "completed", "kept": "completed", "planned": "completed"}


@pytest.mark.parametrize("plan", ["keeps", "drops"])
@pytest.mark.parametrize("foreach", [True, False])
async def test_a_step_that_starts_at_the_moment_of_the_failure_runs_once(plan: str, foreach: bool) -> None:
    """It is either running, and stays, or replaced, and does not start: never both."""
    calls: list[str] = []
    requests: list[ReplanRequest] = []

    async def act(ctx: StepContext) -> None:
        calls.append(ctx.step_id)
        await anyio.sleep(5)

    async def planner(request: ReplanRequest) -> list[Step]:
        requests.append(request)
        await anyio.sleep(1)
        kept = [step for step in request.unfinished if step.name != "bad"]
        return [*kept, Step("new", returns(1))] if plan == "keeps" else [Step("new", returns(1))]

    for _ in range(25):  # which of two tasks goes first is a matter of chance on trio
        calls.clear()
        result = await run(
            Step("first", returns(1, after=1)),
            *(Step(f"s{i}", act, depends_on=["first"], foreach="items" if foreach else None) for i in range(4)),
            Step("bad", raises(ValueError, after=1), failure_policy=REPLAN),
            planner=planner,
            inputs={"items": [1]},
            within=1000,
        )
        assert result.status is WorkflowStatus.COMPLETE
        assert sorted(calls) == sorted(set(calls))
        assert set(calls) == {name for name in result.step_results if name.startswith("s")}
        assert {name for name in requests[-1].running if name.startswith("s")} <= set(calls)


async def test_a_foreach_goes_on_while_the_planner_thinks() -> None:
    """Its items are not steps of the plan: they start as slots allow, and none is lost."""
    clocked = Clocked()

    async def planner(request: ReplanRequest) -> list[Step]:
        await anyio.sleep(3)
        return [clocked.step("planned", 1, depends_on=["each"], read_keys=[])]

    result = await run(
        Step("bad", raises(ValueError, after=0.5), failure_policy=REPLAN),
        clocked.step("each", 1, "x", foreach="items"),
        planner=planner,
        max_concurrency=2,
        inputs={"items": [*range(9)]},
    )
    assert output_of(result, "each") == ["x"] * 9
    assert clocked.peak <= 2
    assert clocked.started["planned"] == max(at for name, at in clocked.ended.items() if name != "planned")


async def test_a_planned_step_may_depend_on_what_is_running() -> None:
    """It waits for it, as for any other."""
    clocked = Clocked()

    async def planner(request: ReplanRequest) -> list[Step]:
        return [clocked.step("planned", 1, depends_on=["slow"])]

    result = await run(
        Step("bad", raises(ValueError, after=1), failure_policy=REPLAN),
        clocked.step("slow", 9, "slow"),
        Step("end", returns(0), depends_on=["slow", "bad"]),
        planner=planner,
    )
    assert result.status is WorkflowStatus.COMPLETE
    assert clocked.started["planned"] == 9


async def test_the_fallback_skip_while_other_steps_wait_for_the_plan() -> None:
    """What became ready in the meantime starts."""
    clocked = Clocked()

    async def planner(request: ReplanRequest) -> list[Step]:
        await anyio.sleep(5)
        return list(request.unfinished)

    policy = replanning(max_replans=1, fallback_action=FailureAction.SKIP)
    result = await run(
        clocked.step("x", 3),
        clocked.step("y", 3, depends_on=["x"]),
        Step("a", raises(ValueError, after=1), failure_policy=policy),
        clocked.step("b", 3, depends_on=["a"]),
        planner=planner,
        within=1000,
    )
    assert statuses(result) == {"x": "completed", "y": "completed", "a": "skipped", "b": "completed"}
    assert (clocked.started["y"], clocked.started["b"]) == (6, 7)


async def test_two_steps_that_fail_at_once_are_planned_one_after_the_other() -> None:
    """The second planner sees what the first one planned."""
    asked: list[tuple[str, list[str], tuple[str, ...]]] = []

    async def planner(request: ReplanRequest) -> list[Step]:
        failed = request.failure.step
        asked.append((failed, [step.name for step in request.unfinished], request.running))
        await anyio.sleep(1)
        kept = [step for step in request.unfinished if step.name != failed]
        return [*kept, Step(f"{failed}_again", returns(failed))]

    result = await run(
        Step("a", raises(ValueError, after=1), failure_policy=REPLAN),
        Step("b", raises(ValueError, after=1), failure_policy=REPLAN),
        planner=planner,
        within=1000,
    )
    first, second = sorted(asked, key=lambda entry: len(entry[1]))
    other = {"a": "b", "b": "a"}[first[0]]
    assert first == (first[0], [first[0]], (other,))
    assert second == (other, [other, f"{first[0]}_again"], ()) or second[1] == [f"{first[0]}_again", other]
    assert sorted(statuses(result).items()) == [("a_again", "completed"), ("b_again", "completed")]
    assert [record.number for record in result.replans] == [1, 2]


async def test_a_serial_step_that_ends_while_the_planner_thinks_frees_the_others() -> None:
    """`parallel=False` steps of the new plan start."""

    async def planner(request: ReplanRequest) -> list[Step]:
        await anyio.sleep(5)
        return [Step("planned", returns("ran"), parallel=False)]

    result = await run(
        Step("serial", returns(1, after=2), parallel=False),
        Step("bad", raises(ValueError, after=1), failure_policy=REPLAN),
        planner=planner,
        within=1000,
    )
    assert statuses(result) == {"serial": "completed", "planned": "completed"}


async def test_a_serial_step_under_way_goes_on_excluding_others_after_a_plan() -> None:
    """The new plan's serial step waits for it."""
    clocked = Clocked()

    async def planner(request: ReplanRequest) -> list[Step]:
        return [clocked.step("planned", 1, parallel=False)]

    result = await run(
        clocked.step("serial", 9, parallel=False),
        Step("bad", raises(ValueError, after=1), failure_policy=REPLAN),
        planner=planner,
        max_concurrency=4,
    )
    assert statuses(result) == {"serial": "completed", "planned": "completed"}
    assert clocked.peak == 1


async def test_a_failed_serial_step_can_be_replaced() -> None:
    """It does not go on holding its turn."""
    result = await run(
        Step("bad", raises(ValueError), parallel=False, failure_policy=REPLAN),
        planner=lambda request: [Step("x", returns(1), parallel=False), Step("y", returns(2), parallel=False)],
    )
    assert statuses(result) == {"x": "completed", "y": "completed"}


@pytest.mark.parametrize("slots", [1, 2, 3, None])
@pytest.mark.parametrize("fallback", [FailureAction.SKIP, FailureAction.ABORT, None])
async def test_a_foreach_that_fails_fast_can_be_replanned(slots: int | None, fallback: FailureAction | None) -> None:
    """It ends once, whatever is left of its items, and the other items are cancelled before the planner is asked."""
    clocked, events = Clocked(), Events()

    async def act(ctx: StepContext) -> None:
        if ctx.item == 0:
            raise ValueError
        await anyio.sleep(100)

    async def planner(request: ReplanRequest) -> list[Step]:
        await anyio.sleep(1)
        return [clocked.step("planned", 1)]

    policy = replanning(max_replans=0, fallback_action=fallback) if fallback else REPLAN
    result = await run(
        Step("each", act, foreach="items", foreach_policy=ForeachPolicy.FAIL_FAST, failure_policy=policy),
        planner=planner,
        max_concurrency=slots,
        inputs={"items": [0, 1, 2]},
        hooks=[events],
        within=1000,
    )
    events.check()
    assert len(events.of("step_fail")) == 1
    if fallback is None:
        assert statuses(result) == {"planned": "completed"}
        assert clocked.started["planned"] == 1
    else:
        assert statuses(result) == {"each": "skipped" if fallback is FailureAction.SKIP else "failed_final"}


@pytest.mark.parametrize("shared", [True, False])
async def test_a_plan_that_adds_nothing_ends_the_run_when_all_else_has_ended(shared: bool) -> None:
    """The failed step is gone, and there is nothing to wait for."""

    async def planner(request: ReplanRequest) -> list[Step]:
        return []

    result = await run(
        Step("a", returns("a")),
        Step("bad", raises(ValueError, after=1), failure_policy=REPLAN),
        planner=planner,
        max_concurrency=Limiter(2) if shared else 2,
        within=1000,
    )
    assert (statuses(result), result.output) == ({"a": "completed"}, "a")


async def test_a_step_whose_planner_is_cut_off_has_failed() -> None:
    """It had its outcome, and its event, before the run's time was up."""
    events = Events()

    async def planner(request: ReplanRequest) -> list[Step]:
        await anyio.sleep(100)
        return []

    result = await run(
        Step("bad", raises(ValueError("why"), after=1), failure_policy=REPLAN),
        Step("beside", returns(1, after=50)),
        planner=planner,
        timeout=9,
        hooks=[events],
    )
    assert statuses(result) == {"bad": "failed_final", "beside": "cancelled"}
    assert (result.step_results["bad"].error_message, result.step_results["bad"].duration_ms) == ("why", 1000)
    assert events.types("bad") == ["step_start", "step_fail"]
