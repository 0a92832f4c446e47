"""The way of one run's events into one sink: a bounded queue, and the task that empties it.

The engine queues events synchronously. The task takes what has come up and gives it to the sink, in a worker thread if
the sink is sync; then it lets a little come up again, so that a busy run costs some ten calls a second and not one
for each event. What a sink does, or fails to do, stays in its lane.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal, Protocol, TypeAlias

import anyio
import anyio.lowlevel

from kairos_async.engine.emit import Inbox
from kairos_async.engine.tasks import clock_of, native_loop, outlast_requests
from kairos_async.events import Facts, WorkflowComplete
from kairos_async.observe.making_way import make_way, make_way_back
from kairos_async.observe.piles import Piece, Pile, Portion, facts_in
from kairos_async.observe.targets import Outcome, Target
from kairos_async.security import Redactor, sanitize_exception

OnFull: TypeAlias = Literal["wait", "drop"]
"""What happens when a queue is full: the run starts nothing more until there is room, or events are dropped."""

_PAUSE: Final = 0.1
"""Seconds in which events come up before the sink is called again."""
_MOST: Final = 2_000
"""Events that a sink is given at once: with more, its thread would keep the interpreter for itself too long. What is
rendered already is given as a whole: a call takes some ten turns of the loop, which are 50 ms of a busy one."""
_SLICES: Final = 10
"""Parts in which a time limit is waited for."""


async def wait_for(seconds: float, *events: anyio.Event) -> None:
    """Wait until all the events are set, but no longer than so many seconds.

    In parts: steps that keep the event loop for longer than the limit would else make every sink look as if it hung,
    because the loop learns of the time that has passed before it learns of what a thread has done. So they use up one
    part and not all of them.
    """
    for _ in range(_SLICES):
        with anyio.move_on_after(seconds / _SLICES):
            for event in events:
                await event.wait()
            return


class Source(Protocol):
    """Where the events of a run come from."""

    inbox: Inbox

    def collect(self) -> None:
        """Queue for the lanes what has come up."""

    def take_for(self, lane: Lane) -> tuple[Pile, int]:
        """What is queued for a lane, and how many events were dropped before."""


class Lane:
    """A sink's queue in one run. What is queued changes under the lock of its source only.

    Attributes:
        at_work: whether a task has begun to empty the queue.
        begun: set when the sink knows of the run, or is broken.
        done: set when the sink is not called any more.
        broken: whether the sink was given up.
        closing: whether no event will follow.
        problem: what went wrong first, as text without secrets; None: nothing.
        lost: events that the sink did not get, or refused.
        dropped: events that found the queue full.
    """

    __slots__ = (
        *("_after", "_before", "_begin", "_counts", "_final", "_held", "_holds", "_idle", "_pending"),
        *("_redactor", "_room", "_scope", "_size", "_source", "_timeout", "_wait", "_wake"),
        *("at_work", "begun", "broken", "closing", "done", "dropped", "lost", "problem", "target"),
    )

    def __init__(
        self, target: Target, size: int, on_full: OnFull, timeout: float, redactor: Redactor, source: Source
    ) -> None:
        self.target = target
        self._source = source
        self.at_work = False
        self.begun = anyio.Event()
        self.done = anyio.Event()
        self.broken = False
        self.closing = False
        self.problem: str | None = None
        self.lost = 0
        self.dropped = 0
        self._size = size
        self._wait = on_full == "wait"
        self._timeout = timeout
        self._redactor = redactor
        self._pending = Pile()
        self._before = self._after = 0  # dropped before the first of those pending, and after the last of them
        self._final: Facts | None = None  # of the final event, if it found the queue full
        self._idle = False
        self._counts = True  # among the runs of the sink
        self._begin: tuple[str, str] | None = None  # what the sink has not been told yet
        # A virtual clock would jump to the end of the time for which the run is held back.
        self._holds = self._wait and not target.on_loop and clock_of(native_loop()) is time.monotonic
        self._held = False
        self._scope = anyio.CancelScope(shield=True)
        self._wake = anyio.Event()
        self._room = anyio.Event()

    @property
    def room(self) -> int:
        """How many events may still be queued."""
        return 0 if self._held else max(0, self._size - self._pending.count)

    def offer(self, found: Sequence[Facts], portion: Portion) -> None:
        """Queue events; the portion is of the same facts. Does not wait: whoever can should `drain()` before it goes
        on."""
        room = self.room
        left = len(found) - room
        if self.broken:
            self.lost += len(found)
        elif self._wait or left <= 0:
            self._queue(self._pending, found, portion)
        else:
            self._queue(self._pending, found[:room])
            if found[-1][0] is WorkflowComplete:
                self._final = found[-1]  # how a run ended is not dropped
                left -= 1
            self._after += left
            self.dropped += left

    def _queue(self, pile: Pile, found: Sequence[Facts], portion: Portion | None = None) -> None:
        """Put events on a pile: rendered, if the sink can do that now, so that its thread has only to write."""
        if not found:
            return
        if self.target.render is None:
            pile.add(portion or Portion(found, pack=False))
            return
        try:
            pile.add(self.target.render(found))
        except Exception as error:
            self.lost += len(found)
            self._note(error)

    def wake_if_idle(self) -> None:
        """Look whether there is something, if nothing was there before."""
        if self._idle:
            self._wake.set()

    def wake_if_much(self) -> None:
        """Do not wait for more, if so much is queued already."""
        if self._pending.count >= self._size // 2:
            self._wake.set()

    def take(self) -> tuple[Pile, int]:
        """Take out what is queued, and how many events were dropped before."""
        pile, self._pending = self._pending, Pile()
        dropped, self._before, self._after = self._before, self._after, 0
        if not pile.count and self._final is not None:
            self._queue(pile, [self._final])
            self._final = None
        return pile, dropped

    @property
    def full(self) -> bool:
        """Whether the run should wait until the sink has taken something."""
        return (self._held or self._pending.count >= self._size) and self._wait and not self.broken

    async def drain(self) -> None:
        """Wait until the queue is not full, or its sink is given up."""
        while self.full:
            await self._room.wait()

    def describe_problem(self) -> str | None:
        """What the sink could not do in this run, as the rest of a sentence; None if it did everything."""
        parts = [self.problem] if self.problem else []
        if self.lost:
            parts.append(f"{self.lost} events are missing there")
        if self.dropped:
            parts.append(f"{self.dropped} events were dropped, because its queue of {self._size} was full")
        return "; ".join(parts) or None

    def close(self) -> None:
        """Say that no event will follow."""
        self.closing = True
        self._wake.set()

    def give_up(self) -> None:
        """Say that time is up: what is queued is lost, and a call under way is left behind."""
        self._break(f"was not done {self._timeout:g} s after the run had ended")
        self._scope.cancel()

    async def work(self, run_id: str, workflow: str) -> None:
        """Give the sink what comes up until the run has ended, unless another task does already. No cancellation from
        outside gets in here."""
        if self.at_work:
            return
        self.at_work = True
        target = self.target
        target.join()
        try:
            with self._scope:
                try:
                    if target.at_once and not target.required:
                        self._begin = (run_id, workflow)
                        await self._pause()
                    else:
                        await self._call(lambda outcome: target.call(outcome, "begin", run_id, workflow))
                    self.begun.set()
                    while await self._something():
                        await self._deliver()
                    if self._counts:
                        await self._call(lambda outcome: target.call(outcome, "flush"))
                        if self._leave():
                            await self._call(target.close)
                finally:
                    self._leave()
        finally:
            self.lost += self._pending.count
            self.begun.set()
            self.done.set()

    def _leave(self) -> bool:
        """Count the run among those of the sink no longer. Whether it was the last of them."""
        counts, self._counts = self._counts, False
        return counts and self.target.leave()

    async def _something(self) -> bool:
        """Wait until there is something to give. False when the run has ended and all is given."""
        while True:
            self._source.collect()
            if self._pending.count or self._final is not None:
                return True
            if self.closing:
                return False
            self._idle = True
            self._wake = anyio.Event()
            self._source.inbox.rest()
            await outlast_requests(self._wake.wait)  # also for events that the logger does not show
            self._idle = False

    async def _deliver(self) -> None:
        """Give the sink what is there, then let something come up."""
        pile, dropped = self._source.take_for(self)
        self._make_room()
        left = pile.count
        pieces: list[Piece] = []
        try:
            while left and not self.broken:
                pieces = pieces or pile.take(_MOST if self.target.render is None else pile.count)
                outcome = await self._give(pieces, dropped)
                dropped = 0
                left -= outcome.count
                self.lost += outcome.errors
                rest = facts_in(pieces)[outcome.count :]
                pieces = [Portion(rest, pack=False)] if rest else []
        finally:
            self.lost += left
        await self._pause()

    async def _pause(self) -> None:
        """Let something come up, unless there is much already or the run has ended."""
        if not self.closing and self._pending.count < self._size // 2:
            self._wake = anyio.Event()
            await outlast_requests(self._sleep)

    async def _sleep(self) -> None:
        with anyio.move_on_after(_PAUSE):
            await self._wake.wait()

    async def _give(self, pieces: list[Piece], dropped: int) -> Outcome:
        target = self.target
        if not target.at_once:
            return await self._call(lambda outcome: target.emit(outcome, pieces, dropped))
        begin, self._begin = self._begin, None
        is_last = self.closing and not self._pending.count and self._final is None
        leave = self._leave if is_last else None
        return await self._call(lambda outcome: target.visit(outcome, begin, pieces, dropped, leave))

    def arrived(self) -> int:
        """How many events have come up that the sink was not given."""
        return self._pending.count + len(self._source.inbox.facts)

    def hold(self) -> None:
        """Have the run start nothing until `let_go`."""
        self._held = True
        self._source.collect()  # from here on the inbox has no room

    def let_go(self) -> None:
        """Let the run go on."""
        self._held = False
        self._make_room()

    def _make_room(self) -> None:
        self._room.set()
        self._room = anyio.Event()

    async def _call(self, call: Callable[[Outcome], Awaitable[None]]) -> Outcome:
        """Call the sink, in its turn and in its time. It is given up if it takes longer."""
        outcome = Outcome()
        if self.broken:
            return outcome
        outcome.made_way = not (self._holds and (self.begun.is_set() or not self.target.required))
        turn = self.target.turn()
        await outlast_requests(turn.acquire)
        try:
            if self.target.stuck:
                self._break(self._hangs_elsewhere())
                return outcome
            await outlast_requests(self._make, call, outcome)
        finally:
            turn.release()
        if not outcome.made_way:
            self._wake = anyio.Event()
            await outlast_requests(make_way_back, self, self._wake)
        if outcome.error is not None:
            self._note(outcome.error)
        return outcome

    async def _make(self, call: Callable[[Outcome], Awaitable[None]], outcome: Outcome) -> None:
        """Make the call in a task of its own; in another one, if that is cancelled before it begins."""
        while not (outcome.tried or self.broken):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._carry_out, call, outcome)
                if not outcome.made_way:
                    outcome.made_way = await outlast_requests(make_way, self, outcome.ended)
                await outlast_requests(self._wait_for, outcome)
                if not outcome.ended.is_set():
                    waits = outcome.in_thread and outcome.began is None  # for another event loop's call
                    late = f"was not done with a call after {self._timeout:g} s"
                    self._break(self._hangs_elsewhere() if waits else late)
                    tasks.cancel_scope.cancel()

    async def _wait_for(self, outcome: Outcome) -> None:
        """Wait until a call has ended, but no longer than it may take. What another event loop's call takes before, in
        the same sink, does not count, unless that one hangs."""
        started = time.monotonic()
        await wait_for(self._timeout, outcome.ended)
        jumped = time.monotonic() < started + self._timeout / 2
        while outcome.in_thread and not outcome.ended.is_set():
            began = outcome.began
            if self.target.stuck if began is None else time.monotonic() > began + self._timeout:
                break
            # A virtual clock jumps over the work of a thread: whether one hangs is a matter of real time.
            await (anyio.lowlevel.checkpoint() if jumped else wait_for(self._timeout / _SLICES, outcome.ended))

    def _hangs_elsewhere(self) -> str:
        return f"hangs in a call of another run, for more than {self._timeout:g} s"

    def _note(self, error: BaseException) -> None:
        """Keep what the sink raised first."""
        self.problem = self.problem or "raised " + ": ".join(filter(None, sanitize_exception(error, self._redactor)))

    async def _carry_out(self, call: Callable[[Outcome], Awaitable[None]], outcome: Outcome) -> None:
        outcome.tried = True
        try:
            await call(outcome)
        finally:
            outcome.ended.set()

    def _break(self, problem: str) -> None:
        self.problem = self.problem or problem
        self.broken = True
        self._make_room()
