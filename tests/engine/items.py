"""Items that say themselves what their action does."""

from __future__ import annotations

from typing import Any

import anyio

from kairos_async import SKIP, ItemOutcomes, StepContext, WorkflowResult


def items_of(result: WorkflowResult, step: str = "each") -> ItemOutcomes:
    """Return the outcomes of a foreach's items."""
    items = result.step_results[step].items
    assert items is not None
    return items


async def follows(ctx: StepContext) -> object:
    """Do what the item says: wait, fail so many times, skip, return."""
    plan: Any = ctx.item
    await anyio.sleep(plan.get("takes", 0))
    if ctx.attempt <= plan.get("failures", 0):
        raise ValueError(f"item {ctx.index}, attempt {ctx.attempt}")
    return SKIP if plan.get("skip") else plan.get("value", ctx.index)
