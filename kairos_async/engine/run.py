"""A run: one loop, and the worker tasks that go through it.

The loop is `Run.work`. A worker task takes a unit from the ready queue, runs it, records how it ended, and goes on
with the next unit that this made ready; only for further ones does it start tasks. So a chain of steps costs one
task, and a run holds as many tasks as it has steps (or items) under way.
"""

from __future__ import annotations

import contextvars
import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from kairos_async._types import MISSING, JSONValue
from kairos_async.account import Account
from kairos_async.budget import Budget
from kairos_async.context import CURRENT, SPENDER, Ending, current_spender
from kairos_async.engine.call import Call
from kairos_async.engine.dispatch import Dispatch
from kairos_async.engine.emit import Emitter
from kairos_async.engine.fanout import Fanout
from kairos_async.engine.replan import Planner, replan
from kairos_async.engine.results import (
    FAILED_AND_SKIPPED,
    announce,
    fanout_result,
    final_facts,
    settle_rest,
    step_result,
    workflow_result,
)
from kairos_async.engine.runner import GaveUp, attempt, explain, recover
from kairos_async.engine.schedule import Unit
from kairos_async.engine.slots import Slot
from kairos_async.engine.tasks import clock_of, native_loop, workers_of
from kairos_async.events import INFO, EventLevel, Hook, StepStart, WorkflowComplete, WorkflowStart
from kairos_async.exceptions import BudgetExceeded, ConfigError, StateError, StepTimeoutError
from kairos_async.failure import Failure, FailureAction, FailureKind
from kairos_async.flow import SecretOutput
from kairos_async.limits import Limiter
from kairos_async.node import Node
from kairos_async.outcomes import Replan, StepResult, StepResults, StepStatus, WorkflowResult, WorkflowStatus
from kairos_async.plan import TaskGraph
from kairos_async.security import KnownSecrets, Redactor, sanitize_exception
from kairos_async.state import StateLimits, StateStore

_YIELD_EVERY: Final = 64
"""Units that a worker runs before it lets others have the loop: steps that never wait would keep it for themselves."""

_MAX_THREADS: Final = 1000
"""Worker threads of a run without a max_concurrency."""


