"""What is known of a run from its events: the log of one run, and its counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from kairos_async._types import JSONValue
from kairos_async.events import (
    Event,
    Facts,
    ItemComplete,
    ItemFail,
    LLMCall,
    PlanReplaced,
    StepCancel,
    StepComplete,
    StepFail,
    StepRetry,
    StepSkip,
    ValidationComplete,
    ValidationFail,
    WorkflowComplete,
    WorkflowStart,
)
from kairos_async.observe.lines import SCHEMA_VERSION, event_to_dict
from kairos_async.outcomes import WorkflowStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """The counts of a run.

    `steps` is how many the workflow declared at its start. `total_retries` counts the attempts after a first one, of
    items too. `items_*` are those of all foreach steps. `validations_*` count boundaries, inputs and outputs alike.
    `llm_calls` is the run's own count once it has ended, before that the calls seen; tokens and costs are sums of what
    providers told. `step_durations_ms` has every step that ran to an end, retries and waiting included.
    """

    steps: int = 0
    steps_completed: int = 0
    steps_failed: int = 0
    steps_skipped: int = 0
    steps_cancelled: int = 0
    items_completed: int = 0
    items_failed: int = 0
    total_retries: int = 0
    replans: int = 0
    validations_passed: int = 0
    validations_failed: int = 0
    llm_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    estimated_cost_usd: float = 0.0
    duration_ms: float = 0.0
    step_durations_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog:
    """The events of one run, in order, and what they come to.

    A log that was read from a file, or taken while the run goes on, may be incomplete, and says how:

    Attributes:
        status: of the run; RUNNING as long as there is no final event.
        events: those that the logger's verbosity shows. The summary counts the others too.
        dropped: how many events are missing before or between these: a full queue dropped them, or more happened than
            the logger keeps.
        unread: lines of the file that are no events of this library's: torn by a crash, or of a newer version.
    """

    run_id: str
    workflow_name: str
    status: WorkflowStatus
    events: tuple[Event, ...]
    summary: RunSummary
    dropped: int = 0
    unread: int = 0

    def __repr__(self) -> str:
        return f"<RunLog of {self.workflow_name!r}: {self.status}, {len(self.events)} events>"

    @property
    def interrupted(self) -> bool:
        """Whether the final event is missing: the run is still going on, or its process ended in the middle of it."""
        return self.status is WorkflowStatus.RUNNING

    @property
    def started_at(self) -> datetime | None:
        """When the first event happened that is here, in UTC. None if there is none."""
        return self.events[0].timestamp if self.events else None

    @property
    def ended_at(self) -> datetime | None:
        """When the run ended, in UTC. None if it is `interrupted`."""
        return self.events[-1].timestamp if self.events and not self.interrupted else None

    def of(self, step: str) -> tuple[Event, ...]:
        """The events of one step."""
        return tuple(event for event in self.events if event.step_id == step)

    def to_dict(self) -> dict[str, JSONValue]:
        """The whole log as JSON data, with a `schema_version`. Events are redacted since they were made."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "workflow_name": self.workflow_name,
            "status": self.status.value,
            "summary": asdict(self.summary),
            "dropped": self.dropped,
            "events": [event_to_dict(event) for event in self.events],
        }


