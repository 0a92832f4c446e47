"""The portrait of a run from its log: the same picture that its result would give, as far as the log goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from kairos_async.events import Event
from kairos_async.observe import RunLog
from kairos_async.pictures.portrait import (
    BUCKETS,
    AttemptBar,
    ItemBar,
    Items,
    Portrait,
    StepRow,
    fold_items,
    said,
    with_ready_times,
)

INTERRUPTED: Final = "interrupted"
"""The status of a run whose log has no end: its process was killed, or is still at work."""
_LONGEST: Final = 1e13
"""Milliseconds of a time that is believed; some three centuries."""


class _Seen:
    """What the log tells of one step. Times are in milliseconds from the start of the run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.needs: tuple[str, ...] = ()
        self.status = "running"
        self.started: float | None = None
        self.ended: float | None = None
        self.attempts: list[AttemptBar] = []
        self.total: int | None = None
        self.items: list[ItemBar] = []
        self.error: str | None = None
        self.reason: str | None = None

    def row(self, last: float) -> StepRow:
        """Return the step as it is drawn; one that has not ended lasts until the end of the log."""
        ended = last if self.ended is None else self.ended
        duration = 0.0 if self.started is None else max(0.0, ended - self.started)
        attempts = self.attempts
        if self.status == "running" and self.total is None and self.started is not None:
            began = max([self.started, *(bar.started_ms + bar.duration_ms for bar in attempts)])
            attempts = [*attempts, AttemptBar(len(attempts) + 1, "running", began, max(0.0, ended - began))]
        items = None if self.total is None else self._items(self.total)
        return StepRow(
            self.name, self.status, self.needs, self.started, duration, attempts, items, self.error, self.reason
        )

    def _items(self, total: int) -> Items:
        """Return the items. A log of normal verbosity has only those that failed: then the others are counted."""
        folded = fold_items(self.items, total)
        if self.items and any(bar.status == "completed" for bar in self.items):
            return folded
        counts = dict(folded.counts)
        if self.status == "completed" and total > len(self.items):
            counts["completed"] = total - len(self.items)
        return Items(total, counts, (), [1.0] * BUCKETS, folded.troubled)


def portrait_of_log(log: RunLog) -> Portrait:
    """Return the portrait of a logged run."""
    origin = log.events[0].timestamp
    seen: dict[str, _Seen] = {}
    for event in log.events:
        if event.step_id is not None and (note := _NOTES.get(event.event_type)) is not None:
            step = seen.get(event.step_id) or seen.setdefault(event.step_id, _Seen(event.step_id))
            note(step, event, event.data, _since(origin, event))
    last = _since(origin, log.events[-1])
    final = log.events[-1].data if not log.interrupted else {}
    status = INTERRUPTED if log.interrupted else log.status.value
    return Portrait(
        log.workflow_name or "(a run whose first event is missing)",
        log.run_id,
        status,
        min(log.summary.duration_ms or last, _LONGEST),
        with_ready_times([step.row(last) for step in seen.values()]),
        _error(final),
        _facts(log, len(seen)),
        _warnings(log),
    )


def _since(origin: datetime, event: Event) -> float:
    return min(max(0.0, (event.timestamp - origin).total_seconds() * 1000), _LONGEST)


def _facts(log: RunLog, seen: int) -> list[tuple[str, str]]:
    summary = log.summary
    facts = [("began", log.events[0].timestamp.astimezone().strftime("%Y-%m-%d %H:%M:%S"))]
    numbers = [
        ("not begun", summary.steps - seen if log.interrupted else 0),
        ("model calls", summary.llm_calls),
        ("tokens", summary.total_tokens),
        ("re-plans", summary.replans),
    ]
    facts += [(what, f"{number:,}") for what, number in numbers if number > 0]
    if summary.estimated_cost_usd:
        facts.append(("cost", f"${summary.estimated_cost_usd:.4f}"))
    return facts


def _warnings(log: RunLog) -> list[str]:
    told = []
    if log.interrupted:
        told.append("The log has no end: the process was ended in the middle of the run, or is still at work.")
    if log.dropped:
        told.append(f"{log.dropped:,} events were dropped when the log was written.")
    if log.unread:
        told.append(f"{log.unread:,} lines of the file could not be read.")
    return told


def _start(step: _Seen, event: Event, data: Mapping[str, Any], at: float) -> None:
    step.started = at
    step.needs = _names(data)
    step.total = _whole(data, "items") if "items" in data else None


def _retry(step: _Seen, event: Event, data: Mapping[str, Any], at: float) -> None:
    if data.get("item") is not None:
        return
    duration = _number(data, "duration_ms")
    status = "timeout" if data.get("kind") == "timeout" else "failure"
    hint = _hint(data.get("retry_context"))
    began = max(0.0, at - duration)
    step.attempts.append(AttemptBar(_whole(data, "attempt"), status, began, duration, _error(data), hint))


def _item(step: _Seen, event: Event, data: Mapping[str, Any], at: float) -> None:
    duration = _number(data, "duration_ms")
    status = "completed" if event.event_type == "item_complete" else str(data.get("status") or "failed_final")
    tried = max(1, _whole(data, "attempts"))
    step.items.append(ItemBar(_whole(data, "index"), status, max(0.0, at - duration), duration, tried, _error(data)))


def _end(step: _Seen, event: Event, data: Mapping[str, Any], at: float) -> None:
    step.status, attempt = _ENDS[event.event_type]
    step.ended = at
    step.error = _error(data)
    step.reason = str(data["reason"]) if data.get("reason") else None
    if not step.needs:
        step.needs = _names(data)
    if "attempt_ms" not in data or step.total is not None:
        return
    if attempt == "failure":
        kind = data.get("error_type")
        attempt = "timeout" if kind == "StepTimeoutError" else "failure" if kind else "success"
    duration = _number(data, "attempt_ms")
    number = max(len(step.attempts) + 1, _whole(data, "attempts"))
    step.attempts.append(AttemptBar(number, attempt, max(0.0, at - duration), duration, step.error))


_ENDS: Final = {
    "step_complete": ("completed", "success"),
    "step_fail": ("failed_final", "failure"),
    "step_skip": ("skipped", "failure"),
    "step_cancel": ("cancelled", "cancelled"),
}
_NOTES: Final = {
    "step_start": _start,
    "step_retry": _retry,
    "item_complete": _item,
    "item_fail": _item,
    **dict.fromkeys(_ENDS, _end),
}


def _names(data: Mapping[str, Any]) -> tuple[str, ...]:
    needs = data.get("needs")
    return tuple(map(str, needs)) if isinstance(needs, list) else ()


def _whole(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    return value if type(value) is int and abs(value) < _LONGEST else 0


def _number(data: Mapping[str, Any], key: str) -> float:
    value: Any = data.get(key)
    return float(min(value, _LONGEST)) if type(value) in (int, float) and value > 0 else 0.0


def _error(data: Mapping[str, Any]) -> str | None:
    kind, message = data.get("error_type"), data.get("error_message")
    return said(kind if isinstance(kind, str) else None, message if isinstance(message, str) else None)


def _hint(context: object) -> str | None:
    """Return what the next attempt was told, in one line: the broken rules, or else the advice."""
    if not isinstance(context, dict):
        return None
    errors = context.get("errors")
    rules: Sequence[object] = errors if isinstance(errors, list) else ()
    told = [f"{rule.get('field') or 'the whole'}: {rule.get('expected')}" for rule in rules if isinstance(rule, dict)]
    return "; ".join(told) or str(context.get("guidance") or "") or None