@functools.cache
def _silent() -> Emitter:
    """The emitter of every run without hooks, until there is something to say after all."""
    return Emitter("", (), Redactor())


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a workflow decides for all its runs. `timeout` is in seconds."""

    workflow: str
    graph: TaskGraph
    concurrency: int | Limiter | None
    limits: StateLimits
    hooks: tuple[Hook, ...]
    planner: Planner | None
    output: str | None
    sensitive_keys: tuple[str, ...]
    on_secret_output: SecretOutput
    budget: Budget | None

    def with_hook(self, hook: Hook) -> RunConfig:
        """The same, with one more hook."""
        return dataclasses.replace(self, hooks=(*self.hooks, hook))


class Run(Dispatch):
    """One run of a workflow. Made with checked inputs, executed once.

    Raises:
        StateError: an input is not JSON, or too large.
    """

    __slots__ = (
        *("_threads", "account", "deadline", "emit", "emitter", "ended", "endings", "entering", "failure", "graph"),
        *("hooks", "input_keys", "now", "on_secret_output", "outer", "outer_deadline", "output_step", "planner"),
        *("redactor", "refused", "replan_lock", "replans", "results", "run_id", "secrets", "started", "store"),
        *("thread", "timeout", "workflow"),
    )

    now: Callable[[], float]
    started: float
    ended: float
    results: StepResults

    def __init__(self, config: RunConfig, inputs: Mapping[str, object], timeout: float | None) -> None:
        super().__init__(config.graph, config.concurrency)
        self.workflow = config.workflow
        self.output_step = config.output
        self.planner = config.planner
        self.input_keys = frozenset(inputs)
        self.graph = config.graph
        self.run_id = os.urandom(16).hex()
        self.secrets = KnownSecrets()
        self.redactor = Redactor(config.sensitive_keys, registry=self.secrets)
        self.on_secret_output = config.on_secret_output
        self.store = StateStore(inputs, config.limits)
        self.outer = current_spender()
        self.account = Account(
            "run", f"Workflow {self.workflow!r}", config.budget, self.outer.account if self.outer else None
        )
        self.refused: BudgetExceeded | None = None
        self.hooks = config.hooks
        self.emitter = Emitter(self.run_id, config.hooks, self.redactor) if config.hooks else _silent()
        self.emit = self.emitter.emit
        self.entering = self.emitter.entering() if config.hooks else ()
        if inputs:
            for key, value in self.store.snapshot().items():
                self.redactor.register_sensitive_parts(value, key)
        self.timeout = timeout
        self.replans: list[Replan] = []
        self.deadline = self.outer_deadline = math.inf
        self.replan_lock = anyio.Lock() if config.planner is not None else None
        self.failure: Failure | None = None
        self._threads: anyio.CapacityLimiter | None = None
        self.thread = 0
        self.endings: list[Ending] = []

    async def execute(self) -> WorkflowResult:
        """Run all steps.

        Raises:
            ConfigError: the run may not use its limiter.
            BaseException: only what ends the caller itself (a cancellation, KeyboardInterrupt), once every task of
                the run has ended.
        """
        self.context = contextvars.copy_context()
        self.context.run(SPENDER.set, self)
        self.context.run(CURRENT.set, None)
        self.thread = threading.get_ident()
        loop = native_loop()
        self.workers = workers_of(loop)
        self.now = clock_of(loop)
        self.started = self.ended = self.now()
        self.results = StepResults(started=self.started)
        if self.shared:
            self._join_others(loop)
        try:
            if not self.hooks:
                return workflow_result(self, await self._execute())
            return await self._execute_watched()
        finally:
            if self.shared and self.limiter is not None:
                self.limiter.leave(self, self.unbegun)

    def _join_others(self, loop: object) -> None:
        """Begin to use a limiter that other runs use as well."""
        if self.limiter is None:
            return
        held, outer = 0, self.outer
        while outer is not None:
            held += isinstance(outer, Call) and outer.run.limiter is self.limiter
            outer = outer.outer
        if held >= self.limiter.total:
            raise ConfigError(
                f"Workflow {self.workflow!r} would wait for ever: the step that runs it has the last slot of the "
                "Limiter that both use. Give it a Limiter of its own, or this one more slots."
            )
        self.limiter.join(loop)

    async def _execute_watched(self) -> WorkflowResult:
        """The same with hooks, from before their first event to after their last one."""
        async with AsyncExitStack() as stack:
            await self.emitter.attach(stack, self.workflow)
            facts: dict[str, JSONValue] = {
                "workflow": self.redactor.text(self.workflow),
                "steps": len(self.graph),
                "inputs": [self.redactor.text(key) for key in self.store.snapshot()],
            }
            self.emitter.say(WorkflowStart, None, EventLevel.INFO, facts)
            status = self._close(WorkflowStatus.FAILED) if self._hook_broke() else await self._execute()
        return workflow_result(self, WorkflowStatus.FAILED if self._hook_broke() else status)

    def _hook_broke(self) -> bool:
        """Whether a hook without which the run does not count has failed."""
        if self.emitter.broken is None:
            return False
        self.failure = self.failure or Failure("", FailureKind.EXECUTION, *self.emitter.broken, 0)
        return True

    async def _execute(self) -> WorkflowStatus:
        try:
            await anyio.lowlevel.checkpoint_if_cancelled()  # a run inside of a cancelled scope starts nothing
            if self.graph.has_threads or self.planner is not None:
                self.outer_deadline = anyio.current_effective_deadline()
            if self.shared and self.schedule.unended:
                self.workers.hold()  # all that is ready may have to wait for a slot of other runs
            if self.timeout is None and self.account.budget is None:
                await self.workers.run(self.go_on, self._stop)
            else:
                with anyio.CancelScope(deadline=self._set_deadline()):
                    await self.workers.run(self.go_on, self._stop)
        except BaseException:
            self._close(WorkflowStatus.CANCELLED)
            raise
        finally:
            if self.endings:
                await self._end()
        if self.failure is None and self.schedule.unended:
            assert self.deadline < math.inf, "a run ends with its last step, its failure, or its timeout"
            self.failure = explain(self, "", self._late(), 0)
        return self._close(WorkflowStatus.COMPLETE if self.failure is None else WorkflowStatus.FAILED)

    def _set_deadline(self) -> float:
        """When the run has to be done: by its timeout, or by the seconds of its budget."""
        self.account.start(self.started)
        self.deadline = min(self.started + (self.timeout or math.inf), self.account.deadline)
        return self.deadline

    def _late(self) -> StepTimeoutError | BudgetExceeded:
        """The error for a deadline that has passed."""
        if self.account.deadline <= self.deadline:
            return self.account.out_of_time()
        return StepTimeoutError(f"Workflow {self.workflow!r}", self.timeout or 0.0)

    async def _end(self) -> None:
        """Await what the steps have left for the end of the run, each whatever the others do."""
        with anyio.CancelScope(shield=True):
            for ending in self.endings:
                try:
                    await ending()
                except Exception as error:
                    if self.emitter is _silent():
                        self.emitter = Emitter(self.run_id, (), self.redactor)
                    self.emitter.warnings.append(": ".join(("end of run", *sanitize_exception(error, self.redactor))))

    def _stop(self) -> None:
        self.stopping = True

    async def work(self, scope: anyio.CancelScope, unit: Unit, index: int) -> None:
        """The main loop: run a unit, record how it ended, go on with the next one that is ready, or end.

        `index` is the position of the item if the unit is a foreach.
        """
        slot = Slot(self)
        rounds = 0
        with scope:
            try:
                following: tuple[Unit, int] | None = unit, index
                while following is not None and not self.stopping:
                    unit, index = following
                    gauge = self.emitter.gauge  # most have room: to see that here takes a third of what a call does
                    if gauge is not None and len(gauge.facts) >= gauge.room and self.emitter.is_full():
                        await self.emitter.drain()
                        continue
                    fanout = unit if isinstance(unit, Fanout) else None
                    if fanout is not None:
                        item = fanout.begin(index, slot)
                        try:
                            completed = not fanout.fails_fast and await attempt(item, 1) and not item.skipped
                        except BaseException:
                            fanout.note_cancelled(item)
                            raise
                        over = fanout.complete(item) if completed else await fanout.settle(item)
                        if over:
                            await self._conclude(fanout, slot)
                    elif (node := unit.node).foreach is not None:
                        await self._begin_fanout(node, node.foreach, slot)
                    else:
                        call = self._begin(node, slot)
                        if await attempt(call, 1) and not call.skipped:
                            self._complete(call)
                        else:
                            await self._settle(call, slot)
                    following = self.next_for(slot, fanout) or (await rest if (rest := self.rest(slot)) else None)
                    rounds += 1
                    if rounds % _YIELD_EVERY == 0:
                        await anyio.lowlevel.checkpoint()
            except BaseException:
                self.stopping = True  # Only what ends the run comes through: from here on nothing starts.
                raise
            finally:
                slot.give_up()
        self.workers.leave()

    def _begin(self, node: Node, slot: Slot) -> Call:
        if self.hooks:
            if (tell := self.emitter.step_start) is None:
                next(self.emitter.numbers)
            else:
                tell(node.shown or self.emitter.name_of(node), INFO, node.start or self.graph.note_starts(node))
        call = self.active[node.name] = Call(self, node, slot, self.account)
        if node.bounded:
            call.bound(node.step.total_timeout, "step", node.step.budget)
        return call

    async def _settle(self, call: Call, slot: Slot) -> None:
        """Record every other outcome, once there is one."""
        gave_up = await recover(call) if call.attempts else None
        await self._finish(call.node, step_result(self, call, gave_up), gave_up, slot)

    def _complete(self, call: Call) -> None:
        """Record a step that completed at its first attempt, as nearly all do."""
        self.results.record_first_success(call.node.name, call.output, call.started, call.ended)
        if self.hooks:
            emitter = self.emitter
            if (tell := emitter.step_complete) is None:
                next(emitter.numbers)
            else:
                # What `announce_completed` tells: with its frame, that takes a fifth longer.
                took = (call.ended - call.started) * 1000
                data: dict[str, JSONValue] = {"duration_ms": took, "attempts": 1, "attempt_ms": took}
                if emitter.outputs:
                    data["output"] = call.shown
                tell(call.node.shown or emitter.name_of(call.node), INFO, data)
        self._leave(call.node)

    async def _begin_fanout(self, node: Node, key: str, slot: Slot) -> None:
        items = self.store.read(key, node.upstream)
        if self.hooks:
            needs: list[JSONValue] = [*self.graph.all_needs[node.name]]
            facts: dict[str, JSONValue] = {"attempt": 1, "needs": needs, "foreach": key}
            if isinstance(items, list):
                facts["items"] = len(items)
            self.emit(StepStart, node.name, EventLevel.INFO, facts)
        if not isinstance(items, list):
            found = "nothing" if items is MISSING else f"a value of type {type(items).__name__}"
            such_as = ", such as list(d.items())" if isinstance(items, dict) else ""
            wrong = StateError(
                f"Step {node.name!r} has foreach={key!r}, where there is {found}; it needs a list: an input, or what a "
                f"step before it returns{such_as}."
            )
            fanout = self.active[node.name] = Fanout(self, node, [])
            await self._conclude(fanout, slot, wrong)
            return
        fanout = self.active[node.name] = Fanout(self, node, items)
        if items:
            fanout.offer()
        else:
            await self._conclude(fanout, slot)

    async def _conclude(self, fanout: Fanout, slot: Slot, wrong: StateError | None = None) -> None:
        gave_up = await fanout.conclude(slot, wrong)
        await self._finish(fanout.node, fanout_result(self, fanout, gave_up), gave_up, slot)

    async def _finish(self, node: Node, result: StepResult, gave_up: GaveUp | None, slot: Slot) -> None:
        """Record an outcome, and do what a failure asks for."""
        if self.hooks:
            announce(self, result, gave_up.action if gave_up else None)
        if gave_up is not None and gave_up.action is FailureAction.REPLAN:
            self.active[node.name] = result
            if await replan(self, node, result, gave_up.failure, slot):
                return
            skips = node.policy.fallback_action is FailureAction.SKIP and not self.stopping
            gave_up = GaveUp(gave_up.failure, FailureAction.SKIP if skips else FailureAction.ABORT)
            result = dataclasses.replace(result, status=gave_up.status, reason=FAILED_AND_SKIPPED if skips else None)
            if self.hooks and skips:
                announce(self, result)
        if gave_up is not None and gave_up.action is FailureAction.ABORT:
            self.abort(gave_up.failure)
        self.end(result)

    def end(self, result: StepResult) -> None:
        """Record how a step ended; what waited only for it becomes ready."""
        self.results.record(result)
        if result.status is not StepStatus.COMPLETED:
            self.without_output.add(result.name)
        self._leave(self.graph.nodes[self.graph.index[result.name]])

    def _leave(self, node: Node) -> None:
        self.active.pop(node.name, None)
        self.schedule.record(node)
        if self.shared:
            self.note_end()

    def abort(self, failure: Failure) -> None:
        """End the run: cancel what is running; what has not run is skipped."""
        if self.failure is None:
            self.failure = failure
            self.workers.cancel()

    def adopt(self, graph: TaskGraph, record: Replan) -> None:
        """Go on with another graph."""
        self.graph = graph
        self.replans.append(record)
        self.reschedule()

    def reschedule(self) -> None:
        """Work out anew what is ready."""
        self.restart(self.graph, self.results)

    def commit(self, node: Node, output: JSONValue, size: int, written: dict[str, JSONValue] | None) -> None:
        """Store what a step produced: its output, and what it wrote; `size` is that of both together."""
        if written is None:
            self.store.commit_output(node.name, output, size)
            return
        self.store.commit(node.name, {**written, node.name: output}, size + len(node.name), node.upstream)

    def threads(self) -> anyio.CapacityLimiter:
        """The run's worker threads. Slots bound them already, if there is a limit; a token would also count threads
        that were abandoned."""
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(math.inf if self.limiter else _MAX_THREADS)
        return self._threads

    def skip_for_want(self, node: Node) -> bool:
        """Skip the step if it needs the output of one that has none."""
        missing = node.required & self.without_output
        if not missing:
            return False
        result = StepResult(
            node.name, StepStatus.SKIPPED, reason=f"needs the output of step {min(missing)!r}, which has none"
        )
        if self.hooks:
            announce(self, result, None)
        self.end(result)
        return True

    def _close(self, status: WorkflowStatus) -> WorkflowStatus:
        """Settle what has not run, and emit the final event."""
        settle_rest(self, status)
        self.ended = self.now()
        if self.hooks:
            level = EventLevel.INFO if status is WorkflowStatus.COMPLETE else EventLevel.ERROR
            self.emit(WorkflowComplete, None, level, final_facts(self, status))
        return status
