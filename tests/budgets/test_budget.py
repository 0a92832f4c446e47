"""Budgets of calls, tokens, dollars and seconds, for a run, a step and an item, however concurrent the calls are."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import anyio
import anyio.to_thread
import pytest

from kairos_async import (
    Budget,
    BudgetExceeded,
    ConfigError,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    KairosError,
    LLMJudge,
    ReplanRequest,
    Step,
    StepContext,
    StepStatus,
    Usage,
    Workflow,
    WorkflowResult,
    WorkflowStatus,
    all_of,
)
from tests.engine.tools import NO_RETRY, checked, output_of, raises, replanning, retrying, returns, run, statuses, tries

ITEMS = {"items": list(range(200))}


class Provider:
    """Stands for a model: counts the calls that really reach it, and answers each after a second."""

    def __init__(self, takes: float = 1.0, **used: Any) -> None:
        self.calls = 0
        self.takes = takes
        self.used = used

    async def __call__(self, ctx: StepContext, **most: Any) -> str:
        async with ctx.llm_call(**most) as call:
            self.calls += 1
            await anyio.sleep(self.takes)
            if self.used:
                call.settle(**self.used)
        return "answer"


def fan(provider: Provider, most: dict[str, Any] | None = None, **declared: Any) -> Step:
    """Return a foreach step in which each item makes one call that may use so much at most."""

    async def action(ctx: StepContext) -> str:
        return await provider(ctx, **(most or {}))

    return Step("fan", action, foreach="items", **declared)


def ended_by_budget(result: WorkflowResult) -> str:
    """Return the message of a run that its budget ended."""
    assert (result.status, result.error_type) == (WorkflowStatus.FAILED, "BudgetExceeded")
    assert result.error_message is not None
    return result.error_message


async def test_two_hundred_concurrent_calls_with_a_budget_of_fifty_are_exactly_fifty() -> None:
    """The fifty are let to their end, since they are paid for; the outputs that they finished are kept."""
    provider = Provider()
    partial = ForeachPolicy.ALLOW_PARTIAL
    result = await run(fan(provider, foreach_policy=partial), inputs=ITEMS, budget=Budget(llm_calls=50))
    assert (provider.calls, result.llm_calls) == (50, 50)
    assert ended_by_budget(result) == (
        "Workflow 'w': the budget of llm_calls=50 does not allow for 1 more, 50 are taken"
    )
    items = result.step_results["fan"].items
    assert items is not None
    assert [item.output for item in items].count("answer") == 50


async def test_a_budget_that_is_used_up_exactly_is_no_failure() -> None:
    """The last call that fits is made like any other."""
    provider = Provider()
    result = await run(fan(provider), inputs=ITEMS, budget=Budget(llm_calls=200))
    assert (result.status, provider.calls, result.llm_calls) == (WorkflowStatus.COMPLETE, 200, 200)


async def test_counted_calls_go_through_the_budget_too() -> None:
    """`count_llm_calls` refuses what does not fit as a whole, and then counts nothing of it."""

    async def act(ctx: StepContext) -> str:
        ctx.count_llm_calls(3)
        with pytest.raises(BudgetExceeded, match="does not allow for 2 more, 3 are taken"):
            ctx.count_llm_calls(2)
        ctx.increment_llm_calls()
        return "degraded"

    result = await run(Step("a", act), budget=Budget(llm_calls=4))
    assert (result.output, result.llm_calls, result.status) == ("degraded", 4, WorkflowStatus.COMPLETE)
    assert result.usage == Usage(llm_calls=4, uncertain_calls=4, unpriced_calls=4)


@pytest.mark.real_time
async def test_calls_counted_in_threads_are_exact() -> None:
    """Sync actions count at the same moment from many threads."""
    refused = threading.Semaphore(0)

    def act(ctx: StepContext) -> None:
        for _ in range(50):
            try:
                ctx.count_llm_calls()
            except BudgetExceeded:
                refused.release()

    steps = [Step(f"s{i}", act) for i in range(8)]
    result = await run(*steps, budget=Budget(llm_calls=150), max_concurrency=8)
    assert result.llm_calls == 150
    assert sum(refused.acquire(blocking=False) for _ in range(400)) == 250


POLICIES = {
    "retry": retrying(5),
    "skip": FailurePolicy(max_retries=0, on_execution_fail=FailureAction.SKIP, fallback_action=FailureAction.SKIP),
    "custom": FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=lambda failure: "replacement"),
    "replan": replanning(),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
async def test_no_policy_extends_the_budget_of_a_run(policy: FailurePolicy) -> None:
    """It is never retried, skipped, replaced or planned around: the run ends, and keeps what is finished."""
    provider = Provider()

    async def plan(request: ReplanRequest) -> list[Step]:
        return [Step("b", returns("planned"))]

    result = await run(
        Step("a", provider),
        Step("b", provider, depends_on=["a"], failure_policy=policy),
        budget=Budget(llm_calls=1),
        planner=plan,
    )
    ended_by_budget(result)
    assert (statuses(result), tries(result, "b")) == ({"a": "completed", "b": "failed_final"}, 1)
    assert (output_of(result, "a"), result.final_state) == ("answer", {"a": "answer"})


async def test_what_an_action_makes_of_the_refusal_hides_it_from_no_one() -> None:
    """Wrapped into another exception, or into a group by a task group, it is the budget that ended the run."""
    provider = Provider()

    async def wrapping(ctx: StepContext) -> None:
        try:
            await provider(ctx)
        except BudgetExceeded as error:
            raise RuntimeError("the model failed") from error

    async def grouping(ctx: StepContext) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(provider, ctx)

    for action, calls in ((wrapping, 1), (grouping, 2)):
        provider.calls = 0
        first = Step("first", provider)
        result = await run(first, Step("a", action, depends_on=["first"]), budget=Budget(llm_calls=calls))
        ended_by_budget(result)
        assert (tries(result, "a"), provider.calls) == (1, calls)


async def test_a_run_that_makes_no_calls_has_used_nothing() -> None:
    """Its usage is the same object as every other such run's."""
    first, second = await run(Step("a", returns(1))), await run(Step("a", returns(1)), budget=Budget(llm_calls=1))
    assert first.usage is second.usage
    assert first.usage == Usage()


