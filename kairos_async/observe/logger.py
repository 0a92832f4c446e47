"""RunLogger: a hook that keeps the log of each run, and hands it to sinks."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import get_args

import anyio
import anyio.abc
import structlog

from kairos_async.events import Event, each_once
from kairos_async.exceptions import ConfigError
from kairos_async.observe.lanes import Lane, OnFull
from kairos_async.observe.levels import OUTPUT_FROM, LogLevel
from kairos_async.observe.logged import Logged, Showing
from kairos_async.observe.runlog import COUNTED, RunLog
from kairos_async.observe.targets import AnySink, Target
from kairos_async.observe.wording import shown_at
from kairos_async.security import Redactor


class RunLogger:
    """A hook that keeps a log of every run, and hands its events to sinks as they happen.

        logger = RunLogger(sinks=[ConsoleSink(), JSONLinesSink("runs/{run_id}.jsonl")])
        workflow = Workflow("report", steps, hooks=[logger])
        result = await workflow.run()
        logger.get_log().summary

    Each sink has a bounded queue and a task of its own in each run: no sink keeps the event loop, another sink or the
    next step waiting, but when its queue is full and `on_full` is "wait"; then the steps of a run that leaves the loop
    no idle moment wait some 2 ms for its thread, too. All that is queued is written before `run()` returns. A sink that
    raises, hangs or cannot write changes nothing of the run: a line in `result.warnings` says so, with the number of
    events that it missed. A sink with `required=True` makes the run fail instead.

    One logger may serve any number of runs, workflows and event loops at once.

    Args:
        verbosity: how much is shown, in the log and to the sinks. The summary counts everything.
        sinks: where events go; none: only `get_log()` has them.
        sensitive_keys: words or globs for keys that are redacted, beside those of the workflow.
        queue_size: events that may wait for one sink, each in some 50 to 200 bytes.
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
        queue_size: int = 100_000,
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
        if not isinstance(sinks, Iterable):
            raise ConfigError(f"sinks={sinks!r} must be a list, such as sinks=[{sinks!r}].")
        self.verbosity = LogLevel(verbosity)
        shown = shown_at(self.verbosity)
        self.kinds = shown | COUNTED
        self.outputs = OUTPUT_FROM in self.verbosity.up_to()
        self._targets = [Target(sink) for sink in each_once(sinks)]
        self._redactor = Redactor(sensitive_keys) if sensitive_keys else None
        self._showing = Showing(shown, self.outputs, self._redactor)
        self._queue_size = queue_size
        self._on_full: OnFull = on_full
        self._sink_timeout = sink_timeout
        self._keep_events = keep_events
        self._runs: dict[str, Logged] = {}
        self._ended: deque[Logged] = deque()
        self._kept = 0
        self._lock = threading.Lock()  # runs begin and end on several event loops

    def __call__(self, event: Event) -> None:
        """Take an event."""
        run = self._runs.get(event.run_id)
        if run is None:
            run = self._begin(event.run_id)
        run.take(event)

    @contextlib.asynccontextmanager
    async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[Logged]:
        """Open the sinks for a run, and write all that is queued at its end."""
        run = self._begin(run_id)
        try:
            if not self._targets:  # 80 us less of a small run
                yield run
                return
            async with self._sinks_of(run, workflow):
                yield run
        finally:
            self._end(run)

    @contextlib.asynccontextmanager
    async def _sinks_of(self, run: Logged, workflow: str) -> AsyncIterator[None]:
        raised: BaseException | None = None
        redactor = self._redactor or Redactor()
        lanes = [
            Lane(target, self._queue_size, self._on_full, self._sink_timeout, redactor, run) for target in self._targets
        ]
        run.open_lanes(lanes, waits=self._on_full == "wait")

        def start_lanes(tasks: anyio.abc.TaskGroup) -> None:
            for lane in (lane for lane in lanes if not lane.at_work):
                tasks.start_soon(lane.work, run.run_id, workflow)

        async with anyio.create_task_group() as tasks:
            start_lanes(tasks)
            try:
                if not await run.is_refused():
                    yield
            except BaseException as error:  # raised again below: a task group would make a group of it
                raised = error
            with anyio.CancelScope(shield=True):
                while not run.has_ended:
                    start_lanes(tasks)  # again those that were cancelled, see below, before they had begun
                    try:
                        await run.finish(self._sink_timeout)
                    except anyio.get_cancelled_exc_class() as error:
                        # asyncio's own Task.cancel() knows no shield. It is raised when the sinks are done.
                        raised = raised or error
        problems = run.problems()
        if raised is not None:
            for problem in problems:
                structlog.get_logger("kairos_async").warning(
                    "sink_failed", run_id=run.run_id, error_message=str(problem)
                )
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
        with self._lock:
            run = self._runs.get(run_id) if run_id is not None else next(reversed(self._runs.values()), None)
        if run is None:
            raise ConfigError("This logger has logged no run yet." if run_id is None else f"No log of run {run_id!r}.")
        return run.log()

    def _begin(self, run_id: str) -> Logged:
        run = Logged(run_id, self._keep_events, self._showing)
        with self._lock:
            self._runs[run_id] = run
        return run

    def _end(self, run: Logged) -> None:
        """Count the run among those that have ended, and forget the oldest of these if they are too many."""
        run.collect()
        with self._lock:
            self._ended.append(run)
            self._kept += run.kept
            while self._kept > self._keep_events and len(self._ended) > 1:
                oldest = self._ended.popleft()
                self._kept -= oldest.kept
                self._runs.pop(oldest.run_id, None)
