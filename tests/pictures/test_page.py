"""The page of a run: everything is on it, nothing of it acts, and a log gives the same as the result."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from xml.etree import ElementTree

import pytest

from kairos_async import Step, StepContext, Workflow, WorkflowResult
from kairos_async.cli.from_log import portrait_of_log
from kairos_async.observe.runlog import log_of
from kairos_async.pictures import Portrait, StepRow, page, portrait_of
from kairos_async.pictures.markup import Markup, tag
from kairos_async.pictures.portrait import duration_text, slowest_path
from tests.clocks import run_virtual
from tests.pictures.runs import ERROR, ITEMS, NAME, SECRET, troubled_run

ALLOWED = set(
    """html head meta title style body main header h1 h2 span ul ol li b p section div svg g a path rect line text
    details summary table thead tbody tr th td br footer""".split()  # noqa: SIM905 - a list would be thirty lines
)


@pytest.fixture(scope="module")
def shown() -> str:
    """The page of the troubled run."""
    return troubled_run()[0].to_html()


def tree(text: str) -> ElementTree.Element:
    """Return the page's elements. It is well-formed XML too, which shows that every text was escaped."""
    doctype, _, rest = text.partition("\n")
    assert doctype == "<!doctype html>"
    return ElementTree.fromstring(rest)