async def test_usage_is_what_the_calls_said() -> None:
    """The totals of tokens and dollars are exact sums, and survive the round trip through JSON."""
    provider = Provider(input_tokens=10, output_tokens=7, cost_usd=Decimal("0.1"))
    result = checked(await run(fan(provider), inputs={"items": [1, 2, 3]}))
    expected = Usage(llm_calls=3, tokens=51, cost_usd=0.3, input_tokens=30, output_tokens=21)
    assert result.usage == expected
    assert type(result).from_dict(result.to_dict()).usage == expected


async def test_a_budget_of_tokens_is_never_overshot() -> None:
    """Calls wait for those under way to settle, because these use less than they reserved."""
    provider = Provider(input_tokens=50, output_tokens=50, cost_usd=0)
    budget = Budget(tokens=1000)
    result = await run(fan(provider, {"tokens": 300}), inputs={"items": [1] * 7}, budget=budget)
    assert (result.status, result.usage.tokens) == (WorkflowStatus.COMPLETE, 700)
    # Three fit at once; then 300 are used and two fit; then 500 and 600, and one fits.
    assert result.duration_ms == pytest.approx(4000)

    result = await run(
        fan(provider, {"tokens": 300}), inputs={"items": [1] * 9}, budget=budget, failure_policy=NO_RETRY
    )
    assert ended_by_budget(result).endswith("tokens=1000 does not allow for 300 more, 800 are taken")
    assert result.usage.tokens == 800


async def test_a_budget_of_dollars_is_exact() -> None:
    """Ten times ten cents are a dollar: money is counted in decimal numbers."""
    provider = Provider(input_tokens=1, output_tokens=1, cost_usd=0.1)
    most = {"cost_usd": 0.1}
    result = await run(fan(provider, most), inputs={"items": [1] * 10}, budget=Budget(cost_usd=1))
    assert (result.status, result.usage.cost_usd, provider.calls) == (WorkflowStatus.COMPLETE, 1.0, 10)
    result = await run(fan(provider, most), inputs={"items": [1] * 11}, budget=Budget(cost_usd=1.0))
    assert "cost_usd=1.0 does not allow for 0.1 more, 1.0 are taken" in ended_by_budget(result)


