"""What each level shows is what the table of docs/observing.md says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from kairos_async import CallbackSink, Event, EventLevel, LogLevel, RunLogger, Step, StepContext
from tests.engine.stepping import settled
from tests.engine.tools import Events, run
from tests.observe.test_log_files import events_of_a_run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "observing.md"
ROW = re.compile(
    r"^\| `(?P<event>\w+)`(?P<output> with `output`)? \| (?P<level>minimal|normal|verbose) \|", re.MULTILINE
)
TABLE = {(row["event"], bool(row["output"])): row["level"] for row in ROW.finditer(PAGE.read_text("utf-8"))}
LEVELS = [level.value for level in LogLevel]


def shown(level: str, event: str, output: bool = False) -> bool:
    """Whether the table says that a level shows an event, or the output in it."""
    return LEVELS.index(level) >= LEVELS.index(TABLE[event, output])


def test_the_table_has_every_event() -> None:
    """Once, and nothing else but the output."""
    assert {event for event, output in TABLE if not output} == {kind.event_type for kind in get_args(Event)}
    assert [key for key in TABLE if key[1]] == [("step_complete", True)]


EVENTS: Events = events_of_a_run()


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_shows_what_the_table_says(level: str) -> None:
    """Each type of event, as the logger is given it: shown or not, with the output or without."""
    last = EVENTS[-1]
    made = [
        kind(
            run_id="r",
            sequence=number,
            timestamp=last.timestamp,
            step_id="a",
            level=EventLevel.INFO,
            data={"output": 1, "status": "complete"},
        )
        for number, kind in enumerate(get_args(Event))
    ]
    logger = RunLogger(level)
    for event in [*EVENTS, *made]:
        logger(event)
    for run_id, events in (("r", made), (last.run_id, EVENTS)):
        log = logger.get_log(run_id)
        assert [e.event_type for e in log.events] == [e.event_type for e in events if shown(level, e.event_type)]
        for event in log.events:
            if event.event_type == "step_complete":
                assert ("output" in event.data) is shown(level, "step_complete", True)


def test_nothing_is_built_that_a_level_neither_shows_nor_counts() -> None:
    """The engine asks which kinds a logger wants, and whether it wants outputs."""
    tags = {kind: kind.event_type for kind in get_args(Event)}
    names = {level: {tags[kind] for kind in RunLogger(level).kinds} for level in LEVELS}
    assert names["minimal"].isdisjoint({"step_start", "validation_start", "llm_delta"})
    assert names["normal"].isdisjoint({"validation_start", "llm_delta"})
    assert names["verbose"] == set(tags.values())
    assert [RunLogger(level).outputs for level in LEVELS] == [False, False, True]


async def test_a_sink_outlasts_what_it_is_not_shown() -> None:
    """Also an event that comes while it waits for one: what comes afterwards is given to it."""
    got: list[Event] = []

    async def action(ctx: StepContext) -> None:
        await settled()  # With room for one event a sink makes no pause: it waits for the next one.

    logger = RunLogger("minimal", [CallbackSink(got.append, on_loop=True)], queue_size=1)
    await run(Step("a", action), Step("b", action, depends_on=["a"]), hooks=[logger])
    assert [event.event_type for event in got] == ["workflow_start", "workflow_complete"]
