"""What every call of an adapter passes: budgets by what it may use at most, prices, and the governor of its loop."""

from __future__ import annotations

from decimal import Decimal

import anyio
import genai_prices
import pytest

from kairos_async import (
    Budget,
    FailureAction,
    FailurePolicy,
    LLMJudge,
    ModelLengthError,
    ReplanRequest,
    Step,
    StepContext,
    TokenUsage,
    Usage,
    Workflow,
    WorkflowStatus,
    all_of,
)
from kairos_async.adapters import prices
from kairos_async.adapters.governor import Governor, RateLimit
from kairos_async.adapters.prompt import ask
from kairos_async.contracts import JudgeRequest
from tests.budgets.models import USAGE, FakeModel, unavailable
from tests.engine.tools import NO_RETRY, checked, replanning, retrying, returns, run

PRICE = Decimal(10) * Decimal("2.5") / 1_000_000 + Decimal(5) * Decimal(10) / 1_000_000
"""Of the usage of a fake model, which says that it is a gpt-4o: 2.50 dollars in, 10 dollars out."""


def fan(model: FakeModel) -> Step:
    """Return a step that asks the model for each item."""
    return Step("fan", ask("Say {item}", model), foreach="items", failure_policy=NO_RETRY)


async def test_two_hundred_concurrent_calls_of_an_adapter_with_a_budget_of_fifty() -> None:
    """Exactly fifty are sent, all are answered, and their cost is what the price library says."""
    model = FakeModel()
    result = await run(fan(model), inputs={"items": list(range(200))}, budget=Budget(llm_calls=50))
    assert (model.sent, model.ended, result.error_type) == (50, 50, "BudgetExceeded")
    price = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=10, output_tokens=5), "gpt-4o", provider_id="openai"
    ).total_price
    assert price == PRICE
    assert result.usage == Usage(
        llm_calls=50, tokens=750, cost_usd=float(50 * price), input_tokens=500, output_tokens=250
    )


async def test_tokens_and_dollars_are_reserved_by_the_greatest_answer() -> None:
    """A prompt is taken for two bytes a token and the answer for max_tokens, until the call is settled."""
    model = FakeModel(max_tokens=100)
    # "Say 7" has 5 bytes: 3 tokens, and 8 for the message; with the answer 111.
    result = checked(await run(fan(model), inputs={"items": [7] * 4}, budget=Budget(tokens=222)))
    # Two at once; then 30 are used, and one at a time fits besides.
    assert result.status is WorkflowStatus.COMPLETE
    assert result.duration_ms == pytest.approx(3000)
    dollars = 11 * Decimal("2.5") / 1_000_000 + 100 * Decimal(10) / 1_000_000
    result = checked(await run(fan(model), inputs={"items": [7] * 2}, budget=Budget(cost_usd=2 * dollars)))
    assert result.usage.cost_usd == float(2 * PRICE)
    assert result.duration_ms == pytest.approx(1000)
    result = await run(fan(model), inputs={"items": [7]}, budget=Budget(cost_usd=dollars - Decimal("1e-9")))
    assert result.error_type == "BudgetExceeded"


async def test_what_a_budget_needs_to_know() -> None:
    """A model without a known price, or without a greatest answer, is one clear error before anything is sent."""
    unknown, endless = FakeModel(model="my-own"), FakeModel(max_tokens=None)
    for model, budget, message in (
        (unknown, Budget(cost_usd=1), "the price library does not know it; say what it costs with prices.set_price("),
        (endless, Budget(cost_usd=1), "have no greatest length: give its adapter max_tokens"),
        (endless, Budget(tokens=1000), "A budget limits tokens, and the answers of model 'gpt-4o' of openai have no"),
    ):
        result = await run(Step("a", ask("hi", model), failure_policy=retrying(3)), budget=budget)
        assert (result.error_type, model.sent) == ("ConfigError", 0)
        assert message in str(result.error_message)
    for model in (unknown, endless):
        assert checked(await run(Step("a", ask("hi", model)), budget=Budget(llm_calls=1))).llm_calls == 1