async def test_a_call_that_was_cut_off_is_charged_with_its_reservation() -> None:
    """Nobody knows what the model wrote until then; a call that was never sent costs nothing."""

    async def act(ctx: StepContext) -> None:
        with anyio.move_on_after(1):
            async with ctx.llm_call(tokens=300, cost_usd=0.5):
                await anyio.sleep(10)
        async with ctx.llm_call(tokens=300, cost_usd=0.5) as call:
            call.release()
        async with ctx.llm_call(tokens=300, cost_usd=0.5) as call:
            call.settle(input_tokens=0, output_tokens=0, cost_usd=0)
            call.settle(input_tokens=9, output_tokens=9, cost_usd=9)

    result = checked(await run(Step("a", act), budget=Budget(llm_calls=2)))
    assert result.status is WorkflowStatus.COMPLETE
    assert result.usage == Usage(llm_calls=2, tokens=300, cost_usd=0.5, uncertain_calls=1)


async def test_a_waiting_call_that_is_cancelled_leaves_no_trace() -> None:
    """Neither in the budget nor in the queue: the one behind it gets its turn."""
    provider = Provider(input_tokens=0, output_tokens=10)

    async def act(ctx: StepContext) -> list[str]:
        done: list[str] = []

        async def ask(name: str, patience: float) -> None:
            with anyio.move_on_after(patience):
                await provider(ctx, tokens=100)
                done.append(name)

        async with anyio.create_task_group() as tasks:
            for name, patience in (("first", 9), ("impatient", 0.5), ("third", 9)):
                tasks.start_soon(ask, name, patience)
                await anyio.sleep(0.1)
        return done

    result = checked(await run(Step("a", act), budget=Budget(tokens=150)))
    assert (result.output, provider.calls, result.usage.tokens) == (["first", "third"], 2, 20)


async def test_a_call_inside_of_a_call_does_not_wait_for_it() -> None:
    """It would wait for ever; it is refused."""

    async def act(ctx: StepContext) -> None:
        async with ctx.llm_call(tokens=60), ctx.llm_call(tokens=60):
            pass

    with anyio.fail_after(60):
        result = await run(Step("a", act), budget=Budget(tokens=100))
    assert "does not allow for 60 more, 60 are taken" in ended_by_budget(result)


async def test_a_small_call_does_not_overtake_one_that_waits() -> None:
    """First come, first served: else a large one would wait until nothing is left."""
    provider = Provider(input_tokens=0, output_tokens=10)
    order: list[int] = []

    async def act(ctx: StepContext) -> None:
        async def ask(tokens: int) -> None:
            await provider(ctx, tokens=tokens)
            order.append(tokens)

        async with anyio.create_task_group() as tasks:
            for tokens in (80, 90, 30):
                tasks.start_soon(ask, tokens)
                await anyio.sleep(0.1)

    checked(await run(Step("a", act), budget=Budget(tokens=120)))
    assert order == [80, 90, 30]


async def test_the_budget_of_a_step_is_its_own() -> None:
    """It covers all attempts of the step, fails the step without a retry, and its policy says what follows."""
    provider = Provider()

    async def often(ctx: StepContext) -> str:
        for _ in range(2):
            await provider(ctx)
        raise ValueError("again")

    skipping = retrying(5, fallback_action=FailureAction.SKIP)
    result = await run(
        Step("a", often, budget=Budget(llm_calls=5), failure_policy=skipping),
        Step("b", provider, depends_on=["a"]),
        budget=Budget(llm_calls=6),
    )
    assert (statuses(result), tries(result, "a"), provider.calls) == ({"a": "skipped", "b": "completed"}, 3, 6)
    assert result.step_results["a"].error_message == (
        "Step 'a': the budget of llm_calls=5 does not allow for 1 more, 5 are taken"
    )


