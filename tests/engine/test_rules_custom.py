"""CUSTOM: the handler decides, with an action or with an output in place of the one that failed."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kairos_async import (
    SKIP,
    ConfigError,
    Failure,
    FailureAction,
    FailureKind,
    FailurePolicy,
    Step,
    StepContext,
    WorkflowResult,
    WorkflowStatus,
)
from kairos_async.contracts import JudgeRequest, LLMJudge, all_of
from tests.engine.tools import Clocked, flaky, raises, retrying, returns, run, statuses, tries


def asked(answers: list[Any], seen: list[Failure]) -> Any:
    """Return a custom handler that gives these answers, one a call."""

    async def handler(failure: Failure) -> Any:
        seen.append(failure)
        return answers.pop(0)

    return handler


def custom(answers: list[Any], seen: list[Failure], **more: Any) -> FailurePolicy:
    """Return a policy that asks for these answers."""
    return retrying(
        2,
        on_execution_fail=FailureAction.CUSTOM,
        on_validation_fail=FailureAction.CUSTOM,
        custom_handler=asked(answers, seen),
        **more,
    )


@pytest.mark.parametrize("answer", ["text", {"a": [1]}, 0, None, [], False, "skip"])
async def test_custom_a_replacement_output_completes_the_step(answer: Any) -> None:
    """Any JSON value, passed through the contract like the step's own; a str is never an action."""
    seen: list[Failure] = []
    result = await run(Step("a", raises(ValueError("x")), failure_policy=custom([answer], seen)))
    assert (statuses(result), result.output) == ({"a": "completed"}, answer)
    (failure,) = seen
    assert (failure.step, failure.kind, failure.error_type, failure.attempt) == ("a", "execution", "ValueError", 1)


async def test_custom_a_replacement_that_breaks_the_contract_fails_the_step() -> None:
    """It is not asked for again."""
    seen: list[Failure] = []
    step = Step("a", raises(ValueError("x")), output_contract=int, failure_policy=custom(["text"], seen))
    result = await run(step)
    assert (result.error_type, len(seen), tries(result)) == ("ValidationError", 1, 1)
    result = await run(Step("a", raises(ValueError("x")), failure_policy=custom([{1}], seen)))
    assert result.error_type == "StateError"


async def test_custom_a_replacement_drops_what_the_failed_attempt_wrote() -> None:
    """The step has its output from the handler, and nothing else."""

    async def act(ctx: StepContext) -> None:
        ctx.state.set("half", "done")
        raise ValueError

    result = await run(Step("a", act, failure_policy=custom(["whole"], [])))
    assert result.final_state == {"a": "whole"}


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), BaseExceptionGroup("", [SystemExit(3)])])
async def test_custom_whatever_a_judge_raises_for_a_replacement_is_the_steps_failure(error: BaseException) -> None:
    """As it is for an output of the step itself."""

    async def model(request: JudgeRequest) -> str:
        raise error

    contract = all_of(int, LLMJudge("fine", model))
    result = await run(Step("a", raises(ValueError), output_contract=contract, failure_policy=custom([1], [])))
    assert (statuses(result), result.error_type) == ({"a": "failed_final"}, type(error).__name__)


async def test_custom_each_action_can_be_the_answer() -> None:
    """SKIP, ABORT, REPLAN and RETRY do what they do in a policy."""
    seen: list[Failure] = []

    async def planner(request: object) -> list[Step]:
        return [Step("b", returns("planned"))]

    def bad(*answers: Any) -> Step:
        return Step("a", flaky(1, takes=1), failure_policy=custom([*answers], seen))

    assert statuses(await run(bad(FailureAction.SKIP))) == {"a": "skipped"}
    assert statuses(await run(bad(FailureAction.ABORT))) == {"a": "failed_final"}
    assert statuses(await run(bad(FailureAction.REPLAN), planner=planner)) == {"b": "completed"}
    assert statuses(await run(bad(FailureAction.RETRY))) == {"a": "completed"}
    no_planner = await run(bad(FailureAction.REPLAN))
    assert (no_planner.status, statuses(no_planner)) == (WorkflowStatus.FAILED, {"a": "failed_final"})


