"""pydantic-graph: a GraphBuilder with a join before each step that needs several others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic_graph import GraphBuilder, StepContext, reduce_list_append

from benchmarks.reference import Graph
from benchmarks.workloads import Make, Side, async_body

NOTE = "no limit of its own: the body waits for a semaphore; a layer is a join and a fork"
BODY: Make = async_body


def _step(builder: Any, name: str, body: Callable[[Any], Any], semaphore: asyncio.Semaphore) -> Any:
    async def call(_: StepContext[None, None, Any]) -> Any:
        async with semaphore:
            return await body(None)

    return builder.step(call, node_id=name)


def _builder() -> Any:
    return GraphBuilder(input_type=object, output_type=object)


def _join(builder: Any, name: str, sources: Iterable[Any]) -> Any:
    join = builder.join(reduce_list_append, initial_factory=list, node_id=name)
    builder.add(builder.edge_from(*sources).to(join))
    return join


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph. Steps with the same needs are forked together; several needs are joined before."""
    builder, semaphore = _builder(), asyncio.Semaphore(limit)
    steps = {name: _step(builder, name, body, semaphore) for name, _ in graph}
    followers: dict[tuple[str, ...], list[Any]] = {}
    for name, needs in graph:
        followers.setdefault(tuple(needs), []).append(steps[name])
    for number, (needs, following) in enumerate(followers.items()):
        sources = [steps[need] for need in needs] or [builder.start_node]
        source = sources[0] if len(sources) == 1 else _join(builder, f"join{number}", sources)
        builder.add(builder.edge_from(source).to(*following))
    needed = {need for needs in followers for need in needs}
    last = [steps[name] for name, _ in graph if name not in needed]
    builder.add(builder.edge_from(_join(builder, "all", last) if len(last) > 1 else last[0]).to(builder.end_node))
    built = builder.build()
    return lambda: built.run(inputs=None)


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""
    builder, semaphore = _builder(), asyncio.Semaphore(limit)
    each = _step(builder, "each", body, semaphore)
    builder.add(builder.edge_from(builder.start_node).map().to(each))
    builder.add(builder.edge_from(_join(builder, "all", [each])).to(builder.end_node))
    built = builder.build()
    return lambda: built.run(inputs=items)
