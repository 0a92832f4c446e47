"""`workflow.stream()`: a run as an async iterator of its events, which leaves nothing in any way out."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kairos_async import Event, Limiter, PlanError, StateError, Step, StepContext, Workflow, WorkflowComplete
from tests.engine.stepping import settled
from tests.engine.tools import NO_RETRY, Clocked, Events, open_contexts, others, raises, returns

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="none")


class Streamed:
    """A workflow of which it can be told whether anything of a run is left."""

    def __init__(self, *steps: Step, **options: Any) -> None:
        self.limiter = Limiter(2)
        self.before = others()
        self.workflow = Workflow("w", steps, max_concurrency=self.limiter, **options)

    async def check(self) -> None:
        """Check that nothing of the run is left."""
        await settled()
        assert others() <= self.before
        assert (self.limiter.in_use, open_contexts()) == (0, 0)


async def test_all_events_come_as_they_happen() -> None:
    """Each at the moment when it happens, and the final one last."""
    streamed = Streamed(Step("a", returns(1, after=2)), Step("b", returns(2, after=3), depends_on=["a"]))
    events, times = Events(), []
    async for event in streamed.workflow.stream({"x": 1}):
        events(event)
        times.append(anyio.current_time())
    assert events.types() == ["workflow_start", *["step_start", "step_complete"] * 2, "workflow_complete"]
    assert times == [0, 0, 2, 2, 5, 5]
    events.check()
    await streamed.check()


@pytest.mark.real_time
async def test_a_busy_run_is_seen_while_it_runs() -> None:
    """On a real clock too, where a timer wakes the consumer: the last step waits until its start was seen."""
    seen = anyio.Event()

    async def wait(ctx: StepContext) -> None:
        with anyio.fail_after(10):
            await seen.wait()

    chain = [Step(f"s{i}", returns(i), depends_on=[f"s{i - 1}"] if i else []) for i in range(200)]
    events = Events()
    async for event in Workflow("w", [*chain, Step("last", wait, depends_on=["s199"])]).stream():
        events(event)
        if (event.event_type, event.step_id) == ("step_start", "last"):
            seen.set()
    assert events.check().data["status"] == "complete"


async def test_hooks_of_the_workflow_see_the_same_events() -> None:
    """A stream is one hook more."""
    hooked = Events()
    streamed = Streamed(Step("a", returns(1)), hooks=[hooked])
    events = [event async for event in streamed.workflow.stream()]
    assert events == hooked


@pytest.mark.parametrize("after", ["workflow_start", "step_start", "step_complete", "workflow_complete"])
async def test_leaving_early_cancels_the_run_and_leaves_nothing(after: str) -> None:
    """At whatever event; hooks get their final event."""
    hooked, clocked = Events(), Clocked()
    streamed = Streamed(
        clocked.step("a", 1), clocked.step("b", 9), clocked.step("c", 9, depends_on=["a"]), hooks=[hooked]
    )
    async with aclosing(streamed.workflow.stream()) as stream:
        async for event in stream:
            if event.event_type == after:
                break
    await streamed.check()
    assert hooked.check().data["status"] == ("complete" if after == "workflow_complete" else "cancelled")
    assert clocked.running == 0


async def test_a_consumer_that_raises_ends_the_run() -> None:
    """Its own exception comes out."""
    hooked = Events()
    streamed = Streamed(Step("a", returns(1, after=9)), hooks=[hooked])

    async def consume() -> None:
        async with aclosing(streamed.workflow.stream()) as stream:
            async for _ in stream:
                raise LookupError

    with pytest.raises(LookupError):
        await consume()
    await streamed.check()
    assert (hooked.check().data["status"], anyio.current_time()) == ("cancelled", 0)


@pytest.mark.parametrize("at", [0.0, 1.0, 1.5, 3.0])
async def test_a_consumer_that_is_cancelled_ends_the_run(at: float) -> None:
    """While it waits for an event, or does something with one."""
    hooked = Events()
    streamed = Streamed(
        *(Step(f"s{i}", returns(1, after=1), depends_on=[f"s{i - 1}"] if i else []) for i in range(9)), hooks=[hooked]
    )
    with anyio.move_on_after(at) as scope:
        async with aclosing(streamed.workflow.stream()) as stream:
            async for _ in stream:
                await anyio.sleep(0.3)
    assert scope.cancelled_caught
    assert anyio.current_time() == at
    await streamed.check()
    if hooked:
        hooked.check()


async def test_the_run_cleans_up_before_the_stream_is_closed() -> None:
    """Closing waits for it."""
    cleaned: list[float] = []

    async def act(ctx: StepContext) -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            cleaned.append(anyio.current_time())

    streamed = Streamed(Step("a", act))
    async with aclosing(streamed.workflow.stream()) as stream:
        async for event in stream:
            if event.event_type == "step_start":
                break
    assert cleaned == [5]
    await streamed.check()


async def test_two_streams_of_one_workflow_at_once() -> None:
    """Each has its own run's events."""
    workflow = Workflow("w", [Step("a", returns(1, after=1)), Step("b", returns(2), depends_on=["a"])])
    collected: list[Events] = []

    async def consume() -> None:
        events = Events()
        collected.append(events)
        async for event in workflow.stream():
            events(event)
            await anyio.sleep(0.1)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(consume)
    assert len({events.check().run_id for events in collected}) == 5