async def test_custom_the_sentinel_skip_skips_the_step() -> None:
    """As it does when the action returns it; it is never stored as text."""
    result = await run(Step("a", raises(ValueError), failure_policy=custom([SKIP], [])))
    assert result.final_state == {}
    assert result.step_results["a"].status == "skipped"


async def test_custom_the_answer_retry_is_bounded_by_max_retries() -> None:
    """Then the fallback; the handler is asked after each attempt."""
    seen: list[Failure] = []
    result = await run(Step("a", raises(ValueError), failure_policy=custom([FailureAction.RETRY] * 9, seen)))
    assert (tries(result), result.status) == (3, WorkflowStatus.FAILED)
    assert [failure.attempt for failure in seen] == [1, 2, 3]


async def test_custom_the_answer_retry_does_not_retry_what_cannot_get_better() -> None:
    """Not even if the handler says so."""
    seen: list[Failure] = []
    result = await run(Step("a", raises(ConfigError("no")), failure_policy=custom([FailureAction.RETRY] * 9, seen)))
    assert (tries(result), len(seen), result.error_type) == (1, 1, "ConfigError")


async def test_custom_as_the_fallback_is_asked_when_the_retries_are_used_up() -> None:
    """Once."""
    seen: list[Failure] = []
    policy = retrying(2, fallback_action=FailureAction.CUSTOM, custom_handler=asked(["instead"], seen))
    result = await run(Step("a", raises(ValueError), failure_policy=policy))
    assert (result.output, tries(result), len(seen)) == ("instead", 3, 1)
    policy = retrying(1, fallback_action=FailureAction.CUSTOM, custom_handler=asked([FailureAction.RETRY] * 9, seen))
    result = await run(Step("a", raises(ValueError), failure_policy=policy))
    assert (result.status, tries(result)) == (WorkflowStatus.FAILED, 2)


async def test_custom_of_an_item_knows_its_index() -> None:
    """And its answer is that item's output."""
    seen: list[Failure] = []
    policy = custom(["zero", "one"], seen)
    result = await run(
        Step("each", raises(ValueError), foreach="items", max_concurrency=1, failure_policy=policy),
        inputs={"items": ["x", "y"]},
    )
    assert [failure.item for failure in seen] == [0, 1]
    assert result.output == ["zero", "one"]


async def writes_same(ctx: StepContext) -> str:
    """Write the key that the other items write too."""
    ctx.state.set("same", ctx.index)
    return "item"


async def whole(over: str, answer: Any, seen: list[Failure] | None = None, **more: Any) -> WorkflowResult:
    """Return the result of a foreach that fails as a whole, for which a custom handler gives this answer."""
    policy = custom([answer], [] if seen is None else seen)
    planner = more.pop("planner", None)
    step = Step("each", writes_same, foreach=over, **{"failure_policy": policy, **more})
    return await run(step, inputs={"items": [1, 2], "no_list": {"x": 1}}, planner=planner)


@pytest.mark.parametrize(
    ("over", "error", "made"), [("items", "ScopeError", ["item"] * 2), ("no_list", "StateError", [])]
)
async def test_custom_of_a_foreach_that_fails_as_a_whole_gives_its_output(
    over: str, error: str, made: list[str]
) -> None:
    """A list, each entry of which passes the contract. The items keep their outcomes, and their writes are dropped."""
    seen: list[Failure] = []
    result = await whole(over, ("x", "y", "z"), seen, output_contract=str)
    done = result.step_results["each"]
    assert (result.output, done.status, done.attempts) == (["x", "y", "z"], "completed", ())
    assert [item.output for item in done.items or ()] == made
    assert "same" not in result.final_state
    (failure,) = seen
    assert (failure.step, failure.error_type, failure.attempt, failure.item) == ("each", error, 1, None)
    assert not failure.retryable
    result = await whole(over, ["x", 2], output_contract=str)
    assert (result.error_type, statuses(result)) == ("ValidationError", {"each": "failed_final"})


