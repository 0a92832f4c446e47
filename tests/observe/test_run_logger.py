"""RunLogger: what it keeps, what its sinks get, and that no sink harms the run or another sink."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import structlog

from kairos_async import ConfigError, Event, EventLevel, LLMCall, Step, StepContext, Workflow, WorkflowComplete, context
from kairos_async.observe import (
    CallbackSink,
    ConsoleSink,
    FileSink,
    JSONLinesSink,
    LogLevel,
    RunLog,
    RunLogger,
    Sink,
    StructlogSink,
    read_log,
    read_logs,
)
from kairos_async.observe.piles import Portion
from kairos_async.observe.targets import Outcome, Target
from tests.engine.tools import NO_RETRY, Events, flaky, raises, retrying, returns, run
from tests.observe.sinks import AsyncHanging, AsyncKeeping, Hanging, Keeping, Raising, collecting

pytestmark = pytest.mark.real_time  # Sinks work in threads, and a virtual clock jumps over their work.


async def the_log(path: Path) -> RunLog:
    """Read a log without keeping the loop."""
    return await anyio.to_thread.run_sync(read_log, path)


def steps() -> list[Step]:
    """Return steps to which something of most kinds happens."""
    return [
        Step("a", flaky(1), failure_policy=retrying(1, 0)),
        Step("b", returns(1), foreach="items", output_contract=int, depends_on=["a"]),
        Step("c", returns({"password": "hunter-2-hunter", "n": 1}), depends_on=["b"]),
        Step("d", raises(ValueError("no")), depends_on=["c"], failure_policy=NO_RETRY),
        Step("e", returns(1), depends_on=["d"]),
    ]


async def test_every_kind_of_sink_gets_every_event_before_run_returns(tmp_path: Path) -> None:
    """In order; and `flush` and `close` are called, in this order, after the last one."""
    plain, later, on_loop, in_thread = [], [], [], []  # type: ignore[var-annotated]
    keeping, async_keeping, stream = Keeping(), AsyncKeeping(), io.StringIO()
    logger = RunLogger(
        LogLevel.VERBOSE,
        [
            keeping,
            async_keeping,
            collecting(plain, is_async=False),
            collecting(later, is_async=True),
            CallbackSink(on_loop.append, on_loop=True),
            CallbackSink(in_thread.append),
            JSONLinesSink(tmp_path / "run.jsonl"),
            FileSink(tmp_path / "run.json"),
            ConsoleSink(stream),
        ],
    )
    events = Events()
    result = await run(*steps(), inputs={"items": [1, 2]}, hooks=[logger, events])
    assert result.warnings == ()
    log = logger.get_log()
    assert list(log.events[:-1]) == events[:-1]
    assert isinstance(log.events[-1], WorkflowComplete)
    for got in (keeping.events, async_keeping.events, plain, later, on_loop, in_thread):
        assert got == list(log.events)
    assert keeping.calls == async_keeping.calls == ["flush", "close"]
    assert await the_log(tmp_path / "run.jsonl") == log
    assert await the_log(tmp_path / "run.json") == log
    assert len(stream.getvalue().splitlines()) == len(log.events)


async def test_who_is_given_twice_is_told_once() -> None:
    """A logger, a method, and a sink of a logger; not two that are alike."""
    keeping, methods, others = Keeping(), Keeping(), (Events(), Events())
    logger = RunLogger("verbose", [keeping, methods.emit, keeping, methods.emit])
    workflow = Workflow("w", [Step("a", returns(1))], hooks=[logger, *others, logger])
    workflow.add_hook(logger)
    await workflow.run()
    assert logger.get_log().events == tuple(methods.events) == tuple(keeping.events)
    assert list(methods.events[:-1]) == others[0][:-1] == others[1][:-1]


@pytest.mark.parametrize("keep", [100_000, 700])
async def test_a_long_log_is_whole(keep: int) -> None:
    """Or has the newest events, as many as are kept; and sinks of any kind get all of it."""
    seen, keeping, stream = Events(), Keeping(), io.StringIO()
    logger = RunLogger("verbose", [keeping, ConsoleSink(stream)], keep_events=keep)
    items = [{"name": f"n{number}", "of": [number, None]} for number in range(1_500)]
    result = await run(Step("a", returns({"x": [1.5]}), foreach="items"), inputs={"items": items}, hooks=[logger, seen])
    assert result.warnings == ()
    log = logger.get_log()
    assert list(log.events[:-1]) == seen[-keep:-1]
    assert (log.dropped, log.summary.items_completed) == (max(0, len(seen) - keep), 1_500)
    assert [event.sequence for event in keeping.events] == [event.sequence for event in seen]
    assert len(stream.getvalue().splitlines()) == len(seen)


async def test_the_log_of_a_run() -> None:
    """Names, status, counts: of all that happened, whatever the verbosity shows."""
    for level in LogLevel:
        logger = RunLogger(level)
        result = await run(*steps(), inputs={"items": [1, 2]}, hooks=[logger])
        log = logger.get_log()
        assert (log.run_id, log.workflow_name, log.status, log.interrupted) == (result.run_id, "w", "failed", False)
        summary = log.summary
        assert (summary.steps_completed, summary.steps_failed, summary.steps_skipped) == (3, 1, 1)
        assert (summary.total_retries, summary.items_completed, summary.validations_passed) == (1, 2, 2)
        assert summary.duration_ms == result.duration_ms
        assert logger.get_log(result.run_id) == log
        assert json.loads(json.dumps(log.to_dict()))["summary"]["steps_completed"] == 3


async def test_a_log_that_shows_little_counts_everything(tmp_path: Path) -> None:
    """Also when it is read back from a file: the final event tells the counts."""
    logger = RunLogger("minimal", [JSONLinesSink(tmp_path / "run.jsonl")])
    await run(*steps(), inputs={"items": [1, 2]}, hooks=[logger])
    read = await the_log(tmp_path / "run.jsonl")
    assert [event.event_type for event in read.events] == ["workflow_start", "step_fail", "workflow_complete"]
    kept = logger.get_log().summary
    assert (read.summary.steps_completed, read.summary.total_retries) == (3, 1)
    assert read.summary.items_completed == kept.items_completed == 2


async def test_calls_of_models_are_counted() -> None:
    """Their number, tokens and costs."""

    async def ask(ctx: StepContext) -> None:
        for tokens in (10, 20):
            usage: dict[str, Any] = {"input_tokens": tokens, "output_tokens": 1, "total_tokens": tokens + 1}
            ctx.count_llm_calls()
            context.report(ctx, LLMCall, EventLevel.INFO, {"provider": "p", "model": "m", "usage": usage})

    logger = RunLogger()
    await run(Step("a", ask), hooks=[logger])
    summary = logger.get_log().summary
    assert (summary.llm_calls, summary.input_tokens, summary.output_tokens, summary.total_tokens) == (2, 30, 2, 32)


async def test_keys_can_be_redacted_for_a_log_alone() -> None:
    """Beside those that are redacted anyway; the result has them."""
    keeping = Keeping()
    logger = RunLogger("verbose", [keeping], sensitive_keys=["*customer*"])
    step = Step("a", returns({"customer_number": "12-34-56", "api_key": "none-of-yours", "n": 1}))
    result = await run(step, hooks=[logger])
    assert result.output["customer_number"] == "12-34-56"  # type: ignore[index, call-overload]
    for events in (keeping.events, logger.get_log().events):
        output = events[2].data["output"]
        assert output == {"customer_number": "[REDACTED]", "api_key": "[REDACTED]", "n": 1}


ERRORS = [RuntimeError("full"), OSError(28, "No space left on device"), SystemExit(3), asyncio.CancelledError()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("when", ["begin", "step_start", "flush", "close"])
async def test_a_sink_that_raises_harms_nobody(error: BaseException, when: str) -> None:
    """The result and the other sinks are as they would be; one warning names the sink and the error."""
    keeping = Keeping()
    with structlog.testing.capture_logs() as lines:
        result = await run(
            *steps(), inputs={"items": [1]}, hooks=[RunLogger("verbose", [Raising(error, when), keeping])]
        )
    assert (result.status, result.step_results["c"].status) == ("failed", "completed")
    assert result.error_type == "ValueError"
    assert keeping.types()[-1] == "workflow_complete"
    assert len(result.warnings) == len(lines) == 1
    assert f"Raising raised {type(error).__name__}" in result.warnings[0]
    assert ("4 events are missing there" in result.warnings[0]) == (when == "step_start")


@pytest.mark.parametrize("sink", [Hanging, AsyncHanging], ids=["in a thread", "on the loop"])
@pytest.mark.parametrize("when", ["step_start", "flush"])
async def test_a_sink_that_hangs_harms_nobody(sink: Any, when: str) -> None:
    """The run waits for it as long as was said, once, and the other sinks are complete."""
    hanging, keeping = sink(when), Keeping()
    started = time.monotonic()
    result = await run(
        *steps(), inputs={"items": [1]}, hooks=[RunLogger("verbose", [hanging, keeping], sink_timeout=0.2)]
    )
    waited = time.monotonic() - started
    assert result.error_type == "ValueError"
    assert 0.15 < waited - result.duration_ms / 1000 < 60  # it was waited for after the run, and not for ever
    assert keeping.types()[-1] == "workflow_complete"
    assert len(result.warnings) == 1
    assert f"{sink.__name__} was not done" in result.warnings[0]
    if sink is Hanging:
        hanging.released.set()


async def test_a_step_that_keeps_the_loop_does_not_make_sinks_look_hung() -> None:
    """However long: the sink was done in its thread, and the loop could not know."""
    kept: list[Event] = []

    def slow(event: Event) -> None:
        time.sleep(0.05)
        kept.append(event)

    async def hog(ctx: StepContext) -> None:
        await anyio.sleep(0.02)  # until the sink is in a call
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            pass  # the interpreter lets the sink's thread work in between

    logger = RunLogger(sinks=[slow], sink_timeout=0.4)
    result = await run(Step("a", hog), hooks=[logger])
    assert result.warnings == ()
    assert kept == list(logger.get_log().events)


async def test_a_thread_that_hangs_is_not_joined_by_others() -> None:
    """The next run with the same sink gives it up at once, and uses it again when it came back."""
    hanging = Hanging()
    logger = RunLogger(sinks=[hanging], sink_timeout=0.2)
    await run(Step("a", returns(1)), hooks=[logger])
    result = await run(Step("a", returns(1)), hooks=[logger])
    assert "Hanging hangs in a call of another run" in result.warnings[0]
    hanging.released.set()
    with anyio.fail_after(5):
        while (await run(Step("a", returns(1, after=0.01)), hooks=[logger])).warnings:
            assert hanging.released.is_set()


async def test_an_exception_of_a_sink_may_have_any_attributes() -> None:
    """`missing` is ours if it is a number; an exception of somebody's own may mean something else by it."""

    error = KeyError("config")
    error.missing = ["config"]  # type: ignore[attr-defined]
    other = Keeping()
    steps = [Step("a", returns(1, after=0.01)), Step("b", returns(2), depends_on=["a"])]
    result = await run(*steps, hooks=[RunLogger(sinks=[Raising(error, "begin"), other])])
    assert (result.status, result.output) == ("complete", 2)
    assert "Raising raised KeyError" in result.warnings[0]
    assert len(other.events) == 6


