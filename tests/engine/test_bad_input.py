"""Bad declarations: each gives one clear error when the step or the workflow is made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from kairos_async import (
    ConfigError,
    FailureAction,
    FailurePolicy,
    Limiter,
    PlanError,
    PolicyError,
    StateLimits,
    Step,
    StepContext,
    Workflow,
    step,
)
from tests.engine.tools import returns

OK = returns("fine")


@pytest.mark.parametrize("name", ["a/b", "", "a b", "../x", "ä", "a.b", "a\n", None, 3, b"a"])
def test_a_step_name_has_letters_digits_underscore_and_hyphen(name: Any) -> None:
    """Anything else could not be a file, a state key and a node of a diagram alike."""
    with pytest.raises(ConfigError, match=r"Step name .* is not valid"):
        Step(name, OK)


def test_an_unknown_keyword_of_a_step_names_the_step_and_the_one_that_was_meant() -> None:
    """It is a ConfigError, not a bare TypeError."""
    with pytest.raises(ConfigError, match=r"Step 'a' has no parameter 'depend_on'. Did you mean 'depends_on'\?"):
        Step("a", OK, depend_on=["b"])  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"Step 'a' has no parameter 'zzz'. It has: "):
        step(name="a", zzz=1)(OK)


def test_an_unknown_keyword_of_a_workflow_names_the_workflow_and_the_one_that_was_meant() -> None:
    """The same for the other class that users make."""
    with pytest.raises(ConfigError, match=r"Workflow 'w' has no parameter 'max_concurency'. Did you mean 'max_conc"):
        Workflow("w", [Step("a", OK)], max_concurency=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("action", [None, "print", 3, OK(None)])  # type: ignore[arg-type]
def test_an_action_is_callable(action: Any) -> None:
    """A call in place of the function is the usual slip, and the message says so."""
    if hasattr(action, "close"):
        action.close()
    with pytest.raises(ConfigError, match=r"Step 'a': its action .* is not callable. Pass the function"):
        Step("a", action)


def test_an_action_does_not_yield() -> None:
    """A generator function would return a generator, which is no output."""

    def generator(ctx: StepContext) -> Iterable[int]:
        yield 1

    async def async_generator(ctx: StepContext) -> Any:
        yield 1

    for action in (generator, async_generator):
        with pytest.raises(ConfigError, match="Step 'a': its action yields"):
            Step("a", action)


def test_a_dependency_that_does_not_exist_is_named_with_what_was_meant() -> None:
    """The message has the step, the name, and the closest step."""
    with pytest.raises(PlanError, match=r"step 'b' depends on 'fetsh', which is not a step. Did you mean 'fetch'\?"):
        Workflow("w", [Step("fetch", OK), Step("b", OK, depends_on=["fetsh"])])


def test_a_cycle_is_shown_with_its_path() -> None:
    """Whichever of its steps is declared first."""
    a, b, c = Step("a", OK, depends_on=["c"]), Step("b", OK, depends_on=["a"]), Step("c", OK, depends_on=["b"])
    for steps in ([a, b, c], [c, a, b], [b, c, a, Step("d", OK, depends_on=["a"])]):
        with pytest.raises(PlanError, match="cycle: a -> b -> c -> a"):
            Workflow("w", steps)


def test_all_problems_of_a_graph_are_reported_at_once() -> None:
    """One pass, one error, a line for each."""
    with pytest.raises(PlanError) as caught:
        Workflow(
            "w",
            [
                Step("a", OK, depends_on=["nowhere"]),
                Step("a", OK),
                Step("b", OK, depends_on=["b"]),
                Step("c", OK, depends_on=["d"]),
                Step("d", OK, depends_on=["c"]),
                Step("e", OK, foreach="xs", read_keys=["ys"]),
                Step("f", OK, write_keys=["a"]),
            ],
        )
    found = " | ".join(caught.value.problems)
    expected = ["used twice", "'nowhere'", "depends on itself", "c -> d -> c", "read_keys leave out", "name of a step"]
    assert [part for part in expected if part not in found] == []
    assert len(caught.value.problems) == 6


def test_two_unordered_writers_of_one_key_are_refused() -> None:
    """With an order between them they are fine."""
    writers = [Step("a", OK, write_keys=["k"]), Step("b", OK, write_keys=["k"])]
    with pytest.raises(PlanError, match="steps 'a' and 'b' both write key 'k' and neither runs after the other"):
        Workflow("w", writers)
    Workflow("w", [writers[0], Step("b", OK, write_keys=["k"], depends_on=["a"])])


def test_a_workflow_has_steps() -> None:
    """An empty one, and one of other things than steps, say what is wrong."""
    with pytest.raises(PlanError, match="it has no steps"):
        Workflow("w", [])
    with pytest.raises(ConfigError, match="which is no Step"):
        Workflow("w", [OK])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="must be a list"):
        Workflow("w", Step("a", OK))  # type: ignore[arg-type]


@pytest.mark.parametrize("contract", [3, "int", object(), [int], lambda x: x])
@pytest.mark.parametrize("argument", ["input_contract", "output_contract"])
def test_a_contract_is_a_type(argument: str, contract: object) -> None:
    """What Pydantic knows no schema for is refused when the step is made, with its name and the argument's."""
    with pytest.raises(ConfigError, match=f"Step 'a': {argument}: "):
        Step("a", OK, **{argument: contract})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", math.nan),
        ("timeout", True),
        ("total_timeout", "3"),
        ("total_timeout", math.inf),
        ("expected_seconds", -0.1),
        ("max_concurrency", 0),
        ("max_concurrency", True),
        ("max_concurrency", 2.0),
        ("parallel", "yes"),
        ("parallel", None),
        ("foreach_policy", "most"),
        ("foreach_policy", None),
        ("failure_policy", "retry"),
        ("depends_on", "a"),
        ("depends_on", [3]),
        ("depends_on", None),
        ("read_keys", "k"),
        ("read_keys", [""]),
        ("write_keys", "k"),
        ("write_keys", [None]),
        ("foreach", 3),
        ("foreach", ["xs"]),
    ],
)
def test_an_argument_of_a_step_that_cannot_work_is_refused(argument: str, value: object) -> None:
    """The message names the step and the argument."""
    declared = {"foreach": "xs", argument: value} if argument == "max_concurrency" else {argument: value}
    with pytest.raises(ConfigError, match=f"Step 's'.*{argument}"):
        Step("s", OK, **declared)  # type: ignore[arg-type]


