"""What a run may use at most, before it runs; and that no run uses more."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Annotated, Any

import pydantic
import pytest

from kairos_async import (
    Budget,
    ConfigError,
    FailureAction,
    FailurePolicy,
    LLMJudge,
    ModelUnavailableError,
    ReplanRequest,
    Step,
    StepEstimate,
    Workflow,
    all_of,
)
from kairos_async.adapters.cache import MemoryCache, cached
from kairos_async.adapters.chains import fallback, hedge
from kairos_async.adapters.prompt import ask
from tests.budgets.models import FakeModel, unavailable
from tests.engine.tools import NO_RETRY, replanning, retrying, returns

READ, WRITTEN = Decimal("2.5") / 1_000_000, Decimal(10) / 1_000_000


def model(**more: Any) -> FakeModel:
    """Return a model whose answers have at most a hundred tokens."""
    return FakeModel(**{"takes": 0, "max_tokens": 100, **more})


def test_calls_tokens_and_dollars_by_policies_and_sizes() -> None:
    """Every attempt that the policy allows, every item of the list in the inputs, at the price of the model."""
    step = Step("fan", ask("Say {item}", model()), foreach="items", failure_policy=retrying(2))
    worst = Workflow("w", [step, Step("plain", returns(1))]).estimate({"items": ["a", "bcdefg", "h"]})
    read = 2 + 8 + 3  # "Say ", the message, the longest item; two bytes a token
    cost = float(9 * (read * READ + 100 * WRITTEN))
    assert worst.steps == {
        "fan": StepEstimate(items=3, attempts=3, llm_calls=9, tokens=9 * (read + 100), cost_usd=cost)
    }
    assert (worst.llm_calls, worst.tokens, worst.cost_usd, worst.unknown) == (9, 9 * (read + 100), cost, ())
    assert worst.exceeds(Budget(llm_calls=9, tokens=1017, cost_usd=1)) == ()
    assert worst.exceeds(Budget(llm_calls=8, tokens=1016, cost_usd=0.0001)) == ("llm_calls", "tokens", "cost_usd")


def test_what_steps_read_of_one_another() -> None:
    """An answer is as long as its model lets it be; the list of a foreach has all of them."""
    workflow = Workflow(
        "w",
        [
            Step("list", ask("{topic}", model(max_tokens=50)), output_contract=list[str], failure_policy=NO_RETRY),
            Step("fan", ask("{item}", model()), foreach="list", failure_policy=NO_RETRY),
            Step("each", ask("{item}", model()), foreach="fan", failure_policy=NO_RETRY),
            Step("join", ask("{each}{each}", model(), system="{topic}"), failure_policy=NO_RETRY),
        ],
    )
    worst = workflow.estimate({"topic": "owls"}, items={"fan": 4})
    schema = len(str({"type": "array", "items": {"type": "string"}}))
    tokens = {name: step.tokens for name, step in worst.steps.items()}
    assert tokens["list"] == 2 + 8 + -(-schema // 2) + 50
    assert tokens["fan"] == 4 * (50 + 8 + 100)
    assert tokens["each"] == 4 * (100 + 8 + 100)
    assert tokens["join"] == 2 * 400 + 2 + 16 + 100
    assert worst.unknown == ()


def test_sizes_that_only_a_step_will_tell() -> None:
    """A contract may bound them; else they are unknown, and so are the sums."""
    steps = [Step("list", returns([])), Step("fan", ask("{item}", model()), foreach="list")]
    worst = Workflow("w", steps).estimate()
    assert (worst.llm_calls, worst.steps["fan"].items) == (None, None)
    assert worst.unknown == (
        "step 'fan': how long {item} is",
        "step 'fan': how many items foreach='list' has; say it with items={...}",
    )
    assert worst.exceeds(Budget(llm_calls=1000)) == ("llm_calls",)
    bounded = [Step("list", returns([]), output_contract=Annotated[list[int], pydantic.Field(max_length=7)]), steps[1]]
    assert Workflow("w", bounded).estimate().llm_calls == 7 * 3
    assert Workflow("w", bounded).estimate(items={"fan": 2}).llm_calls == 2 * 3


def test_what_is_not_known_is_said() -> None:
    """In a sentence each."""
    steps = [
        Step("endless", ask("hi", model(max_tokens=None))),
        Step("free", ask("hi", model(model="my-own"))),
        Step("judged", returns("x"), output_contract=all_of(str, LLMJudge("fine", model()))),
    ]
    worst = Workflow("w", steps).estimate()
    assert (worst.llm_calls, worst.tokens, worst.cost_usd) == (9, None, None)
    assert worst.unknown == (
        "step 'endless': how long answers of model 'gpt-4o' are: it has no max_tokens",
        "step 'free': what model 'my-own' of openai costs",
        "step 'judged': what the model that its contract asks uses",
    )


def test_chains_and_caches_count_each_model_that_they_may_ask() -> None:
    """A kept answer may not be there."""
    chain = fallback(cached(hedge(model(), model(), after=1), MemoryCache()), model(max_tokens=10))
    worst = Workflow("w", [Step("a", ask("hi", chain), failure_policy=NO_RETRY)]).estimate()
    assert (worst.llm_calls, worst.tokens) == (3, 3 * 9 + 210)


def test_handlers_and_planners_let_steps_try_again() -> None:
    """As often as the policy says; a plan is taken to be as large as the one that it replaces."""
    custom = FailurePolicy(
        on_execution_fail=FailureAction.CUSTOM,
        on_validation_fail=FailureAction.SKIP,
        custom_handler=lambda failure: FailureAction.RETRY,
        max_retries=4,
    )
    steps = [
        Step("a", ask("hi", model()), failure_policy=custom),
        Step("b", ask("hi", model()), failure_policy=NO_RETRY),
    ]
    assert Workflow("w", steps).estimate().llm_calls == 6
    replanned = [Step("a", ask("hi", model()), failure_policy=replanning(max_replans=2))]
    worst = Workflow("w", replanned, planner=lambda request: []).estimate()
    assert (worst.llm_calls, worst.unknown) == (
        3,
        ("what planners put in: counted as if each plan were as large as this one",),
    )


async def test_no_run_uses_more_than_its_estimate() -> None:
    """Where everything fails as often as it can, its calls are those of the estimate."""

    async def plan(request: ReplanRequest) -> list[Step]:
        return list(request.unfinished)

    def failing() -> FakeModel:
        return FakeModel(unavailable(status=503), takes=0, max_tokens=100)

    workflow = Workflow(
        "w",
        [
            Step(
                "fan",
                ask("{item}", fallback(failing(), failing())),
                foreach="items",
                failure_policy=retrying(3, fallback_action=FailureAction.SKIP),
            ),
            Step("a", ask("hi", failing()), depends_on=["fan"], failure_policy=replanning(max_replans=2)),
        ],
        planner=plan,
    )
    inputs = {"items": list(range(5))}
    worst = workflow.estimate(inputs)
    result = await workflow.run(inputs)
    assert worst.llm_calls == 3 * (5 * 4 * 2 + 1)
    assert result.llm_calls == 5 * 4 * 2 + 3
    assert result.error_type == ModelUnavailableError.__name__


def test_estimates_that_are_none() -> None:
    """One clear error."""
    workflow = Workflow("w", [Step("a", ask("hi", model())), Step("fan", ask("{item}", model()), foreach="items")])
    for items, message in (({"a": 1}, "'a', which is no step with a foreach"), ({"fan": -1}, "has -1 for step 'fan'")):
        with pytest.raises(ConfigError, match=message):
            workflow.estimate(items=items)
    assert json.dumps(workflow.estimate({"items": [{"a": 1}]}).llm_calls) == "6"
