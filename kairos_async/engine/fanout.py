"""The items of a foreach: concurrent, bounded, and ordered in their results.

A foreach holds no task of its own. It waits in the ready queue like a step; each time a slot is free it hands out the
next item and queues again behind the others, so that a long list never holds back the rest of the graph, and at most
as many items as have a slot, or wait for a retry, are in memory.
"""

from __future__ import annotations

import math
from array import array
from typing import Final

import anyio

from kairos_async._types import JSONValue
from kairos_async.engine.call import Call, RunServices
from kairos_async.engine.runner import GaveUp, attempt, recover, recover_foreach
from kairos_async.engine.slots import Slot
from kairos_async.engine.tasks import cancel_pending, shake_off_requests
from kairos_async.events import INFO, EventLevel, ItemFail
from kairos_async.exceptions import ScopeError, StateError
from kairos_async.failure import Failure, FailureAction, FailureKind, ForeachPolicy
from kairos_async.node import Node
from kairos_async.outcomes import Attempt, AttemptStatus, ItemOutcome, ItemOutcomes, StepStatus

_UNDER_WAY_PER_SLOT: Final = 16
"""Items of a foreach without a max_concurrency that may be under way for each slot. One that waits for a retry has no
slot, but a task: without a bound, a million items that all fail would be a million tasks that wait."""

_STOPPED: Final = GaveUp(Failure("", FailureKind.EXECUTION, "", "", 0), FailureAction.ABORT)
"""The outcome of an item that another item's failure ended; compared by identity."""


