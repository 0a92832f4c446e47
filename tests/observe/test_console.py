"""The console sink: readable lines, colours only where they are wanted, and no way for data to act on the terminal."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from kairos_async import (
    SKIP,
    Event,
    EventLevel,
    FailurePolicy,
    LLMCall,
    Step,
    StepFail,
    ValidationFail,
    Workflow,
    WorkflowStart,
)
from kairos_async.observe import ConsoleSink, JSONLinesSink, RunLogger
from kairos_async.observe.lines import decode, encode
from kairos_async.observe.wording import in_words
from tests.engine.tools import NO_RETRY, flaky, raises, retrying, returns


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Ascii(io.TextIOWrapper):
    """A stream that cannot show everything."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii")


def event(kind: Any, step: str | None = "a", run_id: str = "r" * 32, **data: Any) -> Event:
    """Return an event of the kind."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    made: Event = kind(run_id=run_id, sequence=1, timestamp=moment, step_id=step, level=EventLevel.INFO, data=data)
    return made


def shown(stream: Any, *events: Event, **options: Any) -> str:
    """Return what the sink writes for these events."""
    ConsoleSink(stream, **options).emit_many(list(events))
    text: str = stream.getvalue()
    return text


def test_the_lines_of_a_run() -> None:
    """One for each event, as a person would say it."""
    stream = io.StringIO()
    steps = [
        Step("a", flaky(1), failure_policy=retrying(1, 0)),
        Step("b", returns([1, "x"]), foreach="items", output_contract=list[int], failure_policy=NO_RETRY),
        Step("c", returns(SKIP), depends_on=["a"]),
        Step("d", raises(ValueError("no\nway")), depends_on=["a", "b", "c"], failure_policy=FailurePolicy()),
    ]
    logger = RunLogger("verbose", [ConsoleSink(stream)])
    Workflow("hello", steps[:1] + steps[2:3], hooks=[logger]).run_sync({"x": 1})
    Workflow("again", steps[1:2], hooks=[logger]).run_sync({"items": [1]})
    Workflow("failing", [Step("d", raises(ValueError("no\nway")), failure_policy=NO_RETRY)], hooks=[logger]).run_sync()
    Workflow("each", [Step("e", returns("ok"), foreach="items")], hooks=[logger]).run_sync({"items": [1]})
    lines = [re.sub(r"\d+(\.\d+)? (ms|s)\b", "TIME", line[14:]) for line in stream.getvalue().splitlines()]
    assert lines == [
        "run     hello  2 steps, inputs: x",
        "start   a",
        "retry   a  attempt 1: ValueError: attempt 1; again at once",
        "done    a  TIME, 2 attempts -> \"ok\"",
        "start   c",
        "skip    c  its action returned SKIP",
        "end       complete in TIME",
        "run     again  1 step, inputs: items",
        "start   b  1 item",
        "check   b  output against list[int]",
        "invalid b  output against list[int]: []: expected an integer",
        "FAIL    b[0]  ValidationError: The output of step 'b': [1]: expected an integer, got string (1 of 1)",
        "FAIL    b  ValidationError: The output of step 'b': [1]: expected an integer, got string (TIME; then: abort)",
        "end       failed in TIME; ValidationError: The output of step 'b': [1]: expected an integer, got string",
        "run     failing  1 step, inputs: none",
        "start   d",
        "FAIL    d  ValueError: no way (TIME after 1 attempt; then: abort)",
        "end       failed in TIME; ValueError: no way",
        "run     each  1 step, inputs: items",
        "start   e  1 item",
        "item    e[0]  TIME, 1 of 1",
        "done    e  TIME -> [\"ok\"]",
        "end       complete in TIME",
    ]  # fmt: skip
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d\d\d  ", line) for line in stream.getvalue().splitlines())


def test_steps_with_one_contract_have_lines_of_their_own() -> None:
    """Their events have data in common, which are put into words once."""
    stream = io.StringIO()
    contracts = {"a": int, "b": int, "c": str}
    steps = [Step(name, returns("x" if kind is str else 1), output_contract=kind) for name, kind in contracts.items()]
    Workflow("w", steps, max_concurrency=1, hooks=[RunLogger("verbose", [ConsoleSink(stream)])]).run_sync()
    lines = [line[14:] for line in stream.getvalue().splitlines()]
    assert [line for line in lines if line.startswith(("check", "valid"))] == [
        f"{word} {name}  output against {kind.__name__}"
        for name, kind in contracts.items()
        for word in ("check  ", "valid  ")
    ]


def test_every_kind_of_event_has_words() -> None:
    """With data, without, and with data of the wrong types, as a file of somebody else's may have them."""
    for kind in get_args(Event):
        values: list[Any] = [None, 3, "text", [], {}, [{}], {"total_tokens": "x"}]
        for value in values:
            keys = ("attempt", "attempts", "items", "index", "item", "usage", "errors", "removed", "delay_s", "output")
            line = in_words(event(kind, **dict.fromkeys(keys, value)))
            assert line.word
        assert in_words(event(kind, step=None)).word