def test_max_concurrency_without_a_foreach_is_refused() -> None:
    """It would do nothing, and look as if it did."""
    with pytest.raises(ConfigError, match="Step 's': max_concurrency bounds the items of a foreach"):
        Step("s", OK, max_concurrency=2)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_concurrency", 0),
        ("max_concurrency", -1),
        ("max_concurrency", True),
        ("max_concurrency", 1.5),
        ("timeout", 0),
        ("timeout", math.nan),
        ("timeout", "1"),
        ("failure_policy", FailureAction.SKIP),
        ("planner", 3),
        ("output", "b"),
        ("hooks", [3]),
        ("hooks", print),
        ("sensitive_keys", "token"),
    ],
)
def test_an_argument_of_a_workflow_that_cannot_work_is_refused(argument: str, value: object) -> None:
    """When the workflow is made, not when it runs."""
    with pytest.raises(ConfigError, match="hook" if argument == "hooks" else argument):
        Workflow("w", [Step("a", OK)], **{argument: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", " ", None, 3])
def test_a_workflow_has_a_name(name: Any) -> None:
    """Logs and results say it."""
    with pytest.raises(ConfigError, match="Workflow name"):
        Workflow(name, [Step("a", OK)])


def test_an_async_hook_is_refused_with_the_way_out() -> None:
    """Nobody would await it."""

    async def hook(event: object) -> None: ...

    with pytest.raises(ConfigError, match=r"workflow\.stream"):
        Workflow("w", [Step("a", OK)], hooks=[hook])


@pytest.mark.parametrize("total", [0, -1, True, 1.0, None])
def test_a_limiter_has_slots(total: Any) -> None:
    """At least one."""
    with pytest.raises(ConfigError, match="Limiter"):
        Limiter(total)


@pytest.mark.parametrize("limit", [0, -1, True, 1.0])
def test_state_limits_are_whole_numbers_of_bytes(limit: Any) -> None:
    """The error names the field."""
    with pytest.raises(ConfigError, match="value_bytes"):
        StateLimits(value_bytes=limit)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_retries", -1),
        ("max_retries", 1.0),
        ("max_replans", True),
        ("retry_delay", -0.1),
        ("retry_delay", math.inf),
        ("retry_backoff", 0.5),
        ("retry_jitter", math.nan),
        ("retry_max_delay", "1"),
        ("on_execution_fail", "explode"),
        ("on_validation_fail", None),
        ("fallback_action", FailureAction.RETRY),
        ("fallback_action", FailureAction.CUSTOM),
        ("custom_handler", 3),
    ],
)
def test_a_policy_that_cannot_work_is_refused(field: str, value: object) -> None:
    """The error names the field, or what is missing beside it."""
    with pytest.raises(PolicyError, match=f"{field}|custom_handler"):
        FailurePolicy(**{field: value})  # type: ignore[arg-type]


def test_replan_without_a_planner_is_refused() -> None:
    """When the workflow is made; the message names the step whose policy it is."""
    policy = FailurePolicy(on_execution_fail=FailureAction.REPLAN)
    with pytest.raises(ConfigError, match="policy of step 'a' says REPLAN, and there is no planner"):
        Workflow("w", [Step("a", OK, failure_policy=policy)])
