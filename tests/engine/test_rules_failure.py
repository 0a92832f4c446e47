"""Failure: which policy counts, what each action does, and that errors in steps never escape `run()`."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pydantic
import pytest

from kairos_async import (
    KAIROS_DEFAULTS,
    SKIP,
    ConfigError,
    ExecutionError,
    Failure,
    FailureAction,
    FailureKind,
    FailurePolicy,
    KairosError,
    PolicyError,
    ScopeError,
    SecurityError,
    Step,
    StepContext,
    WorkflowStatus,
)
from tests.engine.tools import (
    NO_RETRY,
    SKIPPING,
    Clocked,
    Events,
    flaky,
    open_contexts,
    output_of,
    raises,
    retrying,
    returns,
    run,
    statuses,
)


def tries(result: Any, step: str = "a") -> int:
    """Return how often the step's action was called."""
    return len(result.step_results[step].attempts)


async def test_the_policy_of_the_step_wins_over_the_workflows_and_that_over_the_defaults() -> None:
    """As a whole: what the step's own policy does not say is not looked up elsewhere."""
    bad = raises(ValueError)
    own = Step("a", bad, failure_policy=retrying(4, delay=0))
    assert tries(await run(own, failure_policy=NO_RETRY)) == 5
    assert tries(await run(Step("a", bad), failure_policy=NO_RETRY)) == 1
    assert tries(await run(Step("a", bad))) == 1 + KAIROS_DEFAULTS.max_retries
    result = await run(Step("a", bad, failure_policy=NO_RETRY), failure_policy=SKIPPING)
    assert result.status is WorkflowStatus.FAILED


@pytest.mark.parametrize("retries", [0, 1, 2, 3, 10])
async def test_max_retries_counts_attempts_after_the_first(retries: int) -> None:
    """`max_retries=3` means up to four attempts, and no more than are needed."""
    policy = retrying(retries)
    assert tries(await run(Step("a", flaky(99), failure_policy=policy))) == retries + 1
    result = await run(Step("a", flaky(retries), failure_policy=policy))
    assert (result.output, tries(result)) == ("ok", retries + 1)
    assert [attempt.attempt_number for attempt in result.step_results["a"].attempts] == [*range(1, retries + 2)]


async def test_retries_exhausted_the_fallback_action_follows() -> None:
    """ABORT or SKIP; RETRY is refused when the policy is made."""
    for action, status in ((FailureAction.ABORT, "failed_final"), (FailureAction.SKIP, "skipped")):
        result = await run(Step("a", raises(ValueError), failure_policy=retrying(1, fallback_action=action)))
        assert (tries(result), statuses(result)) == (2, {"a": status})


async def test_abort_ends_the_run_and_keeps_what_is_finished() -> None:
    """Running steps are cancelled and awaited, the rest are skipped with the reason."""
    clocked, events = Clocked(), Events()
    result = await run(
        Step("done", returns("finished")),
        clocked.step("running", 50),
        Step("bad", raises(ValueError("broken"), after=2), depends_on=["done"], failure_policy=NO_RETRY),
        clocked.step("child", 1, depends_on=["bad"]),
        clocked.step("grandchild", 1, depends_on=["child"]),
        clocked.step("unrelated", 1, depends_on=["running"]),
        hooks=[events],
    )
    reasons = {name: done.reason for name, done in result.step_results.items()}
    assert statuses(result) == {
        "done": "completed",
        "running": "cancelled",
        "bad": "failed_final",
        "child": "skipped",
        "grandchild": "skipped",
        "unrelated": "skipped",
    }
    assert reasons["child"] == reasons["grandchild"] == "step 'bad', upstream of it, failed"
    assert reasons["unrelated"] == reasons["running"] == "the run was aborted: step 'bad' failed"
    assert (result.error_type, result.error_message) == ("ValueError", "broken")
    assert (clocked.starts, clocked.running, anyio.current_time()) == (["running"], 0, 2)
    assert result.final_state == {"done": "finished"}
    events.check()


async def test_skip_lets_dependents_run_without_the_output() -> None:
    """They see that it is not there."""

    async def looks(ctx: StepContext) -> object:
        return ["bad" in ctx.inputs, ctx.inputs.get("bad", "nothing"), ctx.state.get("bad", None)]

    result = await run(
        Step("bad", raises(ValueError("broken")), failure_policy=SKIPPING), Step("b", looks, depends_on=["bad"])
    )
    assert output_of(result, "b") == [False, "nothing", None]
    skipped = result.step_results["bad"]
    assert (skipped.status, skipped.reason) == ("skipped", "it failed, and its policy skips it")
    assert (skipped.error_type, skipped.error_message, len(skipped.attempts)) == ("ValueError", "broken", 1)
    assert result.status is WorkflowStatus.COMPLETE


