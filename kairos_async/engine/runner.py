"""One step, or one item of a foreach, from its first attempt to its outcome.

This is the one place where exceptions become data. A cancellation that was delivered from outside is never among them:
it is noted and goes on.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, cast

import anyio

from kairos_async._types import MISSING, FieldError, JSONValue
from kairos_async.context import CURRENT, OPEN, StepContext
from kairos_async.engine.attempt import (
    awaited,
    call_action,
    call_in_time,
    check_replacement,
    in_context,
    in_thread,
    unboxed,
)
from kairos_async.engine.boundary import accept, check
from kairos_async.engine.call import Call, RunServices
from kairos_async.engine.retry import AttemptFailed, retry
from kairos_async.engine.tasks import cancel_pending, shake_off_requests
from kairos_async.events import EventLevel, StepRetry
from kairos_async.exceptions import (
    BudgetExceeded,
    ExecutionError,
    KairosError,
    PolicyError,
    StateError,
    StepTimeoutError,
    ValidationError,
)
from kairos_async.failure import Failure, FailureAction, FailureKind
from kairos_async.outcomes import Attempt, AttemptStatus, StepStatus
from kairos_async.security import sanitize_exception, sanitize_retry_context
from kairos_async.security.messages import direct_members
from kairos_async.state import read_copy
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


async def attempt(call: Call, number: int) -> bool:
    """Call the action once, between its contracts and within its deadline, and store what it left. Whether that worked.

    What did not is noted with the call, for `recover`. Raises only cancellation.
    """
    run, node = call.run, call.node
    started = call.started if number == 1 else run.now()
    call.acting = False
    call.number = number
    try:
        item = None if call.index is None else read_copy(call.item)
        context = StepContext(node.name, run.run_id, number, item, call.index, call.feedback)
        node.has_run = True
        OPEN[context] = call
        try:
            if node.is_plain and call.slot.clean and not run.entering:
                # The same as below, two frames and a context switch shorter: a microsecond of about ten.
                CURRENT.set(context)
                call.acting = True
                output = await node.action(context)
                call.acting = False
            elif node.timeout is None and call.deadline == math.inf:
                output = await call_action(call, context, call.deadline)
            else:
                output = await call_in_time(call, context)
        finally:
            del OPEN[context]
            call.slot.note_leftovers()
        if not call.slot.clean:
            await shake_off_requests()
        if output is SKIP:
            call.renew()
            call.skipped = True
        else:
            if node.output_contract is not None and node.checks_at_once:
                if run.hooks:
                    output = check(call, node.output_contract, output, "output", number)
                else:
                    output = node.output_contract.validate(output, node.output_subject)
            accept(call, output)
        if not _commit(call):
            await _deliver_cancellation()
    except BaseException as error:
        _note_failure(call, error, started)
        return False
    if number > 1:
        duration_ms, started_ms = (call.ended - started) * 1000, (started - run.started) * 1000
        call.attempts += (Attempt(number, AttemptStatus.SUCCESS, duration_ms, started_ms=started_ms),)
    return True


def _commit(call: Call) -> bool:
    """Store what a plain step left; what an item of a foreach left is stored with its step.

    False if the run is over already: the action swallowed its cancellation.
    """
    run = call.run
    call.ended = ended = run.now()
    if run.stopping or ended >= run.deadline:
        return False
    if call.index is not None:
        scope = call.slot.item_scope
        return scope is None or not scope.cancel_called
    if not call.skipped:
        run.commit(call.node, call.output, call.output_size + call.size, call.written)
    return True


async def _deliver_cancellation() -> NoReturn:
    """Let the cancellation that an action swallowed, or made something else of, arrive here: some scope around is
    cancelled, or its time is up."""
    await anyio.sleep_forever()
    raise AssertionError("sleep_forever() came back")


async def recover(call: Call) -> GaveUp | None:
    """What becomes of a call whose first attempt failed: the retries and the recovery that its policy allows.

    None if it produced something after all, which the call then has. Raises only cancellation.
    """
    decided = await _decide(call)
    if decided.action is FailureAction.RETRY:
        try:
            await _retry(call, decided)
        except AttemptFailed as last:
            decided = last
        else:
            return None
    if decided.action is FailureAction.RETRY:
        call.failed = AttemptFailed(decided.failure, call.node.policy.fallback_action)
        decided = await _decide(call)
    if decided.replacement is not MISSING:
        return await _replace(call, decided)
    return give_up(decided.failure, decided.action)


async def recover_foreach(call: Call, error: StateError) -> GaveUp | None:
    """The same for a foreach that failed as a whole, for which there is no call to make again."""
    failure = replace(explain(call.run, call.node.name, error, 1), retryable=False)
    call.failed = AttemptFailed(failure, call.node.policy.action_for(failure.kind))
    return await recover(call)


async def _attempt_again(call: Call) -> None:
    """One more attempt. Raises AttemptFailed with what the policy wants next, or a cancellation."""
    call.renew()
    if not await attempt(call, len(call.attempts) + 1):
        raise await _decide(call)


def _note_failure(call: Call, error: BaseException, started: float) -> None:
    """Record the attempt that began at `started`, and leave its exception, as data, in `call.failed`.

    A cancellation is recorded and raised again. One that the action answered with another exception leaves nothing.
    """
    number = len(call.attempts) + 1
    call.failed = None
    call.ended = call.run.now()
    duration_ms, started_ms = (call.ended - started) * 1000, (started - call.run.started) * 1000
    delivered = _was_cancelled(call.run, error)
    if delivered or call.run.stopping or cancel_pending():
        call.attempts += (Attempt(number, AttemptStatus.CANCELLED, duration_ms, started_ms=started_ms),)
        if delivered:
            raise error
        return
    if call.refused is not None:  # whatever the action, or a task group of its, made of it
        error = call.refused
    # An action can raise a ValidationError of its own making; only the step's contract speaks to the next attempt.
    ours = not call.acting and type(error) is ValidationError
    errors = cast(ValidationError, error).errors if ours else ()
    failure = explain(call.run, call.node.name, error, number, call.index, errors)
    status = AttemptStatus.TIMEOUT if failure.kind is FailureKind.TIMEOUT else AttemptStatus.FAILURE
    said = (failure.error_type, failure.error_message)
    call.attempts += (Attempt(number, status, duration_ms, *said, started_ms=started_ms),)
    call.feedback = _feedback(call, error, failure)
    if call.refused is not None and call.run.refused is not None:
        call.run.abort(failure)  # the budget of the run itself, which no policy of a step can extend
        call.failed = AttemptFailed(failure, FailureAction.ABORT)
        return
    call.failed = AttemptFailed(failure, call.node.policy.action_for(failure.kind), _retry_after(error))


def _was_cancelled(run: RunServices, error: BaseException) -> bool:
    """Whether this is a cancellation delivered from outside, or something else that no step may keep.

    A CancelledError that a step raises by itself, while no scope around it is cancelled, is the step's failure; so is a
    GeneratorExit, unless it comes from closing the coroutine of a worker, which then is not the task that runs. A group
    of a cancellation and of what a task beside made of it is none: a scope would take the cancellation out and let the
    rest through, as an error of the run.
    """
    kind = type(error)  # not isinstance(), which asks the exception itself
    if issubclass(kind, KeyboardInterrupt):
        return True
    if issubclass(kind, GeneratorExit):
        return not run.workers.run_current_task()
    if issubclass(kind, BaseExceptionGroup):
        return _holds_interrupt(error)
    return issubclass(kind, anyio.get_cancelled_exc_class()) and cancel_pending()


async def let_cancellation_through(run: RunServices, error: BaseException) -> None:
    """Raise the error if it is a cancellation from outside, or that cancellation if the error is what a function of the
    user's made of it."""
    if _was_cancelled(run, error):
        raise error
    if cancel_pending():
        await _deliver_cancellation()


