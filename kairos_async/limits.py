"""Slots for attempts, shared by the runs of one event loop."""

from __future__ import annotations

import heapq
import threading
from typing import Final, Protocol

from kairos_async.exceptions import ConfigError

_joining: Final = threading.Lock()
"""Runs on different event loops may begin and end at the same moment."""


class Run(Protocol):
    """What a limiter knows of a run."""

    order: int
    """Grows from run to run: the oldest run has the smallest."""

    def slot_granted(self) -> None:
        """Use the slot that was just taken for this run. Called at most once for each `wait`."""


class Limiter:
    """At most `total` attempts at once, over all runs that share it; the oldest waiting run is served first.

    Pass one to several workflows, as `Workflow(max_concurrency=limiter)`. It belongs to the event loop on which it is
    used: runs on two loops at the same time need two limiters, and the second one is refused. A step that runs another
    workflow holds a slot meanwhile. If that one shares the limiter, there have to be more slots than there can be such
    steps at once, or each waits for the others; what could only wait for itself is refused.

    Args:
        total: slots, at least 1. A slot is held while an attempt runs, not while a retry waits.

    Raises:
        ConfigError: `total` is not a whole number of at least 1.
    """

    __slots__ = ("_free", "_home", "_queue", "_runs", "_waiting", "total")

    def __init__(self, total: int) -> None:
        if type(total) is not int or total < 1:
            raise ConfigError(f"A Limiter of {total!r} slots is not possible; total must be a whole number >= 1.")
        self.total = total
        self._free = total
        self._home: object = None  # the event loop of the runs that use it now
        self._runs = 0
        self._waiting: dict[int, Run] = {}
        self._queue: list[int] = []  # orders of waiting runs, a heap; and of some that wait no longer

    def __repr__(self) -> str:
        return f"<Limiter: {self.total - self._free} of {self.total} slots in use, {len(self._waiting)} runs waiting>"

    @property
    def in_use(self) -> int:
        """Slots that are held now."""
        return self.total - self._free

    def join(self, home: object) -> None:
        """A run on this event loop begins to use the limiter; it has to `leave`.

        Raises:
            ConfigError: runs on another event loop use it. Slots are handed over without a lock, within one loop.
        """
        with _joining:
            if self._runs and self._home is not home:
                raise ConfigError(
                    f"{self!r} is used by runs on another event loop, of another thread. Give the workflows of each "
                    "event loop a Limiter of their own, or run them all on one."
                )
            self._home = home
            self._runs += 1

    def take(self, run: Run) -> bool:
        """Take a slot for the run if one is free; else let the run wait for one. Never blocks."""
        if self._free:
            self._free -= 1
            return True
        if run.order not in self._waiting:
            self._waiting[run.order] = run
            heapq.heappush(self._queue, run.order)
        return False

    def release(self) -> None:
        """Give a slot back; the oldest waiting run gets it."""
        self._free += 1
        if (oldest := self._oldest()) is not None:
            self._free -= 1
            self._waiting.pop(oldest).slot_granted()

    def wanted_before(self, run: Run) -> bool:
        """Whether an older run waits for the slot that this run could keep."""
        oldest = self._oldest()
        return oldest is not None and oldest < run.order

    def leave(self, run: Run, held: int = 0) -> None:
        """The run has ended, waits no longer, and gives back the slots that it still held."""
        self._waiting.pop(run.order, None)
        for _ in range(held):
            self.release()
        with _joining:
            self._runs -= 1
            if not self._runs:
                self._home = None

    def _oldest(self) -> int | None:
        queue = self._queue
        while queue and queue[0] not in self._waiting:
            heapq.heappop(queue)
        return queue[0] if queue else None