@pytest.mark.parametrize("over", ["items", "no_list"])
async def test_custom_of_a_foreach_that_fails_as_a_whole_can_be_each_action(over: str) -> None:
    """RETRY aborts, as there is nothing to call again; what is no list is no output of a foreach."""

    async def planner(request: object) -> list[Step]:
        return [Step("b", returns("planned"))]

    assert statuses(await whole(over, FailureAction.SKIP)) == {"each": "skipped"}
    assert statuses(await whole(over, FailureAction.ABORT)) == {"each": "failed_final"}
    assert statuses(await whole(over, FailureAction.RETRY)) == {"each": "failed_final"}
    assert statuses(await whole(over, FailureAction.REPLAN, planner=planner)) == {"b": "completed"}
    result = await whole(over, "text")
    assert (result.status, result.error_type) == (WorkflowStatus.FAILED, "StateError")
    assert "and the output of a foreach is a list: return one" in str(result.error_message)
    fallback = retrying(2, fallback_action=FailureAction.CUSTOM, custom_handler=asked([["instead"]], []))
    assert (await whole(over, None, failure_policy=fallback)).output == ["instead"]


@pytest.mark.parametrize("over", ["items", "no_list"])
async def test_custom_of_a_foreach_that_fails_as_a_whole_has_its_time_and_no_slot(over: str) -> None:
    """As the handler of any step: another step runs meanwhile, and the step's total_timeout bounds it."""
    clocked = Clocked()

    async def hang(failure: Failure) -> None:
        await anyio.sleep_forever()

    policy = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=hang)
    each = Step("each", writes_same, foreach=over, total_timeout=5, failure_policy=policy)
    inputs = {"items": [1, 2], "no_list": {"x": 1}}
    result = await run(each, clocked.step("other", 2), inputs=inputs, max_concurrency=1)
    assert statuses(result) == {"each": "failed_final", "other": "completed"}
    assert (result.error_type, result.duration_ms, clocked.ended["other"]) == ("StepTimeoutError", 5000, 2)


async def test_custom_answers_that_make_no_sense_abort() -> None:
    """Asking to be asked again is one."""
    result = await run(Step("a", raises(ValueError), failure_policy=custom([FailureAction.CUSTOM], [])))
    assert (result.error_type, tries(result)) == ("PolicyError", 1)


@pytest.mark.parametrize(("answer", "ended"), [(FailureAction.ABORT, 1), ("instead", 51), (FailureAction.SKIP, 51)])
async def test_custom_an_answer_after_which_nothing_is_called_waits_for_no_slot(answer: Any, ended: float) -> None:
    """The step ends with the answer, although another one has the only slot by then."""
    result = await run(
        Step("a", raises(ValueError, after=1), failure_policy=custom([answer], [])),
        Step("long", returns(1, after=50)),
        max_concurrency=1,
    )
    assert (result.step_results["a"].duration_ms, anyio.current_time()) == (1000, ended)


@pytest.mark.parametrize("delay", [0, 1])
async def test_custom_the_answer_retry_waits_for_a_slot_no_longer_than_the_total_timeout(delay: float) -> None:
    """As any other retry."""
    policy = custom([FailureAction.RETRY] * 3, [], delay=delay, fallback_action=FailureAction.SKIP)
    clocked = Clocked()
    result = await run(
        Step("a", raises(ValueError, after=1), failure_policy=policy, total_timeout=5),
        clocked.step("long", 50),
        clocked.step("b", 1),
        max_concurrency=1,
    )
    assert (statuses(result)["a"], result.step_results["a"].duration_ms, tries(result)) == ("skipped", 5000, 1)
    result = await run(
        Step("a", flaky(1, takes=1), failure_policy=custom([FailureAction.RETRY], [], delay=delay)),
        clocked.step("b", 9),
        max_concurrency=1,
    )
    assert (result.step_results["a"].duration_ms, clocked.peak) == (11_000, 1)


async def test_a_timeout_is_an_execution_failure_for_the_policy() -> None:
    """With a kind of its own."""
    seen: list[Failure] = []
    await run(Step("a", returns(1, after=9), timeout=1, failure_policy=custom(["x"], seen)))
    assert seen[0].kind is FailureKind.TIMEOUT
