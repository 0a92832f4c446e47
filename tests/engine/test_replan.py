"""REPLAN: the planner's steps replace the part of the graph that has not run."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from kairos_async import (
    SKIP,
    FailureAction,
    FailurePolicy,
    Limiter,
    ReplanRequest,
    Step,
    StepContext,
    StepStatus,
    WorkflowStatus,
)
from tests.engine.tools import SKIPPING, Clocked, Events, output_of, raises, replanning, returns, run, statuses

REPLAN = replanning()


async def test_the_planners_steps_replace_what_has_not_run() -> None:
    """What is finished stays, what is planned runs, and the result tells of both."""
    events = Events()
    requests: list[ReplanRequest] = []

    def planner(request: ReplanRequest) -> list[Step]:
        requests.append(request)
        return [Step("b2", returns("second try"), depends_on=["a"]), Step("c2", returns("end"), depends_on=["b2"])]

    result = await run(
        Step("none", returns(SKIP)),
        Step("a", returns("first")),
        Step("b", raises(ValueError("no luck")), depends_on=["none", "a"], failure_policy=REPLAN),
        Step("c", returns("never"), depends_on=["b"]),
        planner=planner,
        hooks=[events],
    )
    assert statuses(result) == {"none": "skipped", "a": "completed", "b2": "completed", "c2": "completed"}
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


async def test_planned_steps_go_in_the_order_in_which_the_planner_names_them() -> None:
    """When slots are scarce, as in any plan."""
    clocked = Clocked()
    await run(
        Step("done", returns(1)),
        Step("bad", raises(ValueError), depends_on=["done"], failure_policy=REPLAN),
        planner=lambda request: [clocked.step(name) for name in "zxy"],
        max_concurrency=1,
    )
    assert clocked.starts == ["z", "x", "y"]


async def test_planned_steps_have_the_workflows_failure_policy() -> None:
    """Unless they have one of their own."""
    result = await run(
        Step("a", raises(ValueError), failure_policy=REPLAN),
        planner=lambda request: [Step("b", raises(ValueError))],
        failure_policy=SKIPPING,
    )
    assert statuses(result) == {"b": "skipped"}


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


@pytest.mark.parametrize("key", ["api_key", "noted"])
@pytest.mark.parametrize("how", ["write_keys", "name"])
async def test_a_plan_cannot_launder_a_read_through_a_step_that_does_not_write(key: str, how: str) -> None:
    """A new step that would produce a key grants no new step the older value of it."""
    stolen: list[object] = []

    async def thief(ctx: StepContext) -> None:
        stolen.append(ctx.state.get(key, "nothing"))

    async def notes(ctx: StepContext) -> None:
        ctx.state.set("noted", "another secret")

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
    assert stolen == []
    assert "the planner failed" in str(result.error_message)


BAD_SPLICES: dict[str, tuple[list[Step], str]] = {
    "an input's name": ([Step("given", returns(1)), Step("end", returns(1))], "input 'given' has the name of a step"),
    "a foreach over nothing": (
        [Step("end", returns(1), foreach="nowhere", read_keys=["nowhere"], write_keys=[])],
        "nowhere",
    ),
    "no output step": ([Step("other", returns(1))], "the workflow's output is step 'end', which the plan leaves out"),
    "a running step's name": ([Step("slow", returns(1)), Step("end", returns(1))], "used twice"),
}


@pytest.mark.parametrize("kind", BAD_SPLICES)
async def test_the_spliced_graph_is_judged_like_any_plan(kind: str) -> None:
    """Together with what stays, the run's inputs, and the workflow's output."""
    plan, message = BAD_SPLICES[kind]

    async def planner(request: ReplanRequest) -> list[Step]:
        return plan

    result = await run(
        Step("slow", returns(1, after=9)),
        Step("bad", raises(ValueError, after=1), failure_policy=REPLAN),
        Step("end", returns(1), depends_on=["bad"]),
        planner=planner,
        output="end",
        inputs={"given": 1},
    )
    assert (result.status, anyio.current_time()) == (WorkflowStatus.FAILED, 1)
    assert message in str(result.error_message)


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
