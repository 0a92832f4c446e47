"""The timeline of a run as HTML: a row for each step, with its attempts, its waiting, and its items on one clock.

Bars are SVG shapes placed in per cent, so that they follow the width of the window without a script and without a
style of their own, which the page's content security policy would refuse.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable
from typing import Final

from kairos_async.pictures.markup import Markup, escaped, join, tag
from kairos_async.pictures.portrait import (
    AttemptBar,
    ItemBar,
    Items,
    Portrait,
    StepRow,
    axis_moments,
    duration_text,
    running_counts,
)
from kairos_async.pictures.style import sign, word

_HEIGHT: Final = 18
_LANE: Final = 6
_MOST_LANES: Final = 12
_CROWD: Final = 36
"""Pixels of height of the picture of how many items ran."""
_MOST_ATTEMPTS: Final = 200


def timeline(portrait: Portrait, slowest: Collection[str], prefix: str) -> Markup:
    """Return the axis and the rows. Rows have the ids prefix + position."""
    whole = max([portrait.duration_ms, *(row.ended_ms for row in portrait.rows)]) or 1.0
    rows = [_row(row, whole, row.name in slowest, f"{prefix}{position}") for position, row in enumerate(portrait.rows)]
    return join([_axis(whole), tag("ol", *rows, class_="rows")])


def _percent(milliseconds: float, whole: float) -> str:
    return f"{min(max(milliseconds / whole, 0.0), 1.0) * 100:.3f}".rstrip("0").rstrip(".") + "%"


def _axis(whole: float) -> Markup:
    """Return a line with labelled moments."""
    marks: list[Markup] = []
    for at in axis_moments(whole):
        place = _percent(at, whole)
        anchor = "start" if not at else "end" if at > whole * 0.94 else "middle"
        marks.append(tag("line", x1=place, x2=place, y1=15, y2=20))
        marks.append(tag("text", duration_text(at) if at else "0", x=place, y=12, text_anchor=anchor))
    svg = tag("svg", *marks, class_="track", height=20, aria_hidden="true")
    return tag("div", tag("span", class_="gap"), tag("span", svg), tag("span", class_="gap"), class_="axis")


def _row(row: StepRow, whole: float, slow: bool, identity: str) -> Markup:
    state = word(row.status)
    label = tag(
        "span",
        tag("span", sign(row.status), class_="sign", aria_hidden="true"),
        tag("span", row.name, class_="mono", title=row.name),
        tag("span", "◆", class_="slowmark", title="on the slowest path", aria_hidden="true") if slow else escaped(""),
        tag("span", f", {state}" + (", on the slowest path" if slow else ""), class_="aside"),
        class_="label",
    )
    took = duration_text(row.duration_ms) if row.started_ms is not None else state
    bar = tag("span", _track(row, whole, slow), class_="bar")
    summary = tag("summary", label, bar, tag("span", took, class_="took"))
    return tag("li", tag("details", summary, _more(row)), id=identity, class_=row.status)


def _track(row: StepRow, whole: float, slow: bool) -> Markup:
    if row.started_ms is None:
        shapes = [tag("rect", y="50%", width="100%", height=1, class_="ground")]
        return tag("svg", *shapes, class_="track", height=_HEIGHT, aria_hidden="true")
    lanes = _lanes(row.items.spans) if row.items is not None else []
    crowded = row.items is not None and (bool(row.items.running) or len(lanes) > _MOST_LANES)
    height = _CROWD if crowded else max(_HEIGHT, len(lanes) * _LANE + 4)
    shapes = [tag("rect", width="100%", height=height, rx=3, class_="ground")]
    if row.started_ms - row.ready_ms > whole / 1000:
        shapes.append(_line(row.ready_ms, row.started_ms, whole, height / 2, "queue", "waited for a slot"))
    if row.items is None:
        shapes += _attempts(row, whole)
    elif crowded:
        shapes += _crowd(row, row.items, whole)
    else:
        shapes += _items(lanes, whole)
    if slow:
        at, length = _percent(row.started_ms, whole), _percent(row.duration_ms, whole)
        shapes.append(tag("rect", x=at, y=height, width=length, height=2, class_="slowline"))
    return tag("svg", *shapes, class_="track", height=height, aria_hidden="true")


def _bar(start: float, length: float, whole: float, y: float, height: float, kind: str, title: str) -> Markup:
    """Return a bar; a very short one is still seen."""
    at, wide = _percent(start, whole), max(length, whole / 400)
    shown = tag("title", title)
    return tag("rect", shown, x=at, width=_percent(wide, whole), y=y, height=height, rx=2, class_=kind)


def _line(start: float, end: float, whole: float, y: float, kind: str, title: str) -> Markup:
    shown = tag("title", f"{title} for {duration_text(end - start)}")
    return tag("line", shown, x1=_percent(start, whole), x2=_percent(end, whole), y1=y, y2=y, class_=kind)


def _attempts(row: StepRow, whole: float) -> list[Markup]:
    shapes: list[Markup] = []
    before: AttemptBar | None = None
    for attempt in row.attempts[:_MOST_ATTEMPTS]:
        if before is not None:
            ended = before.started_ms + before.duration_ms
            shapes.append(_line(ended, attempt.started_ms, whole, _HEIGHT / 2, "wait", "waited for the next attempt"))
        title = f"attempt {attempt.number}: {attempt.status}, {duration_text(attempt.duration_ms)}"
        shapes.append(_bar(attempt.started_ms, attempt.duration_ms, whole, 3, _HEIGHT - 6, attempt.status, title))
        before = attempt
    if before is None and row.started_ms is not None:
        shapes.append(_bar(row.started_ms, row.duration_ms, whole, 3, _HEIGHT - 6, row.status, row.status))
    return shapes


def _lanes(bars: Iterable[ItemBar]) -> list[list[ItemBar]]:
    """Return the bars in as few lanes as they need: an item goes where another has ended, the first such lane."""
    lanes: list[list[ItemBar]] = []
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    for bar in bars:
        while busy and busy[0][0] <= bar.started_ms + 0.01:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(lanes)
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append(bar)
        heapq.heappush(busy, (bar.started_ms + bar.duration_ms, lane))
    return lanes


def _items(lanes: list[list[ItemBar]], whole: float) -> list[Markup]:
    top = 2.0 if len(lanes) > 2 else (_HEIGHT - len(lanes) * _LANE) / 2
    return [
        _bar(
            bar.started_ms,
            bar.duration_ms,
            whole,
            top + number * _LANE,
            _LANE - 1,
            bar.status,
            f"item {bar.position}: {word(bar.status)}, {duration_text(bar.duration_ms)}",
        )
        for number, lane in enumerate(lanes)
        for bar in lane
    ]


def _crowd(row: StepRow, items: Items, whole: float) -> list[Markup]:
    """Return how many items ran at each time, and a mark where one ended without an output."""
    running = items.running or running_counts([(bar.started_ms, bar.duration_ms) for bar in items.spans])
    first = min([bar.started_ms for bar in items.spans], default=row.started_ms or 0.0)
    size = row.duration_ms / len(running)
    most = max(running) or 1.0
    shapes = [
        tag(
            "rect",
            x=_percent(first + bucket * size, whole),
            width=_percent(size * 1.02, whole),
            y=round(_CROWD - 4 - count / most * (_CROWD - 8), 1),
            height=round(count / most * (_CROWD - 8), 1),
            class_="completed",
        )
        for bucket, count in enumerate(running)
        if count > 0
    ]
    for bar in items.troubled:
        if not math.isnan(bar.started_ms):
            title = f"item {bar.position}: {word(bar.status)}"
            shapes.append(_bar(bar.started_ms + bar.duration_ms, 0, whole, 0, 6, bar.status, title))
    return shapes


def _more(row: StepRow) -> Markup:
    """Return what a row shows when it is opened."""
    parts = [tag("p", tag("b", word(row.status)), *([": ", row.reason] if row.reason else []))]
    if row.error:
        parts.append(tag("p", row.error, class_="mono"))
    facts = [f"needs {', '.join(row.needs)}" if row.needs else "needs no other step"]
    if row.started_ms is not None:
        facts.append(f"began at {duration_text(row.started_ms)}, took {duration_text(row.duration_ms)}")
        if row.started_ms - row.ready_ms >= 1:
            facts.append(f"waited {duration_text(row.started_ms - row.ready_ms)} for a slot")
    parts.append(tag("p", "; ".join(facts) + "."))
    if len(row.attempts) > 1:
        parts.append(_attempt_table(row))
    if row.items is not None:
        parts += _item_list(row.items)
    return tag("div", *parts, class_="more")


def _attempt_table(row: StepRow) -> Markup:
    head = tag("tr", *(tag("th", title, scope="col") for title in ("#", "attempt", "began", "took", "what was said")))
    body = []
    for attempt in row.attempts[:_MOST_ATTEMPTS]:
        words = [attempt.error or ""]
        if attempt.hint:
            words += [tag("br"), tag("span", f"told to the next attempt: {attempt.hint}", class_="hint")]
        body.append(
            tag(
                "tr",
                tag("td", str(attempt.number), class_="number"),
                tag("td", tag("span", sign(attempt.status), class_="sign"), f" {word(attempt.status)}"),
                tag("td", duration_text(attempt.started_ms), class_="number"),
                tag("td", duration_text(attempt.duration_ms), class_="number"),
                tag("td", *words),
                class_=attempt.status,
            )
        )
    return tag("table", tag("thead", head), tag("tbody", *body), aria_label=f"Attempts of {row.name}")


def _item_list(items: Items) -> list[Markup]:
    counts = ", ".join(f"{count:,} {word(status)}" for status, count in sorted(items.counts.items()))
    parts = [tag("p", f"{items.total:,} items: {counts or 'none has ended'}.")]
    listed = [
        tag(
            "li",
            f"item {bar.position}: {word(bar.status)}",
            f" after {bar.attempts} attempts" if bar.attempts > 1 else "",
            f": {bar.error}" if bar.error else "",
        )
        for bar in items.troubled
    ]
    if listed:
        parts.append(tag("ul", *listed))
    left_out = sum(count for status, count in items.counts.items() if status != "completed") - len(listed)
    if left_out > 0:
        parts.append(tag("p", f"and {left_out:,} more"))
    return parts
