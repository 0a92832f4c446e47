"""foreach: concurrent, ordered, bounded, with an outcome for every item."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos_async import (
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    PlanError,
    StateLimits,
    Step,
    StepContext,
    StepStatus,
    WorkflowStatus,
)
from tests.clocks import BACKENDS, run_virtual
from tests.engine.items import follows, items_of
from tests.engine.tools import (
    NO_RETRY,
    SKIPPING,
    Clocked,
    chance,
    others,
    output_of,
    returns,
    run,
    statuses,
)

PARTIAL, ALL, FAST = ForeachPolicy.ALLOW_PARTIAL, ForeachPolicy.REQUIRE_ALL, ForeachPolicy.FAIL_FAST


async def test_outputs_are_in_the_order_of_the_items() -> None:
    """Whatever the order in which they end."""
    items = [{"takes": chance(i).random()} for i in range(200)]
    result = await run(Step("each", follows, foreach="items"), inputs={"items": items})
    assert result.output == [*range(200)]
    assert [item.index for item in items_of(result)] == [*range(200)]


@pytest.mark.parametrize("policy", list(ForeachPolicy))
async def test_an_empty_list_completes_with_an_empty_list(policy: ForeachPolicy) -> None:
    """And its dependents run."""
    result = await run(
        Step("each", follows, foreach="items", foreach_policy=policy),
        Step("next", follows, foreach="each"),
        inputs={"items": []},
    )
    assert statuses(result) == {"each": "completed", "next": "completed"}
    assert (result.output, len(items_of(result))) == ([], 0)


async def test_require_all_runs_all_items_and_then_fails() -> None:
    """The failure told of is that of the first item by position; each item's own outcome is kept."""
    items: list[object] = [{"takes": 5}, {"takes": 3, "failures": 9}, {"takes": 1, "failures": 9}, {"takes": 9}]
    result = await run(Step("each", follows, foreach="items", failure_policy=NO_RETRY), inputs={"items": items})
    assert anyio.current_time() == 9
    assert (result.status, result.error_message) == (WorkflowStatus.FAILED, "item 1, attempt 1")
    assert statuses(result) == {"each": "failed_final"}
    kept = items_of(result)
    assert [item.status for item in kept] == ["completed", "failed_final", "failed_final", "completed"]
    assert [item.output for item in kept] == [0, None, None, 3]
    assert [item.error_message for item in kept[1:3]] == ["item 1, attempt 1", "item 2, attempt 1"]


async def test_allow_partial_completes_with_none_in_the_failed_places() -> None:
    """Even if all fail."""
    items: list[object] = [{}, {"failures": 9}, {}]
    each = Step("each", follows, foreach="items", foreach_policy=PARTIAL, failure_policy=NO_RETRY)
    result = await run(each, inputs={"items": items})
    assert (result.status, result.output) == (WorkflowStatus.COMPLETE, [0, None, 2])
    assert items_of(result)[1].error_type == "ValueError"
    result = await run(each, inputs={"items": [{"failures": 9}] * 3})
    assert (result.status, result.output) == (WorkflowStatus.COMPLETE, [None] * 3)


async def test_each_item_has_its_own_attempts() -> None:
    """Retries of one do not touch the others."""
    items: list[object] = [{}, {"failures": 2}, {"failures": 1}, {"failures": 3}]
    policy = FailurePolicy(max_retries=2, retry_delay=1, retry_jitter=0, retry_backoff=1)
    result = await run(
        Step("each", follows, foreach="items", foreach_policy=PARTIAL, failure_policy=policy), inputs={"items": items}
    )
    kept = items_of(result)
    assert [len(item.attempts) for item in kept] == [1, 3, 2, 3]
    assert [item.attempts[-1].status for item in kept] == ["success", "success", "success", "failure"]
    assert [item.duration_ms for item in kept] == [0, 2000, 1000, 2000]
    assert [item.index for item in kept.exceptional] == [1, 2, 3]
    assert result.step_results["each"].attempts == ()


@pytest.mark.parametrize("policy", list(ForeachPolicy))
async def test_an_item_can_be_skipped(policy: ForeachPolicy) -> None:
    """By returning SKIP, or by a policy that skips: None in its place, and no failure."""
    result = await run(
        Step("each", follows, foreach="items", foreach_policy=policy, failure_policy=SKIPPING),
        inputs={"items": [{"skip": True}, {}, {"failures": 9}]},
    )
    assert (result.status, result.output) == (WorkflowStatus.COMPLETE, [None, 1, None])
    assert [item.status for item in items_of(result)] == ["skipped", "completed", "skipped"]


