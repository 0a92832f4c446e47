"""Re-planning: the planner's steps replace the part of the graph that has not run.

The failed step has stored nothing (an attempt's writes are committed only with its success), so the state is the one
from before it. While the planner thinks, what is running goes on and no other step starts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import anyio

from kairos_async._types import JSONValue
from kairos_async.engine.results import RunRecord
from kairos_async.engine.runner import call_user, explain, let_cancellation_through
from kairos_async.engine.slots import Slot
from kairos_async.engine.tasks import shake_off_requests
from kairos_async.events import EventLevel, PlanReplaced
from kairos_async.exceptions import PlanError
from kairos_async.failure import Failure
from kairos_async.outcomes import Replan, StepResult, StepStatus
from kairos_async.plan import Node, TaskGraph
from kairos_async.state import INPUTS
from kairos_async.step import Step


@dataclass(frozen=True, slots=True)
class ReplanRequest:
    """What a planner is asked with. It holds no output: names only, and the sanitised failure.

    Attributes:
        failure: why the plan has to change.
        finished: names of the steps that completed; new steps may depend on them.
        running: names of the steps that are under way and stay; new steps may depend on them too.
        unfinished: the steps that are replaced, the failed one among them; a planner may return some of them again.
        number: of this re-plan, from 1.
    """

    failure: Failure
    finished: tuple[str, ...]
    running: tuple[str, ...]
    unfinished: tuple[Step, ...]
    number: int


Planner: TypeAlias = Callable[[ReplanRequest], Iterable[Step] | Awaitable[Iterable[Step]]]
"""Returns the steps that replace `request.unfinished`. Sync planners are called in a worker thread."""


class Replannable(RunRecord, Protocol):
    """A run whose graph can be replaced."""

    planner: Planner | None
    planning: int
    replan_lock: anyio.Lock | None
    input_keys: frozenset[str]

    def abort(self, failure: Failure) -> None:
        """End the run."""

    def adopt(self, graph: TaskGraph, record: Replan) -> None:
        """Go on with another graph."""

    def reschedule(self) -> None:
        """Work out anew what is ready."""

    def pump(self) -> None:
        """Start what may start."""


async def replan(run: Replannable, node: Node, result: StepResult, failure: Failure, slot: Slot) -> bool:
    """Replace the part of the graph that has not run, after `node` failed. False if the run has to be aborted."""
    run.planning += 1
    slot.give_up()
    try:
        if run.replan_lock is not None and run.planner is not None:
            async with run.replan_lock:
                if len(run.replans) < node.policy.max_replans:
                    return await _replace(run, node, result, failure, run.planner)
        run.reschedule()
        return False
    finally:
        run.planning -= 1
        run.pump()


async def _replace(run: Replannable, node: Node, result: StepResult, failure: Failure, planner: Planner) -> bool:
    begun = set(run.active) - {node.name}
    removed = [n for n in run.graph.nodes if n.name not in run.results and n.name not in begun]
    number = len(run.replans) + 1
    request = ReplanRequest(
        failure=failure,
        finished=tuple(name for name, done in run.results.items() if done.status is StepStatus.COMPLETED),
        running=tuple(sorted(begun)),
        unfinished=tuple(n.step for n in removed),
        number=number,
    )
    try:
        added = await call_user(run, planner, request)
        await shake_off_requests()
        graph, names = _splice(run, removed, added, number)
    except BaseException as error:
        await let_cancellation_through(run, error)
        cause = explain(run, node.name, error, failure.attempt)
        run.abort(dataclasses.replace(cause, error_message=f"the planner failed: {cause.error_message}"))
        return False
    record = Replan(number, result, tuple(n.name for n in removed), names)
    if run.hooks:
        removed_names: list[JSONValue] = [run.redactor.text(name) for name in record.removed]
        added_names: list[JSONValue] = [run.redactor.text(name) for name in record.added]
        facts: dict[str, JSONValue] = {"number": number, "removed": removed_names, "added": added_names}
        run.emitter.say(PlanReplaced, node.name, EventLevel.WARN, facts)
    run.active.pop(node.name, None)
    run.adopt(graph, record)
    return True


def _splice(run: Replannable, removed: list[Node], answer: object, number: int) -> tuple[TaskGraph, tuple[str, ...]]:
    """The graph of what stays and what the planner adds, judged like any plan; and the names of what it adds.

    Raises:
        PlanError: it is not valid, or a new step could read or write what no replaced step could.
    """
    subject = f"Re-plan {number} of workflow {run.workflow!r}"
    if not isinstance(answer, Iterable):
        raise PlanError(subject, [f"the planner returned {answer!r}, which is no list of steps."])
    added = list(answer)
    if wrong := [step for step in added if not isinstance(step, Step)]:
        raise PlanError(subject, [f"the planner returned {wrong[0]!r}, which is no Step."])
    out = {node.name for node in removed}
    kept = [node.step for node in run.graph.nodes if node.name not in out]
    graph = TaskGraph(
        [*kept, *added],
        subject=subject,
        failure_policy=run.graph.failure_policy,
        input_labels=run.graph.input_labels,
    )
    problems = graph.missing_inputs(run.input_keys)
    if run.output_step is not None and run.output_step not in graph.index:
        problems.append(f"the workflow's output is step {run.output_step!r}, which the plan leaves out.")
    problems += _growth(run, removed, [graph.nodes[graph.index[step.name]] for step in added])
    if problems:
        raise PlanError(subject, problems)
    return graph, tuple(step.name for step in added)


def _growth(run: Replannable, removed: list[Node], added: list[Node]) -> list[str]:
    """What new steps could read or write that no replaced step could, a sentence each."""
    new = {node.name for node in added}
    for node in added:
        new |= node.writes or frozenset()
    new -= run.store.snapshot().keys()  # a new writer of a key that exists gives no right to its older value
    readable = frozenset[str]().union(*(_readable(run, node) for node in removed)) | new
    problems = [
        f"step {node.name!r} could read {more[0]!r}, which no replaced step could; name what it reads in read_keys."
        for node in added
        if (more := sorted(_readable(run, node) - readable))
    ]
    if any(node.writes is None for node in removed):
        return problems
    writable = frozenset[str]().union(*(node.writes or frozenset() for node in removed))
    for node in added:
        if node.writes is None:
            problems.append(
                f"step {node.name!r} could write any key; replaced steps only {sorted(writable)}: give it write_keys."
            )
        elif more := sorted(node.writes - writable):
            problems.append(f"step {node.name!r} could write {more[0]!r}, which no replaced step could.")
    return problems


def _readable(run: Replannable, node: Node) -> frozenset[str]:
    """The keys that the step may read: declared, or the inputs and all that is written upstream."""
    if node.reads is not None:
        return node.reads
    graph = node.graph
    upstream = {other.name for other in graph.nodes if graph.reaches(other.index, node.index)}
    declared = {key for name in upstream for key in graph.nodes[graph.index[name]].writes or ()}
    stored = run.store.keys(lambda writer: writer == INPUTS or writer in upstream)
    return frozenset(upstream | declared | set(stored))