@pytest.mark.parametrize("when", ["begin", "step_start", "flush"])
async def test_a_required_sink_that_cannot_log_fails_the_run(when: str) -> None:
    """Before the first step, if it cannot even begin; another sink's failure is a warning beside it."""
    required, other = Raising(OSError(28, "disk full"), when, required=True), Raising(ValueError("odd"))
    ran: list[int] = []
    result = await run(Step("a", lambda ctx: ran.append(1)), hooks=[RunLogger(sinks=[other, required])])
    assert (result.status, ran) == ("failed", [] if when == "begin" else [1])
    assert result.error_type == "SinkError"
    assert "Raising raised OSError" in str(result.error_message)
    assert len(result.warnings) == (1 if when == "begin" else 2)


async def test_another_sinks_failure_does_not_fail_the_run_of_a_required_one() -> None:
    """What is required is the sink, not its logger."""
    sound = Keeping()
    sound.required = True  # type: ignore[attr-defined]
    result = await run(Step("a", returns(1)), hooks=[RunLogger(sinks=[Raising(ValueError("odd")), sound])])
    assert (result.status, len(result.warnings)) == ("complete", 1)


async def test_a_full_queue_holds_back_the_run() -> None:
    """No event is lost, and no more of them wait than there is room for, but for those of the steps under way."""
    seen, slow = Events(), Keeping()
    lags: list[int] = []

    def emit(event: object) -> None:
        time.sleep(0.001)
        lags.append(len(seen) - len(lags))

    chain = [Step(f"s{i}", returns(i), depends_on=[f"s{i - 1}"] if i else []) for i in range(100)]
    result = await run(*chain, hooks=[seen, RunLogger(sinks=[emit, slow], queue_size=10)])
    assert result.warnings == ()
    assert slow.types() == seen.types()
    assert len(lags) == len(seen)
    assert max(lags) <= 2 * 10 + 4  # one queue full, and one on its way to the sink


