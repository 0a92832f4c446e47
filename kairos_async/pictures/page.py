"""The page of a run: one HTML file that shows graph and timeline, without scripts and without anything from elsewhere.

Its content security policy allows its one style sheet, by hash, and nothing else; so even a mark-up that got past the
escaping could load, run and send nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Collection
from typing import Final

from kairos_async.pictures.graph import MOST_DRAWN, graph_svg
from kairos_async.pictures.markup import Markup, escaped, join, tag
from kairos_async.pictures.portrait import Portrait, duration_text, slowest_path
from kairos_async.pictures.style import PAGE_STYLE, sign, word
from kairos_async.pictures.timeline import timeline

_BROAD: Final = 1160.0
_NARROW: Final = 338.0
"""Pixels that the graph may be wide: on a desk, and on a telephone, for which it is laid out anew."""
_HASH: Final = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
_POLICY: Final = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"


def page(portrait: Portrait) -> str:
    """Return the whole page as HTML."""
    slowest = slowest_path(portrait.rows)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"{portrait.workflow}: {portrait.status}"),
        Markup(f"<style>{PAGE_STYLE}</style>"),
    )
    body = tag(
        "body",
        tag("main", *_head(portrait), _graph(portrait, slowest), _timeline(portrait, slowest), _foot(portrait)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def framed(portrait: Portrait) -> str:
    """Return the page in a frame, for a notebook: nothing of it reaches the page around."""
    height = min(900, 420 + 34 * len(portrait.rows))
    content = html.escape(page(portrait))
    return (
        f'<iframe title="run of {escaped(portrait.workflow)}" srcdoc="{content}" sandbox="" width="100%" '
        f'height="{height}" frameborder="0"></iframe>'
    )


def _head(portrait: Portrait) -> list[Markup]:
    badge = tag("span", f"{sign(portrait.status)} {portrait.status}", class_=f"badge {portrait.status}")
    facts = [("took", duration_text(portrait.duration_ms)), ("steps", _steps(portrait)), *portrait.facts]
    retries = sum(max(0, len(row.attempts) - 1) for row in portrait.rows)
    if retries:
        facts.append(("retries", f"{retries:,}"))
    facts.append(("run", portrait.run_id[:8]))
    listed = [tag("li", f"{what} ", tag("b", value)) for what, value in facts]
    parts = [tag("header", tag("h1", portrait.workflow), badge), tag("ul", *listed, class_="facts-list")]
    if portrait.error:
        broken = next((row.name for row in portrait.rows if row.error == portrait.error), None)
        said = [tag("b", broken), " failed: "] if broken else []
        parts.append(tag("p", *said, portrait.error, class_="trouble"))
    parts += [tag("p", warning, class_="hint") for warning in portrait.warnings]
    return parts


def _steps(portrait: Portrait) -> str:
    """Return how many steps there are and how they ended, as "8: 6 completed, 2 skipped"."""
    counts: dict[str, int] = {}
    for row in portrait.rows:
        counts[row.status] = counts.get(row.status, 0) + 1
    if len(counts) == 1:
        return f"{len(portrait.rows):,}, all {word(next(iter(counts)))}"
    shown = ", ".join(f"{count:,} {word(status)}" for status, count in counts.items())
    return f"{len(portrait.rows):,}: {shown}" if counts else "0"


def _graph(portrait: Portrait, slowest: Collection[str]) -> Markup:
    title = tag("h2", "Graph", id="graph")
    if not portrait.rows:
        return tag("section", title, tag("p", "No step has begun."))
    if len(portrait.rows) > MOST_DRAWN:
        return tag("section", title, tag("p", f"{len(portrait.rows):,} steps are too many to draw."))
    drawings = [
        tag(
            "div",
            graph_svg(portrait.rows, limit=limit, slowest=slowest, prefix="step-"),
            class_=f"scroll {name}",
            tabindex=0,
            role="group",
            aria_label="Graph of the steps; each links to its row in the timeline",
        )
        for name, limit in (("broad", _BROAD), ("narrow", _NARROW))
    ]
    return tag("section", title, *drawings, aria_labelledby="graph")


def _timeline(portrait: Portrait, slowest: list[str]) -> Markup:
    rows = {row.name: row for row in portrait.rows}
    share = sum(rows[name].duration_ms for name in slowest)
    path = " → ".join(slowest) if len(slowest) <= 12 else f"{len(slowest)} steps from {slowest[0]} to {slowest[-1]}"
    sentence = tag(
        "p",
        tag("span", "◆ ", class_="slowmark", aria_hidden="true"),
        "Slowest path: ",
        tag("b", path),
        f", {duration_text(share)} of {duration_text(portrait.duration_ms)}.",
    )
    return tag(
        "section",
        tag("h2", "Timeline", id="timeline"),
        sentence if slowest else escaped(""),
        _legend(),
        timeline(portrait, slowest, "step-"),
        aria_labelledby="timeline",
    )


def _legend() -> Markup:
    """Return what the bars and lines mean."""

    def sample(kind: str, word: str) -> Markup:
        shape = tag("rect", width=22, height=10, rx=2, class_=kind)
        if kind in ("wait", "queue"):
            shape = tag("line", x1=0, x2=22, y1=5, y2=5, class_=kind)
        return tag("li", tag("svg", shape, class_="track", aria_hidden="true"), word)

    kinds = [
        ("success", "succeeded"),
        ("failure", "failed"),
        ("timeout", "out of time or cancelled"),
        ("wait", "waits for the next attempt"),
        ("queue", "ready, waits for a slot"),
    ]
    return tag("ul", *(sample(kind, word) for kind, word in kinds), class_="legend")


def _foot(portrait: Portrait) -> Markup:
    return join(
        [
            tag(
                "footer",
                tag("span", "run "),
                tag("span", portrait.run_id, class_="mono"),
                ". Open a row for its attempts, items and errors. Secrets are redacted.",
            )
        ]
    )