async def test_a_slow_consumer_gets_everything() -> None:
    """The run does not wait for it."""
    streamed = Streamed(*(Step(f"s{i}", returns(1, after=0.1)) for i in range(20)))
    events = Events()
    async for event in streamed.workflow.stream():
        events(event)
        await anyio.sleep(10)
    final = events.check()
    assert final.data["duration_ms"] == pytest.approx(1000)
    assert len(events.of("step_complete")) == 20


@pytest.mark.parametrize("kind", ["input", "name", "foreach"])
async def test_what_run_raises_comes_out_of_the_stream(kind: str) -> None:
    """Before any event."""
    streamed = Streamed(Step("a", returns(1), foreach="items"))
    inputs: dict[str, dict[str, Any]] = {
        "input": {"items": {1}},
        "name": {"a": 1, "items": []},
        "foreach": {},
    }
    with pytest.raises((StateError, PlanError)):
        await anext(streamed.workflow.stream(inputs[kind]))
    await streamed.check()


async def test_a_failed_run_ends_the_stream_with_its_final_event() -> None:
    """Errors in steps are data here too."""
    streamed = Streamed(Step("a", raises(ValueError), failure_policy=NO_RETRY))
    events = [event async for event in streamed.workflow.stream()]
    assert isinstance(events[-1], WorkflowComplete)
    assert events[-1].data["status"] == "failed"


async def test_a_timeout_of_the_run_ends_the_stream() -> None:
    """With the final event of a failed run."""
    streamed = Streamed(Step("a", returns(1, after=9)))
    events = [event async for event in streamed.workflow.stream(timeout=2)]
    assert (events[-1].data["status"], anyio.current_time()) == ("failed", 2)
    await streamed.check()


async def test_a_stream_that_nobody_reads_starts_nothing() -> None:
    """The run begins with the first step of the iteration."""
    clocked = Clocked()
    streamed = Streamed(clocked.step("a", 1))
    stream = streamed.workflow.stream()
    await anyio.sleep(5)
    assert clocked.starts == []
    await stream.aclose()
    await streamed.check()


async def test_a_stream_can_be_closed_from_another_task() -> None:
    """As a server does with the response that a client has left."""
    streamed = Streamed(Step("a", returns(1, after=50)))
    stream: AsyncGenerator[Event, None] = streamed.workflow.stream()
    await anext(stream)
    await anext(stream)

    async def close() -> None:
        await stream.aclose()

    async with anyio.create_task_group() as group:
        group.start_soon(close)
    assert anyio.current_time() == 0
    await streamed.check()


async def test_a_scope_may_be_left_between_two_events() -> None:
    """No scope and no task group of the stream's is open while the consumer has the event."""
    streamed = Streamed(Step("a", returns(1, after=3)))
    stream = streamed.workflow.stream()
    with anyio.CancelScope():
        first = await anext(stream)
    with anyio.fail_after(100):
        second = await anext(stream)
    rest = [event async for event in stream]
    assert [first.event_type, second.event_type] == ["workflow_start", "step_start"]
    assert isinstance(rest[-1], WorkflowComplete)
    await streamed.check()


async def test_context_variables_of_the_consumer_reach_the_steps() -> None:
    """As they do with run()."""
    seen: list[object] = []

    async def act(ctx: StepContext) -> None:
        seen.append(VARIABLE.get())

    token = VARIABLE.set("request 7")
    async for _ in Workflow("w", [Step("a", act)]).stream():
        await anyio.lowlevel.checkpoint()
    VARIABLE.reset(token)
    assert seen == ["request 7"]
