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
    FailureAction,
    FailurePolicy,
    Hook,
    KairosError,
    PolicyError,
    ReplanRequest,
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
    tries,
)


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


async def test_abort_lets_nothing_start_that_was_about_to() -> None:
    """Not even what has a task already, which only has not had its turn."""
    seen: list[str] = []

    async def bad(ctx: StepContext) -> None:
        seen.append("failed")
        raise ValueError

    async def act(ctx: StepContext) -> None:
        seen.append("began")

    steps = [Step(f"s{i}", act) for i in range(9)]
    await run(*steps[:4], Step("bad", bad, failure_policy=NO_RETRY), *steps[4:])
    assert "began" not in seen[seen.index("failed") :]


async def test_abort_takes_nothing_from_a_step_that_swallows_its_cancellation() -> None:
    """What it returns after that comes too late."""

    async def stubborn(ctx: StepContext) -> str:
        ctx.state.set("k", "written")
        try:
            await anyio.sleep(100)
        except anyio.get_cancelled_exc_class():
            pass
        return "late"

    bad = Step("bad", raises(ValueError, after=1), failure_policy=NO_RETRY)
    result = await run(bad, Step("a", stubborn))
    assert statuses(result) == {"bad": "failed_final", "a": "cancelled"}
    assert result.final_state == {}


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


async def test_only_errors_of_this_library_say_of_themselves_that_they_cannot_get_better() -> None:
    """What others mean by an attribute of that name is theirs."""

    class Foreign(Exception):
        retryable = False

    assert tries(await run(Step("a", raises(Foreign), failure_policy=retrying(2)))) == 3


async def cancelled_inside(ctx: StepContext) -> None:
    """Await something that was cancelled by somebody else, while the step itself is not."""
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    await task


class Odd(BaseException):
    """No Exception."""


class Masked(Exception):
    """Nobody may ask of which class it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("no class")


class Closed(ExceptionGroup[Exception]):
    """A group that lets nobody look into it."""

    def subgroup(self, *arguments: Any) -> Any:
        """Refuse."""
        raise RuntimeError("no subgroup")


def nested(depth: int) -> BaseException:
    """Return a group in a group in a group."""
    error: Exception = ValueError("innermost")
    for _ in range(depth):
        error = ExceptionGroup("nested", [error])
    return error


UNUSUAL: list[Any] = [
    (Masked(), "Masked"),
    (Closed("closed", [ValueError("x")]), "Closed"),
    (nested(5000), "ExceptionGroup"),
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
        if type(error) is StopIteration and action is sync:
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
    """It names the step that failed, if one did, and returns the result itself otherwise."""
    result = await run(Step("a", returns(1)))
    assert result.raise_for_status() is result
    failed = await run(Step("a", raises(ValueError("broken")), failure_policy=NO_RETRY))
    with pytest.raises(ExecutionError, match="Workflow 'w' failed at step 'a': ValueError: broken"):
        failed.raise_for_status()
    late = await run(Step("a", returns(1, after=9)), timeout=1)
    with pytest.raises(ExecutionError, match="Workflow 'w' failed: StepTimeoutError"):
        late.raise_for_status()


@pytest.mark.parametrize("ended_by", ["step 'b'", "timeout"])
async def test_raise_for_status_speaks_of_the_failure_that_ended_the_run(ended_by: str) -> None:
    """Not of the first step that failed, whose planner was still being asked."""

    async def planner(request: ReplanRequest) -> list[Step]:
        await anyio.sleep(9)
        return []

    steps = [
        Step("a", raises(ValueError), failure_policy=FailurePolicy(on_execution_fail=FailureAction.REPLAN)),
        Step("b", raises(KeyError("second"), after=1), failure_policy=NO_RETRY),
    ]
    if ended_by == "timeout":
        steps.pop()
    result = await run(*steps, planner=planner, timeout=2)
    said = {
        "step 'b'": "Workflow 'w' failed at step 'b': KeyError: 'second'",
        "timeout": "Workflow 'w' failed: StepTimeoutError: Workflow 'w' did not finish within 2 s",
    }
    assert result.step_results["a"].status == "failed_final"
    with pytest.raises(ExecutionError) as raised:
        result.raise_for_status()
    assert str(raised.value) == said[ended_by]


async def test_a_contract_failure_of_the_input_is_a_failure_of_the_step() -> None:
    """The action is not called."""
    called: list[int] = []

    def act(ctx: StepContext) -> None:
        called.append(1)

    result = await run(Step("a", act, input_contract=Needs, failure_policy=NO_RETRY), inputs={"bad": "text"})
    assert (called, result.error_type) == ([], "ValidationError")
    assert "The input of step 'a'" in str(result.error_message)
    assert (await run(Step("a", act, input_contract=Needs), inputs={"bad": 1, "more": 2})).error_type is None


async def test_an_input_contract_sees_the_keys_that_it_names_and_grants_none() -> None:
    """Other inputs are none of its business, and what `read_keys` leave out is not there."""

    class Exact(pydantic.BaseModel, extra="forbid"):
        bad: int

    inputs = {"bad": 1, "more": 2}
    assert (await run(Step("a", returns(1), input_contract=Exact), inputs=inputs)).output == 1
    step = Step("a", returns(1), input_contract=Exact, read_keys=["more"], failure_policy=NO_RETRY)
    assert (await run(step, inputs=inputs)).error_type == "ValidationError"


@pytest.mark.parametrize("hooks", [[], [lambda event: None]], ids=["unwatched", "watched"])
async def test_what_fails_its_contract_never_reaches_state_and_the_validated_value_does(hooks: list[Hook]) -> None:
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
        hooks=hooks,
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
