"""Several models as one: the next one when one fails, or when one is slow; each call is metered by itself."""

from __future__ import annotations

from typing import Any

import anyio
import pydantic
import pytest

from kairos_async import (
    Budget,
    ConfigError,
    LLMCall,
    ModelAuthError,
    ModelRefusalError,
    ModelUnavailableError,
    Step,
    StepContext,
    WorkflowStatus,
)
from kairos_async.adapters.chains import fallback, hedge
from kairos_async.adapters.model import ModelResponse
from kairos_async.adapters.prompt import ask
from tests.budgets.models import FakeModel, unavailable
from tests.engine.tools import NO_RETRY, Events, checked, retrying, run


class Verdict(pydantic.BaseModel):
    """What answers are to be."""

    ok: bool


async def test_a_fallback_asks_the_next_model_when_one_has_no_answer() -> None:
    """Whatever its error is; both calls are counted."""
    for error in (
        unavailable(status=503),
        ModelAuthError("openai", "gpt-4o", "no key", status=401),
        ModelRefusalError("openai", "gpt-4o", "it refuses"),
    ):
        first, second, third = FakeModel(error), FakeModel("second", model="b"), FakeModel()
        result = checked(await run(Step("a", ask("hi", fallback(first, second, third)), failure_policy=NO_RETRY)))
        assert isinstance(result.output, dict)
        assert (result.output["text"], result.output["model"], third.sent) == ("second", "b", 0)
        assert result.llm_calls == 2


async def test_a_fallback_of_which_all_fail_says_what_gives_hope() -> None:
    """One error that a retry can mend lets the step try again, with that error's pause."""
    busy = FakeModel(unavailable(status=503, retry_after=7), "well again", takes=0)
    locked = FakeModel(ModelAuthError("openai", "gpt-4o", "no key", status=401), takes=0)
    result = checked(await run(Step("a", ask("hi", fallback(busy, locked)), failure_policy=retrying(1))))
    assert result.duration_ms == pytest.approx(7000)
    assert (result.llm_calls, busy.sent, locked.sent) == (3, 2, 1)


async def test_a_fallback_is_no_way_around_a_budget() -> None:
    """A budget that is used up is no model's error."""
    first, second = FakeModel(unavailable(status=503)), FakeModel()
    result = await run(Step("a", ask("hi", fallback(first, second))), budget=Budget(llm_calls=1))
    assert (result.error_type, first.sent, second.sent) == ("BudgetExceeded", 1, 0)


async def test_a_fallback_streams_until_a_piece_was_given_out() -> None:
    """Then what was said cannot be taken back."""
    events = Events()
    model = fallback(FakeModel(unavailable()), FakeModel("two words"))
    result = checked(await run(Step("a", ask("hi", model, stream=True), failure_policy=NO_RETRY), hooks=[events]))
    assert [event.data["text"] for event in events.of("llm_delta")] == ["twowords"]
    assert (result.llm_calls, result.status) == (2, WorkflowStatus.COMPLETE)
    with pytest.raises(ModelUnavailableError):
        async with fallback(FakeModel(unavailable()), FakeModel(unavailable())).stream("hi"):
            raise AssertionError("there is no answer")


async def test_a_hedge_asks_a_second_model_only_when_the_first_is_slow() -> None:
    """The loser is cancelled at once, and settled: its reservation is what it cost."""
    events = Events()
    quick, slow, second = FakeModel(takes=1), FakeModel(takes=60), FakeModel("second", takes=2, model="b")
    result = checked(await run(Step("a", ask("hi", hedge(quick, second, after=3)))))
    assert (result.llm_calls, second.sent) == (1, 0)
    assert result.duration_ms == pytest.approx(1000)

    step = Step("a", ask("hi", hedge(slow, second, after=3)))
    result = checked(await run(step, hooks=[events], budget=Budget(tokens=1000)))
    assert isinstance(result.output, dict)
    assert result.output["text"] == "second"
    assert result.duration_ms == pytest.approx(5000)
    assert (slow.sent, slow.ended) == (1, 0)
    # One byte a half token: the prompt is 1 and 8, the answer 100; the winner said that it used 15.
    assert (result.llm_calls, result.usage.tokens, result.usage.uncertain_calls) == (2, 109 + 15, 1)
    calls = [(event.data["model"], event.data["outcome"]) for event in events if isinstance(event, LLMCall)]
    assert calls == [("b", "ok"), ("gpt-4o", "cancelled")]


