"""structlog: lines that say where they come from, a sink into a service's logging, and a configuration for scripts."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
import structlog

from kairos_async import ConfigError, Step, StepContext, Workflow
from kairos_async.observe import (
    LogContext,
    RunLogger,
    StructlogSink,
    add_step_context,
    bind_run_context,
    configure_logging,
)
from tests.engine.tools import NO_RETRY, flaky, raises, retrying, run

KEPT: list[dict[str, Any]] = []


def keep(logger: object, method: str, event: Any) -> str:
    """Keep a line, as the last of a service's processors."""
    KEPT.append({**event, "method": method})
    raise structlog.DropEvent


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """Configure structlog as a service does; give the lines that it writes."""
    KEPT.clear()
    before = structlog.get_config()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, add_step_context, keep])
    yield KEPT
    structlog.configure(**before)


def in_a_thread(ctx: StepContext) -> None:
    """Log with a logger of one's own in a sync step, and fail once."""
    structlog.get_logger().info("in a thread")
    if ctx.attempt == 1 and ctx.index == 1:
        raise ValueError


async def in_a_task(ctx: StepContext) -> None:
    """Log in a task that an action starts."""

    async def log() -> None:
        structlog.get_logger().info("in a task")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log)


async def quiet(ctx: StepContext) -> None:
    """Log with what `ctx.log` gives."""
    ctx.log.info("of the context")


STEPS = [
    Step("a", in_a_task),
    Step("b", in_a_thread, foreach="items", failure_policy=retrying(1, 0), depends_on=["a"]),
    Step("c", quiet, depends_on=["b"]),
]
TOLD = [
    ("a", None, 1, "in a task"),
    ("b", 0, 1, "in a thread"),
    ("b", 1, 1, "in a thread"),
    ("b", 1, 2, "in a thread"),
    ("c", None, 1, "of the context"),
]


@pytest.mark.real_time
@pytest.mark.parametrize("how", ["processor", "hook"])
async def test_every_line_of_a_step_says_which_one(lines: list[dict[str, Any]], how: str) -> None:
    """In threads and tasks too; outside of steps nothing is said, and nothing stays bound."""
    if how == "hook":
        structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    structlog.get_logger().info("before")
    result = await run(*STEPS, inputs={"items": [1, 2]}, hooks=[LogContext()] if how == "hook" else [])
    structlog.get_logger().info("after")
    assert lines[0] == {"event": "before", "method": "info"}
    assert lines[-1] == {"event": "after", "method": "info"}
    inside = lines[1:-1]
    assert {(line["run_id"], line["workflow"]) for line in inside} == {(result.run_id, "w")}
    told = [(line["step"], line.get("item"), line["attempt"], line["event"]) for line in inside]
    assert sorted(told, key=repr) == sorted(TOLD, key=repr)


async def test_a_line_keeps_what_it_says_itself(lines: list[dict[str, Any]]) -> None:
    """The processor adds, and never overwrites."""

    async def act(ctx: StepContext) -> None:
        structlog.get_logger().info("x", step="of a dance")

    await run(Step("a", act))
    assert (lines[0]["step"], lines[0]["workflow"]) == ("of a dance", "w")


async def test_one_block_can_be_bound(lines: list[dict[str, Any]]) -> None:
    """And is not any more after it."""
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])

    async def act(ctx: StepContext) -> None:
        with bind_run_context(ctx):
            structlog.get_logger().info("inside")
        structlog.get_logger().info("outside")

    result = await run(Step("a", act))
    bound = {"run_id": result.run_id, "workflow": "w", "step": "a", "attempt": 1}
    assert lines == [
        {"event": "inside", "method": "info", **bound},
        {"event": "outside", "method": "info"},
    ]


