"""Burr: a state machine. Steps that run beside each other are one action of it, which maps its state over tasks.

Each action leaves its output under one key. A key for each is much slower in a long chain, because every step copies
the whole state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import pairwise
from typing import Any

from burr.core import ApplicationBuilder, ApplicationContext, GraphBuilder, State, action
from burr.core.parallelism import MapStates

from benchmarks.reference import Graph
from benchmarks.workloads import Make, Side, async_body

NOTE = "a state machine: steps side by side are one parallel action; no limit of its own: bodies wait for a semaphore"
BODY: Make = async_body


def _single(body: Callable[[Any], Any], semaphore: asyncio.Semaphore) -> Any:
    @action(reads=[], writes=["output"])
    async def single(state: State) -> State:
        async with semaphore:
            return state.update(output=await body(None))

    return single


class Parallel(MapStates):
    """Several steps beside each other."""

    def __init__(self, names: Sequence[str], body: Callable[[Any], Any], semaphore: asyncio.Semaphore):
        super().__init__()
        self._names = names
        self._action = _single(body, semaphore)

    def action(self, state: State, inputs: dict[str, Any]) -> Any:
        """Return what each state goes through."""
        return self._action

    async def states(
        self, state: State, context: ApplicationContext, inputs: dict[str, Any]
    ) -> AsyncGenerator[State, None]:
        """Yield a state for each step."""
        for name in self._names:
            yield state.update(which=name)

    async def reduce(self, state: State, states: AsyncGenerator[State, None]) -> State:
        """Collect the outputs."""
        return state.update(output=[each["output"] async for each in states])

    def is_async(self) -> bool:
        return True

    @property
    def writes(self) -> list[str]:
        return ["output"]

    @property
    def reads(self) -> list[str]:
        return []


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph: one action for each set of steps with the same needs, in their order."""
    semaphore = asyncio.Semaphore(limit)
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, needs in graph:
        groups.setdefault(tuple(needs), []).append(name)
    actions = {}
    for number, names in enumerate(groups.values()):
        key = names[0] if len(names) == 1 else f"group{number}"
        alone = len(names) == 1
        actions[key] = _single(body, semaphore) if alone else Parallel(names, body, semaphore)
    order = list(actions)
    builder = GraphBuilder().with_actions(**actions)
    if len(order) > 1:
        builder = builder.with_transitions(*pairwise(order))
    built = builder.build()

    async def run() -> Any:
        application = await ApplicationBuilder().with_graph(built).with_state().with_entrypoint(order[0]).abuild()
        return await application.arun(halt_after=[order[-1]])

    return run


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""
    return graph([(f"s{item}", []) for item in items], body, limit)
