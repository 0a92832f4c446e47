"""Which unit of work may start next. Pure: it knows no clock, awaits nothing, and is tested without a loop.

A unit is a step that became ready, or something that asks for a slot again: a foreach with items left, an attempt
whose retry delay is over. Units go first come, first served; steps that become ready at the same moment go in the
order of declaration. When any step has an `expected_seconds` hint, the unit with the longest remaining path goes
first instead, and equal ones first come, first served.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

from kairos_async.node import Node
from kairos_async.plan import TaskGraph


class Unit(Protocol):
    """Work that waits for a slot: a node, or something on behalf of one."""

    parallel: bool

    @property
    def node(self) -> Node: ...


class Schedule:
    """The ready set of one run.

    Args:
        graph: of the run.
        ended: names of steps that have ended already (after a re-plan).
        begun: names of steps that are under way already (after a re-plan); they are not handed out again.

    Attributes:
        unended: steps that have not ended yet.
        waiting: what waits for a slot; empty when `take` has nothing to give.
        push: let a unit wait for a slot, behind those that wait already.
    """

    __slots__ = (
        "_arrivals",
        "_heap",
        "_missing",
        "_queue",
        "_serial_holder",
        "_serial_waiting",
        "graph",
        "push",
        "unended",
        "waiting",
    )

    def __init__(self, graph: TaskGraph, ended: Collection[str] = (), begun: Collection[str] = ()) -> None:
        self.graph = graph
        self.unended = len(graph.nodes)
        self._queue: deque[Unit] = deque()
        self._heap: list[tuple[float, int, Unit]] | None = [] if graph.has_hints else None
        self.waiting: Collection[object] = self._queue if self._heap is None else self._heap
        self.push: Callable[[Unit], None] = self._queue.append if self._heap is None else self._push_by_path
        self._arrivals = 0
        self._serial_holder: str | None = None
        self._serial_waiting: list[Unit] = []  # a deque takes 700 bytes while it is empty, a tenth of a small run
        self._missing = graph.need_counts.copy()
        if ended or begun:
            self._go_on(ended, begun)
        elif self._heap is None:
            self._queue.extend(graph.roots)
        else:
            for node in graph.roots:
                self.push(node)

    def _go_on(self, ended: Collection[str], begun: Collection[str]) -> None:
        nodes, index = self.graph.nodes, self.graph.index
        over = {index[name] for name in ended}
        active = {index[name] for name in begun}
        self.unended -= len(over)
        for position in over:
            for successor in nodes[position].successors:
                self._missing[successor] -= 1
        for node in nodes:
            if node.index in active:
                if not node.parallel:
                    self._serial_holder = node.name
            elif node.index not in over and not self._missing[node.index]:
                self.push(node)

    def take(self) -> Unit | None:
        """The next unit that may start now, or None. A `parallel=False` step is held back while another is active."""
        while self.waiting:
            unit = self._queue.popleft() if self._heap is None else heapq.heappop(self._heap)[2]
            if unit.parallel:
                return unit
            if self._serial_holder is None:
                self._serial_holder = unit.node.name
                return unit
            self._serial_waiting.append(unit)
        return None

    def record(self, node: Node) -> None:
        """The step has ended, in whatever way: those that waited only for it become ready."""
        if self._serial_holder == node.name:
            self._serial_holder = None
            if self._serial_waiting:
                self._enqueue_first(self._serial_waiting.pop(0))
        if node.graph is not self.graph:  # it began before a re-plan
            node = self.graph.nodes[self.graph.index[node.name]]
        self.unended -= 1
        missing, nodes = self._missing, self.graph.nodes
        for successor in node.successors:
            missing[successor] -= 1
            if not missing[successor]:
                self.push(nodes[successor])

    def drain(self) -> list[Unit]:
        """Take out everything that waits, in order (for a re-plan)."""
        units: list[Unit] = [*self._queue, *(entry[2] for entry in sorted(self._heap or ()))]
        self._queue.clear()
        if self._heap:
            self._heap.clear()
        return units

    def _push_by_path(self, unit: Unit) -> None:
        assert self._heap is not None
        self._arrivals += 1
        heapq.heappush(self._heap, (-unit.node.remaining, self._arrivals, unit))

    def _enqueue_first(self, unit: Unit) -> None:
        if self._heap is None:
            self._queue.appendleft(unit)
        else:
            self.push(unit)
