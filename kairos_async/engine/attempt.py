"""One call of an action: its deadline, and the two ways to run it."""

from __future__ import annotations

import contextvars
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, TypeAlias, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from kairos_async._types import JSONValue
from kairos_async.account import count_calls
from kairos_async.context import CURRENT, OPEN, StepContext
from kairos_async.contracts import Contract
from kairos_async.engine.boundary import check_async, check_input
from kairos_async.engine.call import Call, RunServices
from kairos_async.exceptions import BudgetExceeded, StepTimeoutError
from kairos_async.step import SKIP

Box: TypeAlias = list[Any]
"""What a function returned in a thread, or None and what it raised; see `unboxed`."""

_GRACE: Final = 0.1
"""Seconds in which a deadline around a worker has reached it."""


async def call_in_time(call: Call, context: StepContext) -> Any:
    """What `call_action` gives, before the deadlines of the attempt and of its step.

    Raises:
        StepTimeoutError: it was not done in time; also when the action swallowed its cancellation and returned late.
        BudgetExceeded: the seconds of the step's budget are over.
        BaseException: whatever the action raised.
    """
    run, timeout = call.run, call.node.timeout
    deadline = call.deadline if timeout is None else min(call.deadline, run.now() + timeout)
    late = False
    output: Any = None
    bound = anyio.CancelScope(deadline=deadline)
    try:
        with bound:
            output = await call_action(call, context, deadline)
    except (StepTimeoutError, BudgetExceeded):
        raise
    except Exception:  # outside of the scope, which takes its cancellation out of a group
        if not bound.cancel_called:
            raise
        late = True
    if late or bound.cancelled_caught or run.now() >= deadline:
        raise _timeout(call, context, deadline, abandoned=False)
    return output


def _timeout(
    call: Call, context: StepContext, deadline: float, *, abandoned: bool
) -> StepTimeoutError | BudgetExceeded:
    if deadline == call.deadline:
        return call.late(abandoned=abandoned)
    return StepTimeoutError(f"{call}, attempt {context.attempt},", call.node.timeout or 0.0, abandoned=abandoned)


async def call_action(call: Call, context: StepContext, deadline: float) -> Any:
    """The action with what has to happen within its deadline: the input contract, and async rules on the output."""
    node = call.node
    if node.input_contract is not None:
        await in_context(_variables(call, context), check_input(call, node.input_contract, context))
    call.acting = True
    if node.is_async:
        output = await in_context(_variables(call, context), node.action(context))
    else:
        output = await _in_thread(call, context, deadline)
    call.acting = False
    if node.output_contract is not None and node.output_contract.is_async and output is not SKIP:
        checking = check_async(call, node.output_contract, output, "output", context.attempt)
        output = await in_context(_variables(call, context), checking)
    return output


async def check_replacement(call: Call, contract: Contract, output: object) -> JSONValue:
    """The validated output of a custom handler; of a foreach, each entry by itself, as the outputs of its items are. A
    judge asks its model on behalf of the attempt that failed, whose context is open meanwhile: its calls are told, and
    its key is the run's secret.

    Raises:
        ValidationError: the output breaks the contract.
        Exception: what a judge's model raised.
    """
    run, node = call.run, call.node
    context = StepContext(node.name, run.run_id, call.number, call.item, call.index, None)
    variables = run.context.copy()
    variables.run(CURRENT.set, context)
    OPEN[context] = call
    try:
        subject, count = node.output_subject, partial(count_calls, call)
        entries = cast(list[object], output) if call.is_whole_foreach else [output]
        valid: list[JSONValue] = [
            await in_context(variables, contract.validate_async(entry, subject, count_llm_call=count))
            for entry in entries
        ]
        return valid if call.is_whole_foreach else valid[0]
    finally:
        del OPEN[context]


@types.coroutine
def in_context(context: contextvars.Context, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run the coroutine in the current task, with every one of its steps inside the given context.

    A worker task goes on from step to step; context variables that one step sets must not be seen by the next one. A
    new task for each attempt would do it too, at ten times the cost.
    """
    run, send, throw = context.run, coroutine.send, coroutine.throw
    try:
        yielded = run(send, None)
        while True:
            try:
                sent = yield yielded
            except BaseException as error:
                yielded = run(throw, error)
            else:
                yielded = run(send, sent)
    except StopIteration as stop:
        return stop.value


def _variables(call: Call, context: StepContext) -> contextvars.Context:
    """A fresh copy of the run's context variables, prepared for this attempt."""
    variables = call.run.context.copy()
    variables.run(CURRENT.set, context)
    for enter in call.run.entering:
        variables.run(enter, context)
    return variables


def _prepared(call: Call, context: StepContext) -> Any:
    """What the action returns. Runs in the worker thread, whose context variables are a copy already.

    One that gets here when its attempt has ended was abandoned before it began, and leaves the action alone.
    """
    CURRENT.set(context)
    for enter in call.run.entering:
        enter(context)
    return call.node.action(context) if context in OPEN else None


async def _in_thread(call: Call, context: StepContext, deadline: float) -> Any:
    """Run a sync action in a worker thread."""
    run = call.run
    box = await in_thread(run, deadline, _prepared, call, context)
    if box is None:
        raise _timeout(call, context, deadline, abandoned=True)
    try:
        await anyio.lowlevel.checkpoint_if_cancelled()
    except BaseException:
        _discard([box])
        raise
    output = unboxed(box)
    return await in_context(_variables(call, context), awaited(output)) if inspect.isawaitable(output) else output


async def in_thread(run: RunServices, deadline: float, function: Callable[..., Any], *arguments: Any) -> Box | None:
    """What the function returns or raises, run in a worker thread; None if its time was up.

    A thread cannot be stopped. A cancellation from outside therefore waits for it to end; a deadline (this one, the
    run's, or that of a scope around the run) does not, and abandons it.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    outer = min(run.deadline, run.outer_deadline, anyio.current_effective_deadline())
    boxes: list[Box] = []
    waiting = [True]

    def call() -> None:
        boxes.append(_boxed(function, *arguments))
        if not waiting:
            _discard(boxes)

    try:
        with anyio.CancelScope(deadline=min(deadline, outer), shield=True):
            await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=run.threads())
            return boxes.pop()
    finally:
        # Either side does its own part before it looks for the other's, so at least one of them sees both.
        waiting.clear()
        _discard(boxes)
    if run.now() < deadline:
        await anyio.sleep(_GRACE)  # for the cancellation to come, unless somebody has moved that deadline since
    return None


def _boxed(function: Callable[..., Any], *arguments: Any) -> Box:
    """What the function returns, in a list that `unboxed` takes, or what it raises behind a None.

    A thread hands over neither as it is: trio lets none return a bare coroutine, and what happens to an exception on
    the way to the event loop is up to its class, which is the user's. One whose `__class__` raises would never arrive.
    """
    try:
        return [function(*arguments)]
    except BaseException as error:
        return [None, error]


def _discard(boxes: list[Box]) -> None:
    """Close the coroutines that nobody awaits any more: Python would warn of that."""
    for box in boxes:
        if type(box[0]) is types.CoroutineType:
            box[0].close()
    boxes.clear()


def unboxed(box: Box) -> Any:
    """What was boxed, or raise it. Empties the box, which would hold an exception whose traceback holds the box."""
    output, *raised = box
    box.clear()
    if raised:
        raise raised.pop()
    return output


async def awaited(awaitable: Awaitable[Any]) -> Any:
    """A coroutine for anything that can be awaited."""
    return await awaitable
