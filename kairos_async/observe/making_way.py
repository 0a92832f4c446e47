"""How a run of short steps makes way for the threads of its sinks.

A thread gets the interpreter from a busy event loop by luck only, because the loop lets go of it for no more than a
microsecond in each turn. That wakes the thread in vain, which took 4 us of each step of 12, and went on after the call:
the thread also has to get back to where it waits for the next one. So the run is held back for 1 to 2 ms then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final, Protocol

import anyio

_LOOKS: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
"""Seconds of a call after which it is looked how busy the run is, each after the one before."""
_MANY: Final = 5
_RATE: Final = 10_000
"""Events meanwhile, and how many a second, that show a run of short steps."""
_LATE: Final = 0.0004
"""Seconds by which a timer may be late. It is later where many steps run in each turn of the loop; then there are too
few turns to wake a thread often, and many steps to hold back."""
_HELD: Final = 0.005
"""Seconds for which the run is held back at most."""
_BACK: Final = 0.001
"""Seconds, of these, in which a thread gets back."""


class Feed(Protocol):
    """What a run gives to a sink, as far as it can be held back."""

    closing: bool
    """Whether no event will follow."""

    def arrived(self) -> int:
        """How many events have come up that the sink was not given."""

    def hold(self) -> None:
        """Have the run start nothing until `let_go`."""

    def let_go(self) -> None:
        """Let the run go on."""


async def make_way(feed: Feed, ended: anyio.Event) -> bool:
    """Let the thread of a call have the interpreter until the call has ended, if the run keeps it busy. Whether that
    was so."""
    for pause in _LOOKS:
        if await _is_busy(feed, pause, ended):
            with _held_back(feed), anyio.move_on_after(_HELD):
                await ended.wait()
                await anyio.sleep(_BACK)
            return True
        if ended.is_set() or feed.closing:
            break
    return False


async def make_way_back(feed: Feed, wake: anyio.Event) -> None:
    """The same for a thread whose call has ended, unless the sink is woken meanwhile."""
    if not feed.closing and await _is_busy(feed, _LOOKS[0], wake):
        with _held_back(feed):
            await anyio.sleep(_BACK)


async def _is_busy(feed: Feed, seconds: float, end: anyio.Event) -> bool:
    """Whether the run ends a short step in each of many turns of the loop. False if the end comes before that is
    known."""
    before, started = feed.arrived(), time.monotonic()
    with anyio.move_on_after(seconds):
        await end.wait()
        return False
    events, took = feed.arrived() - before, time.monotonic() - started
    return events >= max(_MANY, _RATE * took) and took < seconds + _LATE


@contextlib.contextmanager
def _held_back(feed: Feed) -> Iterator[None]:
    """Have the run start nothing meanwhile."""
    feed.hold()
    try:
        yield
    finally:
        feed.let_go()
