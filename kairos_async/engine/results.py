"""Results, and the events that tell of them, made from what a run has recorded."""

from __future__ import annotations

from typing import Final, Protocol, cast

from kairos_async._types import JSONValue
from kairos_async.engine.call import Call, RunServices
from kairos_async.engine.fanout import Fanout
from kairos_async.engine.runner import GaveUp
from kairos_async.events import INFO, EventLevel, StepCancel, StepComplete, StepFail, StepSkip
from kairos_async.failure import Failure, FailureAction, FailureKind
from kairos_async.outcomes import (
    Attempt,
    AttemptStatus,
    Replan,
    StepResult,
    StepResults,
    StepStatus,
    WorkflowResult,
    WorkflowStatus,
)
from kairos_async.plan import TaskGraph

FAILED_AND_SKIPPED: Final = "it failed, and its policy skips it"


class RunRecord(RunServices, Protocol):
    """What a run has recorded."""

    workflow: str
    output_step: str | None
    graph: TaskGraph
    started: float
    ended: float
    active: dict[str, Call | Fanout | StepResult | None]
    results: StepResults
    replans: list[Replan]
    failure: Failure | None


def step_result(run: RunRecord, call: Call, gave_up: GaveUp | None) -> StepResult:
    """The result of a plain step; its output is in the store already."""
    started_ms, duration_ms = (call.started - run.started) * 1000, (call.ended - call.started) * 1000
    if gave_up is not None:
        return StepResult(
            call.node.name,
            gave_up.status,
            attempts=call.attempts,
            started_ms=started_ms,
            duration_ms=duration_ms,
            error_type=gave_up.failure.error_type,
            error_message=gave_up.failure.error_message,
            reason=FAILED_AND_SKIPPED if gave_up.status is StepStatus.SKIPPED else None,
        )
    return StepResult(
        call.node.name,
        StepStatus.SKIPPED if call.skipped else StepStatus.COMPLETED,
        call.output,
        call.attempts or (Attempt(1, AttemptStatus.SUCCESS, duration_ms, started_ms=started_ms),),
        started_ms=started_ms,
        duration_ms=duration_ms,
        reason="its action returned SKIP" if call.skipped else None,
    )


def fanout_result(run: RunRecord, fanout: Fanout, gave_up: GaveUp | None) -> StepResult:
    """The result of a foreach, with its items' outcomes."""
    status = StepStatus.COMPLETED if gave_up is None else gave_up.status
    failure = gave_up.failure if gave_up else None
    return StepResult(
        fanout.node.name,
        status,
        fanout.output if gave_up is None else None,
        items=fanout.outcomes(),
        started_ms=(fanout.started - run.started) * 1000,
        duration_ms=(run.now() - fanout.started) * 1000,
        error_type=failure.error_type if failure else None,
        error_message=failure.error_message if failure else None,
        reason=FAILED_AND_SKIPPED if status is StepStatus.SKIPPED else None,
    )


def announce(run: RunRecord, result: StepResult, action: FailureAction | None = None) -> None:
    """Emit the event that a step has ended."""
    data: dict[str, JSONValue] = {"duration_ms": result.duration_ms, "attempts": len(result.attempts)}
    if result.attempts:
        data["attempt_ms"] = result.attempts[-1].duration_ms
    if result.status is StepStatus.COMPLETED:
        shown = run.redactor.take_in(result.output, result.name, shows=run.emitter.outputs)[1]
        attempt_ms = result.attempts[-1].duration_ms if result.attempts else result.duration_ms
        announce_completed(run, result.name, result.duration_ms, len(result.attempts), attempt_ms, shown)
    elif result.status is StepStatus.CANCELLED:
        run.emit(StepCancel, result.name, EventLevel.WARN, {**data, "reason": result.reason})
    elif result.status is StepStatus.SKIPPED:
        tried = {**data, "error_type": result.error_type, "error_message": result.error_message}
        facts = run.redactor.redact({"reason": result.reason, **(tried if result.attempts else {})})
        # Each by itself: two names in a list are no header with its value.
        needs: list[JSONValue] = [run.redactor.name(need) for need in run.graph.all_needs.get(result.name, ())]
        run.emitter.say(StepSkip, result.name, EventLevel.WARN, {**cast(dict[str, JSONValue], facts), "needs": needs})
    else:
        error: dict[str, JSONValue] = {"error_type": result.error_type, "error_message": result.error_message}
        run.emit(StepFail, result.name, EventLevel.ERROR, {**data, **error, "action": action})