async def test_the_budget_of_an_item_is_its_own() -> None:
    """A greedy item fails alone; the step's budget is for all of them together, the run's for everything."""

    async def act(ctx: StepContext) -> int:
        ctx.count_llm_calls(ctx.item)
        return int(ctx.item)

    step = Step(
        "a",
        act,
        foreach="items",
        foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
        item_budget=Budget(llm_calls=2),
        budget=Budget(llm_calls=4),
        max_concurrency=1,
        failure_policy=NO_RETRY,
    )
    result = await run(step, inputs={"items": [1, 3, 2, 2, 1]})
    assert result.output == [1, None, 2, None, 1]
    items = result.step_results["a"].items
    assert items is not None
    assert [(item.index, item.error_message) for item in items if item.error_type] == [
        (1, "Step 'a', item 1: the budget of llm_calls=2 does not allow for 3 more, 0 are taken"),
        (3, "Step 'a': the budget of llm_calls=4 does not allow for 2 more, 3 are taken"),
    ]
    assert result.llm_calls == 4


async def test_seconds_end_a_run() -> None:
    """Whether it makes calls or not; what is finished stays."""
    result = await run(
        Step("a", returns("done", after=1)),
        Step("b", returns("late", after=9), depends_on=["a"]),
        budget=Budget(seconds=5),
        timeout=60,
    )
    assert ended_by_budget(result) == "Workflow 'w': the budget of 5 seconds is used up"
    assert statuses(result) == {"a": "completed", "b": "cancelled"}
    assert result.duration_ms == pytest.approx(5000)
    result = await run(Step("a", returns("late", after=9)), budget=Budget(seconds=5), timeout=2)
    assert result.error_type == "StepTimeoutError"


@pytest.mark.parametrize("declared", [{"total_timeout": 60}, {"foreach": "n", "item_budget": Budget(tokens=9)}])
async def test_seconds_of_a_run_are_not_those_of_its_steps(declared: dict[str, Any]) -> None:
    """A step with limits of its own waits for its retry until the run's time is up, and is cancelled then."""
    policy = retrying(delay=10, fallback_action=FailureAction.SKIP)
    step = Step("a", raises(ValueError), failure_policy=policy, **declared)
    result = await run(step, inputs={"n": [1]}, budget=Budget(seconds=5))
    assert ended_by_budget(result) == "Workflow 'w': the budget of 5 seconds is used up"
    assert (statuses(result), anyio.current_time()) == ({"a": "cancelled"}, 5)


async def test_seconds_of_a_step_and_of_an_item() -> None:
    """They count from the start of each; the shorter of them and a timeout holds."""

    async def act(ctx: StepContext) -> str:
        await anyio.sleep(3 if ctx.item is None else ctx.item)
        return "done"

    skipping = FailurePolicy(max_retries=0, fallback_action=FailureAction.SKIP)
    limited: dict[str, Any] = {"failure_policy": skipping, "budget": Budget(seconds=2)}
    result = await run(
        Step("step", act, **limited),
        Step("timed", act, **limited, timeout=1, depends_on=["step"]),
        Step("items", act, foreach="n", item_budget=Budget(seconds=2), failure_policy=skipping, depends_on=["timed"]),
        Step("fan", act, foreach="n", **limited, depends_on=["items"]),
        inputs={"n": [1, 3]},
    )
    done = result.step_results
    assert done["step"].error_message == "Step 'step': the budget of 2 seconds is used up"
    assert done["timed"].error_type == "StepTimeoutError"
    for name, subject in (("items", "Step 'items', item 1"), ("fan", "Step 'fan'")):
        items = done[name].items
        assert items is not None
        assert [item.status for item in items] == [StepStatus.COMPLETED, StepStatus.SKIPPED]
        assert items[1].error_message == f"{subject}: the budget of 2 seconds is used up"


async def test_a_workflow_inside_of_a_step_spends_the_step_s_budget() -> None:
    """Nesting is no way around: the inner run ends, and so does the outer one."""
    provider = Provider()
    inner = Workflow("inner", [fan(provider)])

    async def act(ctx: StepContext) -> Any:
        return (await inner.run({"items": [1, 2, 3]})).raise_for_status().output

    outer = [Step("a", act), Step("b", act, depends_on=["a"])]
    assert (await run(*outer)).llm_calls == 6
    provider.calls = 0
    result = await run(*outer, budget=Budget(llm_calls=5))
    ended_by_budget(result)
    assert (provider.calls, result.llm_calls, tries(result, "b")) == (5, 5, 1)