def _holds_interrupt(group: BaseException) -> bool:
    """Whether the group has a KeyboardInterrupt, at any depth. Its own `subgroup` recurses, and the user may replace
    it."""
    waiting = [group]
    while waiting:
        error = waiting.pop()
        if issubclass(type(error), BaseExceptionGroup):
            waiting += direct_members(cast(BaseExceptionGroup[BaseException], error))
        elif issubclass(type(error), KeyboardInterrupt):
            return True
    return False


def explain(
    run: RunServices,
    step: str,
    error: BaseException,
    attempt: int,
    item: int | None = None,
    errors: tuple[FieldError, ...] = (),
) -> Failure:
    """The exception as data, redacted. `errors` are the broken rules, if the step's own contract found them."""
    if issubclass(type(error), ValidationError):
        kind = FailureKind.VALIDATION
    elif issubclass(type(error), StepTimeoutError) or _out_of_seconds(error):
        kind = FailureKind.TIMEOUT
    else:
        kind = FailureKind.EXECUTION
    error_type, error_message = sanitize_exception(error, run.redactor)
    retryable = _attribute(error, "retryable") is not False if issubclass(type(error), KairosError) else True
    clean = run.redactor.text
    errors = tuple([replace(broken, field=clean(broken.field), message=clean(broken.message)) for broken in errors])
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