class Needs(pydantic.BaseModel):
    """An input contract that cannot do without one step's output, but without another's."""

    bad: int
    other: int = 0


async def test_a_dependent_that_needs_a_skipped_output_in_a_contract_is_skipped() -> None:
    """Transitively; one that can do without runs."""

    class Optional(pydantic.BaseModel):
        bad: int = 7

    async def act(ctx: StepContext) -> str:
        return "ran"

    result = await run(
        Step("bad", returns(SKIP)),
        Step("needs", act, depends_on=["bad"], input_contract=Needs),
        Step("each", act, foreach="needs"),
        Step("can", act, depends_on=["bad"], input_contract=Optional),
        Step("end", act, depends_on=["each"]),
    )
    expected = {"bad": "skipped", "needs": "skipped", "each": "skipped", "can": "completed", "end": "completed"}
    assert statuses(result) == expected
    assert result.step_results["needs"].reason == "needs the output of step 'bad', which has none"
    assert result.step_results["each"].reason == "needs the output of step 'needs', which has none"


async def test_a_step_can_return_skip() -> None:
    """And a dict that merely says so is plain output."""
    plain = {"skipped": True}
    result = await run(Step("a", returns(SKIP)), Step("b", returns(plain), depends_on=["a"]))
    assert statuses(result) == {"a": "skipped", "b": "completed"}
    assert result.step_results["a"].reason == "its action returned SKIP"
    assert tries(result) == 1
    assert result.output == plain
    assert (await run(Step("a", lambda ctx: SKIP))).step_results["a"].status == "skipped"


@pytest.mark.parametrize("where", [[SKIP], {"k": SKIP}, (1, SKIP)])
async def test_skip_inside_an_output_is_no_output(where: object) -> None:
    """It would be stored as text that looks like it."""
    result = await run(Step("a", returns(where), failure_policy=NO_RETRY))
    assert result.error_type == "StateError"


NEVER_RETRIED = [ConfigError("c"), SecurityError("s"), ScopeError("x"), PolicyError("p")]


@pytest.mark.parametrize("error", NEVER_RETRIED, ids=lambda error: type(error).__name__)
async def test_errors_that_cannot_get_better_are_never_retried(error: KairosError) -> None:
    """The fallback follows at once."""
    result = await run(Step("a", raises(error), failure_policy=retrying(5)))
    assert (tries(result), result.status, anyio.current_time()) == (1, WorkflowStatus.FAILED, 0)
    skipping = retrying(5, fallback_action=FailureAction.SKIP)
    assert statuses(await run(Step("a", raises(error), failure_policy=skipping))) == {"a": "skipped"}


async def cancelled_inside(ctx: StepContext) -> None:
    """Await something that was cancelled by somebody else, while the step itself is not."""
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    await task


class Odd(BaseException):
    """No Exception."""


UNUSUAL: list[Any] = [
    (SystemExit(3), "SystemExit"),
    (asyncio.CancelledError(), "CancelledError"),
    (StopAsyncIteration(), "StopAsyncIteration"),
    (StopIteration(3), "RuntimeError"),
    (ExceptionGroup("both", [ValueError("x"), TypeError("y")]), "ExceptionGroup"),
    (BaseExceptionGroup("both", [SystemExit(1), ValueError("y")]), "BaseExceptionGroup"),
    (Odd("odd"), "Odd"),
    (TimeoutError("mine"), "TimeoutError"),
]


@pytest.mark.parametrize(("error", "name"), UNUSUAL, ids=lambda value: getattr(value, "__name__", str(value)))
async def test_whatever_a_step_raises_is_data_in_the_result(error: BaseException, name: str) -> None:
    """Of async and sync steps, and of items; other steps go on."""
    events = Events()

    def sync(ctx: StepContext) -> None:
        raise error

    for action in (raises(error), sync):
        if isinstance(error, StopIteration) and action is sync:
            continue
        result = await run(
            Step("a", action, failure_policy=SKIPPING), Step("b", returns("fine", after=1)), hooks=[events]
        )
        assert statuses(result) == {"a": "skipped", "b": "completed"}
        assert result.step_results["a"].error_type == name
        assert [attempt.status for attempt in result.step_results["a"].attempts] == ["failure"]
        events.check()
        events.clear()
    assert open_contexts() == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_cancelled_error_from_a_task_of_the_steps_own_is_a_failure(anyio_backend: object) -> None:
    """Nobody cancelled the step: it awaited something that was cancelled."""
    result = await run(Step("a", cancelled_inside, failure_policy=retrying(1)))
    assert (result.error_type, tries(result)) == ("CancelledError", 2)


