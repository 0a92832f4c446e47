"""What starts, and when: slots, and the workers that units of work are given to."""

from __future__ import annotations

import abc
import contextvars
import itertools
from collections.abc import Awaitable, Iterable
from typing import Final

import anyio

from kairos_async.engine.call import Call
from kairos_async.engine.fanout import Fanout
from kairos_async.engine.schedule import Schedule, Unit
from kairos_async.engine.slots import Resume, Slot
from kairos_async.engine.tasks import Workers
from kairos_async.limits import Limiter
from kairos_async.node import Node
from kairos_async.outcomes import StepResult
from kairos_async.plan import TaskGraph

_STARTS_AT_ONCE: Final = 100
"""Workers that are started in one go, with their first steps 5 ms of the loop's time: 10,000 would be half a second."""

_order = itertools.count()


class Dispatch(abc.ABC):
    """The part of a run that hands out its units: to a worker that has just ended one, to one that rests, or to a new
    one, each with a slot.

    Attributes:
        active: steps that are handed out and have not ended, with what is under way of each; with its result, if it
            failed and a planner is asked.
        limiter: who has the slots; `shared` if it is also that of other runs.
        order: of this run among all: the older one is served first.
        planning: how many planners are being asked; until they answer, no step starts.
        stopping: from when on nothing starts.
        unbegun: workers that were started, with a slot, and have not begun. asyncio's own Task.cancel() ends them so.
        without_output: steps that ended without one.
    """

    # In an object with a dict, so many attributes take 1,600 bytes instead of 400: a tenth of a small run under way.
    __slots__ = (
        *("_started", "active", "context", "limiter", "order", "planning", "schedule", "shared", "stopping"),
        *("unbegun", "without_output", "workers"),
    )

    context: contextvars.Context
    workers: Workers

    def __init__(self, graph: TaskGraph, concurrency: int | Limiter | None) -> None:
        self._started = 0
        self.active: dict[str, Call | Fanout | StepResult | None] = {}
        self.limiter = Limiter(concurrency) if isinstance(concurrency, int) else concurrency
        self.order = next(_order)
        self.planning = 0
        self.schedule = Schedule(graph)
        self.shared = isinstance(concurrency, Limiter)
        self.stopping = False
        self.unbegun = 0
        self.without_output: set[str] = set()

    @abc.abstractmethod
    async def work(self, scope: anyio.CancelScope, unit: Unit, index: int) -> None:
        """Run units in the scope, this one first."""

    @abc.abstractmethod
    def skip_for_want(self, node: Node) -> bool:
        """Skip the step if it needs the output of one that has none."""

    def go_on(self) -> None:
        """Start what is ready, after others had the loop."""
        self._started = 0
        self.pump()

    def pump(self) -> None:
        """Start what is ready, as far as there are slots; the rest of what is very much when others had the loop."""
        while self.schedule.waiting and not self.stopping:
            if self._started >= _STARTS_AT_ONCE:
                return self.workers.wake()
            if self.limiter is not None and not self.limiter.take(self):
                return
            if not self._start_next():
                self._put_back()
                return

    def slot_granted(self) -> None:
        """The shared limiter gave this run a slot that it had waited for."""
        if self.stopping or not self._start_next():
            self._put_back()
        else:
            self.pump()

    def release_slot(self) -> None:
        """Give a slot back and start what may start."""
        self._put_back()
        self.pump()

    def _put_back(self) -> None:
        if self.limiter is not None:
            self.limiter.release()

    def _start_next(self) -> bool:
        """Use a slot that was taken. False if nothing is ready after all."""
        following = self._take()
        if following is None:
            return False
        unit, index = following
        if isinstance(unit, Resume):
            unit.granted.set()
        else:
            self._start(unit, index)
        return True

    def _start(self, unit: Unit, index: int) -> None:
        """Give a unit to a worker, a new one if none rests."""
        self._started += 1
        if (resting := self.workers.resting()) is None:
            self.unbegun += 1
            self.workers.start(self.work, unit, index, name=unit.node.name, context=self.context.copy())
            return
        future, slot = resting
        slot.held = True
        future.set_result((unit, index))

    def rest(self, slot: Slot) -> Awaitable[tuple[Unit, int] | None] | None:
        """What a worker waits for, without a slot, until something is ready. None if it should end.

        Once all steps are handed out nothing becomes ready, and those that rest would have to be woken at the very end
        of the run for nothing but to end, at 12 us each.
        """
        slot.give_up()
        if not slot.clean or self.stopping or self.schedule.unended <= len(self.active):
            return None
        return self.workers.rest(slot)  # type: ignore[no-any-return]

    def next_for(self, slot: Slot, fanout: Fanout | None) -> tuple[Unit, int] | None:
        """The unit with which a worker goes on, keeping its slot; the rest is started beside it.

        None also for a worker whose slot is gone, or in whose context variables a step left something. `fanout` is the
        foreach of which it has just ended an item. Where nothing else waits it goes on with the next item, which the
        way through the queue would make a fourteenth slower.
        """
        if fanout is not None and fanout.may_start():
            if slot.held and slot.clean and not (self.schedule.waiting or self.stopping or self.shared):
                return fanout, fanout.claim()
            fanout.offer()
        if not (slot.held and slot.clean):
            slot.give_up()
            self.pump()
            return None
        if self.stopping or (self.shared and self.limiter is not None and self.limiter.wanted_before(self)):
            return None
        following = self._take()
        if following is not None and isinstance(following[0], Resume):
            slot.held = False
            following[0].granted.set()
            following = None
        if self.schedule.waiting:
            self.pump()
        return following

    def _take(self) -> tuple[Unit, int] | None:
        """The next unit, and the position of the item if it is a foreach."""
        while (unit := self.schedule.take()) is not None:
            if isinstance(unit, Node):
                if not self.planning and not (self.without_output and self.skip_for_want(unit)):
                    self.active[unit.name] = None  # handed out: from here on a re-plan leaves it alone
                    return unit, -1
            elif isinstance(unit, Fanout):
                if not unit.stopped:
                    return unit, unit.claim()
            elif not (isinstance(unit, Resume) and unit.abandoned):
                return unit, -1
        return None

    def restart(self, graph: TaskGraph, ended: Iterable[str]) -> None:
        """Work out anew what is ready: nothing that became ready while a planner was asked has been started."""
        waiting = [unit for unit in self.schedule.drain() if not isinstance(unit, Node)]
        over = [name for name in ended if name in graph.index]
        self.schedule = Schedule(graph, ended=over, begun=self.active)
        for unit in waiting:
            self.schedule.push(unit)
        self.note_end()

    def note_end(self) -> None:
        """A step has ended: if it was the last, nobody waits for slots of other runs any more."""
        if self.shared and not self.schedule.unended:
            self.workers.release()