def announce_completed(
    run: RunRecord, name: str, duration_ms: float, attempts: int, attempt_ms: float, shown: JSONValue
) -> None:
    """Emit the event that a step has completed. `shown` is its output, redacted; left out if no hook wants it."""
    data: dict[str, JSONValue] = {"duration_ms": duration_ms, "attempts": attempts, "attempt_ms": attempt_ms}
    if run.emitter.outputs:
        data["output"] = shown  # copied by whoever reads the event
    run.emitter.say(StepComplete, name, INFO, data)


def settle_rest(run: RunRecord, status: WorkflowStatus) -> None:
    """Give a result to every step that has none: it was running, waited for a planner, or has not run."""
    if len(run.results) == len(run.graph):
        return
    ended_by = _ended_by(run, status)
    failed = run.failure.step if run.failure is not None else ""
    downstream = run.graph.downstream(failed) if failed in run.graph.index else frozenset[int]()
    for node in run.graph.nodes:
        if node.name in run.results:
            continue
        active = run.active.get(node.name)
        if isinstance(active, StepResult):  # it failed, and the run ended before a planner had replaced it
            run.results.record(active)
            continue
        if active is not None:
            result = _cancelled(run, active, ended_by)
        elif node.index in downstream:
            result = StepResult(node.name, StepStatus.SKIPPED, reason=f"step {failed!r}, upstream of it, failed")
        else:
            result = StepResult(node.name, StepStatus.SKIPPED, reason=ended_by)
        run.results.record(result)
        if run.hooks:
            announce(run, result)


def _cancelled(run: RunRecord, active: Call | Fanout, reason: str) -> StepResult:
    return StepResult(
        active.node.name,
        StepStatus.CANCELLED,
        attempts=active.attempts if isinstance(active, Call) else (),
        items=active.outcomes() if isinstance(active, Fanout) else None,
        started_ms=(active.started - run.started) * 1000,
        duration_ms=(run.now() - active.started) * 1000,
        reason=reason,
    )


def _ended_by(run: RunRecord, status: WorkflowStatus) -> str:
    failure = run.failure
    if status is WorkflowStatus.CANCELLED or failure is None:
        return "the run was cancelled"
    if not failure.step:
        return "the run's time was up" if failure.kind is FailureKind.TIMEOUT else "a required hook failed"
    return f"the run was aborted: step {failure.step!r} failed"


def workflow_result(run: RunRecord, status: WorkflowStatus) -> WorkflowResult:
    """The result of the run, once every step of its graph has one."""
    results = run.results
    results.arrange(run.graph.all_needs)
    failure = run.failure
    output_step = run.output_step or run.graph.last
    return WorkflowResult(
        run_id=run.run_id,
        workflow=run.workflow,
        status=status,
        output=results.output_of(output_step),
        step_results=results,
        duration_ms=(run.ended - run.started) * 1000,
        usage=run.account.usage,
        error_type=failure.error_type if failure else None,
        error_message=failure.error_message if failure else None,
        replans=tuple(run.replans),
        warnings=tuple(run.emitter.warnings),
        _state=run.store.snapshot(),
        _output_step=output_step,
        _ended_by=failure.step if failure else "",
        _redactor=run.redactor,
    )


def final_facts(run: RunRecord, status: WorkflowStatus) -> dict[str, JSONValue]:
    """The data of the final event."""
    failure = run.failure
    return {
        "status": status.value,
        "duration_ms": (run.ended - run.started) * 1000,
        "llm_calls": run.account.usage.llm_calls,
        "error_type": failure.error_type if failure else None,
        "error_message": failure.error_message if failure else None,
    }
