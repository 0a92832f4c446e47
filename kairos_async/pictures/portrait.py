"""What a picture of a run shows: steps with their attempts and items on one clock, from a result or from a log."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

MOST_SPANS: Final = 400
"""Items of a foreach that are drawn one by one; of more, how many ran at once is drawn."""
MOST_LISTED: Final = 50
"""Items without an output that are listed."""
BUCKETS: Final = 120
"""Moments at which it is counted how many items ran."""


class AttemptBar(NamedTuple):
    """One call of an action. Times are in milliseconds from the start of the run."""

    number: int
    status: str
    started_ms: float
    duration_ms: float
    error: str | None = None
    hint: str | None = None
    """What the next attempt was told."""


class ItemBar(NamedTuple):
    """One item of a foreach."""

    position: int
    status: str
    started_ms: float
    duration_ms: float
    attempts: int
    error: str | None = None


class Items(NamedTuple):
    """The items of a foreach.

    Attributes:
        total: how many there are.
        counts: by status.
        spans: those that started, if they are few enough to be drawn one by one.
        running: how many ran, in the mean, in each of `BUCKETS` equal parts of the step's time; empty beside spans.
        troubled: the first that ended without an output.
    """

    total: int
    counts: Mapping[str, int]
    spans: Sequence[ItemBar]
    running: Sequence[float]
    troubled: Sequence[ItemBar]


class StepRow(NamedTuple):
    """One step. `started_ms` is None if it never ran; `ready_ms` is when all its needs had ended."""

    name: str
    status: str
    needs: Sequence[str]
    started_ms: float | None = None
    duration_ms: float = 0.0
    attempts: Sequence[AttemptBar] = ()
    items: Items | None = None
    error: str | None = None
    reason: str | None = None
    ready_ms: float = 0.0

    @property
    def ended_ms(self) -> float:
        """When the step had ended; 0 if it never ran."""
        return 0.0 if self.started_ms is None else self.started_ms + self.duration_ms


class Portrait(NamedTuple):
    """A run, ready to be drawn. `facts` are further lines of (what, how much) for its head."""

    workflow: str
    run_id: str
    status: str
    duration_ms: float
    rows: Sequence[StepRow]
    error: str | None = None
    facts: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()


class _Attempt(Protocol):
    @property
    def attempt_number(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def duration_ms(self) -> float: ...
    @property
    def started_ms(self) -> float: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def error_message(self) -> str | None: ...


class _Item(Protocol):
    @property
    def index(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def duration_ms(self) -> float: ...
    @property
    def started_ms(self) -> float | None: ...
    @property
    def attempts(self) -> Sequence[_Attempt]: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def error_message(self) -> str | None: ...


class _Step(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def needs(self) -> Sequence[str]: ...
    @property
    def started_ms(self) -> float | None: ...
    @property
    def duration_ms(self) -> float: ...
    @property
    def attempts(self) -> Sequence[_Attempt]: ...
    @property
    def items(self) -> Sequence[_Item] | None: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def error_message(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...


class _Result(Protocol):
    @property
    def workflow(self) -> str: ...
    @property
    def run_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def duration_ms(self) -> float: ...
    @property
    def step_results(self) -> Mapping[str, _Step]: ...
    @property
    def llm_calls(self) -> int: ...
    @property
    def error_type(self) -> str | None: ...
    @property
    def error_message(self) -> str | None: ...
    @property
    def warnings(self) -> Sequence[str]: ...


def said(kind: str | None, message: str | None) -> str | None:
    """Return an error's class and message as one text."""
    return f"{kind}: {message}" if kind and message else kind or message


def portrait_of(result: _Result, clean: Callable[[str], str]) -> Portrait:
    """Return the portrait of a result. Each text that code or data chose goes through `clean`."""
    rows = [_row(step, clean) for step in result.step_results.values()]
    return Portrait(
        clean(result.workflow),
        result.run_id,
        str(result.status),
        result.duration_ms,
        with_ready_times(rows),
        _cleaned(said(result.error_type, result.error_message), clean),
        [("model calls", f"{result.llm_calls:,}")] if result.llm_calls else [],
        [clean(warning) for warning in result.warnings],
    )


def _cleaned(text: str | None, clean: Callable[[str], str]) -> str | None:
    return None if text is None else clean(text)


