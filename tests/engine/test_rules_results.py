"""What comes out of a run: complete, exact, redacted where it leaves the process, and readable again."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos_async import (
    SKIP,
    ConfigError,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Step,
    StepContext,
    Workflow,
    WorkflowResult,
    WorkflowStatus,
)
from tests.clocks import run_virtual
from tests.engine.graphs import Spec, World, graphs
from tests.engine.tools import NO_RETRY, SKIPPING, flaky, output_of, raises, retrying, returns, run, statuses

SECRET = "correct-horse-battery"


async def eventful() -> WorkflowResult:
    """Return the result of a run in which nearly everything happens."""

    async def item(ctx: StepContext) -> object:
        if ctx.item == "bad":
            raise ValueError(f"bad item with {SECRET}")
        if ctx.item == "flaky" and ctx.attempt == 1:
            raise ValueError("once")
        return SKIP if ctx.item == "skip" else {"item": ctx.item, "token": SECRET}

    async def planner(request: object) -> list[Step]:
        return [Step("planned", returns({"done": True}), depends_on=["each"])]

    def hook(event: object) -> None:
        raise RuntimeError(f"sink broken by {SECRET}")

    replan = FailurePolicy(max_retries=0, on_execution_fail=FailureAction.REPLAN)
    return await run(
        Step("items", returns(["ok", "bad", "flaky", "skip"])),
        Step("skipped", returns(SKIP)),
        Step("retried", flaky(2, value={"text": f"key {SECRET}"}, takes=1), failure_policy=retrying(2)),
        Step(
            "each",
            item,
            foreach="items",
            foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
            failure_policy=retrying(1, delay=0),
        ),
        Step("hopeless", raises(LookupError(f"no {SECRET}"), after=9), depends_on=["each"], failure_policy=replan),
        planner=planner,
        hooks=[hook],
        inputs={"api_key": SECRET, "plain": 1},
        on_secret_output="allow",
    )


async def test_to_dict_is_json_and_comes_back_equal() -> None:
    """With items, attempts, re-plans and warnings."""
    result = await eventful()
    exported = result.to_dict()
    text = json.dumps(exported, allow_nan=False)
    again = WorkflowResult.from_dict(json.loads(text))
    assert again.to_dict() == exported
    assert again.status is WorkflowStatus.COMPLETE
    assert statuses(again) == statuses(result)
    assert (again.run_id, again.duration_ms, again.llm_calls) == (result.run_id, result.duration_ms, result.llm_calls)
    assert again.final_state == result.final_state
    assert again.replans[0].removed == ("hopeless",)
    assert len(again.replans[0].failed.attempts) == 1
    assert len(again.warnings) == 1
    first, second = result.step_results["each"].items, again.step_results["each"].items
    assert first is not None
    assert second is not None
    assert [item.status for item in first] == [item.status for item in second]
    assert [len(item.attempts) for item in first] == [len(item.attempts) for item in second] == [1, 2, 2, 1]


async def test_what_leaves_the_process_is_redacted_and_what_stays_is_not() -> None:
    """`output` and the outputs of steps are the real values."""
    result = await eventful()
    for shown in (repr(result), repr(result.to_dict()), repr(result.final_state), repr(result.warnings)):
        assert SECRET not in shown
    assert output_of(result, "retried") == {"text": f"key {SECRET}"}
    assert result.final_state["api_key"] == "[REDACTED]"
    assert result.final_state["plain"] == 1


async def test_repr_holds_no_values() -> None:
    """Of the result and of everything in it."""
    result = await run(
        Step("a", returns("visible-output")),
        Step("each", returns("visible-output"), foreach="items"),
        inputs={"items": ["visible-input"], "plain": "visible-input"},
    )
    step = result.step_results["each"]
    assert step.items is not None
    for shown in (result, result.step_results, step, step.items, step.items[0]):
        assert "visible" not in repr(shown)
    assert repr(result) == "<WorkflowResult of 'w': complete in 0 ms; 2 completed>"


@pytest.mark.parametrize("data", [{}, {"schema_version": 1}, {"schema_version": 99}, {"schema_version": "1"}])
def test_from_dict_refuses_what_it_cannot_read(data: dict[str, Any]) -> None:
    """With one kind of error."""
    with pytest.raises(ConfigError):
        WorkflowResult.from_dict(data)


async def test_the_output_is_that_of_the_last_declared_step_that_no_other_needs() -> None:
    """Or of the one that the workflow names."""
    steps = [
        Step("z", returns("z")),
        Step("a", returns("a"), depends_on=["z"]),
        Step("b", returns("b"), depends_on=["z"]),
        Step("root", returns("root")),
        Step("end", returns("end"), depends_on=["root", "b"]),
        Step("c", returns("c"), depends_on=["root"]),
        Step("d", returns("d")),
        Step("needs_d", returns("nd"), depends_on=["d"]),
    ]
    assert (await run(*steps)).output == "nd"
    assert (await run(*steps[::-1])).output == "a"
    assert (await run(*steps, output="end")).output == "end"
    assert (await run(*steps, output=steps[0])).output == "z"


async def test_the_output_of_a_failed_run_is_none_unless_its_step_was_done() -> None:
    """Finished outputs are in the step results."""
    bad = Step("bad", raises(ValueError, after=1), failure_policy=NO_RETRY)
    assert (await run(Step("a", returns(1)), bad)).output is None
    assert (await run(Step("a", returns(1)), bad, output="a")).output == 1
    skipped = await run(Step("a", returns(1)), Step("b", raises(ValueError), failure_policy=SKIPPING))
    assert (skipped.output, skipped.status) == (None, WorkflowStatus.COMPLETE)


async def test_step_results_are_in_the_order_of_declaration() -> None:
    """Whatever the order in which the steps ended."""
    result = await run(
        Step("c", returns(1, after=3)), Step("a", returns(1, after=1)), Step("b", returns(1), depends_on=["c"])
    )
    assert list(result.step_results) == ["c", "a", "b"]
    assert "a" in result.step_results
    assert "x" not in result.step_results
    assert len(result.step_results) == 3
    with pytest.raises(KeyError):
        result.step_results["x"]


async def test_times_are_measured_from_the_start_of_the_run() -> None:
    """In milliseconds, waiting for retries included; however each of them ends, and whenever the run began."""
    await anyio.sleep(100)
    after, policy = ["a"], retrying(1)
    result = await run(
        Step("a", returns(1, after=1)),
        Step("b", flaky(1, takes=2), depends_on=after, failure_policy=policy),
        Step("each", flaky(1, takes=1), foreach="items", max_concurrency=1, depends_on=after, failure_policy=policy),
        Step("cut", returns(1, after=99), depends_on=after),
        Step("cut_each", returns(1, after=99), foreach="items", depends_on=after),
        Step("bad", raises(ValueError, after=9), failure_policy=NO_RETRY),
        inputs={"items": [0, 1]},
    )
    steps = result.step_results
    assert {name: (done.started_ms, done.duration_ms) for name, done in steps.items()} == {
        "a": (0, 1000),
        "b": (1000, 5000),
        "each": (1000, 6000),
        "cut": (1000, 8000),
        "cut_each": (1000, 8000),
        "bad": (0, 9000),
    }
    assert result.duration_ms == 9000
    tried = {name: [(each.started_ms, each.duration_ms) for each in steps[name].attempts] for name in ("b", "cut")}
    assert tried == {"b": [(1000, 2000), (4000, 2000)], "cut": [(1000, 8000)]}
    each, cut_each = steps["each"].items, steps["cut_each"].items
    assert each is not None
    assert cut_each is not None
    assert [(item.started_ms, item.duration_ms) for item in each] == [(1000, 3000), (4000, 3000)]
    assert [attempt.started_ms for attempt in each[1].attempts] == [4000, 6000]
    assert [(item.started_ms, item.duration_ms) for item in cut_each] == [(1000, 8000)] * 2


async def test_a_first_attempt_that_succeeded_is_an_attempt() -> None:
    """Although nothing is kept of it but its duration."""
    result = await run(Step("a", returns(1, after=1)))
    (attempt,) = result.step_results["a"].attempts
    assert (attempt.attempt_number, attempt.status, attempt.duration_ms) == (1, "success", 1000)
    assert result.step_results["a"] is result.step_results["a"]


async def test_a_result_does_not_change_when_what_it_gives_is_changed() -> None:
    """`to_dict` and `final_state` are new each time, and `output` shares nothing with them."""
    result = await run(Step("a", returns({"list": [1]})))
    other = await run(Step("a", returns({"list": [1]})))
    output: Any = other.output
    output["list"].append(0)
    assert (other.final_state, output_of(other, "a")) == ({"a": {"list": [1]}}, {"list": [1]})
    state: Any = result.final_state
    state["a"]["list"].append(2)
    exported: Any = result.to_dict()
    exported["final_state"]["a"]["list"].append(3)
    exported["step_results"]["a"]["output"]["list"].append(3)
    assert result.final_state == {"a": {"list": [1]}}
    assert result.output == {"list": [1]}


async def test_the_secret_of_one_run_is_an_ordinary_value_of_another() -> None:
    """Runs of one workflow share nothing."""
    workflow = Workflow("w", [Step("a", returns("done"))])
    await workflow.run({"api_key": "plainvalue-of-one"})
    assert (await workflow.run({"note": "plainvalue-of-one"})).final_state["note"] == "plainvalue-of-one"


async def test_a_result_outlives_its_run_and_can_be_read_anywhere() -> None:
    """It is plain data."""
    result = await eventful()
    assert json.dumps(result.to_dict()) == json.dumps(result.to_dict())
    assert result == result
    assert len({result.run_id, (await eventful()).run_id}) == 2


@settings(max_examples=50)
@given(graphs(), st.integers(0, 99))
def test_any_result_comes_back_equal(specs: list[Spec], seed: int) -> None:
    """Of random graphs with failures, retries and foreach."""

    async def main() -> None:
        result = await run(*World(specs, seed).steps(), inputs={"given": 1}, max_concurrency=3)
        exported = json.loads(json.dumps(result.to_dict()))
        again = WorkflowResult.from_dict(exported)
        assert again.to_dict() == exported
        assert dict(again.step_results) == dict(result.step_results)

    run_virtual(main)
