"""REPLAN: the planner's steps replace the part of the graph that has not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from kairos_async import (
    SKIP,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Limiter,
    ReplanRequest,
    Step,
    StepContext,
    StepStatus,
    WorkflowStatus,
)
from tests.engine.tools import Clocked, Events, output_of, raises, returns, run, statuses


def replanning(**more: Any) -> FailurePolicy:
    """Return a policy that asks the planner at the first failure."""
    return FailurePolicy(**{"max_retries": 0, "on_execution_fail": FailureAction.REPLAN, **more})


REPLAN = replanning()


async def test_the_planners_steps_replace_what_has_not_run() -> None:
    """What is finished stays, what is planned runs, and the result tells of both."""
    events = Events()
    requests: list[ReplanRequest] = []

    def planner(request: ReplanRequest) -> list[Step]:
        requests.append(request)
        return [Step("b2", returns("second try"), depends_on=["a"]), Step("c2", returns("end"), depends_on=["b2"])]

    result = await run(
        Step("a", returns("first")),
        Step("b", raises(ValueError("no luck")), depends_on=["a"], failure_policy=REPLAN),
        Step("c", returns("never"), depends_on=["b"]),
        planner=planner,
        hooks=[events],
    )
    assert statuses(result) == {"a": "completed", "b2": "completed", "c2": "completed"}
    assert (result.status, result.output) == (WorkflowStatus.COMPLETE, "end")
    assert result.final_state == {"a": "first", "b2": "second try", "c2": "end"}
    (request,) = requests
    assert (request.finished, request.running, request.number) == (("a",), (), 1)
    assert [step.name for step in request.unfinished] == ["b", "c"]
    assert (request.failure.step, request.failure.error_message) == ("b", "no luck")
    (record,) = result.replans
    assert (record.removed, record.added) == (("b", "c"), ("b2", "c2"))
    assert (record.failed.status, len(record.failed.attempts)) == (StepStatus.FAILED_FINAL, 1)
    events.check()
    assert events.of("replan")[0].data == {"number": 1, "removed": ["b", "c"], "added": ["b2", "c2"]}


async def test_the_state_is_the_one_before_the_failed_step() -> None:
    """What it wrote is rolled back, what others wrote stays."""

    async def writes_and_fails(ctx: StepContext) -> None:
        ctx.state.set("half", "done")
        ctx.state.set("config", "broken")
        raise ValueError

    async def looks(ctx: StepContext) -> object:
        return {key: ctx.state.get(key) for key in ctx.state.keys()}  # noqa: SIM118 - it is no mapping

    result = await run(
        Step("bad", writes_and_fails, failure_policy=REPLAN),
        planner=lambda request: [Step("looks", looks)],
        inputs={"config": "whole"},
    )
    assert result.output == {"config": "whole"}
    assert result.final_state == {"config": "whole", "looks": {"config": "whole"}}


async def test_the_items_writes_of_a_failed_foreach_are_rolled_back() -> None:
    """Those of the items that completed too."""

    async def act(ctx: StepContext) -> None:
        ctx.state.set(f"item{ctx.index}", 1)
        if ctx.item == "bad":
            raise ValueError

    result = await run(
        Step("each", act, foreach="items", failure_policy=REPLAN),
        planner=lambda request: [Step("next", returns("ok"))],
        inputs={"items": ["x", "bad", "y"]},
    )
    assert result.final_state == {"items": ["x", "bad", "y"], "next": "ok"}
    items = result.replans[0].failed.items
    assert items is not None
    assert [item.status for item in items] == ["completed", "failed_final", "completed"]


async def test_a_planner_may_return_some_of_the_replaced_steps_again() -> None:
    """As the same objects, under the same names, the failed one among them."""
    failures = [ValueError("once")]

    async def act(ctx: StepContext) -> str:
        if failures:
            raise failures.pop()
        return "at last"

    result = await run(
        Step("a", act, failure_policy=REPLAN),
        Step("b", returns("b"), depends_on=["a"]),
        planner=lambda request: list(request.unfinished),
    )
    assert statuses(result) == {"a": "completed", "b": "completed"}
    assert output_of(result, "a") == "at last"
    assert result.step_results["a"].attempts[0].attempt_number == 1


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


def counting_planner(seen: list[int]) -> Callable[[ReplanRequest], list[Step]]:
    """Return a planner that always plans one step that fails again."""

    def planner(request: ReplanRequest) -> list[Step]:
        seen.append(request.number)
        return [Step(f"try{request.number}", raises(ValueError), failure_policy=request.unfinished[0].failure_policy)]

    return planner


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_at_most_max_replans_plans_are_asked_for(limit: int) -> None:
    """Then the fallback; ABORT if nothing else is said."""
    seen: list[int] = []
    result = await run(
        Step("a", raises(ValueError), failure_policy=replanning(max_replans=limit)), planner=counting_planner(seen)
    )
    assert seen == [*range(1, limit + 1)]
    assert (result.status, len(result.replans)) == (WorkflowStatus.FAILED, limit)
    assert statuses(result) == {f"try{limit}" if limit else "a": "failed_final"}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("slots", [1, 2])
async def test_the_fallback_skip_after_the_last_plan(shared: bool, slots: int) -> None:
    """The step is skipped and its dependents run."""

    async def planner(request: ReplanRequest) -> list[Step]:
        return list(request.unfinished)

    events = Events()
    policy = replanning(max_replans=1, fallback_action=FailureAction.SKIP)
    result = await run(
        Step("a", raises(ValueError), failure_policy=policy),
        Step("b", returns("b"), depends_on=["a"]),
        planner=planner,
        max_concurrency=Limiter(slots) if shared else slots,
        hooks=[events],
        within=1000,
    )
    assert statuses(result) == {"a": "skipped", "b": "completed"}
    assert (result.status, len(result.replans)) == (WorkflowStatus.COMPLETE, 1)
    events.check()


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


@pytest.mark.parametrize("key", ["api_key", "noted"])
@pytest.mark.parametrize("how", ["write_keys", "name"])
async def test_a_plan_cannot_launder_a_read_through_a_step_that_does_not_write(key: str, how: str) -> None:
    """A new step that would produce a key grants no new step the older value of it."""
    stolen: list[object] = []

    async def thief(ctx: StepContext) -> None:
        stolen.append(ctx.state.get(key, "nothing"))

    async def notes(ctx: StepContext) -> None:
        ctx.state.set("noted", "sk-0123456789")

    writer = Step("writer", returns(SKIP), read_keys=[], write_keys=[key], depends_on=["done"])
    named = Step(key, returns(SKIP), read_keys=[], write_keys=[], depends_on=["done"])
    result = await run(
        Step("done", notes),
        Step("bad", raises(ValueError), read_keys=[], depends_on=["done"], failure_policy=REPLAN),
        planner=lambda request: [
            writer if how == "write_keys" else named,
            Step("thief", thief, read_keys=[key], write_keys=[]),
        ],
        inputs={"api_key": "sk-0123456789"},
    )
    assert stolen in ([], ["nothing"])
    assert result.status is WorkflowStatus.FAILED or stolen


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


async def test_the_request_holds_no_output_and_no_secret() -> None:
    """Names, and a failure without credentials."""
    seen: list[str] = []

    def planner(request: ReplanRequest) -> list[Step]:
        seen.append(repr(request))
        return [Step("end", returns(0))]

    await run(
        Step("a", returns("plain output of a")),
        Step("bad", raises(ValueError("refused: swordfish-1234")), depends_on=["a"], failure_policy=REPLAN),
        planner=planner,
        inputs={"password": "swordfish-1234"},
    )
    assert "swordfish" not in seen[0]
    assert "plain output" not in seen[0]


async def test_replan_of_a_validation_failure() -> None:
    """`on_validation_fail` has the same choice; the failure names the broken rules."""
    kinds: list[object] = []

    def planner(request: ReplanRequest) -> list[Step]:
        kinds.append((request.failure.kind, [error.rule for error in request.failure.errors]))
        return [Step("end", returns(1))]

    policy = FailurePolicy(on_validation_fail=FailureAction.REPLAN)
    result = await run(Step("a", returns("x"), output_contract=int, failure_policy=policy), planner=planner)
    assert kinds == [("validation", ["type"])]
    assert result.output == 1