async def test_the_first_answer_that_passes_the_contract_wins() -> None:
    """One that does not is passed over, and the next model is asked at once, not after the delay."""
    wrong, right = FakeModel('{"ok": "perhaps"}', takes=1), FakeModel('{"ok": true}', takes=2)
    step = Step("a", ask("hi", hedge(wrong, right, after=30)), output_contract=Verdict, failure_policy=NO_RETRY)
    result = checked(await run(step))
    assert result.output == {"ok": True}
    assert result.duration_ms == pytest.approx(3000)

    step = Step("a", ask("hi", hedge(wrong, wrong, after=1)), output_contract=Verdict, failure_policy=retrying(1))
    result = await run(step)
    assert (result.error_type, len(result.step_results["a"].attempts)) == ("ValidationError", 2)


async def test_a_hedge_whose_first_model_fails_goes_on_at_once() -> None:
    """And it fails only when all have failed, with the error that gives hope."""
    broken = FakeModel(ModelAuthError("openai", "gpt-4o", "no key"), takes=1)
    result = checked(await run(Step("a", ask("hi", hedge(broken, FakeModel(takes=1), after=30)))))
    assert result.duration_ms == pytest.approx(2000)
    hopeless = hedge(broken, FakeModel(unavailable(), takes=1), after=0)
    with pytest.raises(ModelUnavailableError):
        await hopeless.call("hi")


async def test_a_hedge_within_its_budget() -> None:
    """The second call waits for the first one to settle where only one is left; a refusal harms no answer."""
    model, slow = FakeModel("answer", takes=5), FakeModel(takes=60)
    result = checked(await run(Step("a", ask("hi", hedge(model, slow, after=1))), budget=Budget(llm_calls=1)))
    assert (result.status, result.llm_calls, slow.sent) == (WorkflowStatus.COMPLETE, 1, 0)
    broken = FakeModel(unavailable(), takes=5)
    result = await run(Step("a", ask("hi", hedge(broken, slow, after=1))), budget=Budget(llm_calls=1))
    assert (result.error_type, result.llm_calls) == ("BudgetExceeded", 1)


async def test_many_hedged_calls_make_no_more_than_the_budget_allows() -> None:
    """However the races go: what is sent is what is counted."""
    slow, quick = FakeModel(takes=9), FakeModel(takes=2)

    step = Step("fan", ask("{item}", hedge(slow, quick, after=1)), foreach="items")
    result = await run(step, inputs={"items": list(range(200))}, budget=Budget(llm_calls=50))
    assert (slow.sent + quick.sent, result.llm_calls) == (50, 50)


async def test_a_cancelled_hedge_cancels_its_calls() -> None:
    """All of them, and leaves none behind."""
    models = [FakeModel(takes=60), FakeModel(takes=60)]

    async def act(ctx: StepContext) -> None:
        with anyio.move_on_after(5):
            await hedge(*models, after=1).call("hi")

    result = checked(await run(Step("a", act), budget=Budget(llm_calls=2)))
    assert (result.llm_calls, [model.ended for model in models]) == (2, [0, 0])
    assert result.duration_ms == pytest.approx(5000)


def test_chains_that_are_none() -> None:
    """One clear error when they are made."""
    for wrong in (lambda: fallback(FakeModel()), lambda: hedge(FakeModel(), after=1)):
        with pytest.raises(ConfigError, match="takes at least two models; it got 1"):
            wrong()
    with pytest.raises(ConfigError, match="takes adapters, such as"):
        fallback(FakeModel(), "gpt-4o")  # type: ignore[arg-type]
    for after in (-1, float("inf"), "1", True):
        with pytest.raises(ConfigError, match="after="):
            hedge(FakeModel(), FakeModel(), after=after)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="cannot stream"):
        hedge(FakeModel(), FakeModel(), after=1).stream("hi")


async def test_what_the_members_of_a_chain_cannot_do_is_found_when_the_step_is_made() -> None:
    """A schema or an option that one of them refuses."""

    class Picky(FakeModel):
        def shape(self, schema: Any) -> None:
            if schema is not None:
                raise ConfigError("no schemas here")

        def check_options(self, options: Any) -> None:
            if options:
                raise ConfigError("no options here")

    chain = fallback(FakeModel(), Picky())
    with pytest.raises(ConfigError, match="no schemas here"):
        Step("a", ask("hi", chain), output_contract=Verdict)
    with pytest.raises(ConfigError, match="no options here"):
        ask("hi", chain, options={"seed": 1})
    assert isinstance(await chain.call("hi"), ModelResponse)
