"""Sinks of every kind behind one face: objects and callables, sync and async, one event at a time or many."""

from __future__ import annotations

import inspect
import math
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

import anyio
import anyio.lowlevel
import anyio.to_thread

from kairos_async.engine.tasks import outlast_requests
from kairos_async.events import Event, Facts, event_of
from kairos_async.exceptions import ConfigError
from kairos_async.observe.piles import Piece, Rendered, facts_in

T = TypeVar("T")


@runtime_checkable
class Sink(Protocol):
    """Where a logger's events go. Each of the methods may be sync or async; a plain callable is a sink too.

    Sync methods are called in a worker thread, one call at a time; with an attribute `on_loop` that is true they are
    called on the event loop and must not block. More that a sink may have:

        begin(run_id, workflow)     called before the first event of a run
        emit_many(events, dropped)  called instead of `emit`, with what has come up since the last call; `dropped`
                                    events before these were dropped, because the queue was full
                                    an exception may have `missing`, the number of events that were not taken
        required                    true: a run fails that this sink could not log
    """

    def emit(self, event: Event, /) -> object:
        """Take an event."""

    def flush(self) -> object:
        """Write what was taken: a run has ended."""

    def close(self) -> object:
        """Let go of what is open: no run is under way. Another one may begin later."""


AnySink: TypeAlias = Sink | Callable[[Event], object]

_TURN: Final = 0.25
"""Seconds after which a sink that takes events one by one lets its other runs have a turn."""
_LOOP_TURN: Final = 0.002
"""Seconds that a sink may keep the event loop at a time, if it wants to be called there."""


class Outcome:
    """What came of one call of a sink. A call that was abandoned in its thread may still change it.

    Attributes:
        count: of the events that the sink took or refused.
        errors: of the events that it refused, or 1 if another method raised.
        error: the first.
        tried: whether the call was begun.
        made_way: whether the run need not make way for the call's thread, or has done so.
        in_thread: whether the call runs in a thread, and so goes on when it is given up.
        began: when it began there, in seconds of `time.monotonic`; None: it has not, since another event loop calls.
        running: whether it has begun in its thread, and not ended there.
        given_up: whether nobody waits for its thread any more.
        ended: set when it has ended, or was given up.
    """

    __slots__ = ("began", "count", "ended", "error", "errors", "given_up", "in_thread", "made_way", "running", "tried")

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self.error: BaseException | None = None
        self.tried = self.made_way = False
        self.in_thread = False
        self.began: float | None = None
        self.running = False
        self.given_up = False
        self.ended = anyio.Event()

    def failed(self, error: BaseException, events: int = 1) -> None:
        """Note that the sink raised."""
        self.errors += events
        self.error = self.error or error


