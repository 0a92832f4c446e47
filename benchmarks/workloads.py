"""The workloads: what every library is asked to run, and the same written by hand. Only the standard library is needed.

A library takes part as a module with two functions (see `Library`), which turn a graph, or a foreach, into something to
await; building is not timed. `kairos_async` itself is `benchmarks.ours`, the others are in `benchmarks.peers`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeAlias

from benchmarks.reference import Graph, run_foreach, run_graph

NEVER_FULL: Final = 20_000
"""A limit on both sides that is kept count of and never reached, so that the shape of the graph decides."""

SLEEP: Final = 0.05
"""Seconds that a step of the I/O-shaped workload waits."""

Side: TypeAlias = Callable[[], Awaitable[Any]]
Body: TypeAlias = Callable[[Any], Awaitable[Any]]
Make: TypeAlias = Callable[[float], Callable[[Any], Any]]
"""Make the body that waits some seconds: `async_body` or `sync_body`, or one of them with something around it."""


class Library(Protocol):
    """A module that runs workloads with a library.

    `body` is called with one argument, whatever it is, once for each step or item, at most `limit` at once. A library
    whose steps are plain functions says `BODY = sync_body`.
    """

    BODY: Make

    def graph(self, graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
        """Return what runs a graph."""

    def foreach(self, items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
        """Return what runs the body for each item."""


def async_body(seconds: float) -> Body:
    """Make a body that waits on the loop and returns what the contract asks for."""

    async def answer(_: Any) -> dict[str, object]:
        await asyncio.sleep(seconds)
        return {"name": "x", "score": 0.5, "n": 3}

    return answer


def sync_body(seconds: float) -> Callable[[Any], dict[str, object]]:
    """Make the same for a library whose steps block the thread in which they run."""

    def answer(_: Any) -> dict[str, object]:
        time.sleep(seconds)
        return {"name": "x", "score": 0.5, "n": 3}

    return answer


@dataclass(frozen=True)
class Workload:
    """One thing to time: a graph or, if there are items, a foreach; more than one of `runs` go together.

    `seconds` is what a body waits, and 0 gives the loop a turn. `target` is the largest ratio that is good enough: of
    CPU time to that of the hand-written side, or, when `ideal` is given, of wall time to `ideal` seconds. `new_loop`
    makes the event loop, if not asyncio.
    """

    name: str
    target: float
    graph: Graph = ()
    items: int = 0
    runs: int = 1
    limit: int = NEVER_FULL
    seconds: float = 0.0
    ideal: float | None = None
    beside_peers: bool = True
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None

    @property
    def steps(self) -> int:
        """How many bodies run."""
        return (self.items or len(self.graph)) * self.runs

    def by_hand(self) -> Side:
        """Return the hand-written side."""
        body = async_body(self.seconds)
        if self.items:
            items = range(self.items)
            return lambda: run_foreach(items, body, self.limit)
        return self._together(lambda: run_graph(self.graph, body, self.limit))

    def by_the_loop(self) -> Side:
        """Return the least that an event loop can take for it: a task for each slot, which does nothing but wait."""

        async def lane() -> None:
            for _ in range(self.steps // self.limit):
                await asyncio.sleep(self.seconds)

        async def gather() -> None:
            await asyncio.gather(*[lane() for _ in range(self.limit)])

        return gather

    def made_with(self, library: Library, make: Make | None = None) -> Side:
        """Return the side of a library, with a body of its kind; `make` makes another."""
        body = (make or library.BODY)(self.seconds)
        if self.items:
            return library.foreach(range(self.items), body, self.limit)
        return self._together(library.graph(self.graph, body, self.limit))

    def _together(self, side: Side) -> Side:
        if self.runs == 1:
            return side

        async def gather() -> None:
            await asyncio.gather(*[side() for _ in range(self.runs)])

        return gather


def chain(length: int) -> Graph:
    """Each step needs the one before."""
    return [(f"s{i}", [f"s{i - 1}"] if i else []) for i in range(length)]


def fan_out(width: int) -> Graph:
    """One step, and `width` steps that need it."""
    return [("root", []), *((f"s{i}", ["root"]) for i in range(width))]


def layers(depth: int, width: int) -> Graph:
    """Each step of a layer needs every step of the layer before."""
    return [
        (f"s{layer}_{i}", [f"s{layer - 1}_{j}" for j in range(width)] if layer else [])
        for layer in range(depth)
        for i in range(width)
    ]


def independent(count: int) -> Graph:
    """Steps that need nothing."""
    return [(f"s{i}", []) for i in range(count)]


def workloads(scale: int = 1) -> Iterator[Workload]:
    """Yield every workload; sizes are divided by `scale` for a quick look."""
    size = 1_000 // scale
    yield Workload("chain 1,000", 1.0, chain(size))
    yield Workload("fan-out 1,000", 3.5, fan_out(size))
    yield Workload("layers 20 x 10", 3.0, layers(20 // min(scale, 4), 10))
    yield Workload("foreach 1,000 at 100", 1.0, items=size, limit=100)
    yield Workload("1,000 runs of 3 steps", 2.5, chain(3), runs=size)
    waiting = Workload("1,000 x 50 ms at 100", 1.01, independent(size), limit=100 // scale, seconds=SLEEP)
    waiting = replace(waiting, ideal=size * SLEEP / waiting.limit)
    yield waiting
    if importlib.util.find_spec("uvloop"):
        uvloop: Any = importlib.import_module("uvloop")
        yield replace(waiting, name=f"{waiting.name}, uvloop", beside_peers=False, new_loop=uvloop.new_event_loop)
    yield Workload("fan-out 10,000", 3.5, fan_out(10 * size), beside_peers=False)
    yield Workload("foreach 10,000 at 100", 1.0, items=10 * size, limit=100, beside_peers=False)
