"""One step, or one item of a foreach, from its first attempt to its outcome.

This is the one place where exceptions become data. A cancellation that was delivered from outside is never among them:
it is noted and goes on.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn, cast

import anyio

from kairos_async._types import MISSING, FieldError, JSONValue
from kairos_async.engine.attempt import awaited, boxed, check_replacement, in_context, in_thread, run_attempt
from kairos_async.engine.boundary import accept
from kairos_async.engine.call import Call, RunServices
from kairos_async.engine.retry import AttemptFailed, retry
from kairos_async.events import EventLevel, StepRetry
from kairos_async.exceptions import (
    BudgetExceeded,
    ExecutionError,
    KairosError,
    PolicyError,
    StepTimeoutError,
    ValidationError,
)
from kairos_async.failure import Failure, FailureAction, FailureKind
from kairos_async.outcomes import Attempt, AttemptStatus, StepStatus
from kairos_async.security import sanitize_exception, sanitize_retry_context
from kairos_async.step import SKIP

_LONGEST_PAUSE: Final = 1e7
"""Seconds that a `retry_after` may ask for; about four months."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """The outcome of a call that produced nothing, and what has to follow: SKIP, ABORT or REPLAN."""

    failure: Failure
    action: FailureAction

    @property
    def status(self) -> StepStatus:
        """Of the step, or the item."""
        return StepStatus.SKIPPED if self.action is FailureAction.SKIP else StepStatus.FAILED_FINAL


async def settle(call: Call) -> GaveUp | None:
    """Run the call, with the retries and the recovery that its policy allows. Raises only cancellation.

    None if it produced something, which the call then has.
    """
    try:
        await run_attempt(call, 1)
        if not _commit(call):
            await _deliver_cancellation()
    except BaseException as error:
        failed = _note_failure(call, error, call.started)
    else:
        return None
    return await _recover(call, await _decide(call, failed))


async def _attempt_again(call: Call) -> None:
    """One more attempt. Raises AttemptFailed with what the policy wants next, or a cancellation."""
    call.renew()
    started = call.run.now()
    number = len(call.attempts) + 1
    try:
        await run_attempt(call, number)
        if not _commit(call):
            await _deliver_cancellation()
    except BaseException as error:
        failed = _note_failure(call, error, started)
    else:
        duration_ms, started_ms = (call.ended - started) * 1000, (started - call.run.started) * 1000
        call.attempts.append(Attempt(number, AttemptStatus.SUCCESS, duration_ms, started_ms=started_ms))
        return
    raise await _decide(call, failed)


def _commit(call: Call) -> bool:
    """Store what a plain step left; what an item of a foreach left is stored with its step.

    False if the run is over already: the action swallowed its cancellation.
    """
    run = call.run
    call.ended = run.now()
    if run.stopping or call.ended >= run.deadline:
        return False
    if call.slot.cancelled():
        return False
    if call.index is None and not call.skipped:
        run.commit(call.node, call.output, call.output_size + call.size, call.written)
    return True


def _note_failure(call: Call, error: BaseException, started: float) -> AttemptFailed | None:
    """Record the attempt, and turn its exception into data. A cancellation is recorded and raised again.

    None if the action answered its cancellation with another exception: then it was cancelled all the same.
    """
    number = len(call.attempts) + 1
    call.ended = call.run.now()
    duration_ms, started_ms = (call.ended - started) * 1000, (started - call.run.started) * 1000
    delivered = was_cancelled(error)
    if delivered or call.run.stopping or cancel_pending():
        call.attempts.append(Attempt(number, AttemptStatus.CANCELLED, duration_ms, started_ms=started_ms))
        if delivered:
            raise error
        return None
    if call.refused is not None:  # whatever the action, or a task group of its, made of it
        error = call.refused
    # An action can raise a ValidationError of its own making; only the step's contract speaks to the next attempt.
    ours = not call.acting and type(error) is ValidationError
    errors = cast(ValidationError, error).errors if ours else ()
    failure = explain(call.run, call.node.name, error, number, call.index, errors)
    status = AttemptStatus.TIMEOUT if failure.kind is FailureKind.TIMEOUT else AttemptStatus.FAILURE
    said = (failure.error_type, failure.error_message)
    call.attempts.append(Attempt(number, status, duration_ms, *said, started_ms=started_ms))
    call.feedback = _feedback(call, error, failure)
    if call.refused is not None and call.run.refused is not None:
        call.run.abort(failure)  # the budget of the run itself, which no policy of a step can extend
        return AttemptFailed(failure, FailureAction.ABORT)
    return AttemptFailed(failure, call.node.policy.action_for(failure.kind), _retry_after(error))


def was_cancelled(error: BaseException) -> bool:
    """Whether this is a cancellation delivered from outside, or something else that no step may keep.

    A CancelledError that a step raises by itself, while no scope around it is cancelled, is the step's failure.
    """
    kind = type(error)  # not isinstance(), which asks the exception itself
    if issubclass(kind, (KeyboardInterrupt, GeneratorExit)):
        return True
    cancelled = anyio.get_cancelled_exc_class()
    if issubclass(kind, BaseExceptionGroup):
        group = cast(BaseExceptionGroup[BaseException], error)
        interrupted = group.subgroup((KeyboardInterrupt, GeneratorExit)) is not None
        return interrupted or (group.subgroup(cancelled) is not None and cancel_pending())
    return issubclass(kind, cancelled) and cancel_pending()


async def _deliver_cancellation() -> NoReturn:
    """Let the cancellation that an action swallowed arrive here: some scope around is cancelled, or its time is up."""
    await anyio.sleep_forever()
    raise AssertionError("sleep_forever() came back")


def cancel_pending() -> bool:
    """Whether a scope around the caller is cancelled."""
    return anyio.current_effective_deadline() == -math.inf


def explain(
    run: RunServices,
    step: str,
    error: BaseException,
    attempt: int,
    item: int | None = None,
    errors: tuple[FieldError, ...] = (),
) -> Failure:
    """The exception as data. `errors` are the broken rules, if the step's own contract found them."""
    if issubclass(type(error), ValidationError):
        kind = FailureKind.VALIDATION
    elif issubclass(type(error), StepTimeoutError) or _out_of_seconds(error):
        kind = FailureKind.TIMEOUT
    else:
        kind = FailureKind.EXECUTION
    error_type, error_message = sanitize_exception(error, run.redactor)
    retryable = _attribute(error, "retryable") is not False if issubclass(type(error), KairosError) else True
    return Failure(step, kind, error_type, error_message, attempt, item, errors, retryable)