async def _decide(call: Call) -> AttemptFailed:
    """What the policy wants now. RETRY comes out only if a retry can help, CUSTOM only with a replacement output.

    Without a failure the call was cancelled; here that is delivered again.
    """
    failed, call.failed = call.failed, None
    if failed is None:
        await _deliver_cancellation()
    await shake_off_requests()  # before anything else is awaited
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
    """The custom handler's answer, after which the call has no slot.

    A handler that fails aborts the run: its failure is the step's.
    """
    handler = call.node.policy.custom_handler
    assert handler is not None
    call.slot.give_up()
    bound = anyio.CancelScope(deadline=call.deadline)
    try:
        with bound:
            answer = await call_user(call.run, handler, failure)
        if bound.cancel_called:
            return _out_of_time(call)
        if answer is FailureAction.CUSTOM:
            raise PolicyError("it returned CUSTOM, which would ask it again.")
    except BaseException as error:
        await let_cancellation_through(call.run, error)
        if bound.cancel_called:
            return _out_of_time(call)
        cause = explain(call.run, failure.step, error, failure.attempt, failure.item)
        said = f"the custom_handler of step {failure.step!r} failed: {cause.error_message}"
        answer = AttemptFailed(replace(cause, error_message=said), FailureAction.ABORT)
    await shake_off_requests()
    call.ended = call.run.now()
    return answer


def _out_of_time(call: Call) -> AttemptFailed:
    """The failure of a step whose total_timeout passed while it waited for something other than its action."""
    call.ended = call.run.now()
    late = call.late()
    action = call.node.policy.fallback_action
    action = FailureAction.ABORT if action is FailureAction.CUSTOM else action
    return AttemptFailed(explain(call.run, call.node.name, late, call.number, call.index), action)


async def call_user(run: RunServices, function: Callable[[Any], Any], argument: object) -> Any:
    """Call a handler or planner in the run's context: awaited if it is async, in a worker thread if it is not."""
    if inspect.iscoroutinefunction(function):
        return await in_context(run.context.copy(), function(argument))
    box = await in_thread(run, math.inf, run.context.copy().run, function, argument)
    if box is None:
        raise ExecutionError("A deadline passed while this ran in a thread, which was abandoned, and was moved later.")
    answer = unboxed(box)
    return await in_context(run.context.copy(), awaited(answer)) if inspect.isawaitable(answer) else answer


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
            "retry_context": read_copy(call.feedback),  # the next attempt gets the other one, and may change it
        }
        if call.index is not None:
            data["item"] = call.index
        run.emit(StepRetry, node.name, EventLevel.WARN, data)

    async def pause(seconds: float) -> None:
        if seconds > 0:
            call.slot.give_up()
        elif call.slot.held:
            return
        with anyio.CancelScope(deadline=call.deadline) as bound:
            if seconds > 0:
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
    """A custom handler's replacement output passes the same contract as the step's own; to ask a judge takes a slot.

    That of a foreach is a list, each entry of which passes it. It may have any length: without a list of items, there
    is none that it could have.
    """
    run, node = call.run, call.node
    output: object = failed.replacement
    try:
        if call.is_whole_foreach and not isinstance(output, list | tuple):
            raise StateError(
                f"The custom_handler of step {node.name!r} gave a value of type {type(output).__name__}, and the "
                "output of a foreach is a list: return one, with an entry for each item."
            )
        if (contract := node.output_contract) is not None:
            with anyio.CancelScope(deadline=call.deadline) as bound:
                if contract.is_async:
                    await call.slot.regain(node)
                output = await check_replacement(call, contract, output)
            if bound.cancelled_caught:
                late = _out_of_time(call)
                return give_up(late.failure, late.action)
        call.renew()
        accept(call, output)
        if call.index is None:
            run.commit(node, call.output, call.output_size, None)
    except BaseException as error:
        await let_cancellation_through(run, error)
        return give_up(explain(run, node.name, error, failed.failure.attempt, call.index), FailureAction.ABORT)
    return None
