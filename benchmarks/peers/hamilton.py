"""Hamilton: functions whose parameters name the functions that they need, run by the async driver."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from hamilton import ad_hoc_utils, async_driver

from benchmarks.reference import Graph
from benchmarks.workloads import Make, Side, async_body, independent

NOTE = "no limit of its own: the body waits for a semaphore; no async foreach: a function for each item"
BODY: Make = async_body


def _function(name: str, needs: Sequence[str], body: Callable[[Any], Any], semaphore: asyncio.Semaphore) -> Any:
    async def function(**_: dict[str, Any]) -> dict[str, Any]:
        async with semaphore:
            output: dict[str, Any] = await body(None)
            return output

    function.__name__ = function.__qualname__ = name
    function.__annotations__ = {**dict.fromkeys(needs, dict), "return": dict}
    parameters = [inspect.Parameter(need, inspect.Parameter.KEYWORD_ONLY, annotation=dict) for need in needs]
    function.__signature__ = inspect.Signature(parameters, return_annotation=dict)  # type: ignore[attr-defined]
    return function


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph."""
    semaphore = asyncio.Semaphore(limit)
    functions = [_function(name, needs, body, semaphore) for name, needs in graph]
    module = ad_hoc_utils.create_temporary_module(*functions)
    driver = async_driver.Builder().with_modules(module).build_without_init()
    needed = {need for _, needs in graph for need in needs}
    last = [name for name, _ in graph if name not in needed]
    return lambda: driver.execute(last)


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""
    return graph(independent(len(items)), body, limit)