def _row(step: _Step, clean: Callable[[str], str]) -> StepRow:
    return StepRow(
        step.name,
        str(step.status),
        step.needs,
        step.started_ms,
        step.duration_ms,
        [
            AttemptBar(
                attempt.attempt_number,
                str(attempt.status),
                attempt.started_ms,
                attempt.duration_ms,
                _cleaned(said(attempt.error_type, attempt.error_message), clean),
            )
            for attempt in step.attempts
        ],
        None if step.items is None else fold_items(_item_bars(step.items, clean), len(step.items)),
        _cleaned(said(step.error_type, step.error_message), clean),
        _cleaned(step.reason, clean),
    )


def _item_bars(items: Iterable[_Item], clean: Callable[[str], str]) -> Iterable[ItemBar]:
    for item in items:
        yield ItemBar(
            item.index,
            str(item.status),
            math.nan if item.started_ms is None else item.started_ms,
            item.duration_ms,
            len(item.attempts),
            _cleaned(said(item.error_type, item.error_message), clean),
        )


def fold_items(bars: Iterable[ItemBar], total: int) -> Items:
    """Return the items of a foreach, in little memory however many there are.

    Args:
        bars: in any order; `started_ms` is NaN for one that never started.
        total: their number, which may be larger if the log ends before they do.
    """
    counts: Counter[str] = Counter()
    spans: list[ItemBar] = []
    times: list[tuple[float, float]] = []
    troubled: list[ItemBar] = []
    for bar in bars:
        counts[bar.status] += 1
        if bar.status != "completed" and len(troubled) < MOST_LISTED:
            troubled.append(bar)
        if math.isnan(bar.started_ms):
            continue
        times.append((bar.started_ms, bar.duration_ms))
        if len(spans) <= MOST_SPANS:
            spans.append(bar)
    if len(spans) > MOST_SPANS:
        return Items(total, counts, (), running_counts(times), troubled)
    return Items(total, counts, sorted(spans, key=lambda bar: (bar.started_ms, bar.position)), (), troubled)


def running_counts(times: Sequence[tuple[float, float]]) -> list[float]:
    """Return how many of these spans ran, in the mean, in each equal part of the time that they cover."""
    first = min(start for start, _ in times)
    size = (max(start + length for start, length in times) - first) / BUCKETS or 1.0
    found = [0.0] * BUCKETS
    for start, length in times:
        begin, end = (start - first) / size, (start + length - first) / size
        for bucket in range(int(begin), min(int(end), BUCKETS - 1) + 1):
            found[bucket] += max(0.0, min(end, bucket + 1) - max(begin, bucket))
    return found


def with_ready_times(rows: Sequence[StepRow]) -> list[StepRow]:
    """Return the rows, each with the moment at which the last of its needs had ended."""
    ended = {row.name: row.ended_ms for row in rows}
    return [row._replace(ready_ms=max((ended.get(need, 0.0) for need in row.needs), default=0.0)) for row in rows]


def slowest_path(rows: Sequence[StepRow]) -> list[str]:
    """Return the steps that the run's length comes from, first to last.

    From the step that ended last back to the one of its needs that ended last, and so on: had any of them been shorter,
    the next one could have begun earlier.
    """
    by_name = {row.name: row for row in rows if row.started_ms is not None}
    # What was cancelled ended with the run, whatever it would have taken.
    current = max(by_name.values(), key=lambda row: (row.status != "cancelled", row.ended_ms), default=None)
    path: list[str] = []
    while current is not None and current.name not in path:
        path.append(current.name)
        needs = [by_name[need] for need in current.needs if need in by_name]
        current = max(needs, key=lambda row: row.ended_ms, default=None)
    return path[::-1]


def axis_moments(whole: float) -> list[float]:
    """Return the moments that an axis of so many milliseconds names: round ones, from 0, three to seven of them."""
    power = 10 ** math.floor(math.log10(whole))
    step = next(size for size in (power / 5, power / 2, power, power * 2) if whole / size <= 6)
    return [count * step for count in range(int(whole / step) + 1)]


def duration_text(milliseconds: float) -> str:
    """Return a duration for people: 340 ms, 1.24 s, 2 min 3 s, 1 h 2 min."""
    if milliseconds == 0:
        return "0 ms"
    if milliseconds < 1:
        return f"{milliseconds:.2f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.3g} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"