async def test_an_own_cancel_scope_of_a_step_is_its_own_affair() -> None:
    """Timeouts inside an action work as everywhere."""

    async def act(ctx: StepContext) -> str:
        with anyio.move_on_after(1):
            await anyio.sleep(10)
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 10)
            group.cancel_scope.cancel()
        return "went on"

    assert (await run(Step("a", act))).output == "went on"


async def test_exceptions_are_kept_as_class_name_and_cleaned_message() -> None:
    """Causes and notes included, no secrets, no directories, and no reference to the exception."""

    async def act(ctx: StepContext) -> None:
        try:
            raise KeyError("cause with swordfish-1234")
        except KeyError as error:
            failure = ValueError("cannot open /home/user/secret/file.txt with swordfish-1234")
            failure.add_note("a note")
            raise failure from error

    result = await run(Step("a", act, failure_policy=NO_RETRY), inputs={"password": "swordfish-1234"})
    message = str(result.error_message)
    assert result.error_type == "ValueError"
    assert [part for part in ("swordfish", "/home", "Traceback") if part in message] == []
    assert [part for part in ("cannot open", "file.txt", "a note", "KeyError") if part not in message] == []


async def test_raise_for_status_raises_only_if_the_run_failed() -> None:
    """It returns the result itself otherwise."""
    result = await run(Step("a", returns(1)))
    assert result.raise_for_status() is result
    failed = await run(Step("a", raises(ValueError("broken")), failure_policy=NO_RETRY))
    with pytest.raises(ExecutionError, match="Workflow 'w' failed: ValueError: broken"):
        failed.raise_for_status()


async def test_a_contract_failure_of_the_input_is_a_failure_of_the_step() -> None:
    """The action is not called."""
    called: list[int] = []

    def act(ctx: StepContext) -> None:
        called.append(1)

    result = await run(Step("a", act, input_contract=Needs, failure_policy=NO_RETRY), inputs={"bad": "text"})
    assert (called, result.error_type) == ([], "ValidationError")
    assert "The input of step 'a'" in str(result.error_message)
    assert (await run(Step("a", act, input_contract=Needs), inputs={"bad": 1, "more": 2})).error_type is None


async def test_what_fails_its_contract_never_reaches_state_and_the_validated_value_does() -> None:
    """Defaults are filled in, and of a foreach each item is checked on its own."""

    class Out(pydantic.BaseModel):
        n: float
        label: str = "none"

    async def act(ctx: StepContext) -> object:
        return {"n": ctx.item}

    result = await run(
        Step("a", returns({"n": 1}), output_contract=Out),
        Step("each", act, foreach="items", output_contract=Out, failure_policy=SKIPPING),
        inputs={"items": [1, "two", 3.5]},
    )
    assert result.final_state["a"] == {"n": 1.0, "label": "none"}
    assert output_of(result, "each") == [{"n": 1.0, "label": "none"}, None, {"n": 3.5, "label": "none"}]


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (int, 1, True),
        (float, 1, "1"),
        (list[int], [1, 2], [1, "2"]),
        (dict[str, int] | None, None, {"a": 1.5}),
        (str, "x", b"x"),
        (float, 0.5, float("nan")),
    ],
    ids=str,
)
async def test_any_annotation_is_a_contract_and_types_are_strict(annotation: object, good: Any, bad: Any) -> None:
    """bool is not int, int widens to float, NaN is refused."""
    assert (await run(Step("a", returns(good), output_contract=annotation))).output == good
    result = await run(Step("a", returns(bad), output_contract=annotation, failure_policy=NO_RETRY))
    assert result.error_type == "ValidationError"


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
    assert result.step_results["a"].status in ("skipped", "failed_final")


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


async def test_custom_answers_that_make_no_sense_abort() -> None:
    """Asking to be asked again is one."""
    result = await run(Step("a", raises(ValueError), failure_policy=custom([FailureAction.CUSTOM], [])))
    assert (result.error_type, tries(result)) == ("PolicyError", 1)


async def test_a_timeout_is_an_execution_failure_for_the_policy() -> None:
    """With a kind of its own."""
    seen: list[Failure] = []
    await run(Step("a", returns(1, after=9), timeout=1, failure_policy=custom(["x"], seen)))
    assert seen[0].kind is FailureKind.TIMEOUT


async def test_a_policy_survives_its_round_trip_through_json() -> None:
    """Without the handler, which is given again."""
    policy = FailurePolicy(max_retries=7, fallback_action=FailureAction.SKIP, retry_jitter=0.5)
    assert FailurePolicy.from_dict(policy.to_dict()) == policy
    with pytest.raises(PolicyError, match="no field 'max_retry'"):
        FailurePolicy.from_dict({"max_retry": 1})
    handled = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=lambda failure: None)
    assert FailurePolicy.from_dict(handled.to_dict(), custom_handler=print) == handled
    with pytest.raises(PolicyError, match="custom_handler"):
        FailurePolicy.from_dict(handled.to_dict())