async def test_a_judge_spends_the_step_s_budget() -> None:
    """A contract that asks a model counts before it asks."""
    asked = []

    async def model(request: object) -> dict[str, Any]:
        asked.append(request)
        return {"pass": False, "confidence": 1.0}

    step = Step("a", returns("text"), output_contract=all_of(str, LLMJudge("good", model)), failure_policy=retrying(9))
    result = await run(step, budget=Budget(llm_calls=3))
    ended_by_budget(result)
    assert (len(asked), result.llm_calls, tries(result)) == (3, 3, 4)


@pytest.mark.real_time
async def test_calls_held_on_another_loop_wake_those_who_wait_here() -> None:
    """A sync action may run an event loop of its own; the budget is one all the same."""
    provider = Provider(takes=0.05, input_tokens=1, output_tokens=1)

    def sync(ctx: StepContext) -> str:
        return anyio.run(lambda: provider(ctx, tokens=60))

    async def act(ctx: StepContext) -> str:
        return await provider(ctx, tokens=60)

    with anyio.fail_after(30):
        result = await run(
            *(Step(f"s{i}", sync if i % 2 else act) for i in range(6)), budget=Budget(tokens=100), max_concurrency=6
        )
    assert (result.status, result.usage.tokens) == (WorkflowStatus.COMPLETE, 12)


async def test_calls_without_a_figure_are_refused_where_a_budget_needs_it() -> None:
    """Once, at the first such call, with the way out; what is not limited need not be known."""
    seen = []

    async def act(ctx: StepContext) -> None:
        for ask in (ctx.count_llm_calls, lambda: ctx.llm_call(tokens=1)):
            with pytest.raises(ConfigError) as raised:
                ask()
            seen.append(str(raised.value))
        ctx.llm_call(cost_usd=1)

    checked(await run(Step("a", act), budget=Budget(cost_usd=2)))
    assert seen[0] == seen[1]
    assert seen[0] == (
        "The budget of Workflow 'w' limits cost_usd, and a model call does not say what it may cost. Use a model whose "
        "price and greatest answer are known, or hold the call with `async with ctx.llm_call(cost_usd=...)`."
    )


@pytest.mark.parametrize("limit", ["llm_calls", "tokens", "cost_usd", "seconds"])
@pytest.mark.parametrize("value", [0, -1, True, "5", float("nan"), float("inf"), Decimal("NaN")])
def test_a_budget_that_is_none(limit: str, value: Any) -> None:
    """One clear error when it is made."""
    with pytest.raises(ConfigError, match=f"^Budget: {limit}=.* must be a .* number"):
        Budget(**{limit: value})


def test_budgets_in_wrong_places() -> None:
    """When the workflow is built, with the subject and the way out."""
    with pytest.raises(ConfigError, match=r"Budget\(\) limits nothing"):
        Budget()
    with pytest.raises(ConfigError, match=r"Step 'a': budget=50 must be a Budget, such as"):
        Step("a", returns(1), budget=50)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Workflow 'w': budget=50 must be a Budget"):
        Workflow("w", [Step("a", returns(1))], budget=50)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"item_budget limits the items of a foreach, and it has no foreach"):
        Step("a", returns(1), item_budget=Budget(llm_calls=1))


async def test_wrong_numbers_of_a_call() -> None:
    """Refused before anything is reserved."""

    async def act(ctx: StepContext) -> None:
        for wrong in ({"tokens": -1}, {"tokens": 1.5}, {"cost_usd": -1}, {"cost_usd": float("nan")}, {"cost_usd": "x"}):
            with pytest.raises(KairosError, match="A model call: "):
                ctx.llm_call(**wrong)

    assert checked(await run(Step("a", act))).usage == Usage()


async def test_a_call_may_end_elsewhere_than_it_began() -> None:
    """In another task, as a stream that is handed on does: it is settled all the same."""

    async def act(ctx: StepContext) -> None:
        call = ctx.llm_call(tokens=60)

        async def begin() -> None:
            await call.__aenter__()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
        await call.__aexit__(None, None, None)
        async with ctx.llm_call(tokens=60) as other:
            other.settle(input_tokens=1, output_tokens=1)

    result = checked(await run(Step("a", act), budget=Budget(tokens=120)))
    assert (result.status, result.usage.tokens) == (WorkflowStatus.COMPLETE, 62)
