"""`kairos inspect`, `runs`, `validate`, `graph` and `tighten`: what is said of a run and of a workflow."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from kairos_async import Event
from kairos_async.cli.app import main
from kairos_async.cli.from_log import portrait_of_log
from kairos_async.observe import read_log
from kairos_async.observe.lines import encode
from tests.pictures.runs import ERROR, NAME, SECRET, troubled_run


def write(path: Path, events: Sequence[Event]) -> Path:
    """Write events as a log."""
    path.write_bytes(b"".join(map(encode, events)))
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the log of the troubled run."""
    write(tmp_path / "run.jsonl", troubled_run()[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def shown(capfd: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run the command and return what it prints."""
    capfd.readouterr()
    assert main(arguments) == code
    return capfd.readouterr().out


def test_summary_timeline_and_attempts(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The Gantt is aligned: every row's line begins and ends in the same column."""
    text = shown(capfd, "inspect", "run.jsonl")
    lines = text.splitlines()
    assert lines[0].startswith(f"{NAME}  ✗ failed after ")
    assert "6 completed, 1 cancelled, 2 skipped, 1 failed" in text.replace("\n", " ")
    axis, *bars = text.split("\n\n")[1].splitlines()
    assert axis.split() == ["0", "500", "ms", "1", "s"]
    assert {len(line) for line in bars} == {80}
    rows = {line.split()[1]: line for line in bars}
    assert "✗✗" in rows["score"]
    assert re.search(r"✗+·+✗+·+━+", rows["connect"])
    assert re.search(r"[▁-█]{5,}", rows["pages"])
    assert "◆" in rows["discover"]
    assert "◆" not in rows["connect"]
    assert "  ✗ attempt 1  failure" in text
    assert "the next attempt was told: The step raised an error." in text
    assert "item 5 failed: LookupError: no page 5" in text


def test_nothing_that_a_terminal_acts_on_and_no_secret(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Texts of the run are shown as text."""
    text = shown(capfd, "inspect", "run.jsonl")
    assert ERROR.split("=")[0] in text.replace("\n", "")
    assert SECRET not in text
    assert "\x1b" not in text


def test_failures_alone_and_one_step(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`--failures` leaves out what went well, `--step` shows one step whatever became of it."""
    text = shown(capfd, "inspect", "run.jsonl", "--failures")
    assert "inventory" not in text.split("◆")[0].replace("after inventory", "")
    assert "✗ score  failed" in text
    text = shown(capfd, "inspect", "run.jsonl", "-s", "inventory")
    assert "✓ inventory  completed" in text
    assert "after pages, connect" in text
    assert "score  failed" not in text
    assert shown(capfd, "inspect", "run.jsonl", "-s", "none", code=2) == ""


def test_a_log_with_several_runs(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The last one, or the one that is named."""
    events = troubled_run()[1]
    with open("run.jsonl", "ab") as file:
        file.write(b"".join(map(encode, events)).replace(events[0].run_id.encode(), b"f" * 32)[:4_000])
    assert "■ interrupted" in shown(capfd, "inspect", "run.jsonl")
    assert "✗ failed" in shown(capfd, "inspect", "run.jsonl", "--run", events[0].run_id)
    shown(capfd, "inspect", "run.jsonl", "--run", "nope", code=2)
    listed = shown(capfd, "runs", ".")
    assert "✗ failed" in listed
    assert "■ interrupted" in listed


def test_a_page_of_a_log(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`--html` writes the page, for its owner alone, and prints nothing."""
    assert shown(capfd, "inspect", "run.jsonl", "--html", "out.html") == ""
    assert (project / "out.html").stat().st_mode & 0o777 == 0o600
    page = (project / "out.html").read_text("utf-8")
    assert "told to the next attempt: The step raised an error." in page
    assert SECRET not in page
    assert "<script" not in page


def test_a_log_that_ends_anywhere_is_read(project: Path) -> None:
    """After each event of the run: the picture is as far as the log goes, and says that it is interrupted."""
    events = troubled_run()[1]
    for count in range(1, len(events)):
        portrait = portrait_of_log(read_log(write(project / "part.jsonl", events[:count])))
        assert portrait.status == "interrupted"
        begun = {event.step_id for event in events[:count] if event.step_id}
        assert {row.name for row in portrait.rows} == begun
    running = next(row for row in portrait.rows if row.name == "report")
    assert running.status == "skipped"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 100,
        b"{}\n" * 100,
        b"[" * 100_000,
        b'{"schema_version": 1, "event_type": "workflow_start"}\n',
        b'{"schema_version": 99, "event_type": "workflow_start", "run_id": "a", "sequence": 1}\n',
        "\ufeff{}".encode(),
    ],
)
def test_what_is_no_log_is_one_line(content: bytes, project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 from `inspect`; `runs` passes over it."""
    (project / "bad.jsonl").write_bytes(content)
    assert main(["inspect", "bad.jsonl"]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert main(["runs", "."]) == 0
    said = capfd.readouterr()
    assert "✗ failed" in said.out
    assert "passed over 1 files" in said.err


def test_hostile_events_are_data(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A log may have been written by anybody: wrong types, wrong times and wrong names break nothing."""
    event = '"run_id": "r", "sequence": 1, "timestamp": "2026-01-01T00:00:00+00:00", "level": "info"'
    lines = [
        f'{{"schema_version": 1, "event_type": "{kind}", {event}, "step_id": {step}, "data": {data}}}'
        for kind, step, data in [
            ("workflow_start", "null", '{"workflow": "\\u001b[2J<b>", "steps": "many", "inputs": 5}'),
            ("step_start", '"<script>"', '{"needs": "x", "items": -5}'),
            ("step_retry", '"s\\u001b]0;t\\u0007"', '{"attempt": "one", "delay_s": "x", "retry_context": [1]}'),
            ("item_complete", '"<script>"', '{"index": null, "done": [], "total": {}, "duration_ms": -1e300}'),
            ("item_fail", '"<script>"', '{"status": "\\"><x", "duration_ms": 1e308, "error_type": 5}'),
            ("step_complete", '"s"', '{"duration_ms": "NaN", "attempt_ms": null, "attempts": -1}'),
            ("step_skip", '"t"', '{"needs": ["t", "<script>", 5], "reason": {"a": 1}}'),
            ("workflow_complete", "null", '{"status": "<script>", "duration_ms": 1e308}'),
        ]
    ]
    (project / "odd.jsonl").write_text("\n".join(lines))
    text = shown(capfd, "inspect", "odd.jsonl")
    assert "\x1b" not in text
    assert shown(capfd, "inspect", "odd.jsonl", "--html", "odd.html") == ""
    assert "<script" not in (project / "odd.html").read_text("utf-8")


HUGE = "1" + "0" * 4_200
ODD = ["{}", "[]", '"x"', "1e308", "-1e308", "-5", HUGE, f"-{HUGE}", "null"]
NUMBERS = [*("steps", "items", "attempt", "attempts", "delay_s", "done", "total"), *("duration_ms", "attempt_ms")]
TIMES = ["2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:6])
def test_values_that_cannot_be_true_are_no_fault_of_kairos(
    odd: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Numbers beyond any float, statuses that are none, times in no year: each command ends as it always does."""
    data = ", ".join(f'"{key}": {odd}' for key in [*NUMBERS, "status", "summary", "usage", "needs"])
    lines = [
        f'{{"schema_version": 1, "event_type": "{kind}", "run_id": "r", "sequence": 1, "timestamp": "{when}", '
        f'"step_id": {step}, "level": "info", "data": {{{data}}}}}'
        for when in TIMES
        for kind, step in [
            *[("workflow_start", "null"), ("step_start", '"s"'), ("step_retry", '"s"'), ("item_fail", '"s"')],
            *[("llm_call", '"s"'), ("step_complete", '"s"'), ("workflow_complete", "null")],
        ]
    ]
    (project / "odd.jsonl").write_text("\n".join(lines) + "\n")
    for command in [("inspect", "odd.jsonl"), ("inspect", "odd.jsonl", "--html", "odd.html"), ("runs", ".")]:
        assert main(command) == 0, capfd.readouterr().err
    assert main(("inspect", "odd.jsonl", "--follow")) == 0, capfd.readouterr().err


def test_following_a_log(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It goes on until the run's end, which somebody else writes."""
    events = troubled_run()[1]
    path = project / "growing.jsonl"
    path.write_bytes(b"")
    whole = b"".join(map(encode, events))

    def grow() -> None:
        for begin in range(0, len(whole), len(whole) // 4):
            with open(path, "ab") as file:
                file.write(whole[begin : begin + len(whole) // 4])

    writer = threading.Thread(target=grow)
    writer.start()
    text = shown(capfd, "inspect", "growing.jsonl", "--follow")
    writer.join()
    assert "✗ failed" in text


def test_another_run_in_a_log_that_is_followed(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Runs that share a file are not mixed: the one that is followed is shown to its end, whatever begins meanwhile."""
    events = troubled_run()[1]
    others = [encode(event).replace(events[0].run_id.encode(), b"another") for event in events]
    path = project / "shared.jsonl"
    path.write_bytes(b"".join(map(encode, events[:3])))
    timer = threading.Timer(0.5, lambda: path.write_bytes(b"".join([*map(encode, events), *others[:5]])))
    timer.start()
    assert main(("inspect", "shared.jsonl", "--follow")) == 0
    said = capfd.readouterr()
    assert said.err.count("\n") == len(events)
    assert f"run {events[0].run_id[:8]}" in said.out
    assert "✗ failed" in said.out


def test_following_a_log_of_which_half_a_line_is_there(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The run has only begun to write it; a whole line that is no event is no log, and is not waited for."""
    whole = b"".join(map(encode, troubled_run()[1]))
    path = project / "begun.jsonl"
    path.write_bytes(whole[:20])
    threading.Timer(0.5, path.write_bytes, (whole,)).start()
    assert "✗ failed" in shown(capfd, "inspect", "begun.jsonl", "--follow")
    path.write_bytes(b"no log\n")
    assert main(("inspect", "begun.jsonl", "--follow")) == 2


TARGET = """
from kairos_async import Schema, Step, Workflow
from kairos_async import validators as v
open("executed", "a").close()

def never(ctx):
    open("acted", "w").close()

async def read(ctx):
    return ctx.inputs["a"] + ctx.state.get("b", 0)

score = Schema({"score": float}, validators={"score": [v.range(min=0.0, max=100.0)]})
share = Schema({"score": float}, validators={"score": [v.range(min=0.0, max=1.0)]})
refuted = Workflow("units", [
    Step("rate", never, output_contract=score),
    Step("report", never, depends_on=["rate"], input_contract=Schema({"rate": share})),
])
proven = Workflow("fine", [
    Step("rate", never, output_contract=share),
    Step("report", never, depends_on=["rate"], input_contract=Schema({"rate": score}), read_keys=["rate"],
         write_keys=[], labels=["external"]),
    Step("each", never, foreach="report"),
])
loose = Workflow("loose", [Step("open", read), Step("wide", read, read_keys=["a", "b", "c"])])
"""


@pytest.fixture
def target(project: Path) -> Path:
    """A module with several workflows."""
    (project / "flows_wf.py").write_text(TARGET)
    return project


def test_validate(target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Scopes, contracts, labels and proofs; a refuted edge is exit code 1, and no action has run."""
    text = shown(capfd, "validate", "flows_wf.py:proven")
    assert "fine  3 steps, 2 edges" in text
    assert re.search(r"report +rate +nothing +Schema\(rate\) +external", text)
    assert "✓ rate → report  proven" in text
    assert "edges: 1 proven, 0 refuted, 1 unknown" in text
    assert not (target / "acted").exists()


def test_validate_shows_a_counter_example(target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """And which rule it breaks."""
    text = shown(capfd, "validate", "flows_wf.py:refuted", code=1)
    assert "✗ rate → report  refuted by" in text
    assert "<= 1" in text


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        ([], r"● rate\n● report +external\n● each +for each of report\n"),
        (["--format", "mermaid"], r"flowchart TD\n    s0\[\"rate\"\]"),
        (["--format", "svg"], r"<svg xmlns=\"http://www.w3.org/2000/svg\".*<title>Graph: 3 steps, 2 edges</title>"),
    ],
)
def test_graph(options: list[str], pattern: str, target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As a tree for the terminal, for Mermaid, or as a drawing."""
    assert re.search(pattern, shown(capfd, "graph", "flows_wf.py:proven", *options), re.DOTALL)


def test_nothing_of_a_graph_is_cut_in_a_pipe(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A terminal shows what fits; a file has room for all."""
    names = [f"{letter * 60}" for letter in "abc"]
    (project / "long.py").write_text(
        f"from kairos_async import *\nstep = lambda ctx: 1\na, b, c = {names}\n"
        "workflow = Workflow('w', [Step(a, step), Step(b, step), Step(c, step, depends_on=[a, b])])"
    )
    assert f"{names[2]}  after {names[0]}, {names[1]}" in shown(capfd, "graph", "long.py")


def test_tighten(target: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What a run read is what it would have had to be granted."""
    text = shown(capfd, "tighten", "flows_wf.py:loose", "--set", "a=1", "--set", "c=2")
    assert 'open  read_keys=["a", "b"]  it has none' in text
    assert 'wide  read_keys=["a", "b"]  it did not read c' in text


def test_runs_of_a_directory_with_more_than_are_read(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The newest are shown, whatever their names, and those that are not are counted; names are whole in a pipe."""
    new = f"zz{'z' * 90}.jsonl"
    (project / new).write_bytes(b"".join(map(encode, troubled_run()[1])))
    for number in range(1_005):
        path = project / f"a{number}.jsonl"
        path.touch()
        os.utime(path, (0, 0))
    assert main(("runs", ".")) == 0
    said = capfd.readouterr()
    assert new in said.out
    assert "left out" in said.err


def test_runs_of_an_empty_directory(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """There is nothing, and that is said; FIFOs, links to nowhere and directories are no logs."""
    (project / "empty").mkdir()
    os.mkfifo(project / "empty" / "pipe.jsonl")
    (project / "empty" / "gone.jsonl").symlink_to("nowhere")
    (project / "empty" / "dir.json").mkdir()
    assert shown(capfd, "runs", "empty") == ""