async def test_prices_that_users_set() -> None:
    """They go before the library's; a model of one's own may be free."""
    prices.set_price("openai", "my-free-model", input_mtok=0, output_mtok=0)
    prices.set_price("openai", "my-dear-model", input_mtok=1.5, output_mtok=Decimal(6))
    free, dear = FakeModel(model="my-free-model"), FakeModel(model="my-dear-model")
    result = checked(await run(Step("a", ask("hi", free)), Step("b", ask("hi", dear)), budget=Budget(cost_usd=1)))
    assert result.usage.cost_usd == (10 * 1.5 + 5 * 6) / 1_000_000
    assert result.usage.unpriced_calls == 0


async def test_calls_whose_price_nobody_knows_are_counted_as_such() -> None:
    """Without a budget of dollars that is no error."""
    result = checked(await run(Step("a", ask("hi", FakeModel(model="no-such-model")))))
    assert result.usage == Usage(llm_calls=1, tokens=15, input_tokens=10, output_tokens=5, unpriced_calls=1)


async def test_how_calls_are_settled_that_had_no_answer() -> None:
    """An error of the provider costs nothing, what was cut off costs its reservation, a cut answer what it used."""
    refused = FakeModel(unavailable(status=500), takes=0)
    lost = FakeModel(unavailable(), takes=0)
    short = FakeModel(ModelLengthError("openai", "gpt-4o", "too long", usage=USAGE), takes=0)
    slow = FakeModel(takes=100)
    skipping = FailurePolicy(max_retries=0, fallback_action=FailureAction.SKIP)
    steps = [
        Step(name, ask("hi", model), failure_policy=skipping, timeout=5)
        for name, model in {"refused": refused, "lost": lost, "short": short, "slow": slow}.items()
    ]
    result = await run(*steps, budget=Budget(tokens=10_000))
    reserved = 1 + 8 + 100
    assert result.usage.tokens == 2 * reserved + 15
    assert (result.llm_calls, result.usage.uncertain_calls) == (4, 2)


async def test_a_call_that_waits_for_the_governor_and_is_cancelled_was_not_made() -> None:
    """Its place in the budget is free again, and so is that in the queue."""
    model, slow = FakeModel(), FakeModel(takes=10)

    async def impatient(ctx: StepContext) -> int:
        await anyio.sleep(0.1)
        with anyio.move_on_after(1):
            await model.call("hi")
        return model.sent

    async with Governor({"openai": RateLimit(concurrency=1)}):
        steps = [Step("slow", ask("hi", slow)), Step("a", impatient), Step("b", ask("hi", model), depends_on=["a"])]
        result = checked(await run(*steps, budget=Budget(llm_calls=2)))
    assert (result.status, result.llm_calls, model.sent) == (WorkflowStatus.COMPLETE, 2, 1)
    assert result.step_results["a"].output == 0


async def test_an_open_circuit_costs_nothing() -> None:
    """Nothing is sent, and no call is counted; the step comes again when it may."""
    model = FakeModel(*[unavailable(status=503)] * 2, "answer", takes=0)
    policy = retrying(9, delay=0)
    async with Governor(failures=2, cooldown=30):
        result = checked(await run(Step("a", ask("hi", model), failure_policy=policy), budget=Budget(llm_calls=3)))
    assert (model.sent, result.llm_calls) == (3, 3)
    assert result.duration_ms == pytest.approx(30_000)


async def test_the_longest_remaining_path_is_asked_first() -> None:
    """As far as the steps say how long they take."""
    model = FakeModel()
    steps = [
        Step("short", ask("short", model), expected_seconds=1),
        Step("long", ask("long", model), expected_seconds=1),
        Step("after", returns(1, after=60), depends_on=["long"], expected_seconds=60),
    ]
    async with Governor({"openai": RateLimit(requests=60)}):
        await model.call("before")  # a quiet minute would let both through at once
        checked(await run(*steps))
    assert model.prompts == ["before", "long", "short"]


