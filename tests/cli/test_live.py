"""The live display: what it shows in how much room, and what it does to a terminal."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from kairos_async import events as types
from kairos_async.cli.board import board
from kairos_async.cli.painter import Painter
from kairos_async.cli.tracker import Tracker
from kairos_async.cli.tree import tree_of
from kairos_async.events import Event, EventLevel
from tests.cli.terminal import Screen, Terminal

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Story:
    """A tracker that is told what happens, second by second."""

    def __init__(self, plan: dict[str, tuple[str, ...]]) -> None:
        self.tracker = Tracker(plan.items())
        self.second = 0.0
        self.tell(types.WorkflowStart, None, workflow="story", steps=len(plan))

    def tell(self, kind: type[Any], step: str | None, **data: object) -> None:
        """Say that something happened."""
        at = BEGAN + timedelta(seconds=self.second)
        event: Event = kind(run_id="0" * 32, sequence=1, timestamp=at, step_id=step, level=EventLevel.INFO, data=data)
        self.tracker(event)

    def lines(self, width: int = 80, height: int = 24) -> list[str]:
        """What is shown now."""
        now = (BEGAN + timedelta(seconds=self.second)).timestamp()
        return [line.plain for line in board(self.tracker, width, height, now)]


def test_every_state_of_a_step_is_shown() -> None:
    """Waiting for what, running with items, waiting for the next attempt, and each end."""
    story = Story({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",)})
    story.tell(types.StepStart, "a", attempt=1)
    story.second = 1.5
    story.tell(types.StepComplete, "a", duration_ms=1500, attempts=1)
    story.tell(types.StepStart, "b", attempt=1, items=40)
    story.tell(types.ItemComplete, "b", done=9, total=40)
    story.tell(types.ItemFail, "b", done=10, total=40)
    story.tell(types.StepStart, "c", attempt=1)
    story.tell(types.StepRetry, "c", attempt=1, delay_s=2.0, error_type="ConnectionError", error_message="reset")
    story.tell(types.LLMCall, "b", usage={"total_tokens": 1_200})
    story.second = 2.5
    assert story.lines() == [
        "▸ story  1/5 steps  2.5 s  1 retry  1 model call  1,200 tokens",
        "✓ a        1.5 s",
        f"├─ {'⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏'[5]} b          1 s  ━━━━━───────────────  10/40  1 failed",
        "├─ ↻ c          1 s  attempt 2 in 1.0 s  ConnectionError: reset",
        "└─ · d               after b, c",
        "   · e               after d",
    ]
    story.tell(types.StepFail, "c", attempts=2, error_type="ConnectionError", error_message="reset \x1b[31m again")
    story.tell(types.StepSkip, "d", reason="step 'c' failed")
    story.tell(types.WorkflowComplete, None, status="failed")
    shown = story.lines()
    assert shown[0] == "✗ story  3/5 steps  2.5 s  1 failed  1 skipped  1 retry  1 model call  1,200 to…"
    assert shown[3] == "├─ ✗ c          1 s  2 attempts  ConnectionError: reset \\x1b[31m again"
    assert shown[4] == "└─ ○ d               step 'c' failed"


def test_two_hundred_steps_at_eighty_columns() -> None:
    """What failed and what is under way is among the lines; how many are not shown is said."""
    plan = {f"a_step_with_a_rather_long_name_{i:03}": () for i in range(200)}
    story = Story({name: tuple(list(plan)[:i][-3:]) for i, name in enumerate(plan)})
    for i in range(150):
        story.second = i / 10
        story.tell(types.StepStart, f"a_step_with_a_rather_long_name_{i:03}", attempt=1)
        if i < 140 and i != 77:
            story.tell(types.StepComplete, f"a_step_with_a_rather_long_name_{i:03}", attempts=1)
    story.tell(types.StepFail, "a_step_with_a_rather_long_name_077", attempts=1, error_type="ValueError")
    lines = story.lines()
    assert len(lines) == 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for i in (77, *range(140, 150)):
        assert f"name_{i:03}" in text
    assert lines[-1] == "… and 128 completed, 50 waiting"


@given(
    st.dictionaries(st.sampled_from([f"step-{i}" for i in range(30)]), st.integers(0, 5), max_size=30),
    st.integers(1, 120),
    st.integers(1, 40),
)
def test_it_fits_any_window(states: dict[str, int], width: int, height: int) -> None:
    """However small: no line is wider, and there are no more lines than two or the window's height."""
    story = Story(dict.fromkeys(states, ()))
    kinds = [types.StepStart, types.StepComplete, types.StepFail, types.StepSkip, types.StepCancel]
    for name, state in states.items():
        for kind in kinds[:1] if state == 1 else [kinds[state - 1]] if state else []:
            story.tell(kind, name, error_type="X" * 90, reason="界" * 70)
    shown = board(story.tracker, width, height, BEGAN.timestamp())
    assert len(shown) <= max(2, height)
    assert all(line.cell_len <= width for line in shown)


