"""LangGraph: a StateGraph whose one key, the results by step, is merged by a reducer.

A key of its own for each step is slower (a chain twice, a fan-out by a third), because each node's input is then read
from all of them.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from benchmarks.reference import Graph
from benchmarks.workloads import Make, Side, async_body

NOTE = "one state key, the dict of results, with a merging reducer; foreach by `Send`"
BODY: Make = async_body


class State(TypedDict):
    """The results by step."""

    results: Annotated[dict[str, Any], operator.or_]


class Items(TypedDict):
    """The items, and the results in any order."""

    items: Sequence[int]
    results: Annotated[list[Any], operator.add]


def _config(limit: int) -> dict[str, Any]:
    return {"max_concurrency": limit, "recursion_limit": 100_000}


def _node(name: str, body: Callable[[Any], Any]) -> Callable[[State], Any]:
    async def node(_: State) -> dict[str, Any]:
        return {"results": {name: await body(None)}}

    return node


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph."""
    builder = StateGraph(State)
    for name, needs in graph:
        builder.add_node(name, _node(name, body))
        match needs:
            case []:
                builder.add_edge(START, name)
            case [need]:
                builder.add_edge(need, name)
            case _:
                builder.add_edge(list(needs), name)
    compiled, config = builder.compile(), _config(limit)
    return lambda: compiled.ainvoke({"results": {}}, config)


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""

    async def each(item: int) -> dict[str, Any]:
        return {"results": [await body(item)]}

    def spread(state: Items) -> list[Send]:
        return [Send("each", item) for item in state["items"]]

    builder = StateGraph(Items)
    builder.add_node("each", each)
    builder.add_conditional_edges(START, spread, ["each"])
    builder.add_edge("each", END)
    compiled, config = builder.compile(), _config(limit)
    return lambda: compiled.ainvoke({"items": items, "results": []}, config)