class Tally:
    """Counts the events of one run as they come.

    Attributes:
        workflow: its name, "" until the event that tells it.
        status: RUNNING until the final event.
        counts: of `RunSummary`, by field.
        durations_ms: of the steps that have ended.
        outputs: whether an event had the output of its step.
    """

    __slots__ = ("counts", "durations_ms", "outputs", "status", "workflow")

    def __init__(self) -> None:
        self.workflow = ""
        self.status = WorkflowStatus.RUNNING
        self.counts: defaultdict[str, Any] = defaultdict(int)
        self.durations_ms: dict[str, float] = {}
        self.outputs = False

    def add_all(self, found: Iterable[Facts], kinds: Mapping[type[Any], int]) -> None:
        """Count the events of which these are the facts, so many of each kind."""
        for kind, number in kinds.items():
            if counted := _COUNTED.get(kind):
                self.counts[counted] += number
        # Two loops, because all that most events need is to be passed over: half the time of one with both questions.
        if not _NOTED.keys().isdisjoint(kinds):
            for kind, *_, data in found:
                if kind in _NOTED:
                    _NOTED[kind](self, data)
        timed, durations = _TIMED, self.durations_ms
        for facts in found:
            if facts[0] in timed:
                _, _, _, _, step, _, data = facts
                if step is not None:
                    took = data.get("duration_ms")
                    durations[step] = took if type(took) is float else _number(data, "duration_ms")
                if "output" in data:
                    self.outputs = True

    def summary(self) -> RunSummary:
        """The counts so far."""
        return RunSummary(**self.counts, step_durations_ms=dict(self.durations_ms))

    def told(self) -> dict[str, JSONValue]:
        """The counts so far, for the final event of a log."""
        return dict(self.counts)

    def note_start(self, data: Mapping[str, Any]) -> None:
        """Take over what the first event tells of the run."""
        self.workflow = str(data.get("workflow", ""))
        self.counts["steps"] = _number(data, "steps")

    def note_call(self, data: Mapping[str, Any]) -> None:
        """Add up what a model call used."""
        usage = data.get("usage")
        if not isinstance(usage, dict):
            return
        for name in ("input_tokens", "output_tokens", "total_tokens", "estimated_cost_usd"):
            self.counts[name] += _number(usage, name)

    def note_end(self, data: Mapping[str, Any]) -> None:
        """Take over what the final event tells of the run."""
        status = data.get("status")
        self.status = WorkflowStatus(status) if isinstance(status, str) and status in _ENDS else WorkflowStatus.FAILED
        self.counts["duration_ms"] = _number(data, "duration_ms")
        self.counts["llm_calls"] = _number(data, "llm_calls")
        # A log that shows few events tells here what the others came to.
        told = data.get("summary")
        if isinstance(told, dict):
            self.counts.update({name: _number(told, name) for name in COUNTS if name in told})


COUNTS: Final = tuple(each.name for each in fields(RunSummary) if each.name != "step_durations_ms")
"""The fields of `RunSummary` that are one number."""

_ENDS: Final = frozenset({WorkflowStatus.COMPLETE, WorkflowStatus.FAILED, WorkflowStatus.CANCELLED})

_COUNTED: Final[dict[type, str]] = {
    StepComplete: "steps_completed",
    StepFail: "steps_failed",
    StepSkip: "steps_skipped",
    StepCancel: "steps_cancelled",
    StepRetry: "total_retries",
    ItemComplete: "items_completed",
    ItemFail: "items_failed",
    LLMCall: "llm_calls",
    ValidationComplete: "validations_passed",
    ValidationFail: "validations_failed",
    PlanReplaced: "replans",
}
"""Event types that are counted one by one, and the field of `RunSummary` that counts them."""

_NOTED: Final[dict[type, Callable[[Tally, Mapping[str, Any]], None]]] = {
    WorkflowStart: Tally.note_start,
    LLMCall: Tally.note_call,
    WorkflowComplete: Tally.note_end,
}
"""Event types of which more is kept than that they happened."""

_TIMED: Final = frozenset({StepComplete, StepFail, StepCancel})
"""Event types that tell how long a step took: so many that they are noted without a call for each."""


COUNTED: Final = frozenset({*_COUNTED, *_NOTED, *_TIMED})
"""The types of event that a summary is made of."""


_MOST: Final = 10**15


def _number(data: Mapping[str, Any], name: str) -> Any:
    """The number of this name; 0 if there is none that can be true, as in a file that somebody else wrote."""
    value: Any = data.get(name)
    return value if type(value) in (int, float) and 0 <= value < _MOST else 0


def log_of(run_id: str, events: Iterable[Event], *, dropped: int = 0, unread: int = 0) -> RunLog:
    """The log that these events of one run make."""
    kept = tuple(events)
    tally = Tally()
    tally.add_all([event.facts for event in kept], Counter(map(type, kept)))
    return RunLog(
        run_id=run_id,
        workflow_name=tally.workflow,
        status=tally.status,
        events=kept,
        summary=tally.summary(),
        dropped=dropped,
        unread=unread,
    )
