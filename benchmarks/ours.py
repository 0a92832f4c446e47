"""kairos_async in the workloads with everything on: a contract, read and write scopes, and a policy on every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from benchmarks.reference import Graph
from benchmarks.workloads import NEVER_FULL, Make, Side, async_body
from kairos_async import FailurePolicy, Step, Workflow
from kairos_async.events import Hook

NOTE = "every step with a Pydantic contract of 3 fields, read and write scopes, and a retry policy"
BODY: Make = async_body
answer = async_body(0)


class Answer(BaseModel):
    """What every step must return."""

    name: str
    score: float
    n: int


def to_workflow(
    graph: Graph,
    body: Callable[[Any], Any] = answer,
    limit: int | None = NEVER_FULL,
    *,
    contract: object = Answer,
    hooks: Sequence[Hook] = (),
) -> Workflow:
    """Return the graph as a workflow."""
    policy = FailurePolicy(max_retries=2)
    steps = [
        Step(step, body, read_keys=needs, write_keys=(), output_contract=contract, failure_policy=policy)
        for step, needs in graph
    ]
    return Workflow("graph", steps, max_concurrency=limit, hooks=hooks)


def foreach_workflow(
    concurrency: int, body: Callable[[Any], Any] = answer, *, contract: object = Answer, hooks: Sequence[Hook] = ()
) -> Workflow:
    """Return one step over the items of the input `items`."""
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
    return Workflow("foreach", [step], hooks=hooks)


def graph(graph: Graph, body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs a graph."""
    workflow = to_workflow(graph, body, limit)

    async def run() -> None:
        (await workflow.run()).raise_for_status()

    return run


def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
    """Return what runs the body for each item."""
    workflow = foreach_workflow(limit, body)
    inputs = {"items": list(items)}

    async def run() -> None:
        (await workflow.run(inputs)).raise_for_status()

    return run