async def test_ten_thousand_items_at_a_concurrency_of_a_hundred() -> None:
    """In order, in a hundred rounds, with tasks for no more than are under way."""
    most = 0

    async def act(ctx: StepContext) -> int:
        nonlocal most
        if ctx.index is not None and ctx.index % 500 == 0:
            most = max(most, len(others()))
        await anyio.sleep(1)
        return (ctx.index or 0) * 2

    before = len(others())
    result = await run(Step("each", act, foreach="items", max_concurrency=100), inputs={"items": [0] * 10_000})
    assert result.output == [index * 2 for index in range(10_000)]
    assert anyio.current_time() == 100
    assert most - before <= 101
    assert items_of(result).exceptional == ()


async def test_items_start_in_their_order() -> None:
    """And each waits for those before it to have had a place."""
    clocked = Clocked()
    await run(clocked.step("each", foreach="items", max_concurrency=2), inputs={"items": [0] * 5})
    assert clocked.starts == [f"each[{index}]" for index in range(5)]


@pytest.mark.parametrize("at_once", [None, 2])
async def test_a_foreach_never_starves_other_ready_steps(at_once: int | None) -> None:
    """However long it is, another step waits for one round at most."""
    clocked = Clocked()
    await run(
        clocked.step("each", 1, foreach="items", max_concurrency=at_once),
        clocked.step("beside", 1),
        clocked.step("child", 1, depends_on=["beside"]),
        max_concurrency=2,
        inputs={"items": [0] * 100},
    )
    assert clocked.started["beside"] <= 1
    assert clocked.started["child"] <= 3


async def test_two_foreachs_share_the_slots() -> None:
    """Turn by turn."""
    clocked = Clocked()
    await run(
        clocked.step("x", 1, foreach="items"),
        clocked.step("y", 1, foreach="items"),
        max_concurrency=2,
        inputs={"items": [0] * 20},
    )
    first = [name[0] for name, at in clocked.started.items() if at < 10]
    assert abs(first.count("x") - first.count("y")) <= 2


async def test_items_writes_are_stored_when_all_is_done() -> None:
    """Each item may write keys of its own; nobody sees them before."""

    async def act(ctx: StepContext) -> None:
        ctx.state.set(f"from_{ctx.index}", ctx.item)
        await anyio.sleep(float(ctx.index or 0))
        assert ctx.state.keys() == sorted(["items", f"from_{ctx.index}"])

    result = await run(Step("each", act, foreach="items"), inputs={"items": ["x", "y", "z"]})
    assert {key: result.final_state[f"from_{key}"] for key in range(3)} == {0: "x", 1: "y", 2: "z"}


async def test_items_writes_do_not_count_as_output() -> None:
    """The limit of one value is for the output; what is written has limits of its own."""

    async def act(ctx: StepContext) -> None:
        ctx.state.set(f"k{ctx.index}", "x" * 300)

    each = Step("each", act, foreach="items", failure_policy=NO_RETRY)
    fits = StateLimits(value_bytes=1000, total_bytes=5000)
    result = await run(each, inputs={"items": [1] * 5}, state_limits=fits)
    assert result.error_message is None
    tight = await run(each, inputs={"items": [1] * 5}, state_limits=StateLimits(value_bytes=1000, total_bytes=1500))
    assert tight.error_type == "StateError"


async def test_two_items_that_write_one_key_are_a_conflict() -> None:
    """Items have no order; the message names both, the lowest first, and nothing is stored."""

    async def act(ctx: StepContext) -> None:
        await anyio.sleep(5 - float(ctx.index or 0))
        if ctx.item:
            ctx.state.set("k", ctx.index)

    result = await run(
        Step("each", act, foreach="items", failure_policy=NO_RETRY), inputs={"items": [False, True, False, True, True]}
    )
    assert (result.status, result.error_type) == (WorkflowStatus.FAILED, "ScopeError")
    assert "Items 1 and 3 of step 'each' both write key 'k'" in str(result.error_message)
    assert "k" not in result.final_state


@pytest.mark.parametrize(
    ("action", "fallback", "status"),
    [
        (FailureAction.SKIP, FailureAction.ABORT, "skipped"),
        (FailureAction.ABORT, FailureAction.SKIP, "failed_final"),
        (FailureAction.RETRY, FailureAction.SKIP, "skipped"),
        (FailureAction.RETRY, FailureAction.ABORT, "failed_final"),
    ],
)
@pytest.mark.parametrize("over", ["items", "no_list"])
async def test_a_foreach_that_fails_as_a_whole_has_its_policy(
    over: str, action: FailureAction, fallback: FailureAction, status: str
) -> None:
    """As any step; only that there is nothing to call again."""

    async def act(ctx: StepContext) -> None:
        ctx.state.set("same", ctx.index)

    policy = FailurePolicy(on_execution_fail=action, fallback_action=fallback)
    result = await run(Step("a", act, foreach=over, failure_policy=policy), inputs={"items": [1, 2], "no_list": {}})
    assert statuses(result) == {"a": status}