def test_replanned_steps_come_and_go() -> None:
    """The display follows the plan."""
    story = Story({"a": (), "b": ("a",)})
    story.tell(types.PlanReplaced, None, removed=["b"], added=["c", "d"])
    assert "0/3 steps" in story.lines()[0]
    assert [line[2:].split()[-1] for line in story.lines()[1:]] == ["a", "c", "d"]


def test_branches_stand_under_the_step_where_they_begin() -> None:
    """And where they join, the next step stands beside them."""
    needs: dict[str, tuple[str, ...]] = {
        "discover": (),
        "read": ("discover",),
        "licences": ("read",),
        "needs": ("read",),
        "cycles": ("needs",),
        "counts": ("needs",),
        "report": ("licences", "cycles", "counts"),
        "send": ("report",),
    }
    assert [f"{branch.guide}{branch.name}" for branch in tree_of(needs)] == [
        "discover",
        "read",
        "├─ licences",
        "├─ needs",
        "│  ├─ cycles",
        "│  └─ counts",
        "└─ report",
        "   send",
    ]


@given(st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=24))
def test_every_step_is_on_the_tree_once_and_below_what_it_needs(drawn: list[list[int]]) -> None:
    """For any graph, in whatever order it was declared."""
    graph = {f"s{i}": tuple({f"s{n % i}" for n in found}) if i else () for i, found in enumerate(drawn)}
    backwards = dict(reversed(graph.items()))
    for needs in (graph, backwards):
        names = [branch.name for branch in tree_of(needs)]
        assert sorted(names) == sorted(graph)
        assert all(names.index(need) < names.index(name) for name, found in needs.items() for need in found)


TARGET = """
import sys
import anyio
from kairos_async import FailurePolicy, Step, Workflow

gate = anyio.Path("gate")

async def wait(ctx):
    while not await gate.exists():
        await anyio.sleep(0.02)
    return 1

async def talk(ctx):
    for number in range(30):
        print("line", number, "of a step")
        await anyio.sleep(0.01)
    sys.stderr.write("no end of line")

async def act(ctx):
    await anyio.sleep(0.002)

steps = [Step("wait", wait), Step("talk", talk)]
steps += [Step(f"step_{i:03}", act, depends_on=[f"step_{i - 9:03}" if i > 8 else "talk"]) for i in range(198)]
steps[-1] = Step("last", act, depends_on=["wait"])
workflow = Workflow("wide", steps)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A working directory with a workflow of 200 steps that waits for a file."""
    (tmp_path / "wide_wf.py").write_text(TARGET)
    return tmp_path