ATTACK = "\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202egnp.exe\u200b"


def test_data_cannot_act_on_the_terminal() -> None:
    """Not in names, messages, outputs or errors; each event stays one line."""
    errors = [{"field": ATTACK, "rule": "type", "expected": ATTACK}]
    events = [
        event(WorkflowStart, None, workflow=ATTACK, steps=1, inputs=[ATTACK]),
        event(StepFail, error_type=ATTACK, error_message=ATTACK, attempts=2, duration_ms=1, action="abort"),
        event(ValidationFail, contract=ATTACK, boundary="output", errors=errors),
        event(LLMCall, provider=ATTACK, model=ATTACK, outcome=ATTACK, latency_ms=3, usage={"total_tokens": 3}),
    ]
    for color in (False, True):
        text = shown(io.StringIO(), *events, color=color)
        assert len(text.splitlines()) == len(events)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text) if color else text
        assert all(char == "\n" or char.isprintable() for char in plain)
        assert "\\x1b]0;title\\x07" in plain


@pytest.mark.parametrize(
    ("stream", "variables", "options", "colored"),
    [
        (Terminal, {}, {}, True),
        (io.StringIO, {}, {}, False),
        (Terminal, {"NO_COLOR": "1"}, {}, False),
        (Terminal, {"NO_COLOR": ""}, {}, True),
        (Terminal, {"TERM": "dumb"}, {}, False),
        (Terminal, {}, {"color": False}, False),
        (io.StringIO, {"NO_COLOR": "1"}, {"color": True}, True),
    ],
)
def test_colours(
    stream: Any, variables: dict[str, str], options: Any, colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only on a terminal, unless the environment or the caller says otherwise."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    text = shown(stream(), event(StepFail, error_type="E", attempts=1), **options)
    assert ("\x1b[1;31mFAIL" in text) is colored
    assert ("\x1b" in text) is colored


def test_a_stream_that_cannot_show_a_character_gets_its_escape() -> None:
    """And the log goes on."""
    stream = Ascii()
    ConsoleSink(stream).emit(event(WorkflowStart, None, workflow="Grüße 漢", steps=1))
    stream.seek(0)
    assert "Gr\\xfc\\xdfe \\u6f22" in stream.read()


def test_runs_at_once_are_told_apart() -> None:
    """By the first digits of their ids, as long as there is more than one."""
    start = {"workflow": "w", "steps": 1}
    first, second = event(WorkflowStart, None, "a" * 32, **start), event(WorkflowStart, None, "b" * 32, **start)
    stream = io.StringIO()
    sink = ConsoleSink(stream)
    sink.emit(first)
    sink.emit(second)
    lines = stream.getvalue().splitlines()
    assert not lines[0].startswith("aaaaaaaa ")
    assert lines[1].startswith("bbbbbbbb  ")
    sink.close()  # their ends were not told, because the sink was given up, say
    sink.emit(first)
    assert not stream.getvalue().splitlines()[2].startswith("aaaaaaaa ")


def test_dropped_events_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """In a line of their own; by default on standard error."""
    ConsoleSink().emit_many([event(WorkflowStart, None, workflow="w", steps=1)], dropped=3)
    assert capsys.readouterr().err.startswith("... 3 events were dropped\n")


def test_long_values_are_cut() -> None:
    """A line is for people; the file has all of it."""
    line = in_words(event(StepFail, error_type="E", error_message="x" * 1000, attempts=1, duration_ms=1))
    assert len(line.text) < 400
    assert "(1003 characters)" in line.text
    whole = decode(encode(event(StepFail, error_message="x" * 1000))[:-1])
    assert whole is not None
    assert whole.event.data["error_message"] == "x" * 1000


def test_sinks_say_what_they_are() -> None:
    """In messages, without the directory."""
    assert repr(ConsoleSink()) == "ConsoleSink()"
    assert repr(JSONLinesSink("/srv/logs/run.jsonl")) == "JSONLinesSink('run.jsonl')"