async def test_runs_share_the_governor_and_the_older_one_goes_first() -> None:
    """It is one for the event loop."""
    model = FakeModel(takes=0.1)
    workflow = Workflow("w", [Step("a", ask("{name}", model), foreach="items")])
    async with Governor({"openai": RateLimit(requests=600)}), anyio.create_task_group() as tasks:
        for name in ("first", "second"):
            tasks.start_soon(workflow.run, {"name": name, "items": list(range(20))})
            await anyio.sleep(0.01)
    assert model.prompts.index("second") >= 18


async def test_a_planner_s_calls_are_the_run_s() -> None:
    """It has no step, and no way around the budget."""
    model = FakeModel()

    async def plan(request: ReplanRequest) -> list[Step]:
        await model.call("plan")
        await model.call("plan again")
        return [Step("b", returns("planned"))]

    steps = [Step("a", ask("hi", FakeModel(unavailable(), takes=0)), failure_policy=replanning())]
    assert checked(await run(*steps, planner=plan)).llm_calls == 3
    result = await run(*steps, planner=plan, budget=Budget(llm_calls=2))
    assert (result.error_type, result.llm_calls, model.sent) == ("BudgetExceeded", 2, 3)


def test_prices_are_those_of_the_library() -> None:
    """To the last digit, around the edges of tiers, with and without caches."""
    compared = 0
    for provider, model in (
        ("openai", "gpt-4o"),
        ("openai", "gpt-5.5"),
        ("anthropic", "claude-sonnet-4-5"),
        ("anthropic", "claude-opus-5-5"),
        ("gemini", "gemini-2.5-pro"),
        ("gemini", "gemini-3.8-flash"),
    ):
        known = "google" if provider == "gemini" else provider
        for read in (0, 1, 999, 128_000, 128_001, 200_000, 200_001, 272_001, 900_000):
            for cached, to_cache, written in ((0, 0, 0), (read // 3, 0, 7), (read // 5, read // 7, 64_000)):
                usage = TokenUsage(read, written, cached, to_cache)
                theirs = genai_prices.Usage(
                    input_tokens=read, output_tokens=written, cache_read_tokens=cached, cache_write_tokens=to_cache
                )
                expected = genai_prices.calc_price(theirs, model, provider_id=known).total_price
                assert prices.cost(provider, model, usage) == expected
                compared += 1
    assert compared == 162


async def test_the_output_of_a_step_says_what_its_call_cost() -> None:
    """In the usage, beside the tokens."""
    assert prices.priced("openai", "gpt-4o", USAGE).estimated_cost_usd == float(PRICE)
    assert prices.priced("openai", "no-such-model", USAGE) is USAGE


async def test_a_judge_that_asks_an_adapter_is_counted_once_and_by_its_step() -> None:
    """The adapter counts, with tokens and dollars; an item's judge spends the item's budget."""

    class Callable(FakeModel):
        async def __call__(self, request: JudgeRequest) -> str:
            return (await self.call(request.messages)).text

    judge: FakeModel
    for judge in (FakeModel(takes=0), Callable(takes=0)):
        judge.answers = ['{"pass": true, "confidence": 1}']
        await check_judge(judge)


async def check_judge(judge: FakeModel) -> None:
    """Let the judge see three items, and then one answer too often."""
    contract = all_of(str, LLMJudge("fine", judge))
    step = Step("fan", returns("text"), foreach="items", output_contract=contract, item_budget=Budget(llm_calls=1))
    result = checked(await run(step, inputs={"items": [1, 2, 3]}))
    assert (result.status, result.llm_calls, result.usage.tokens, judge.sent) == (WorkflowStatus.COMPLETE, 3, 45, 3)
    judge.answers = ['{"pass": false, "confidence": 1}']
    result = await run(Step("a", returns("text"), output_contract=contract, budget=Budget(llm_calls=2)))
    assert (result.error_type, result.llm_calls) == ("BudgetExceeded", 2)