def test_on_a_terminal(project: Path) -> None:
    """200 steps at 80 columns: nothing flickers, no line breaks, prints go above, resizing redraws, the end stays."""
    terminal = Terminal("run", "wide_wf.py", cwd=project)
    shown = terminal.wait_for("198/200 steps")
    assert not terminal.screen.cursor
    assert shown.splitlines()[-1].startswith("… and ")
    assert max(map(len, shown.splitlines())) < 80
    assert shown.count("steps  ") == 1
    # Each of the 30 printed lines moved the display down; beside that no line was cleared to be written again.
    assert terminal.screen.blanked <= 32 * 24
    before = terminal.screen.blanked
    terminal.resize(60, 12)
    small = terminal.wait_for("… and ")
    assert len(small.splitlines()) <= 12
    assert max(map(len, small.splitlines())) < 60
    terminal.resize(100, 40)
    assert len(terminal.wait_for("… and ").splitlines()) == 39
    assert terminal.screen.blanked == before, "frames overwrite in place"
    (project / "gate").write_text("")
    assert terminal.finish() == 0
    assert terminal.screen.wrapped == 0
    assert terminal.screen.cursor
    assert "✓ wide  200/200 steps" in terminal.screen.text


def test_the_display_of_an_interrupted_run(project: Path) -> None:
    """Ctrl-C: the display stays as it was at the end, the cursor is back, and the last line says what finished."""
    terminal = Terminal("run", "wide_wf.py", cwd=project)
    terminal.wait_for("198/200 steps")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130
    assert terminal.screen.cursor
    assert "kairos: interrupted: 198 of 200 steps completed" in terminal.screen.text.replace("\n", "")


def test_the_display_of_a_run_that_was_stopped_meanwhile(project: Path) -> None:
    """Ctrl-Z and fg: the shell has written something, so the lines are painted below it and not across it."""
    (project / "small.py").write_text(f"{TARGET}\nworkflow = Workflow('small', [Step('wait', wait), Step('act', act)])")
    terminal = Terminal("run", "small.py", cwd=project)
    terminal.wait_for("1/2 steps")
    terminal.stop_and_go_on("^Z\n[1]+  Stopped\n$ fg\n")
    (project / "gate").write_text("")
    assert terminal.finish() == 0
    shown = terminal.screen.text.splitlines()
    below = [line.split()[:3] for line in shown[shown.index("$ fg") + 1 :]]
    assert below == [["✓", "small", "2/2"], ["├─", "✓", "wait"], ["└─", "✓", "act"]]


def test_a_terminal_that_does_not_know_its_size_has_the_usual_one() -> None:
    """It says 0, which left room for three dots."""
    asked: list[tuple[int, int]] = []

    def frame(width: int, height: int) -> list[Text]:
        asked.append((width, height))
        return []

    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as stream:
        painter = Painter(stream, frame)
        painter._paint()
        painter._stream.close()
    os.close(ours)
    assert asked == [(79, 23)]


def test_the_terminal_of_these_tests_sees_flicker() -> None:
    """A line that is cleared first is counted, and so is one that is too long."""
    screen = Screen(10, 4)
    screen.feed("one\ntwo\n\x1b[2A\x1b[Jone\nthree is too long\n")
    assert screen.rows[:2] == ["one", "three is too long"]
    assert (screen.blanked, screen.wrapped) == (2, 1)


TALKING = """
import os
import subprocess
import sys

from kairos_async import Step, Workflow

def talk(ctx):
    print("printed", flush=True)
    sys.stdout.buffer.write("as bytes: ✓\\n".encode())
    sys.stdout.flush()
    os.write(2, b"to the descriptor\\n")
    subprocess.run(["echo", "by a child"], check=True)
    subprocess.run(["echo", "by another"], stdout=sys.stdout, check=True)
    sys.stderr.write("no end of line")
    sys.stdout = None
    sys.stderr.close()

workflow = Workflow("talking", [Step("talk", talk)])
"""


def test_whatever_a_step_prints_comes_above(tmp_path: Path) -> None:
    """By Python, as bytes, by C code and by programs: as it works in a pipe, and not across the painted lines. A
    step may even close what it printed to."""
    (tmp_path / "talking.py").write_text(TALKING)
    terminal = Terminal("run", "talking.py", cwd=tmp_path)
    assert terminal.finish() == 0
    said = ["printed", "as bytes: ✓", "to the descriptor", "by a child", "by another", "no end of line"]
    lines = terminal.screen.text.splitlines()
    assert lines[:6] == said
    assert "✓ talking  1/1 steps" in lines[6]