def local(element: ElementTree.Element) -> str:
    """Return an element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def test_the_page_has_nothing_that_acts(shown: str) -> None:
    """No script, no handler, no form, no address but places on the page itself."""
    for element in tree(shown).iter():
        assert local(element) in ALLOWED
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name not in {"src", "style", "action", "srcset", "data"}
            assert name != "href" or re.fullmatch(r"#step-\d+", value)


def test_texts_are_shown_as_they_are(shown: str) -> None:
    """What looks like mark-up is text."""
    text = "".join(tree(shown).itertext())
    assert NAME in text
    assert 'ValueError: "><script src=' in text
    assert "<img src=x onerror=alert(1)>" in text
    assert html.escape(ERROR.split("=")[0]) in shown


def test_secrets_are_not_shown(shown: str) -> None:
    """Neither in texts nor in attributes."""
    assert SECRET not in shown
    assert "Zz9Zz9" not in shown
    assert "[REDACTED]" in shown


def test_the_policy_allows_the_one_style_sheet(shown: str) -> None:
    """By its hash, and nothing else."""
    page_tree = tree(shown)
    style = next(element for element in page_tree.iter() if local(element) == "style")
    digest = base64.b64encode(hashlib.sha256((style.text or "").encode()).digest()).decode()
    policy = next(e.get("content") for e in page_tree.iter() if e.get("http-equiv") == "Content-Security-Policy")
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "@import" not in (style.text or "")
    assert "url(" not in (style.text or "")


def test_every_step_and_what_happened_to_it_is_there(shown: str) -> None:
    """Statuses in words, attempts, items, reasons."""
    rows = [e for e in tree(shown).iter() if local(e) == "li" and (e.get("id") or "").startswith("step-")]
    said = {e.get("id"): " ".join("".join(e.itertext()).split()) for e in rows}
    assert len(rows) == 10
    assert "40 items: 38 completed, 2 failed" in said["step-1"]
    assert "item 5: failed: LookupError: no page 5" in said["step-1"]
    assert "attempt 3: success" in said["step-2"]
    assert "ConnectionError: reset by peer" in said["step-2"]
    assert "skipped: it failed, and its policy skips it" in said["step-6"]
    assert "cancelled: the run was aborted: step 'score' failed" in said["step-8"]
    assert "skipped: step 'score', upstream of it, failed" in said["step-9"]


def test_the_slowest_path() -> None:
    """Back from what ended last, to that of its needs which ended last; what was cancelled is not the reason."""
    result, _ = troubled_run()
    assert slowest_path(portrait_of(result, str).rows) == ["discover", "pages", "inventory", "licences", "score"]


def test_a_log_gives_the_same_picture_as_the_result() -> None:
    """Attempts, items, waiting: within the microseconds that the clocks of the two differ by."""
    result, events = troubled_run()
    from_result = portrait_of(result, lambda text: text.replace(SECRET, "[REDACTED]"))
    from_log = portrait_of_log(log_of(result.run_id, events))
    assert (from_log.workflow, from_log.status, from_log.error) == (NAME, "failed", from_result.error)
    ours, theirs = ({row.name: row for row in portrait.rows} for portrait in (from_result, from_log))
    assert ours.keys() == theirs.keys()
    for name, row in ours.items():
        other = theirs[name]
        assert (other.status, list(other.needs), other.reason) == (row.status, list(row.needs), row.reason)
        assert [a[:2] for a in other.attempts] == [a[:2] for a in row.attempts], name
        for mine, its in zip(row.attempts, other.attempts, strict=True):
            assert its[2:4] == pytest.approx(mine[2:4], abs=1), name
        if row.items is not None:
            assert other.items is not None
            assert (other.items.total, dict(other.items.counts)) == (row.items.total, dict(row.items.counts))
            assert sorted(bar[:2] for bar in other.items.spans) == sorted(bar[:2] for bar in row.items.spans)
    hints = [attempt.hint for attempt in theirs["connect"].attempts]
    assert hints == ["The step raised an error. Review what it did and try again."] * 2 + [None]


def test_a_result_that_was_stored_draws_the_same_page(shown: str) -> None:
    """The picture needs nothing but what `to_dict` has."""
    result, _ = troubled_run()
    assert WorkflowResult.from_dict(result.to_dict()).to_html() == shown


def test_a_notebook_gets_a_frame() -> None:
    """Its own page cannot be reached from inside, and its styles stay its own."""
    frame = ElementTree.fromstring(troubled_run()[0]._repr_html_())
    assert (frame.tag, frame.get("sandbox")) == ("iframe", "")
    assert (frame.get("srcdoc") or "").startswith("<!doctype html>")


def test_many_items_are_counted_and_not_drawn() -> None:
    """A page stays small, however many items there are."""

    async def act(ctx: StepContext) -> object:
        return ctx.item

    workflow = Workflow("w", [Step("each", act, foreach="items")])
    text = run_virtual(workflow.run, {"items": [0] * 5_000}).to_html()
    assert len(text) < 60_000
    assert "5,000 items: 5,000 completed" in "".join(tree(text).itertext())


def test_many_steps_have_rows_and_no_graph() -> None:
    """Up to 400 steps are drawn."""
    rows = [StepRow(f"s{i}", "completed", (), float(i), 1.0) for i in range(401)]
    shown = page(Portrait("w", "0" * 32, "complete", 402.0, rows))
    assert "401 steps are too many to draw" in shown
    assert 'id="step-400"' in shown


def test_attributes_and_texts_are_escaped() -> None:
    """Only what `tag` made is markup; control characters do nothing."""
    made = tag("p", "<\"&'\x1b[31m\u202e", tag("b", "x"), title='"><script>')
    assert made == ('<p title="&quot;&gt;&lt;script&gt;">&lt;&quot;&amp;&#x27;\\x1b[31m\\u202e<b>x</b></p>')
    assert isinstance(made, Markup)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (0.126, "0.13 ms"),
        (41.26, "41.3 ms"),
        (999.4, "999 ms"),
        (999.6, "1 s"),
        (1_270, "1.27 s"),
        (185_000, "3 min 5 s"),
        (3_720_000, "1 h 2 min"),
    ],
)
def test_durations_in_words(milliseconds: float, text: str) -> None:
    """Three digits at most, and the unit that reads best."""
    assert duration_text(milliseconds) == text


def test_the_number_of_items_of_the_run() -> None:
    """The run above is what its tests say it is."""
    items = troubled_run()[0].step_results["pages"].items
    assert items is not None
    assert len(items) == ITEMS
