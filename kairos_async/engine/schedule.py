"""Which unit of work may start next. Pure: it knows no clock, awaits nothing, and is tested without a loop.

A unit is a step that became ready, or something that asks for a slot again: a foreach with items left, an attempt
whose retry delay is over. Units go first come, first served; steps that become ready at the same moment go in the
order of declaration. When any step has an `expected_seconds` hint, the unit with the longest remaining path goes
first instead, and equal ones first come, first served.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from kairos_async.plan import Node, TaskGraph


class Unit(Protocol):
    """Work that waits for a slot: a node, or something on behalf of one."""

    @property
    def node(self) -> Node: ...


class Schedule:
    """The ready set of one run.

    Args:
        graph: of the run.
        ended: names of steps that have ended already (after a re-plan).
        begun: names of steps that are under way already (after a re-plan); they are not handed out again.
    """

    __slots__ = ("_arrivals", "_heap", "_missing", "_queue", "_serial_holder", "_serial_waiting", "graph", "unended")

    def __init__(self, graph: TaskGraph, ended: Iterable[str] = (), begun: Iterable[str] = ()) -> None:
        self.graph = graph
        self._missing = [len(node.needs) for node in graph.nodes]
        self._queue: deque[Unit] = deque()
        self._heap: list[tuple[float, int, Unit]] | None = [] if graph.has_hints else None
        self._arrivals = 0
        self._serial_holder: str | None = None
        self._serial_waiting: deque[Node] = deque()
        self.unended = len(graph.nodes)
        over = {graph.index[name] for name in ended}
        active = {graph.index[name] for name in begun}
        for node in graph.nodes:
            if not node.needs and node.index not in over and node.index not in active:
                self._arrive(node)
        for index in sorted(over):
            self._count_down(index, over | active)
        for index in active:
            if not graph.nodes[index].step.parallel:
                self._serial_holder = graph.nodes[index].name

    def push(self, unit: Unit) -> None:
        """Let a unit wait for a slot, behind those that wait already."""
        self._enqueue(unit, unit.node.remaining)

    def take(self) -> Unit | None:
        """The next unit that may start now, or None. A `parallel=False` step is held back while another is active."""
        while True:
            if self._heap is not None:
                if not self._heap:
                    return None
                unit = heapq.heappop(self._heap)[2]
            elif self._queue:
                unit = self._queue.popleft()
            else:
                return None
            if not isinstance(unit, Node) or unit.step.parallel:
                return unit
            if self._serial_holder is None:
                self._serial_holder = unit.name
                return unit
            self._serial_waiting.append(unit)

    def record(self, name: str) -> None:
        """The step of this name has ended, in whatever way: those that waited only for it become ready."""
        index = self.graph.index[name]
        if self._serial_holder == name:
            self._serial_holder = None
            if self._serial_waiting:
                self._arrive(self._serial_waiting.popleft(), first=True)
        self._count_down(index, ())

    @property
    def waiting(self) -> bool:
        """Whether `take` could give a unit."""
        return bool(self._queue or self._heap)

    def drain(self) -> list[Unit]:
        """Take out everything that waits, in order (for a re-plan)."""
        units: list[Unit] = [*self._queue, *(entry[2] for entry in sorted(self._heap or ()))]
        self._queue.clear()
        if self._heap:
            self._heap.clear()
        return units

    def _count_down(self, index: int, known: Iterable[int]) -> None:
        self.unended -= 1
        missing = self._missing
        nodes = self.graph.nodes
        for successor in nodes[index].successors:
            missing[successor] -= 1
            if not missing[successor] and successor not in known:
                self._arrive(nodes[successor])

    def _arrive(self, node: Node, *, first: bool = False) -> None:
        if self._heap is None and first:
            self._queue.appendleft(node)
        else:
            self._enqueue(node, node.remaining)

    def _enqueue(self, unit: Unit, remaining: float) -> None:
        if self._heap is None:
            self._queue.append(unit)
        else:
            self._arrivals += 1
            heapq.heappush(self._heap, (-remaining, self._arrivals, unit))
