"""The page of a run in a real browser: a headless Chromium, on a desk and on a telephone, by day and by night."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dev
from kairos_async.pictures import Portrait, StepRow, graph_svg, page
from kairos_async.pictures.portrait import AttemptBar, ItemBar, Items
from tests.pictures.browser import Browser, browser
from tests.pictures.runs import troubled_run

WIDTHS = (1280, 390)

TEXTS = """
[...document.querySelectorAll('h1,h2,p,li,td,th,b,summary span,svg text')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width > 1 && box.height > 1 && e.textContent.trim() && getComputedStyle(e).visibility === 'visible';
})
"""
SMALLEST = f"""
Math.min(...{TEXTS}.map(e => {{
  const svg = e.closest('svg.graph');
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  return parseFloat(getComputedStyle(e).fontSize) * scale;
}}))
"""
CONTRASTS = f"""
(() => {{
  const light = color => {{
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255);
    const [r, g, b] = parts.map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }};
  const ground = e => {{
    const box = e.closest('.node')?.querySelector('.box');
    if (box) return getComputedStyle(box).fill;
    for (let at = e; at; at = at.parentElement) {{
      const color = getComputedStyle(at).backgroundColor;
      if (color !== 'rgba(0, 0, 0, 0)') return color;
    }}
  }};
  return ({TEXTS}).map(e => {{
    const style = getComputedStyle(e);
    const [a, b] = [light(e instanceof SVGElement ? style.fill : style.color), light(ground(e))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), e.textContent.slice(0, 40)];
  }}).sort((x, y) => x[0] - y[0])[0];
}})()
"""
CLIPPED = """
[...document.querySelectorAll('main *')].filter(e => {
  if (e.closest('.scroll') || e.closest('.aside') || e.closest('svg')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(e => e.outerHTML.slice(0, 100))
"""
BARS = """
Object.fromEntries(['success', 'failure', 'timeout', 'cancelled', 'wait', 'slowline'].map(kind => [kind,
  [...document.querySelectorAll(`.rows .track .${kind}`)].filter(e => e.getBoundingClientRect().width >= 1).length]))
"""


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    """One browser for all tests of this module."""
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a failed run with retries and a foreach."""
    path = tmp_path_factory.mktemp("page") / "run.html"
    path.write_text(troubled_run()[0].to_html(), "utf-8")
    return path


def said(opened: Browser) -> list[dict[str, Any]]:
    """Return what the page wrote to its console, and what went wrong in it."""
    methods = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
    return [event for event in opened.events if event.get("method") in methods]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_legible(width: int, dark: bool, opened: Browser, file: Path) -> None:
    """No sideways scrolling, nothing cut off, no text under 11 pixels or of little contrast, everything opened."""
    opened.open(file, width, dark=dark)
    opened.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    assert opened.evaluate(CLIPPED) == []
    assert opened.evaluate(SMALLEST) >= 10.9
    contrast, text = opened.evaluate(CONTRASTS)
    assert contrast >= 4.5, text
    graphs = "[...document.querySelectorAll('svg.graph')].filter(e => e.getBoundingClientRect().width > 0).length"
    assert opened.evaluate(graphs) == 1


def test_nothing_is_asked_for_and_nothing_is_said(opened: Browser, file: Path) -> None:
    """One request, for the file itself; no console message, no error, no violation of the policy."""
    opened.events.clear()
    opened.open(file)
    opened.evaluate("1")
    requests = [e["params"]["request"]["url"] for e in opened.events if e.get("method") == "Network.requestWillBeSent"]
    assert requests == [file.as_uri()]
    assert said(opened) == []


LONG = "one_long_word" * 30
TRIED = [AttemptBar(1, "failure", 0.0, 1.0, LONG, LONG), AttemptBar(2, "success", 1.0, 1.0)]
BAD = Items(9, {"failed_final": 1}, (), [1.0] * 9, [ItemBar(0, "failed_final", 0.0, 1.0, 1, LONG)])
LOST = StepRow("next", "failed_final", [LONG], 2.0, 1.0, (), BAD, LONG)
ODD = [StepRow(LONG, "completed", [], 0.0, 2.0, TRIED), LOST]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [[], ODD], ids=["no steps", "long words"])
def test_odd_runs_fit_and_complain_of_nothing(width: int, rows: list[StepRow], opened: Browser, tmp_path: Path) -> None:
    """A run in which no step began; names, errors and warnings that have no space where a line could end."""
    path = tmp_path / "odd.html"
    path.write_text(page(Portrait(LONG, LONG, "failed", 3.0, rows, LONG, [], [LONG])), "utf-8")
    opened.events.clear()
    opened.open(path, width)
    opened.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert opened.evaluate(CLIPPED) == []
    assert opened.evaluate("document.documentElement.scrollWidth") == width
    assert said(opened) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_bars_show_attempts_waiting_and_the_slowest_path(width: int, opened: Browser, file: Path) -> None:
    """Drawn and wide enough to be seen, at each width."""
    opened.open(file, width)
    bars = opened.evaluate(BARS)
    assert bars["failure"] == 3
    assert bars["timeout"] == 2
    assert bars["cancelled"] == 1
    assert bars["wait"] == 3
    assert bars["slowline"] == 5


def test_rows_open_with_the_keyboard(opened: Browser, file: Path) -> None:
    """Tab reaches the graph, its boxes, and each row; Enter opens one."""
    opened.open(file)
    for _ in range(40):
        opened.press("Tab")
        if opened.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    assert opened.evaluate("document.activeElement.closest('li').id") == "step-0"
    assert opened.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    opened.press("Tab")
    opened.press("Enter")
    assert opened.evaluate("document.querySelector('#step-1 details').open") is True
    assert opened.evaluate("document.querySelector('#step-1 .more').getBoundingClientRect().height") > 40


def test_a_box_of_the_graph_leads_to_its_row(opened: Browser, file: Path) -> None:
    """By the keyboard too: it is a link."""
    opened.open(file)
    opened.evaluate("document.querySelector('.broad a[href=\"#step-7\"]').focus()")
    opened.press("Enter")
    assert opened.evaluate("location.hash") == "#step-7"
    assert opened.evaluate("document.querySelector(':target').id") == "step-7"


def test_a_screen_reader_hears_what_is_drawn(opened: Browser, file: Path) -> None:
    """Headings, names with statuses, and the slowest path in words; bars are hidden from it, being said in words."""
    opened.open(file)
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    names = [node["name"].get("value", "") for node in nodes if not node["ignored"] and "name" in node]
    headings = [n["name"]["value"] for n in nodes if not n["ignored"] and n["role"]["value"] == "heading"]
    assert headings == [troubled_run()[0].workflow, "Graph", "Timeline"]
    assert any(name.startswith("score, failed, 300 ms") and "on the slowest path" in name for name in names)
    assert any("connect , completed" in " ".join(name.split()) or "connect, completed" in name for name in names)


def test_the_page_can_be_sent_to_a_notebook(opened: Browser, tmp_path: Path) -> None:
    """In a frame of its own, which takes no script."""
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><meta charset='utf-8'>{troubled_run()[0]._repr_html_()}", "utf-8")
    opened.events.clear()
    opened.open(notebook)
    assert opened.evaluate("document.querySelector('iframe').getBoundingClientRect().height") > 400
    assert said(opened) == []


def test_the_policy_stops_what_would_get_past_the_escaping(opened: Browser, file: Path) -> None:
    """A script and an image that were put into the page do nothing: the last line of defence, seen to hold."""
    opened.open(file)
    opened.events.clear()
    opened.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.got = 1'}),"
        " Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x.png'}))"
    )
    assert opened.evaluate("window.got === undefined") is True
    assert opened.evaluate("document.images[0].naturalWidth") == 0
    assert len(said(opened)) >= 1


def test_the_graph_of_a_workflow_is_an_svg_file(opened: Browser, tmp_path: Path) -> None:
    """It stands on its own, in both schemes."""
    path = tmp_path / "graph.svg"
    rows = [StepRow("first", "waiting", ()), StepRow("second", "waiting", ("first",), reason="for each of first")]
    path.write_text(graph_svg(rows, limit=800, standalone=True), "utf-8")
    opened.events.clear()
    opened.open(path, dark=True)
    assert opened.evaluate("document.querySelectorAll('.box').length") == 2
    assert opened.evaluate("getComputedStyle(document.querySelector('.box')).fill") == "rgb(24, 27, 33)"
    assert said(opened) == []


def test_without_a_browser_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without one fails these tests with the way out, and not with something obscure."""
    monkeypatch.setenv("KAIROS_BROWSER", "/nowhere/chromium")
    assert dev.find_browser() is None
    with pytest.raises(AssertionError, match="apt-get install chromium"), browser():
        pass
