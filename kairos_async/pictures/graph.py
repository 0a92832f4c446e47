"""The graph of a workflow or a run as SVG: a box for each step, coloured by how it ended, the slowest path marked."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Final

from kairos_async.pictures.layers import Layout, arrange
from kairos_async.pictures.markup import Markup, escaped, join, tag
from kairos_async.pictures.portrait import StepRow, duration_text
from kairos_async.pictures.style import STANDALONE_STYLE, sign, word

MOST_DRAWN: Final = 400
"""Steps. A larger graph is not drawn: nobody could read it."""
_CHARACTER: Final = 7.3
"""Pixels, of the monospaced font that labels are set in."""
_PADDING: Final = 12.0
_LONGEST_LABEL: Final = 26
_HEIGHT: Final = 44.0
_ROW: Final = 80.0
_MARGIN: Final = 6.0


def graph_svg(
    rows: Sequence[StepRow], *, limit: float, slowest: Collection[str] = (), prefix: str = "", standalone: bool = False
) -> Markup:
    """Return the graph as an SVG element.

    Args:
        rows: the steps; needs that are none of them are left out.
        limit: pixels that the drawing may be wide, if it can be.
        slowest: the names of the steps of the slowest path.
        prefix: boxes link to "#" + prefix + position of the step; "": no links.
        standalone: with a style of its own, for a file of its own.
    """
    position = {row.name: index for index, row in enumerate(rows)}
    needs = [sorted({position[need] for need in row.needs if need in position}) for row in rows]
    second_lines = any(_second_line(row) for row in rows)
    texts = [text for row in rows for text in (row.name, _second_line(row))]
    longest = max((min(len(text), _LONGEST_LABEL) for text in texts), default=0)
    box = min(max(96.0, (longest + 2) * _CHARACTER + 2 * _PADDING), limit - 2 * _MARGIN)
    layout = arrange(needs, box, limit - 2 * _MARGIN)
    path = list(slowest)
    marked = {(position[a], position[b]) for a, b in itertools.pairwise(path) if a in position}
    lines = sorted(layout.paths, key=lambda edge: edge in marked)  # what is marked is drawn over the rest
    drawn = [_edge(layout, edge, marked=edge in marked) for edge in lines]
    drawn += [
        _box(row, layout.boxes[index], box, row.name in slowest, f"#{prefix}{index}" if prefix else "", second_lines)
        for index, row in enumerate(rows)
    ]
    width, height = layout.width + 2 * _MARGIN, (layout.rows - 1) * _ROW + _HEIGHT + 2 * _MARGIN
    count = f"{len(rows)} steps, {sum(map(len, needs))} edges"
    return tag(
        "svg",
        *([Markup(f"<style>{STANDALONE_STYLE}</style>")] if standalone else []),
        tag("title", f"Graph: {count}"),
        tag("g", *drawn, transform=f"translate({_MARGIN:g} {_MARGIN:g})"),
        xmlns="http://www.w3.org/2000/svg",
        class_="graph wide" if width > limit * 1.2 else "graph",
        viewBox=f"0 0 {width:g} {height:g}",
        width=round(width),
        height=round(height),
        role="group" if prefix else "img",
    )


def _edge(layout: Layout, edge: tuple[int, int], *, marked: bool) -> Markup:
    (x, row), (end, last) = layout.boxes[edge[0]], layout.boxes[edge[1]]
    y = row * _ROW + _HEIGHT
    parts = [f"M{x:g} {y:g}"]
    for to, through in [*layout.paths[edge], (end, last)]:
        top = through * _ROW
        parts.append(f"C{x:g} {(y + top) / 2:g} {to:g} {(y + top) / 2:g} {to:g} {top:g}")
        x, y = to, top
        if through != last:
            y = top + _HEIGHT
            parts.append(f"V{y:g}")
    return tag("path", d="".join(parts), class_="edge slow" if marked else "edge")


def _box(row: StepRow, place: tuple[float, int], width: float, slow: bool, link: str, second_lines: bool) -> Markup:
    x, y = place[0] - width / 2, place[1] * _ROW
    room = int((width - 2 * _PADDING) / _CHARACTER) - 2
    facts = _second_line(row)
    spoken = ", ".join(filter(None, [row.name, word(row.status), facts, "on the slowest path" * slow]))
    middle = y + _HEIGHT / 2
    drawn = join(
        [
            tag("title", spoken),
            tag("rect", x=x, y=y, width=width, height=_HEIGHT, rx=8, class_="box"),
            tag("text", sign(row.status), x=x + _PADDING, y=y + 18 if second_lines else middle + 4, class_="sign"),
            tag(
                "text",
                _cut(row.name, room),
                x=x + _PADDING + 2 * _CHARACTER,
                y=y + 18 if second_lines else middle + 4,
                class_="name",
            ),
            tag("text", _cut(facts, room), x=x + _PADDING + 2 * _CHARACTER, y=y + 34, class_="facts")
            if facts
            else escaped(""),
        ]
    )
    kind = f"node {row.status}" + (" slow" if slow else "")
    return tag("a", drawn, href=link, class_=kind, aria_label=spoken) if link else tag("g", drawn, class_=kind)


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _second_line(row: StepRow) -> str:
    """Return what a box says below the name: how long it took, attempts, items."""
    facts = [duration_text(row.duration_ms)] if row.started_ms is not None else []
    if row.status == "waiting" and row.reason:
        facts.append(row.reason)
    if row.items is not None:
        facts.append(f"{row.items.counts.get('completed', 0):,}/{row.items.total:,}")
    elif len(row.attempts) > 1:
        facts.append(f"{len(row.attempts)} attempts")
    return " · ".join(facts)
