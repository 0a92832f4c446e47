"""RunLogger: a hook that keeps the log of each run, and hands it to sinks."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import cast, get_args

import anyio
import anyio.lowlevel
import structlog

from kairos_async._types import JSONValue
from kairos_async.events import Event, StepComplete, WorkflowComplete
from kairos_async.exceptions import ConfigError, ExecutionError
from kairos_async.observe.lanes import Lane, OnFull, wait_for
from kairos_async.observe.levels import OUTPUT_FROM, LogLevel, shown_at
from kairos_async.observe.runlog import COUNTED, RunLog, Tally
from kairos_async.observe.targets import AnySink, Target
from kairos_async.security import Redactor


class SinkError(ExecutionError):
    """A sink could not log a run, or not all of it. `required` says whether the run fails for it."""

    def __init__(self, message: str, *, required: bool) -> None:
        self.required = required
        super().__init__(message)


class RunLogger:
    """A hook that keeps a log of every run, and hands its events to sinks as they happen.

        logger = RunLogger(sinks=[ConsoleSink(), JSONLinesSink("runs/{run_id}.jsonl")])
        workflow = Workflow("report", steps, hooks=[logger])
        result = await workflow.run()
        logger.get_log().summary

    Each sink has a bounded queue and a task of its own in each run: no sink keeps the event loop, another sink or the
    next step waiting, but when its queue is full and `on_full` is "wait". All that is queued is written before `run()`
    returns. A sink that raises, hangs or cannot write changes nothing of the run: a line in `result.warnings` says so,
    with the number of events that it missed. A sink with `required=True` makes the run fail instead.

    One logger may serve any number of runs, workflows and event loops at once.

    Args:
        verbosity: how much is shown, in the log and to the sinks. The summary counts everything.
        sinks: where events go; none: only `get_log()` has them.
        sensitive_keys: words or globs for keys that are redacted, beside those of the workflow.
        queue_size: events that may wait for one sink.
        on_full: what happens when a queue is full: "wait" (no further step starts until there is room) or "drop" (the
            events that find no room are counted, not logged).
        sink_timeout: seconds that one call of a sink may take, and that all sinks have after the end of a run. A sink
            that takes longer is given up for that run.
        keep_events: the newest events of a run that `get_log()` has.

    Raises:
        ConfigError: an argument is not valid.
    """

    def __init__(
        self,
        verbosity: LogLevel | str = LogLevel.NORMAL,
        sinks: Iterable[AnySink] = (),
        sensitive_keys: Sequence[str] = (),
        *,
        queue_size: int = 10_000,
        on_full: OnFull = "wait",
        sink_timeout: float = 5.0,
        keep_events: int = 100_000,
    ) -> None:
        if verbosity not in list(LogLevel):
            raise ConfigError(f"verbosity={verbosity!r} is none of {[level.value for level in LogLevel]}.")
        if on_full not in get_args(OnFull):
            raise ConfigError(f"on_full={on_full!r} is none of {list(get_args(OnFull))}.")
        for name, value in (("queue_size", queue_size), ("keep_events", keep_events)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name}={value!r} must be a whole number of at least 1.")
        if type(sink_timeout) not in (int, float) or not 0 < sink_timeout < float("inf"):
            raise ConfigError(f"sink_timeout={sink_timeout!r} must be a number of seconds above 0.")
        self.verbosity = LogLevel(verbosity)
        self._shown = shown_at(self.verbosity)
        self.kinds = self._shown | COUNTED
        self.outputs = OUTPUT_FROM in self.verbosity.up_to()
        self._targets = [Target(sink) for sink in sinks]
        self._redactor = Redactor(sensitive_keys) if sensitive_keys else None
        self._queue_size = queue_size
        self._on_full: OnFull = on_full
        self._sink_timeout = sink_timeout
        self._keep_events = keep_events
        self._runs: dict[str, _Logged] = {}
        self._ended: deque[_Logged] = deque()
        self._kept = 0

    def __call__(self, event: Event) -> None:
        """Take an event."""
        run = self._runs.get(event.run_id)
        if run is None:
            run = self._begin(event.run_id)
        kind = type(event)
        if kind in COUNTED:
            run.tally.add(event)
        if kind not in self._shown:
            return
        if kind is WorkflowComplete:
            event = _with(event, {**event.data, "summary": run.tally.told()})
        elif kind is StepComplete and not self.outputs and "output" in event.data:
            event = _with(event, {key: value for key, value in event.data.items() if key != "output"})
        if self._redactor is not None:
            event = _with(event, cast(dict[str, JSONValue], self._redactor.redact(event.data)))
        run.events.append(event)
        run.shown += 1
        for lane in run.lanes:
            lane.offer(event)

    @contextlib.asynccontextmanager
    async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[Brake | None]:
        """Open the sinks for a run, and write all that is queued at its end."""
        run = self._begin(run_id)
        raised: BaseException | None = None
        if self._targets:
            redactor = self._redactor or Redactor()
            run.lanes = [
                Lane(target, self._queue_size, self._on_full, self._sink_timeout, redactor) for target in self._targets
            ]
        try:
            async with anyio.create_task_group() as tasks:
                for lane in run.lanes:
                    tasks.start_soon(lane.work, run_id, workflow)
                try:
                    if not await run.is_refused():
                        yield Brake(run.lanes) if run.lanes and self._on_full == "wait" else None
                except BaseException as error:  # raised again below: a task group would make a group of it
                    raised = error
                with anyio.CancelScope(shield=True):
                    await run.finish(self._sink_timeout)
        finally:
            self._end(run)
        problems = run.problems()
        if raised is not None:
            for problem in problems:
                structlog.get_logger("kairos_async").warning("sink_failed", run_id=run_id, error_message=str(problem))
            raise raised
        if problems:
            raise ExceptionGroup("sinks", problems)

    def get_log(self, run_id: str | None = None) -> RunLog:
        """The log of a run so far.

        Args:
            run_id: of the run; None: of the one that began last.

        Raises:
            ConfigError: no such run was logged, or it was long ago. Logs of runs that have ended are kept as long as
                they have no more than `keep_events` events together; that of the last one always is.
        """
        run = self._runs.get(run_id) if run_id is not None else next(reversed(self._runs.values()), None)
        if run is None:
            raise ConfigError("This logger has logged no run yet." if run_id is None else f"No log of run {run_id!r}.")
        return run.log()

    def _begin(self, run_id: str) -> _Logged:
        run = self._runs[run_id] = _Logged(run_id, self._keep_events)
        return run

    def _end(self, run: _Logged) -> None:
        """Count the run among those that have ended, and forget the oldest of these if they are too many."""
        self._ended.append(run)
        self._kept += len(run.events)
        while self._kept > self._keep_events and len(self._ended) > 1:
            oldest = self._ended.popleft()
            self._kept -= len(oldest.events)
            self._runs.pop(oldest.run_id, None)


class Brake:
    """Tells the engine when the queue of a sink is full, and lets it wait."""

    __slots__ = ("_lanes",)

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes

    @property
    def full(self) -> bool:
        """Whether the run should wait."""
        return any(lane.full for lane in self._lanes)

    async def drain(self) -> None:
        """Wait until there is room."""
        for lane in self._lanes:
            await lane.drain()


class _Logged:
    """What a logger keeps of one run. `shown` counts the events that its verbosity shows."""

    __slots__ = ("events", "lanes", "run_id", "shown", "tally")

    def __init__(self, run_id: str, keep: int) -> None:
        self.run_id = run_id
        self.tally = Tally()
        self.events: deque[Event] = deque(maxlen=keep)
        self.shown = 0
        self.lanes: list[Lane] = []

    def log(self) -> RunLog:
        """What is known of the run."""
        return RunLog(
            run_id=self.run_id,
            workflow_name=self.tally.workflow,
            status=self.tally.status,
            events=tuple(self.events),
            summary=self.tally.summary(),
            dropped=self.shown - len(self.events),
        )

    async def is_refused(self) -> bool:
        """Whether a sink without which the run does not count cannot be opened."""
        for lane in self.lanes:
            if lane.target.required:
                await lane.begun.wait()
                if lane.problem is not None:
                    return True
        return False

    async def finish(self, seconds: float) -> None:
        """Let the sinks take what is left, and give up those that take longer."""
        for lane in self.lanes:
            lane.close()
        until = time.monotonic() + seconds
        await wait_for(seconds, *(lane.done for lane in self.lanes))
        # A virtual clock jumps over the work of a thread: whether one hangs is a matter of real time.
        threads = [lane for lane in self.lanes if not lane.target.on_loop]
        while not all(lane.done.is_set() for lane in threads) and time.monotonic() < until:
            await anyio.lowlevel.checkpoint()
        for lane in self.lanes:
            if not lane.done.is_set():
                lane.give_up()
        for lane in self.lanes:
            await lane.done.wait()

    def problems(self) -> list[SinkError]:
        """What the sinks could not do, an error for each."""
        return [
            SinkError(f"{lane.target.name} {problem}", required=lane.target.required)
            for lane in self.lanes
            if (problem := lane.describe_problem()) is not None
        ]


def _with(event: Event, data: dict[str, JSONValue]) -> Event:
    """The event with other data."""
    if data is event.data:
        return event
    return dataclasses.replace(event, data=data)
