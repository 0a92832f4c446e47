"""The workloads: each as a kairos_async workflow, and beside it the same written by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

from benchmarks.reference import Body, Graph, run_foreach, run_graph
from kairos_async import FailurePolicy, Step, StepContext, Workflow

NEVER_FULL: Final = 20_000
"""A limit on both sides that is kept count of and never reached, so that the shape of the graph decides."""

SLEEP: Final = 0.05
"""Seconds that a step of the I/O-shaped workload waits."""


class Answer(BaseModel):
    """What every step must return."""

    name: str
    score: float
    n: int


async def answer(_: StepContext | Any) -> dict[str, object]:
    """The body of a step on both sides: it gives the loop a turn, and returns what the contract asks for."""
    await asyncio.sleep(0)
    return {"name": "x", "score": 0.5, "n": 3}


async def slow_answer(_: StepContext | Any) -> dict[str, object]:
    """The same after `SLEEP` seconds, as a call of a model would be."""
    await asyncio.sleep(SLEEP)
    return {"name": "x", "score": 0.5, "n": 3}


Side: TypeAlias = Callable[[], Awaitable[Any]]


@dataclass(frozen=True)
class Workload:
    """One thing to time on both sides.

    `steps` is how many bodies run. `target` is the largest ratio that is good enough: of CPU time to that of the
    hand-written side, or, when `ideal` is given, of wall time to `ideal` seconds.
    """

    name: str
    ours: Side
    by_hand: Side
    steps: int
    target: float
    ideal: float | None = None


def chain(length: int) -> Graph:
    """Each step needs the one before."""
    return [(f"s{i}", [f"s{i - 1}"] if i else []) for i in range(length)]


def fan_out(width: int) -> Graph:
    """One step, and `width` steps that need it."""
    return [("root", []), *((f"s{i}", ["root"]) for i in range(width))]


def layers(depth: int, width: int) -> Graph:
    """Each step of a layer needs every step of the layer before."""
    return [
        (f"s{layer}-{i}", [f"s{layer - 1}-{j}" for j in range(width)] if layer else [])
        for layer in range(depth)
        for i in range(width)
    ]


def to_workflow(
    name: str, graph: Graph, body: Body = answer, limit: int | None = NEVER_FULL, *, contract: object = Answer
) -> Workflow:
    """The graph with everything on: a contract, read and write scopes, and a policy on every step."""
    policy = FailurePolicy(max_retries=2)
    steps = [
        Step(step, body, read_keys=needs, write_keys=(), output_contract=contract, failure_policy=policy)
        for step, needs in graph
    ]
    return Workflow(name, steps, max_concurrency=limit)


def foreach_workflow(concurrency: int, body: Body = answer, contract: object = Answer) -> Workflow:
    """One step over the items of the input `items`, everything on."""
    step = Step(
        "each",
        body,
        foreach="items",
        max_concurrency=concurrency,
        read_keys=["items"],
        write_keys=(),
        output_contract=contract,
        failure_policy=FailurePolicy(max_retries=2),
    )
    return Workflow("foreach", [step])


def _of_graph(name: str, graph: Graph, target: float) -> Workload:
    workflow = to_workflow(name.replace(" ", "-"), graph)

    async def ours() -> object:
        return (await workflow.run()).raise_for_status()

    async def by_hand() -> object:
        return await run_graph(graph, answer, NEVER_FULL)

    return Workload(name, ours, by_hand, len(graph), target)


def _of_foreach(name: str, count: int, concurrency: int, target: float) -> Workload:
    workflow = foreach_workflow(concurrency)
    items = list(range(count))

    async def ours() -> object:
        return (await workflow.run({"items": items})).raise_for_status()

    async def by_hand() -> object:
        return await run_foreach(items, answer, concurrency)

    return Workload(name, ours, by_hand, count, target)


def _of_many_runs(name: str, runs: int, target: float) -> Workload:
    graph = chain(3)
    workflow = to_workflow("small", graph)

    async def ours() -> None:
        for result in await asyncio.gather(*[workflow.run() for _ in range(runs)]):
            result.raise_for_status()

    async def by_hand() -> None:
        await asyncio.gather(*[run_graph(graph, answer, NEVER_FULL) for _ in range(runs)])

    return Workload(name, ours, by_hand, runs * len(graph), target)


def _of_waiting(name: str, count: int, limit: int, target: float) -> Workload:
    graph: Graph = [(f"s{i}", []) for i in range(count)]
    workflow = to_workflow("waiting", graph, slow_answer, limit)

    async def ours() -> object:
        return (await workflow.run()).raise_for_status()

    async def by_hand() -> object:
        return await run_graph(graph, slow_answer, limit)

    return Workload(name, ours, by_hand, count, target, ideal=count * SLEEP / limit)


def workloads(scale: int = 1) -> Iterator[Workload]:
    """Yield every workload, made when its turn comes; sizes are divided by `scale` for a quick look."""
    yield _of_graph("chain 1,000", chain(1_000 // scale), 1.2)
    yield _of_graph("fan-out 1,000", fan_out(1_000 // scale), 5.0)
    yield _of_graph("fan-out 10,000", fan_out(10_000 // scale), 5.0)
    yield _of_graph("layers 20 x 10", layers(20, 10), 5.0)
    yield _of_foreach("foreach 10,000 at 100", 10_000 // scale, 100, 1.2)
    yield _of_many_runs("1,000 runs of 3 steps", 1_000 // scale, 5.0)
    yield _of_waiting("1,000 x 50 ms at 100", 1_000 // scale, 100 // scale, 1.03)