async def test_a_full_queue_may_drop_instead(tmp_path: Path) -> None:
    """The number is told, in the warnings and in the next line; the final event is never dropped."""
    gate = threading.Event()
    sink = JSONLinesSink(tmp_path / "run.jsonl")

    class Slow:
        def emit_many(self, events: Any, dropped: int = 0) -> None:
            gate.wait(5)
            sink.emit_many(events, dropped)

        def emit(self, event: Any) -> None:
            raise AssertionError("emit_many is there")

        flush = close = staticmethod(lambda: None)

    chain = [Step(f"s{i}", returns(i), depends_on=[f"s{i - 1}"] if i else []) for i in range(100)]
    chain.append(Step("end", lambda ctx: gate.set(), depends_on=["s99"]))
    result = await run(*chain, hooks=[RunLogger(sinks=[Slow()], queue_size=10, on_full="drop")])
    log = await the_log(tmp_path / "run.jsonl")
    assert (log.status, log.events[-1].event_type) == ("complete", "workflow_complete")
    assert 100 < log.dropped == 204 - len(log.events)
    assert len(result.warnings) == 1
    assert f"{log.dropped} events were dropped, because its queue of 10 was full" in result.warnings[0]


async def test_runs_at_once_keep_their_logs_apart(tmp_path: Path) -> None:
    """Each its own, also in a file that they share; a sync sink sees one call at a time, and is closed by the last."""
    keeping = Keeping()
    logger = RunLogger(
        sinks=[keeping, JSONLinesSink(tmp_path / "{run_id}.jsonl"), JSONLinesSink(tmp_path / "all.jsonl")]
    )
    workflow = Workflow("w", [Step("a", returns(1, after=0.01)), Step("b", returns(1))], hooks=[logger])
    results = []

    async def one() -> None:
        results.append(await workflow.run())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(one)
    assert {result.warnings for result in results} == {()}
    shared = {log.run_id: log for log in await anyio.to_thread.run_sync(read_logs, tmp_path / "all.jsonl")}
    for result in results:
        log = logger.get_log(result.run_id)
        assert {event.run_id for event in log.events} == {result.run_id}
        assert await the_log(tmp_path / f"{result.run_id}.jsonl") == shared[result.run_id] == log
        assert [e for e in keeping.events if e.run_id == result.run_id] == list(log.events)
    assert keeping.most == 1
    assert keeping.calls == ["flush"] * 20 + ["close"]


