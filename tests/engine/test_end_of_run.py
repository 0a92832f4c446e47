"""What steps leave to the end of their run: awaited once, however the run ends."""

from __future__ import annotations

import anyio
import pytest

from kairos_async import Event, LLMCall, Step, StepContext, Workflow, WorkflowStatus
from kairos_async.adapters.prompt import FunctionAdapter
from kairos_async.context import at_end_of_run, on_thread_of_run


async def test_endings_are_awaited_after_the_last_step() -> None:
    """Each once, in order; one that fails is a warning and harms neither the run nor the others."""
    seen: list[str] = []

    async def broken() -> None:
        seen.append("broken")
        raise RuntimeError("no")

    async def good() -> None:
        await anyio.sleep(1)
        seen.append("good")

    def act(ctx: StepContext) -> int:
        seen.append(ctx.step_id)
        return 1

    async def leave(ctx: StepContext) -> int:
        at_end_of_run(ctx, broken)
        at_end_of_run(ctx, good)
        assert on_thread_of_run(ctx)
        return 1

    result = await Workflow("w", [Step("first", leave), Step("last", act, depends_on=["first"])]).run({})
    assert result.status is WorkflowStatus.COMPLETE
    assert seen == ["last", "broken", "good"]
    assert ["RuntimeError" in line for line in result.warnings] == [True]


async def test_endings_are_awaited_on_a_cancellation() -> None:
    """They are shielded; the cancellation arrives afterwards."""
    ended: list[float] = []

    async def ending() -> None:
        await anyio.sleep(2)
        ended.append(anyio.current_time())

    async def hang(ctx: StepContext) -> None:
        at_end_of_run(ctx, ending)
        await anyio.sleep(1000)

    started = anyio.current_time()
    with anyio.move_on_after(1) as scope:
        await Workflow("w", [Step("a", hang)]).run({})
    assert scope.cancelled_caught
    assert ended == [pytest.approx(started + 3)]


async def hello(prompt: str) -> str:
    """Answer."""
    return prompt.upper()


@pytest.mark.real_time
async def test_a_model_called_in_a_loop_of_a_worker_thread() -> None:
    """The call is counted; what only the run's own thread may do, such as events, is left out."""
    events: list[Event] = []

    def act(ctx: StepContext) -> str:
        assert not on_thread_of_run(ctx)
        return anyio.run(FunctionAdapter(hello).call, "hi").text

    result = await Workflow("w", [Step("a", act)], hooks=[events.append]).run({})
    assert result.output == "HI"
    assert result.llm_calls == 1
    assert not any(isinstance(event, LLMCall) for event in events)
