"""Haystack: a pipeline of components, each with an input for each component that it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from haystack import Pipeline, component

from benchmarks.reference import Graph
from benchmarks.workloads import Make, Side, async_body, independent

NOTE = "no foreach: a component for each item"
BODY: Make = async_body


@component
class Node:
    """A component that needs others, or the pipeline's own input."""

    def __init__(self, needs: Sequence[str], body: Callable[[Any], Any]) -> None:
        self._body = body
        component.set_input_types(self, **dict.fromkeys(needs or ["begin"], dict))
        component.set_output_types(self, output=dict)

    def run(self, **_: Any) -> dict[str, Any]:
        """Refuse: this pipeline is async."""
        raise NotImplementedError("run_async")

    async def run_async(self, **_: Any) -> dict[str, Any]:
        """Run the body."""
        return {"output": await self._body(None)}


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph."""
    pipeline = Pipeline()
    for name, needs in graph:
        pipeline.add_component(name, Node(needs, body))
    for name, needs in graph:
        for need in needs:
            pipeline.connect(f"{need}.output", f"{name}.{need}")
    inputs: dict[str, Any] = {name: {"begin": {}} for name, needs in graph if not needs}
    return lambda: pipeline.run_async(inputs, concurrency_limit=limit)


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""
    return graph(independent(len(items)), body, limit)
