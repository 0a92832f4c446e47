"""What is known of a run at any moment, from its events: the state behind the live display and the last word."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from kairos_async.events import Event
from kairos_async.observe.lines import KINDS
from kairos_async.pictures.portrait import said

RUNNING: Final = frozenset({"running", "retrying"})
"""Statuses of steps that are under way."""


class StepState:
    """One step as far as it has got. Times are seconds since the epoch, None before they are known."""

    __slots__ = (
        "attempt",
        "done",
        "ended",
        "failed",
        "items",
        "name",
        "needs",
        "note",
        "retry_at",
        "started",
        "status",
    )

    def __init__(self, name: str, needs: tuple[str, ...]) -> None:
        self.name = name
        self.needs = needs
        self.status = "waiting"
        self.started: float | None = None
        self.ended: float | None = None
        self.items: int | None = None
        self.done = self.failed = 0
        self.attempt = 1
        self.retry_at = 0.0
        self.note = ""


class Tracker:
    """A hook that keeps the newest state of each step. Read it from any thread inside `with tracker.lock`.

    Args:
        plan: the steps that are known before they begin, each with its needs, in an order that reads well.
    """

    outputs = False  # for the engine: the outputs of steps are not looked at

    def __init__(self, plan: Iterable[tuple[str, tuple[str, ...]]] = ()) -> None:
        self.kinds = frozenset(KINDS[name] for name in _NOTES)
        self.lock = threading.Lock()
        self.steps = {name: StepState(name, needs) for name, needs in plan}
        self.workflow = ""
        self.status = "waiting"
        self.started: float | None = None
        self.ended: float | None = None
        self.error = ""
        self.retries = self.tokens = self.calls = 0
        self.total = len(self.steps)

    def __call__(self, event: Event) -> None:
        """Take an event over."""
        note = _NOTES.get(event.event_type)
        if note is not None:
            with self.lock:
                note(self, event, event.data, event.timestamp.timestamp())

    def counts(self) -> Counter[str]:
        """How many steps have each status."""
        return Counter(state.status for state in self.steps.values())

    def _step(self, event: Event) -> StepState:
        name = event.step_id or ""
        state = self.steps.get(name)
        if state is None:
            needs = event.data.get("needs")
            known = tuple(map(str, needs)) if isinstance(needs, list) else ()
            state = self.steps[name] = StepState(name, known)
        return state

    def _workflow_start(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        self.workflow, self.status, self.started = str(data.get("workflow")), "running", at
        self.total = max(_whole(data.get("steps")), len(self.steps))

    def _workflow_complete(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        self.status, self.ended = str(data.get("status")), at
        self.error = _error(data)

    def _step_start(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        state = self._step(event)
        state.status, state.started = "running", at
        state.items = _whole(data.get("items")) if "items" in data else None

    def _step_end(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        state = self._step(event)
        state.status, state.ended = _ENDS[event.event_type], at
        state.attempt = max(state.attempt, _whole(data.get("attempts")))
        state.note = _error(data) or str(data.get("reason") or "")

    def _step_retry(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        self.retries += 1
        if data.get("item") is None:
            state = self._step(event)
            delay = data.get("delay_s")
            state.status, state.note = "retrying", _error(data)
            state.attempt = _whole(data.get("attempt")) + 1
            state.retry_at = at + (delay if isinstance(delay, int | float) and 0 <= delay < _MOST else 0.0)

    def _item(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        state = self._step(event)
        state.done, state.items = _whole(data.get("done")), _whole(data.get("total"))
        if event.event_type == "item_fail":
            state.failed += 1

    def _llm_call(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        usage = data.get("usage")
        self.calls += 1
        self.tokens += _whole(usage.get("total_tokens")) if isinstance(usage, dict) else 0

    def _replan(self, event: Event, data: Mapping[str, Any], at: float) -> None:
        for name in data.get("removed") or ():
            self.steps.pop(str(name), None)
        for name in data.get("added") or ():
            self.steps.setdefault(str(name), StepState(str(name), ()))
        self.total = len(self.steps)


_MOST: Final = 10**13
"""That is believed of a log that somebody else wrote."""


def _whole(value: object) -> int:
    return value if type(value) is int and abs(value) < _MOST else 0


def _error(data: Mapping[str, Any]) -> str:
    kind, message = data.get("error_type"), data.get("error_message")
    return said(kind if isinstance(kind, str) else None, message if isinstance(message, str) else None) or ""


_ENDS: Final = {
    "step_complete": "completed",
    "step_fail": "failed_final",
    "step_skip": "skipped",
    "step_cancel": "cancelled",
}
_NOTES: Final = {
    "workflow_start": Tracker._workflow_start,
    "workflow_complete": Tracker._workflow_complete,
    "step_start": Tracker._step_start,
    **dict.fromkeys(_ENDS, Tracker._step_end),
    "step_retry": Tracker._step_retry,
    "item_complete": Tracker._item,
    "item_fail": Tracker._item,
    "llm_call": Tracker._llm_call,
    "replan": Tracker._replan,
}
