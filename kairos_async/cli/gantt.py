"""The timeline of a run in characters: one line for each step, on one clock."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich.text import Text

from kairos_async.cli.board import COLORS
from kairos_async.pictures.portrait import Items, Portrait, StepRow, axis_moments, duration_text, running_counts
from kairos_async.pictures.style import sign, word
from kairos_async.security import terminal_text

_HEIGHTS = "▁▂▃▄▅▆▇█"
_ATTEMPTS = {
    "success": ("━", "green"),
    "completed": ("━", "green"),
    "failure": ("✗", "red"),
    "failed_final": ("✗", "red"),
    "timeout": ("◷", "yellow"),
    "cancelled": ("■", "yellow"),
    "running": ("▸", "cyan"),
    "skipped": ("○", "bright_black"),
}
"""What an attempt is drawn with, by how it ended: to be told apart without colours too."""
_TOOK = 9
"""Columns for a duration."""


def gantt(portrait: Portrait, rows: Sequence[StepRow], slowest: Collection[str], width: int) -> Iterator[Text]:
    """Yield the axis and a line for each of the rows, none wider than `width`.

    Attempts are drawn by how they ended; dots between them are waiting. A foreach shows how many of its items ran at
    each time.
    """
    if not rows:
        return
    whole = max([portrait.duration_ms, *(row.ended_ms for row in portrait.rows)]) or 1.0
    column = min(max(len(row.name) for row in rows), max(8, width // 3))
    room = max(10, width - column - 6 - _TOOK)
    yield Text(" " * (column + 5) + _axis(whole, room), "bright_black")
    for row in rows:
        name = terminal_text(row.name)
        shown = name if len(name) <= column else name[: column - 1] + "…"
        line = Text(f"{sign(row.status)} ", COLORS.get(row.status, ""))
        line.append(f"{shown:<{column}}", "bright_black" if row.started_ms is None else "")
        line.append(" ◆ " if row.name in slowest else "   ", "magenta")
        line.append_text(_cells(row, whole, room))
        took = duration_text(row.duration_ms) if row.started_ms is not None else word(row.status)
        line.append(f" {took:>{_TOOK}}", "bright_black")
        yield line


def _axis(whole: float, room: int) -> str:
    line = [" "] * (room + _TOOK)
    for moment in axis_moments(whole):
        label = duration_text(moment) if moment else "0"
        at = int(moment / whole * room)
        if at + len(label) <= room:
            line[at : at + len(label)] = label
    return "".join(line).rstrip()


def _cells(row: StepRow, whole: float, room: int) -> Text:
    """Return the row's line: what happened in each cell's span of time; what happened last wins."""
    cells: list[tuple[str, str]] = [(" ", "")] * room

    def fill(start: float, length: float, char: str, style: str) -> None:
        first = min(room - 1, int(start / whole * room))
        last = min(room - 1, max(first, int((start + length) / whole * room - 0.5)))
        cells[first : last + 1] = [(char, style)] * (last - first + 1)

    if row.started_ms is not None:
        if row.started_ms - row.ready_ms > whole / room:
            fill(row.ready_ms, row.started_ms - row.ready_ms, "·", "bright_black")
        if row.items is not None:
            _fill_items(cells, row, row.items, whole)
        elif row.attempts:
            fill(row.started_ms, row.duration_ms, "·", "bright_black")
            for attempt in row.attempts:
                fill(attempt.started_ms, attempt.duration_ms, *_ATTEMPTS.get(attempt.status, ("━", "")))
        else:
            fill(row.started_ms, row.duration_ms, *_ATTEMPTS.get(row.status, ("━", "")))
    text = Text()
    for char, style in cells:
        text.append(char, style)
    return text


def _fill_items(cells: list[tuple[str, str]], row: StepRow, items: Items, whole: float) -> None:
    counts = items.running or running_counts([(bar.started_ms, bar.duration_ms) for bar in items.spans])
    start = min((bar.started_ms for bar in items.spans), default=row.started_ms or 0.0)
    most = max(counts, default=0.0) or 1.0
    color = COLORS.get(row.status, "")
    size = row.duration_ms / max(1, len(counts))
    for bucket, count in enumerate(counts):
        at = min(len(cells) - 1, int((start + (bucket + 0.5) * size) / whole * len(cells)))
        if count > 0:
            cells[at] = (_HEIGHTS[min(len(_HEIGHTS) - 1, int(count / most * (len(_HEIGHTS) - 0.01)))], color)