class Target:
    """A sink, and how to call it.

    Attributes:
        at_once: whether all there is to tell can be told in one call of a thread, as for the sinks that `render`.
        name: for messages.
        on_loop: whether the sink is called on the event loop; else in worker threads, at least mostly.
        render: of a sink of ours that can say on the loop what it will write; None of others.
        required: whether a run fails that the sink could not log.
        runs: how many are under way.
        stuck: how many of its calls were given up and still run in their threads.
    """

    __slots__ = (
        "_counting",
        "_emit",
        "_emit_many",
        "_lock",
        "_sink",
        "_turns",
        "at_once",
        "name",
        "on_loop",
        "render",
        "required",
        "runs",
        "stuck",
    )

    def __init__(self, sink: AnySink) -> None:
        emit = getattr(sink, "emit", None)
        if not callable(emit) and not callable(sink):
            hint = f" Write JSONLinesSink({sink!r}) for a file." if isinstance(sink, str) else ""
            raise ConfigError(f"Sink {sink!r} has no method `emit`, and is not callable.{hint}")
        if isinstance(sink, type):
            raise ConfigError(f"Sink {sink!r} is a class; give an object of it, such as {sink.__name__}().")
        self._sink: Any = sink
        self._emit: Callable[[Event], Any] = emit if callable(emit) else sink  # type: ignore[assignment]
        self.render: Callable[[Sequence[Facts]], Rendered[Any]] | None = getattr(sink, "render", None)
        self._emit_many: Callable[[Sequence[Event], int], Any] | None = getattr(sink, "emit_many", None)
        self.on_loop = bool(getattr(sink, "on_loop", False)) or _is_async(self._emit)
        methods = (getattr(sink, name, None) for name in ("begin", "flush", "close"))
        self.at_once = self.render is not None and not any(_is_async(method) for method in methods if method)
        self._lock = threading.Lock()  # held while the sink is called in a thread
        self._counting = threading.Lock()
        self._turns: anyio.lowlevel.RunVar[anyio.Lock] = anyio.lowlevel.RunVar("kairos_async_sink_turns")
        self.name = _name(sink)
        self.required = bool(getattr(sink, "required", False))
        self.runs = 0
        self.stuck = 0

    def turn(self) -> anyio.Lock:
        """What to hold while the sink is called: it sees one call at a time."""
        turn = self._turns.get(None)
        if turn is None:
            self._turns.set(turn := anyio.Lock())
        return turn

    def join(self) -> None:
        """Count one more run that is under way."""
        with self._counting:
            self.runs += 1

    def leave(self) -> bool:
        """Count one less. Whether it was the last one."""
        with self._counting:
            self.runs -= 1
            return not self.runs

    async def close(self, outcome: Outcome) -> None:
        """Close the sink, unless a run has begun meanwhile, on another event loop: that one will."""

        def close() -> Any:
            return None if self.runs else self._sink.close()

        function = getattr(self._sink, "close", None)
        if callable(function):
            await self._call(function if _is_async(function) else close, (), outcome, 1)

    async def call(self, outcome: Outcome, method: str, *arguments: object) -> None:
        """Call a method that the sink may have."""
        function = getattr(self._sink, method, None)
        if callable(function):
            await self._call(function, arguments, outcome, 1)

    async def emit(self, outcome: Outcome, pieces: Sequence[Piece], dropped: int) -> None:
        """Give the sink the events, or the first of them if it takes long."""
        if self.render is not None:
            count = sum(piece.count for piece in pieces)
            await self._call(self._sink.emit_rendered, (pieces, dropped), outcome, count)
            return
        events = [event_of(facts) for facts in facts_in(pieces)]
        if self._emit_many is not None:
            await self._call(self._emit_many, (events, dropped), outcome, len(events))
        elif self.on_loop:
            await self._emit_on_loop(outcome, events)
        else:
            for answer in await self._in_thread(lambda: self._emit_in_thread(outcome, events), outcome):
                await _guarded(answer, outcome, 1)

    async def visit(
        self,
        outcome: Outcome,
        begin: tuple[str, str] | None,
        pieces: Sequence[Piece],
        dropped: int,
        leave: Callable[[], bool] | None,
    ) -> None:
        """Tell a sink that is `at_once` all that there is to tell: that a run begins, what happened, and that it has
        ended; then `leave` says whether it was the last one. Each call of a thread takes 0.3 ms and more."""
        sink, count = self._sink, sum(piece.count for piece in pieces)

        def visit() -> None:
            if begin is not None and hasattr(sink, "begin"):
                self._try(sink.begin, begin, outcome, 0)
            self._try(sink.emit_rendered, (pieces, dropped), outcome, count)
            outcome.count = count
            if leave is not None:
                self._try(sink.flush, (), outcome, 0)
                if leave():
                    self._try(sink.close, (), outcome, 0)

        await self._in_thread(visit, outcome)

    async def _call(self, function: Callable[..., Any], arguments: Any, outcome: Outcome, events: int) -> None:
        """Call a method: on the loop if it is async or wants to be there, else in a thread."""

        def call() -> Any:
            try:
                return self._try(function, arguments, outcome, events)
            finally:
                outcome.count = events

        answer = call() if self.on_loop or _is_async(function) else await self._in_thread(call, outcome)
        if inspect.isawaitable(answer):
            await _guarded(answer, outcome, events)

    def _try(self, function: Callable[..., Any], arguments: Any, outcome: Outcome, events: int) -> Any:
        """What the function returns; what it raises is noted, for so many events if it does not say for how many."""
        try:
            return function(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            missing = getattr(error, "missing", None)
            outcome.failed(error, missing if type(missing) is int else events)

    async def _emit_on_loop(self, outcome: Outcome, events: Sequence[Event]) -> None:
        started = time.monotonic()
        turn = started + _LOOP_TURN
        for event in events:
            answer = self._emit_one(outcome, event)
            if answer is not None:
                await _guarded(answer, outcome, 1)
            if (now := time.monotonic()) > turn:
                if now > started + _TURN:
                    return
                await anyio.lowlevel.checkpoint()
                turn = time.monotonic() + _LOOP_TURN

    def _emit_in_thread(self, outcome: Outcome, events: Sequence[Event]) -> list[Awaitable[object]]:
        """Give the sink one event after the other; return what it wants to be awaited."""
        until = time.monotonic() + _TURN
        answers = []
        for event in events:
            answer = self._emit_one(outcome, event)
            if answer is not None:
                answers.append(answer)
            if time.monotonic() > until:
                break
        return answers

    def _emit_one(self, outcome: Outcome, event: Event) -> Awaitable[object] | None:
        outcome.count += 1
        try:
            answer = self._emit(event)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcome.failed(error)
            return None
        return answer if inspect.isawaitable(answer) else None

    async def _in_thread(self, function: Callable[[], T], outcome: Outcome) -> T:
        """Call a function in a worker thread. A cancelled scope leaves the thread behind, `stuck` until it ends."""
        outcome.in_thread = True
        returned: list[T | None] = []

        def call() -> None:
            with self._lock:  # two event loops, in two threads, may share the sink
                with self._counting:
                    # Given up while it waited for the other one: its events are counted as lost. Or a thread before has
                    # done it, whose end a request to cancel this task kept from being seen.
                    if outcome.given_up or returned:
                        return
                    outcome.running = True
                    outcome.began = time.monotonic()
                try:
                    returned.append(function())
                finally:
                    with self._counting:
                        outcome.running = False
                        self.stuck -= outcome.given_up

        def start() -> Awaitable[None]:
            return anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=_limiter())

        try:
            await outlast_requests(start)
            return cast(T, returned[0] if returned else None)
        finally:
            with self._counting:
                outcome.given_up = True
                self.stuck += outcome.running


async def _guarded(answer: Awaitable[object], outcome: Outcome, events: int) -> None:
    """Await what a sink gave back. Only a cancellation from outside comes through."""
    try:
        await answer
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        if isinstance(error, anyio.get_cancelled_exc_class()) and anyio.current_effective_deadline() == -math.inf:
            raise
        outcome.failed(error, events)


_limiters: anyio.lowlevel.RunVar[anyio.CapacityLimiter] = anyio.lowlevel.RunVar("kairos_async_sink_threads")


def _limiter() -> anyio.CapacityLimiter:
    """One for all sinks of an event loop, without a bound: each sink takes one thread, as its turns see to."""
    limiter = _limiters.get(None)
    if limiter is None:
        _limiters.set(limiter := anyio.CapacityLimiter(math.inf))
    return limiter


def _is_async(function: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _name(sink: object) -> str:
    """What a message calls a sink: one of ours by its repr, another by its class or its own name."""
    if type(sink).__module__.startswith("kairos_async."):
        return repr(sink)
    name = getattr(sink, "__qualname__", None)
    return name if isinstance(name, str) else type(sink).__name__