class Fanout:
    """A foreach under way.

    Attributes:
        items: the stored list; each item is copied for its action.
        fails_fast: whether an item that fails ends the others; `settle` then makes its first attempt.
        stopped: whether a failure has ended this foreach: no other item starts.
        outputs: by position; None where an item has not completed.
        output: of the step: those, or what a custom handler gave instead of them.
    """

    __slots__ = (
        "_account",
        "_count",
        "_deadline",
        "_durations",
        "_ended",
        "_exceptional",
        "_failed",
        "_item_budget",
        "_limit",
        "_next",
        "_queued",
        "_running",
        "_scopes",
        "_size",
        "_starts",
        "_writes",
        "_written_size",
        "fails_fast",
        "items",
        "node",
        "output",
        "outputs",
        "parallel",
        "run",
        "started",
        "stopped",
    )

    def __init__(self, run: RunServices, node: Node, items: list[JSONValue]) -> None:
        self.run = run
        self.node = node
        self.parallel = True  # The step as a whole holds the place of a `parallel=False` step; its items need none.
        self.items = items
        self.started = run.now()
        self._count = len(items)
        self.outputs: list[JSONValue] = [None] * self._count
        self.output: JSONValue = self.outputs
        step = node.step
        self._account = run.account.part("step", f"Step {node.name!r}", step.budget, self.started)
        self._deadline = self.started + (step.total_timeout or math.inf)
        if step.budget is not None:  # without one of its own, the account is that of the run, whose seconds end the run
            self._deadline = min(self._deadline, self._account.deadline)
        self._item_budget = step.item_budget
        self._starts = array("d", [math.nan]) * self._count
        self._durations = self._starts[:]
        self._exceptional: dict[int, ItemOutcome] = {}
        self._failed: dict[int, GaveUp] = {}
        slots = math.inf if run.limiter is None else run.limiter.total
        self._limit = node.step.max_concurrency or slots * _UNDER_WAY_PER_SLOT
        self._next = self._running = self._ended = self._size = self._written_size = 0
        self._queued = self.stopped = False
        self._writes: list[tuple[int, dict[str, JSONValue]]] = []
        self.fails_fast = node.step.foreach_policy is ForeachPolicy.FAIL_FAST
        self._scopes: set[anyio.CancelScope] = set()  # under FAIL_FAST, of the items under way

    def may_start(self) -> bool:
        """Whether another item may start and none is queued."""
        return not self._queued and self._next < self._count and self._running < self._limit and not self.stopped

    def offer(self) -> None:
        """Queue for a slot if an item may start and none is queued."""
        if self.may_start():
            self._queued = True
            self.run.schedule.push(self)

    def claim(self) -> int:
        """The position of the item that uses the slot; called when the foreach leaves the queue."""
        index = self._next
        self._next += 1
        self._running += 1
        self._queued = False
        if self._running < self._limit:
            self.offer()
        return index

    def begin(self, index: int, slot: Slot) -> Call:
        """The item on its way."""
        call = Call(self.run, self.node, slot, self._account, self._deadline, self.items[index], index)
        if self._item_budget is not None:
            call.bound(None, "item", self._item_budget)
        return call

    def complete(self, call: Call) -> bool:
        """Record an item that completed at its first attempt, as nearly all do. True if the foreach has ended."""
        index = call.index
        assert index is not None
        started = call.started
        duration_ms = (call.ended - started) * 1000
        self._running -= 1
        self._ended += 1
        self._starts[index] = (started - self.run.started) * 1000
        self._durations[index] = duration_ms
        self._keep(call, index)
        if self.run.hooks:
            self._announce(call, StepStatus.COMPLETED, duration_ms, None)
        return not self._running and self._is_over()

    async def settle(self, call: Call) -> bool:
        """Bring an item to every other outcome, and record it. True if the foreach has ended.

        Under FAIL_FAST the first attempt is made here too.
        """
        gave_up: GaveUp | None = None
        try:
            if self.fails_fast:
                gave_up = await self._settle_or_stop(call)
            elif call.attempts:
                gave_up = await recover(call)
        except BaseException:
            self.note_cancelled(call)
            raise
        if gave_up is None and not (call.attempts or call.skipped):
            return self.complete(call)
        self._running -= 1
        if gave_up is _STOPPED:
            self.note_cancelled(call)
        else:
            self._record(call, gave_up)
        return not self._running and self._is_over()

    def _is_over(self) -> bool:
        return self.stopped or self._ended == self._count

    def _keep(self, call: Call, index: int) -> None:
        self.outputs[index] = call.output
        self._size += call.output_size + 8
        if call.written is not None:
            self._written_size += call.size
            self._writes.append((index, call.written))

    def note_cancelled(self, call: Call) -> None:
        """Record an item that was ended."""
        self._note(call, StepStatus.CANCELLED, None)

    async def _settle_or_stop(self, call: Call) -> GaveUp | None:
        """The item's outcome, or `_STOPPED` if another item's failure ended it."""
        if self.stopped:
            return _STOPPED
        try:
            with anyio.CancelScope() as scope:
                self._scopes.add(scope)
                call.slot.item_scope = scope
                try:
                    return None if await attempt(call, 1) else await recover(call)
                finally:
                    call.slot.item_scope = None
                    self._scopes.discard(scope)
        except anyio.get_cancelled_exc_class():
            # The scope lets its cancellation through if the action has asked for one of its task in the same moment.
            if cancel_pending():
                raise
            await shake_off_requests()
        return _STOPPED

    def _record(self, call: Call, gave_up: GaveUp | None) -> None:
        index = call.index
        assert index is not None
        if gave_up is not None:
            if gave_up.status is StepStatus.FAILED_FINAL:
                self._failed[index] = gave_up
                self.stopped = self.fails_fast
                for scope in self._scopes:
                    scope.cancel()
            self._note(call, gave_up.status, gave_up.failure)
            return
        self._keep(call, index)
        self._note(call, StepStatus.SKIPPED if call.skipped else StepStatus.COMPLETED, None)

    def _note(self, call: Call, status: StepStatus, failure: Failure | None) -> None:
        index = call.index
        assert index is not None
        self._ended += 1
        started_ms, duration_ms = (call.started - self.run.started) * 1000, (call.ended - call.started) * 1000
        self._starts[index] = started_ms
        self._durations[index] = duration_ms
        if status is not StepStatus.COMPLETED or call.attempts:
            if status is StepStatus.SKIPPED and not call.attempts:
                call.attempts = (Attempt(1, AttemptStatus.SUCCESS, duration_ms, started_ms=started_ms),)
            self._exceptional[index] = ItemOutcome(
                index,
                status,
                duration_ms,
                self.outputs[index],
                call.attempts,
                failure.error_type if failure else None,
                failure.error_message if failure else None,
                started_ms,
            )
        if self.run.hooks:
            self._announce(call, status, duration_ms, failure)

    def _announce(self, call: Call, status: StepStatus, duration_ms: float, failure: Failure | None) -> None:
        data: dict[str, JSONValue] = {
            "index": call.index,
            "done": self._ended,
            "total": self._count,
            "duration_ms": duration_ms,
            "attempts": len(call.attempts) or 1,
            "attempt_ms": call.attempts[-1].duration_ms if call.attempts else duration_ms,
        }
        if status is StepStatus.COMPLETED:
            emitter = self.run.emitter
            if (tell := emitter.item_complete) is None:
                next(emitter.numbers)
            else:
                tell(self.node.shown or emitter.name_of(self.node), INFO, data)
            return
        data["status"] = status.value
        data["error_type"] = failure.error_type if failure else None
        data["error_message"] = failure.error_message if failure else None
        self.run.emit(ItemFail, self.node.name, EventLevel.WARN, data)

    def outcomes(self) -> ItemOutcomes:
        """Every item's outcome; SKIPPED for those that never started."""
        return ItemOutcomes(self.outputs, self._starts, self._durations, self._exceptional)

    async def conclude(self, slot: Slot, wrong: StateError | None = None) -> GaveUp | None:
        """End the step: commit its output and its items' writes, or say why it failed.

        `wrong` says why there was no list of items. Such a failure, and one to commit, is that of the foreach as a
        whole, for which its policy is asked as for any step; that of an item has been through it.
        """
        partial = self.node.step.foreach_policy is ForeachPolicy.ALLOW_PARTIAL
        if self._failed and not partial:
            return self._failed[min(self._failed)]
        if wrong is None:
            try:
                self._commit()
                return None
            except StateError as error:
                wrong = error
        call = Call(self.run, self.node, slot, self._account, self._deadline)
        gave_up = await recover_foreach(call, wrong)
        self.output = call.output
        return gave_up

    def _commit(self) -> None:
        limit = self.run.store.limits.value_bytes
        if self._size > limit:
            raise StateError(
                f"{self.node.output_subject}: its {self._count} outputs have {self._size} bytes together; the "
                f"limit of one value is {limit}."
            )
        writers: dict[str, int] = {}
        values: dict[str, JSONValue] = {}
        for index, written in sorted(self._writes, key=lambda entry: entry[0]):
            for key in written:
                if key in writers:
                    raise ScopeError(
                        f"Items {writers[key]} and {index} of step {self.node.name!r} both write key {key!r}, and "
                        "items have no order. Return the values and combine them in a step that follows."
                    )
                writers[key] = index
            values.update(written)
        self.run.commit(self.node, self.outputs, self._size + self._written_size, values or None)
