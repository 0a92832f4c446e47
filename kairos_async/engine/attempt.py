"""One call of an action: its contracts, its deadline, and the context that lives as long as it does."""

from __future__ import annotations

import contextvars
import inspect
import math
import types
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, NamedTuple, Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread

from kairos_async._types import JSONValue
from kairos_async.context import Scope, Services, StepContext, close_context, open_context
from kairos_async.contracts import Contract
from kairos_async.contracts.dump import small_size
from kairos_async.engine.schedule import Schedule
from kairos_async.engine.slots import Slot
from kairos_async.events import EventLevel, Hook, ValidationComplete, ValidationFail, ValidationStart
from kairos_async.exceptions import SecurityError, StepTimeoutError, ValidationError
from kairos_async.flow import SecretOutput
from kairos_async.outcomes import Attempt
from kairos_async.plan import Node
from kairos_async.state import read_copy, store_copy
from kairos_async.step import SKIP


class RunServices(Services, Protocol):
    """What one call needs of its run."""

    run_id: str
    context: contextvars.Context
    hooks: tuple[Hook, ...]
    schedule: Schedule
    on_secret_output: SecretOutput
    stopping: bool
    deadline: float

    def now(self) -> float:
        """The event loop's clock, in seconds."""

    def threads(self) -> anyio.CapacityLimiter:
        """The run's worker threads."""

    def emit(self, kind: type[Any], step: str | None, level: EventLevel, data: dict[str, JSONValue]) -> None:
        """Build the event and give it to the hooks."""

    def commit(self, node: Node, output: JSONValue, size: int, written: dict[str, JSONValue] | None) -> None:
        """Store what a step produced: its output, and what it wrote; `size` is that of both together."""


class Call(Scope):
    """A step, or an item of a foreach, on its way to an outcome; also the scope of its attempt under way.

    `started`, `ended` (of the last attempt) and `deadline` (infinite if the step has no total_timeout) are on the event
    loop's clock. `feedback` is for the next attempt's `ctx.retry_context`. `attempts` has those made so far, but for
    a first one that succeeded.
    """

    __slots__ = ("attempts", "deadline", "ended", "feedback", "index", "item", "slot", "started")

    run: RunServices
    node: Node

    def __init__(
        self,
        run: RunServices,
        node: Node,
        slot: Slot,
        deadline: float,
        item: JSONValue = None,
        index: int | None = None,
    ) -> None:
        super().__init__(run, node)
        self.slot = slot
        self.started = self.ended = run.now()
        self.deadline = deadline
        self.item = item
        self.index = index
        self.attempts: list[Attempt] = []
        self.feedback: dict[str, JSONValue] | None = None

    def __str__(self) -> str:
        item = "" if self.index is None else f", item {self.index}"
        return f"Step {self.node.name!r}{item}"


class Produced(NamedTuple):
    """What a successful attempt leaves: its output, its writes, and the size of both; nothing if it returned SKIP."""

    output: JSONValue
    size: int
    written: dict[str, JSONValue] | None
    skipped: bool = False


async def run_attempt(call: Call, number: int) -> Produced:
    """Call the action once, between its contracts and within its deadline.

    Raises:
        StepTimeoutError: the attempt, or the step as a whole, was not done in time; also when the action swallowed
            its cancellation and returned late.
        ValidationError: the input or the output broke its contract.
        StateError: the output is not JSON.
        BaseException: whatever the action raised.
    """
    run, node = call.run, call.node
    item = None if call.index is None else read_copy(call.item)
    context = StepContext(node.name, run.run_id, number, item, call.index, call.feedback)
    if node.observed is None:
        node.observed = set()
    open_context(context, call)
    try:
        if node.timeout is None and call.deadline == math.inf:
            output = await _call_action(call, number, context, math.inf)
        else:
            output = await _call_in_time(call, number, context)
    finally:
        close_context(context)
    if output is SKIP:
        return Produced(None, 0, None, skipped=True)
    small = None if node.output_contract is None else small_size(output)
    if small is None:
        output, small = store_copy(output, run.store.limits.value_bytes, node.output_subject)
    # else: a contract gives new built-in values, which nobody else holds, and which leave nothing to check.
    if run.redactor.holds_secret(output):
        output = _guarded(call, node.name, output)
    written = call.written
    if written is not None:
        written = {k: _guarded(call, k, v) if run.redactor.holds_secret(v) else v for k, v in written.items()}
    return Produced(output, small + call.size, written)