@pytest.mark.real_time
async def test_a_sink_logs_events_as_the_service_wants_them(lines: list[dict[str, Any]]) -> None:
    """Levels, bound facts, data; with what was bound where the run was started, such as a request's id."""
    with structlog.contextvars.bound_contextvars(request="r-7"):
        result = await run(
            Step("a", flaky(1), failure_policy=retrying(1, 0)),
            Step("b", raises(ValueError("no")), depends_on=["a"], failure_policy=NO_RETRY),
            hooks=[RunLogger(sinks=[StructlogSink()])],
        )
    assert result.warnings == ()
    assert {(line["request"], line["run_id"], line["workflow"]) for line in lines} == {("r-7", result.run_id, "w")}
    assert [(line["event"], line["method"], line.get("step")) for line in lines] == [
        ("workflow_start", "info", None),
        ("step_start", "info", "a"),
        ("step_retry", "warning", "a"),
        ("step_complete", "info", "a"),
        ("step_start", "info", "b"),
        ("step_fail", "error", "b"),
        ("workflow_complete", "error", None),
    ]
    assert (lines[5]["error_type"], lines[5]["error_message"]) == ("ValueError", "no")


@pytest.fixture
def untouched() -> Iterator[None]:
    """Put structlog and the standard library's logging back as they were."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**before)
    structlog.reset_defaults()


def say_things(ctx: StepContext) -> None:
    """Log through every way that a script has."""
    structlog.get_logger("mine").info("structlog", password="hunter-2", n=1)
    logging.getLogger("lib").warning("standard %s", "token=abcdef123456")
    structlog.get_logger().debug("too little")
    try:
        raise LookupError("at /srv/data/key")
    except LookupError:
        logging.getLogger("lib").exception("failed")


@pytest.mark.usefixtures("untouched")
def test_a_script_configures_logging_in_one_call() -> None:
    """Both loggers' lines are JSON where nobody watches, redacted, with time, level and place."""
    stream = io.StringIO()
    configure_logging(stream=stream, sensitive_keys=["n"])
    configure_logging(stream=stream, sensitive_keys=["n"])
    result = Workflow("w", [Step("a", say_things)]).run_sync()
    assert result.status == "complete"
    written = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["level"], line["logger"]) for line in written] == [
        ("structlog", "info", "mine"),
        ("standard token=[REDACTED]", "warning", "lib"),
        ("failed", "error", "lib"),
    ]
    assert {(line["workflow"], line["step"], line["attempt"]) for line in written} == {("w", "a", 1)}
    assert (written[0]["password"], written[0]["n"]) == ("[REDACTED]", "[REDACTED]")
    assert all(line["timestamp"].endswith("Z") for line in written)
    assert written[2]["exception"].startswith("LookupError: at ")
    assert "/srv" not in stream.getvalue()
    assert "Traceback" not in stream.getvalue()


@pytest.mark.usefixtures("untouched")
def test_on_a_terminal_lines_are_for_people() -> None:
    """And data cannot act on it."""
    stream = io.StringIO()
    configure_logging("debug", json=False, stream=stream)
    structlog.get_logger("mine").debug("hello \x1b]0;title\x07", key="\x1b[2J", more=3)
    line = stream.getvalue()
    assert "\x1b" not in line
    assert "hello \\x1b]0;title\\x07" in line
    assert "more=3" in line


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("arguments", [{"level": "loud"}, {"level": 10}, {"sensitive_keys": "abc"}])
def test_the_arguments_of_the_configuration_are_checked(arguments: dict[str, Any]) -> None:
    """Nothing is configured then."""
    before = structlog.get_config()
    with pytest.raises(ConfigError):
        configure_logging(**arguments)
    assert structlog.get_config() == before


@pytest.mark.usefixtures("untouched")
def test_the_library_never_configures_logging_by_itself() -> None:
    """Not with a logger, its sinks and hooks, in a run and after it."""
    structlog.reset_defaults()
    handlers = logging.getLogger().handlers[:]
    kept: list[Any] = []
    logger = RunLogger(sinks=[kept.append])
    thread = threading.Thread(target=Workflow("w", [Step("a", lambda ctx: 1)], hooks=[logger, LogContext()]).run_sync)
    thread.start()
    thread.join()
    assert len(kept) == 4
    assert not structlog.is_configured()
    assert logging.getLogger().handlers == handlers