async def test_the_writes_of_failed_and_skipped_items_are_dropped() -> None:
    """Those of the others are kept."""

    async def act(ctx: StepContext) -> object:
        ctx.state.set(f"k{ctx.index}", 1)
        return await follows(ctx)

    result = await run(
        Step("each", act, foreach="items", foreach_policy=PARTIAL, failure_policy=NO_RETRY),
        inputs={"items": [{}, {"failures": 9}, {"skip": True}]},
    )
    assert [key for key in ("k0", "k1", "k2") if key in result.final_state] == ["k0"]


async def test_an_item_is_a_copy() -> None:
    """Of each attempt's own."""

    async def act(ctx: StepContext) -> object:
        item: Any = ctx.item
        seen = list(item)
        item.append("changed")
        if ctx.attempt == 1:
            raise ValueError
        return seen

    policy = FailurePolicy(max_retries=1, retry_delay=0)
    result = await run(Step("each", act, foreach="items", failure_policy=policy), inputs={"items": [[1], [2]]})
    assert result.output == [[1], [2]]


async def test_items_see_the_inputs_and_what_is_upstream() -> None:
    """With read_keys as for any step."""

    async def act(ctx: StepContext) -> object:
        return sorted(ctx.inputs)

    steps = [Step("a", returns([0])), Step("b", returns(1), depends_on=["a"])]
    free = await run(*steps, Step("each", act, foreach="a", depends_on=["b"]), inputs={"x": 1})
    assert output_of(free, "each") == [["a", "b", "x"]]
    bound = await run(*steps, Step("each", act, foreach="a", read_keys=["a"]), inputs={"x": 1})
    assert output_of(bound, "each") == [["a"]]


async def test_a_foreach_over_the_foreach_before_it() -> None:
    """A pipeline of lists."""

    async def double(ctx: StepContext) -> object:
        return ctx.item * 2

    result = await run(
        Step("x", double, foreach="items"),
        Step("y", double, foreach="x"),
        Step("z", double, foreach="y"),
        inputs={"items": [1, 2, 3]},
    )
    assert result.output == [8, 16, 24]


async def test_a_foreach_over_a_key_that_a_step_before_it_may_write() -> None:
    """Declared or not; if nobody before it may, the run does not begin."""

    async def writes(ctx: StepContext) -> None:
        ctx.state.set("found", [1, 2])

    async def item(ctx: StepContext) -> object:
        return ctx.item

    each = Step("each", item, foreach="found", depends_on=["last"])
    last = Step("last", returns(None), write_keys=[], depends_on=["first"])
    for declared in (None, ["found"]):
        result = await run(Step("first", writes, write_keys=declared), last, each)
        assert result.output == [1, 2]
    with pytest.raises(PlanError, match="step 'each' has foreach='found', which is no step, no input and no key"):
        await run(Step("first", writes, write_keys=[]), last, each)


PLAN = st.fixed_dictionaries(
    {"takes": st.sampled_from([0, 1, 2.5]), "failures": st.sampled_from([0, 0, 0, 1, 2, 9]), "skip": st.booleans()}
)


@settings(max_examples=120)
@given(
    plans=st.lists(PLAN, max_size=10),
    policy=st.sampled_from([PARTIAL, ALL]),
    width=st.none() | st.integers(1, 4),
    slots=st.none() | st.integers(1, 3),
    on=st.sampled_from(BACKENDS),
)
def test_outcomes_follow_from_the_items_alone(
    plans: list[dict[str, Any]], policy: ForeachPolicy, width: int | None, slots: int | None, on: str
) -> None:
    """Whatever the concurrency: status, output and attempts of each, and the outcome of the step."""

    async def main() -> None:
        retrying = FailurePolicy(max_retries=2, retry_delay=1, retry_jitter=0)
        result = await run(
            Step(
                "each", follows, foreach="items", foreach_policy=policy, max_concurrency=width, failure_policy=retrying
            ),
            inputs={"items": plans},
            max_concurrency=slots,
        )
        expected: list[tuple[StepStatus, int | None, int]] = []
        for index, plan in enumerate(plans):
            calls = min(plan["failures"], 2) + 1
            if plan["failures"] > 2:
                expected.append((StepStatus.FAILED_FINAL, None, calls))
            elif plan["skip"]:
                expected.append((StepStatus.SKIPPED, None, calls))
            else:
                expected.append((StepStatus.COMPLETED, index, calls))
        found = [(item.status, item.output, len(item.attempts)) for item in items_of(result)]
        assert found == expected
        failed = any(status is StepStatus.FAILED_FINAL for status, _, _ in expected)
        assert result.status is (WorkflowStatus.FAILED if failed and policy is ALL else WorkflowStatus.COMPLETE)
        if result.status is WorkflowStatus.COMPLETE:
            assert result.output == [output for _, output, _ in expected]

    run_virtual(main, on=on)