def _out_of_seconds(error: BaseException) -> bool:
    return issubclass(type(error), BudgetExceeded) and _attribute(error, "resource") == "seconds"


def _attribute(error: BaseException, name: str) -> object:
    """An attribute of an exception, None if reading it raises: exceptions are classes of the user's."""
    try:
        return getattr(error, name, None)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None


def _retry_after(error: BaseException) -> float:
    asked = _attribute(error, "retry_after")
    if type(asked) in (int, float) and 0 < cast(float, asked) < _LONGEST_PAUSE:
        return float(cast(float, asked))
    return 0.0


def _feedback(call: Call, error: BaseException, failure: Failure) -> dict[str, JSONValue] | None:
    if not call.node.policy.retry_with_feedback:
        return None
    return sanitize_retry_context(failure.attempt + 1, failure.kind.value, failure.errors, error)


async def _decide(call: Call, failed: AttemptFailed | None) -> AttemptFailed:
    """What the policy wants now. RETRY comes out only if a retry can help, CUSTOM only with a replacement output.

    Without a failure the call was cancelled; here that is delivered again.
    """
    if failed is None:
        await _deliver_cancellation()
    failure = failed.failure
    if failed.action is FailureAction.RETRY and not failure.retryable:
        failed.action = call.node.policy.fallback_action
    if failed.action is not FailureAction.CUSTOM:
        return failed
    answer = await _ask_handler(call, failure)
    if isinstance(answer, AttemptFailed):
        return answer
    if answer is SKIP:
        failed.action = FailureAction.SKIP
    elif not isinstance(answer, FailureAction):
        failed.replacement = answer
    elif answer is FailureAction.RETRY and not failure.retryable:
        failed.action = FailureAction.ABORT
    else:
        failed.action = answer
    return failed