def test_a_busy_run_lets_the_thread_of_a_sink_work(tmp_path: Path) -> None:
    """It is not woken in vain in each turn of the loop."""
    import resource  # not on Windows

    async def turn(ctx: StepContext) -> None:
        await anyio.lowlevel.checkpoint()

    def wakings(path: Path) -> int:
        workflow = Workflow("w", chain, hooks=[RunLogger(sinks=[JSONLinesSink(path)])])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        assert workflow.run_sync().status == "complete"
        return resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before

    chain = [Step(f"s{i}", turn, depends_on=[f"s{i - 1}"] if i else []) for i in range(5_000)]
    # Other work on the machine can hide how busy the run is. If each turn woke the thread, it would be 5,000 each time.
    assert any(wakings(tmp_path / f"{attempt}.jsonl") < 1_500 for attempt in range(4))


def test_two_event_loops_may_share_a_logger() -> None:
    """Each in a thread of its own."""
    keeping = Keeping()
    logger = RunLogger(sinks=[keeping])
    workflow = Workflow("w", [Step(f"s{i}", returns(1)) for i in range(50)], hooks=[logger])
    threads = [threading.Thread(target=workflow.run_sync) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keeping.events) == 4 * 102
    assert keeping.most == 1


def test_a_call_of_another_event_loop_is_waited_for() -> None:
    """It has not been given up, so it does not hang, and its time is not that of those who wait: nothing is lost."""
    under_way, go_on = threading.Event(), threading.Event()
    kept: list[Event] = []

    def sink(event: Event) -> None:
        kept.append(event)
        under_way.set()
        assert go_on.wait(5)

    async def let_go(ctx: StepContext) -> None:
        await anyio.sleep(0.6)
        go_on.set()

    logger = RunLogger(sinks=[sink], sink_timeout=0.3)
    facts = [Portion([LLMCall("r", 1, datetime.now(UTC), None, EventLevel.INFO, {}).facts], pack=False)]
    first = threading.Thread(target=lambda: anyio.run(logger._targets[0].emit, Outcome(), facts, 0))
    first.start()
    assert under_way.wait(5)
    result = Workflow("second", [Step("a", let_go)], hooks=[logger]).run_sync()
    first.join()
    assert result.warnings == ()
    assert len(kept) == 1 + 4


