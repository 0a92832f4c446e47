"""Plots as SVG, made of a few shapes: an axis with a logarithmic scale, dots, lines and words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

INK: Final = "#24292f"
FAINT: Final = "#d8dee4"
GREY: Final = "#6e7781"
OURS: Final = "#0a7d4f"
COLOURS: Final = ("#0969da", "#bf3989", "#9a6700", "#8250df", "#cf222e")
"""Colours that differ in lightness too, for those who see hues alike."""

_FONT: Final = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


def number(value: float) -> str:
    """Return a figure as a reader says it."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def round_up(value: float) -> float:
    """Return the next figure of which a quarter is easily read."""
    unit: float = 10 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 2, 4, 6, 8, 10) if step * unit >= value)


class Scale:
    """A logarithmic axis between two values and two places."""

    def __init__(self, values: tuple[float, float], places: tuple[float, float]) -> None:
        self._least, self._most = (math.log10(value) for value in values)
        self._start, self._end = places

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self._least) / (self._most - self._least)
        return round(self._start + share * (self._end - self._start), 1)


def text(
    x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, fill: str = INK, more: str = ""
) -> str:
    """Return words at a place."""
    return (
        f"<text x='{x}' y='{y}' text-anchor='{anchor}' font-size='{size}' fill='{fill}' {more}>{escape(words)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, *, stroke: str = FAINT, width: float = 1, more: str = "") -> str:
    """Return a straight line."""
    return f"<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='{stroke}' stroke-width='{width}' {more}/>"


def dot(x: float, y: float, fill: str, *, radius: float = 5, title: str = "") -> str:
    """Return a dot, which says its title to a pointer."""
    about = f"<title>{escape(title)}</title>"
    return f"<circle cx='{x}' cy='{y}' r='{radius}' fill='{fill}' stroke='white' stroke-width='1'>{about}</circle>"


def picture(width: int, height: int, title: str, shapes: Sequence[str]) -> str:
    """Return the whole, on white, whatever is around it."""
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img' aria-label='{escape(title, quote=True)}' {_FONT}>",
        f"<rect width='{width}' height='{height}' rx='6' fill='white'/>",
        *shapes,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def ratios(title: str, under: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """Draw a row of dots for each library, one dot a workload, on one scale; the first row is ours."""
    columns = list(next(iter(rows.values())))
    values = [value for row in rows.values() for value in row.values()]
    least, most = min(0.5, *values) * 0.9, max(values) * 1.3
    left, right, top, step = 172, 740, 96, 30
    bottom = top + step * len(rows)
    at = Scale((least, most), (left, right))
    shapes = [text(16, 28, title, size=16, more="font-weight='600'"), text(16, 48, under, fill=GREY)]
    place = 16.0
    for colour, column in zip(COLOURS, columns, strict=False):
        shapes += [dot(place + 5, 68, colour), text(place + 15, 72, column, fill=GREY)]
        place += 30 + 6.6 * len(column)
    for tick in (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000):
        if least <= tick <= most:
            one = tick == 1
            shapes.append(
                line(at(tick), top - 8, at(tick), bottom, stroke=GREY if one else FAINT, width=2 if one else 1)
            )
            shapes.append(text(at(tick), bottom + 18, f"{number(tick)}x", anchor="middle", fill=INK if one else GREY))
    shapes.append(text(at(1), bottom + 36, "asyncio by hand", anchor="middle"))
    shapes.append(text(right, bottom + 36, "slower", anchor="end", fill=GREY))
    for index, (name, row) in enumerate(rows.items()):
        y = top + step * index + step // 2
        ours = index == 0
        weight = "font-weight='700'" if ours else ""
        if ours:
            shapes.append(f"<rect x='8' y='{y - 14}' width='{right}' height='28' rx='4' fill='{OURS}' opacity='0.10'/>")
        shapes.append(text(left - 16, y + 4, name, anchor="end", fill=OURS if ours else INK, more=weight))
        shapes.append(line(at(min(row.values())), y, at(max(row.values())), y, stroke=FAINT, width=4))
        pairs = zip(COLOURS, row.items(), strict=False)
        # Each workload has its own height in the row, so that equal ratios do not hide each other.
        shapes += [
            dot(at(value), y - 5 + 2.5 * place, colour, title=f"{name}, {key}: {value:.2f}x")
            for place, (colour, (key, value)) in enumerate(pairs)
        ]
    return picture(760, bottom + 48, title, shapes)


def lines(
    title: str, panels: Sequence[tuple[str, Mapping[str, Mapping[float, float]]]], *, dashed: str = "by hand"
) -> str:
    """Draw panels of lines over a logarithmic number of steps; from zero up. Names with `dashed` in them are dashed."""
    width, top, bottom = 380, 76, 256
    shapes = [text(16, 28, title, size=16, more="font-weight='600'")]
    for index, (under, series) in enumerate(panels):
        left, right = width * index + 52, width * index + width - 24
        sizes = sorted({size for points in series.values() for size in points})
        highest = round_up(max(value for points in series.values() for value in points.values()))
        at = Scale((sizes[0], sizes[-1]), (left, right))
        shapes.append(text(left - 36, 56, under, fill=GREY))
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            y = bottom - share * (bottom - top)
            shapes += [
                line(left, y, right, y),
                text(left - 6, y + 4, f"{highest * share:,.0f}", anchor="end", size=11, fill=GREY),
            ]
        shapes += [text(at(size), bottom + 16, number(size), anchor="middle", size=11, fill=GREY) for size in sizes]
        shapes.append(text((left + right) / 2, bottom + 32, "steps", anchor="middle", size=11, fill=GREY))
        for place, (name, points) in enumerate(series.items()):
            colour = COLOURS[place // 2 if any(dashed in each for each in series) else place]
            path = " ".join(f"{at(x)},{bottom - y / highest * (bottom - top):.1f}" for x, y in sorted(points.items()))
            dashes = "stroke-dasharray='2 4'" if dashed in name else ""
            shapes.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2' {dashes}/>")
            y = bottom + 52 + 16 * place
            shapes += [
                line(left, y - 4, left + 24, y - 4, stroke=colour, width=2, more=dashes),
                text(left + 32, y, name, size=11),
            ]
    rows = max(len(series) for _, series in panels)
    return picture(width * len(panels), bottom + 56 + 16 * rows, title, shapes)