async def _ask_handler(call: Call, failure: Failure) -> Any:
    """The custom handler's answer. A handler that fails aborts the run: its failure is the step's."""
    handler = call.node.policy.custom_handler
    assert handler is not None
    call.slot.give_up()
    try:
        with anyio.CancelScope(deadline=call.deadline) as bound:
            answer = await call_user(call.run, handler, failure)
        if bound.cancelled_caught:
            return _out_of_time(call)
        if answer is FailureAction.CUSTOM:
            raise PolicyError(f"custom_handler of step {failure.step!r} returned CUSTOM, which would ask it again.")
    except BaseException as error:
        if was_cancelled(error):
            raise
        answer = AttemptFailed(
            explain(call.run, failure.step, error, failure.attempt, failure.item), FailureAction.ABORT
        )
    await call.slot.regain(call.node)
    return answer


def _out_of_time(call: Call) -> AttemptFailed:
    """The failure of a step whose total_timeout passed while it waited for something other than its action."""
    call.ended = call.run.now()
    late = call.late()
    action = call.node.policy.fallback_action
    action = FailureAction.ABORT if action is FailureAction.CUSTOM else action
    return AttemptFailed(explain(call.run, call.node.name, late, len(call.attempts), call.index), action)


async def call_user(run: RunServices, function: Callable[[Any], Any], argument: object) -> Any:
    """Call a handler or planner in the run's context: awaited if it is async, in a worker thread if it is not."""
    if inspect.iscoroutinefunction(function):
        return await in_context(run.context.copy(), function(argument))
    ran = await in_thread(run, math.inf, run.context.copy().run, boxed, function, argument)
    if ran is None:
        raise ExecutionError("A deadline passed while this ran in a thread, which was abandoned, and was moved later.")
    (answer,) = ran
    return await in_context(run.context.copy(), awaited(answer)) if inspect.isawaitable(answer) else answer


async def _recover(call: Call, failed: AttemptFailed) -> GaveUp | None:
    if failed.action is FailureAction.RETRY:
        try:
            await _retry(call, failed)
        except AttemptFailed as last:
            failed = last
        else:
            return None
    if failed.action is FailureAction.RETRY:
        failed = await _decide(call, AttemptFailed(failed.failure, call.node.policy.fallback_action))
    if failed.replacement is not MISSING:
        return await _replace(call, failed)
    return give_up(failed.failure, failed.action)


def give_up(failure: Failure, action: FailureAction) -> GaveUp:
    """The outcome of a failure for which nothing more is tried."""
    if action in (FailureAction.SKIP, FailureAction.REPLAN):
        return GaveUp(failure, action)
    return GaveUp(failure, FailureAction.ABORT)


async def _retry(call: Call, first: AttemptFailed) -> None:
    run, node = call.run, call.node

    def announce(failed: AttemptFailed, delay: float) -> None:
        if not run.hooks:
            return
        failure = failed.failure
        data: dict[str, JSONValue] = {
            "attempt": failure.attempt,
            "duration_ms": call.attempts[-1].duration_ms,
            "delay_s": delay,
            "kind": failure.kind.value,
            "error_type": failure.error_type,
            "error_message": failure.error_message,
            "retry_context": call.feedback,
        }
        if call.index is not None:
            data["item"] = call.index
        run.emit(StepRetry, node.name, EventLevel.WARN, data)

    async def pause(seconds: float) -> None:
        if seconds > 0:
            call.slot.give_up()
            with anyio.CancelScope(deadline=call.deadline) as bound:
                await anyio.sleep(seconds)
                await call.slot.regain(node)
            if bound.cancelled_caught:
                raise _out_of_time(call)

    def out_of_time(seconds: float) -> bool:
        return run.now() + seconds >= call.deadline

    await retry(
        first, lambda: _attempt_again(call), node.policy, announce=announce, pause=pause, out_of_time=out_of_time
    )


async def _replace(call: Call, failed: AttemptFailed) -> GaveUp | None:
    """A custom handler's replacement output passes the same contract as the step's own."""
    run, node = call.run, call.node
    output: object = failed.replacement
    try:
        if node.output_contract is not None:
            output = await check_replacement(call, node.output_contract, output)
        call.renew()
        accept(call, output)
        if call.index is None:
            run.commit(node, call.output, call.output_size, None)
    except Exception as error:
        return give_up(explain(run, node.name, error, failed.failure.attempt, call.index), FailureAction.ABORT)
    return None
