"""kairos-ai: the synchronous library. Its steps are plain functions, which its executor runs in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from kairos import Step, Workflow
from kairos.step import StepConfig

from benchmarks.reference import Graph
from benchmarks.workloads import Make, Side, sync_body

NOTE = "plain functions in threads, `parallel=True`; items of a foreach one by one; runs by `asyncio.to_thread`"
BODY: Make = sync_body


def _runner(workflow: Workflow, inputs: dict[str, Any]) -> Side:
    def run() -> None:
        result = workflow.run(inputs)
        if result.status.name != "COMPLETE":
            raise RuntimeError(f"the run ended as {result.status}")

    return lambda: asyncio.to_thread(run)


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph."""
    config = StepConfig(parallel=True)
    steps = [Step(name, body, depends_on=list(needs), config=config) for name, needs in graph]
    return _runner(Workflow("graph", steps, max_concurrency=min(limit, 100)), {})


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""
    step = Step("each", body, config=StepConfig(foreach="items"))
    return _runner(Workflow("foreach", [step]), {"items": list(items)})