def test_a_call_that_was_given_up_before_its_turn_is_not_made_later() -> None:
    """What is said to be missing is missing; and a call that only waited is not one that hangs."""
    under_way, go_on = threading.Event(), threading.Event()
    kept: list[str] = []

    def sink(event: Event) -> None:
        kept.append(event.run_id)
        under_way.set()
        assert go_on.wait(5)

    target = Target(sink)
    facts = [Portion([LLMCall("r", 1, datetime.now(UTC), None, EventLevel.INFO, {}).facts], pack=False)]

    async def emit(patience: float = 5.0) -> None:
        with anyio.move_on_after(patience):
            await target.emit(Outcome(), facts, 0)

    first = threading.Thread(target=anyio.run, args=(emit,))
    first.start()
    assert under_way.wait(5)
    anyio.run(emit, 0.05)
    assert target.stuck == 0
    go_on.set()
    first.join()
    anyio.run(emit)
    assert len(kept) == 2


async def test_a_sink_is_not_closed_under_a_run_that_began_meanwhile() -> None:
    """On another event loop, between the end of what was the last run and the call that closes."""
    keeping = Keeping()
    target = Target(keeping)
    target.join()
    assert target.leave()
    target.join()
    await target.close(Outcome())
    assert keeping.calls == []
    target.leave()
    await target.close(Outcome())
    assert keeping.calls == ["close"]


async def test_a_cancelled_run_is_logged_to_its_end(tmp_path: Path) -> None:
    """Its sinks have the final event when the cancellation goes on, even if one of them hangs."""
    hanging = AsyncHanging()
    logger = RunLogger(sinks=[JSONLinesSink(tmp_path / "run.jsonl"), hanging], sink_timeout=0.2)
    with structlog.testing.capture_logs() as lines, anyio.move_on_after(0.05) as scope:
        await run(Step("a", returns(1, after=60)), hooks=[logger])
    assert scope.cancelled_caught
    assert (await the_log(tmp_path / "run.jsonl")).status == "cancelled"
    assert [line["event"] for line in lines] == ["sink_failed"]
    assert "AsyncHanging was not done" in lines[0]["error_message"]


async def test_old_logs_are_forgotten() -> None:
    """Those of runs that have ended, when all of them have more events than are kept; the newest stays."""
    logger = RunLogger(keep_events=10)
    runs = [(await run(Step("a", returns(1)), hooks=[logger])).run_id for _ in range(4)]
    assert [len(logger.get_log(run_id).events) for run_id in runs[-2:]] == [4, 4]
    with pytest.raises(ConfigError, match="No log of run"):
        logger.get_log(runs[0])
    await run(*[Step(f"s{i}", returns(1)) for i in range(10)], hooks=[logger])
    log = logger.get_log()
    assert (len(log.events), log.dropped, log.summary.steps_completed) == (10, 12, 10)
    assert log.status == "complete"


def test_a_logger_without_a_run_has_no_log() -> None:
    """And says so."""
    with pytest.raises(ConfigError, match="no run yet"):
        RunLogger().get_log()


BAD: list[dict[str, Any]] = [
    {"verbosity": "loud"},
    {"sinks": [3]},
    {"sinks": ConsoleSink()},
    {"sinks": [...]},
    {"on_full": "explode"},
    {"queue_size": 0},
    {"queue_size": True},
    {"keep_events": -1},
    {"keep_events": 1.5},
    {"sink_timeout": 0},
    {"sink_timeout": float("inf")},
    {"sink_timeout": "5"},
    {"sensitive_keys": "api_key"},
    {"sensitive_keys": 3},
    {"sinks": [ConsoleSink]},
    {"sinks": ["run.jsonl"]},
]


@pytest.mark.parametrize("arguments", BAD, ids=str)
def test_arguments_are_checked(arguments: dict[str, Any]) -> None:
    """When the logger is made."""
    with pytest.raises(ConfigError):
        RunLogger(**arguments)
    with pytest.raises(ConfigError):
        CallbackSink(3)  # type: ignore[arg-type]


def test_ours_are_sinks() -> None:
    """What they have is what a user's own sink needs."""
    for sink in (ConsoleSink(), CallbackSink(print), StructlogSink(), Keeping(), AsyncKeeping()):
        assert isinstance(sink, Sink)
