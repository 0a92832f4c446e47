"""What a logger keeps of one run, and hands on to its sinks."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final, cast

import anyio
import anyio.lowlevel

from kairos_async._types import JSONValue
from kairos_async.engine.emit import Inbox
from kairos_async.events import Event, Facts, StepComplete, WorkflowComplete, event_of
from kairos_async.exceptions import ExecutionError
from kairos_async.observe.lanes import Lane, wait_for
from kairos_async.observe.piles import Pile, Portion, facts_in
from kairos_async.observe.runlog import RunLog, Tally
from kairos_async.security import Redactor

_PORTION: Final = 500
"""Events that come up before they are looked at, in about 1 ms with two sinks; until then they are not packed, see
`Portion`. With half as many, a run with two sinks takes up to a tenth longer."""
_kind: Final[Callable[[Facts], type[Any]]] = itemgetter(0)
_FEW: Final = 1_000
"""Events of a run that are not worth packing."""


class SinkError(ExecutionError):
    """A sink could not log a run, or not all of it. `required` says whether the run fails for it."""

    def __init__(self, message: str, *, required: bool) -> None:
        self.required = required
        super().__init__(message)


@dataclasses.dataclass(frozen=True, slots=True)
class Showing:
    """What a logger shows of a run: kinds of events, whether outputs, and with what redacted beside the rest."""

    kinds: frozenset[type[Any]]
    outputs: bool
    redactor: Redactor | None

    def of(self, found: list[Facts], kinds: Counter[type[Any]], tally: Tally) -> list[Facts]:
        """The facts of the events as they are shown. Mostly that is the same list."""
        if self.redactor is not None or not kinds.keys() <= self.kinds or (tally.outputs and not self.outputs):
            return [self._one(facts, tally) for facts in found if facts[0] in self.kinds]
        if WorkflowComplete in kinds:
            return [self._one(facts, tally) if facts[0] is WorkflowComplete else facts for facts in found]
        return found

    def _one(self, facts: Facts, tally: Tally) -> Facts:
        *others, data = facts
        if facts[0] is WorkflowComplete:
            data = {**data, "summary": tally.told()}
        elif facts[0] is StepComplete and not self.outputs and "output" in data:
            data = {key: value for key, value in data.items() if key != "output"}
        if self.redactor is not None:
            data = cast(dict[str, JSONValue], self.redactor.redact(data))
        return cast(Facts, (*others, data))


class Logged:
    """The log of one run, and its lanes; what the lifespan of a logger gives, so it is also the brake of the run.

    Events come into the inbox one by one, and are counted and handed to the lanes many at once.

    Attributes:
        shown: how many events the logger shows.
    """

    __slots__ = (
        "_keep",
        "_lock",
        "_pile",
        "_showing",
        "_tally",
        "_waits",
        "inbox",
        "lanes",
        "run_id",
        "shown",
    )

    def __init__(self, run_id: str, keep: int, showing: Showing) -> None:
        self.run_id = run_id
        self.inbox = Inbox(self._arrived)
        self._keep = keep
        self._pile = Pile()
        self.shown = 0
        self.lanes: list[Lane] = []
        self._showing = showing
        self._tally = Tally()
        self._lock = threading.Lock()
        self._waits = False
        self._note_room()

    def open_lanes(self, lanes: Sequence[Lane], *, waits: bool) -> None:
        """Hand events to these lanes too; `waits` says whether the run is held back when one is full."""
        self.lanes = [*lanes]
        self._waits = waits
        self._note_room()

    def take(self, event: Event) -> None:
        """Take one event from whoever calls the logger itself; the engine has the inbox."""
        self.inbox.take(event.facts)
        if len(self.inbox.facts) >= _PORTION:
            self.collect()

    @property
    def kept(self) -> int:
        """How many events the log has."""
        return min(self._pile.count, self._keep)

    def collect(self) -> None:
        """Count what is in the inbox, keep it, and queue it for the sinks. Any thread may call this."""
        with self._lock:
            found = self.inbox.empty()
            if found:
                kinds = Counter(map(_kind, found))
                self._tally.add_all(found, kinds)
                shown = self._showing.of(found, kinds, self._tally)
                self.shown += len(shown)
                portion = Portion(shown, pack=self.shown > _FEW)
                self._pile.add(portion)
                self._pile.forget(self._keep)
                for lane in self.lanes:
                    lane.offer(shown, portion)
            self._note_room()

    def take_for(self, lane: Lane) -> tuple[Pile, int]:
        """What is queued for a lane, and how many events were dropped before."""
        self.collect()
        with self._lock:
            taken = lane.take()
            self._note_room()
        return taken

    def _note_room(self) -> None:
        self.inbox.room = min([_PORTION, *(lane.room for lane in self.lanes)])

    @property
    def full(self) -> bool:
        """Whether the run should wait for a sink. The engine asks when there is more in the inbox than its room."""
        self.collect()
        for lane in self.lanes:
            lane.wake_if_much()
        return self._waits and any(lane.full for lane in self.lanes)

    async def drain(self) -> None:
        """Wait until there is room."""
        for lane in self.lanes:
            await lane.drain()

    def _arrived(self) -> None:
        """There is an event after a pause."""
        for lane in self.lanes:
            lane.wake_if_idle()

    def log(self) -> RunLog:
        """What is known of the run."""
        self.collect()
        with self._lock:
            portions = self._pile.portions()
        events = [event_of(facts) for facts in facts_in(portions)[-self._keep :]]
        return RunLog(
            run_id=self.run_id,
            workflow_name=self._tally.workflow,
            status=self._tally.status,
            events=tuple(events),
            summary=self._tally.summary(),
            dropped=self.shown - len(events),
        )

    async def is_refused(self) -> bool:
        """Whether a sink without which the run does not count cannot be opened."""
        for lane in self.lanes:
            if lane.target.required:
                await lane.begun.wait()
                if lane.problem is not None:
                    return True
        return False

    @property
    def has_ended(self) -> bool:
        """Whether no sink is called any more."""
        return all(lane.done.is_set() for lane in self.lanes)

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
