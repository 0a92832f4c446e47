"""A step that reads the key which it writes itself: the accumulator."""

from __future__ import annotations

from kairos_async import Step, StepContext, Workflow, WorkflowStatus
from tests.engine.tools import run


async def add(ctx: StepContext) -> None:
    """Add one to what the steps before have added."""
    ctx.state.set("total", ctx.state.get("total", 0) + 1)


async def test_a_step_may_look_for_the_key_that_it_is_the_first_to_write() -> None:
    """Nobody before it gives the key, and nobody beside it does: the default counts."""
    result = await run(Step("a", add, write_keys=["total"]))
    assert result.final_state["total"] == 1


async def test_a_chain_of_steps_can_add_up() -> None:
    """Each reads what the one before it wrote, and the first finds nothing although later ones write."""
    steps = [Step(f"s{i}", add, write_keys=["total"], depends_on=[f"s{i - 1}"] if i else []) for i in range(5)]
    result = await Workflow("sum", steps).run()
    assert result.status is WorkflowStatus.COMPLETE
    assert result.final_state["total"] == 5