def _guarded(call: Call, key: str, value: JSONValue) -> JSONValue:
    """What becomes of a value that carries a known secret to where nobody would look for one.

    Raises:
        SecurityError: the workflow says that this is a failure.
    """
    run = call.run
    if run.on_secret_output is SecretOutput.ALLOW or run.redactor.is_sensitive(key):
        return value
    if run.on_secret_output is SecretOutput.REDACT:
        return run.redactor.redact(value)
    what = "returns" if key == call.node.name else f"writes to key {key!r}"
    raise SecurityError(
        f"{call} {what} a value that carries a secret of this run outside of a sensitive key; nothing of it is stored. "
        "Leave it out, put it under a sensitive key of its own, or choose another on_secret_output for the workflow."
    )


async def _call_in_time(call: Call, number: int, context: StepContext) -> Any:
    run, timeout = call.run, call.node.timeout
    started = run.now()
    deadline = call.deadline if timeout is None else min(call.deadline, started + timeout)
    late = False
    output: Any = None
    with anyio.CancelScope(deadline=deadline) as bound:
        try:
            output = await _call_action(call, number, context, deadline)
        except StepTimeoutError:
            raise
        except Exception:
            if not bound.cancel_called:
                raise
            late = True
    if late or bound.cancelled_caught or run.now() >= deadline:
        raise _timeout(call, number, deadline, abandoned=False)
    return output


def _timeout(call: Call, number: int, deadline: float, *, abandoned: bool) -> StepTimeoutError:
    if deadline == call.deadline and call.node.step.total_timeout is not None:
        return StepTimeoutError(f"{call} with all its attempts", call.node.step.total_timeout, abandoned=abandoned)
    return StepTimeoutError(f"{call}, attempt {number},", call.node.timeout or 0.0, abandoned=abandoned)


async def _call_action(call: Call, number: int, context: StepContext, deadline: float) -> Any:
    run, node = call.run, call.node
    if node.input_contract is not None:
        fields = node.input_contract.fields
        received = {key: context.inputs[key] for key in sorted(fields or context.inputs) if key in context.inputs}
        await _check(call, node.input_contract, received, "input", number)
    if node.is_async:
        output = await in_context(run.context.copy(), node.action(context))
    else:
        output = await _in_thread(call, number, context, deadline)
    contract = node.output_contract
    if contract is None or output is SKIP:
        return output
    if contract.is_async or run.hooks:
        return await _check(call, contract, output, "output", number)
    return contract.validate(output, node.output_subject)


async def _check(call: Call, contract: Contract, data: Any, boundary: str, number: int) -> JSONValue:
    run, node = call.run, call.node
    subject = node.output_subject if boundary == "output" else node.input_subject
    facts: dict[str, JSONValue] = {"contract": contract.name, "boundary": boundary, "attempt": number}
    if run.hooks:
        run.emit(ValidationStart, node.name, EventLevel.INFO, facts)
    try:
        if contract.is_async:
            value = await contract.validate_async(data, subject, count_llm_call=run.meter.add)
        else:
            value = contract.validate(data, subject)
    except ValidationError as error:
        if not run.hooks:
            raise
        broken: list[JSONValue] = [{"field": e.declared, "rule": e.rule, "expected": e.expected} for e in error.errors]
        run.emit(ValidationFail, node.name, EventLevel.WARN, {**facts, "errors": broken})
        raise
    if run.hooks:
        run.emit(ValidationComplete, node.name, EventLevel.INFO, facts)
    return value


@types.coroutine
def in_context(context: contextvars.Context, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run the coroutine in the current task, with every one of its steps inside the given context.

    A worker task goes on from step to step; without this, context variables that one step sets would be seen by the
    next one. A new task for each attempt would do it too, at ten times the cost.
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


async def _in_thread(call: Call, number: int, context: StepContext, deadline: float) -> Any:
    """Run a sync action in a worker thread.

    A thread cannot be stopped. A cancellation from outside therefore waits for it to end; a deadline (of the attempt,
    of the run, or of a scope around the run) does not, and abandons it.
    """
    run = call.run
    await anyio.lowlevel.checkpoint_if_cancelled()
    finished = False
    output: Any = None
    with anyio.CancelScope(deadline=min(deadline, anyio.current_effective_deadline()), shield=True):
        output = await anyio.to_thread.run_sync(
            call.node.action, context, abandon_on_cancel=True, limiter=run.threads()
        )
        finished = True
    if not finished and run.now() >= deadline:
        raise _timeout(call, number, deadline, abandoned=True)
    await anyio.lowlevel.checkpoint_if_cancelled()
    return await in_context(run.context.copy(), _await(output)) if inspect.isawaitable(output) else output


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
