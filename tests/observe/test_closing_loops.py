"""Logs of runs whose tasks are all cancelled at once, by asyncio's own `Task.cancel()`, which knows no shield.

So does `asyncio.run` with what is left when its main task has ended, and many a service when it is told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kairos_async import ConfigError, Event, Step, StepContext, Workflow
from kairos_async.observe import CallbackSink, ConsoleSink, RunLogger, Sink
from tests.engine.tools import Events, returns
from tests.observe.sinks import Keeping

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # of tasks that never began


@pytest.fixture(autouse=True)
def nothing_is_left_to_collect() -> Iterator[None]:
    """So Python says of it while its warnings are ignored, and not in the test that is next."""
    yield
    gc.collect()


async def breaks_off(workflow: Workflow) -> None:
    """Leave a stream, and do not close it."""
    async for event in workflow.stream():
        if event.event_type == "step_start":
            break


async def forgets(workflow: Workflow) -> None:
    """Leave a run behind that is under way."""
    begun = asyncio.Event()
    workflow.add_hook(lambda event: begun.set())
    _left.append(asyncio.create_task(workflow.run()))
    await begun.wait()


_left: list[object] = []


async def interrupts(workflow: Workflow) -> None:
    """Have a step raise KeyboardInterrupt, as the second Ctrl-C does."""

    async def act(ctx: StepContext) -> None:
        raise KeyboardInterrupt

    await Workflow("w", [*workflow.steps, Step("x", act)], hooks=workflow._config.hooks).run()


@pytest.mark.parametrize("main", [breaks_off, forgets, interrupts])
def test_a_loop_that_closes_under_a_run_leaves_a_whole_log(main: Callable[[Workflow], Any]) -> None:
    """The run is cancelled, and its sinks are told to the end."""
    events, keeping, stream = Events(), Keeping(), io.StringIO()
    logger = RunLogger("verbose", [keeping, ConsoleSink(stream)])
    workflow = Workflow("w", [Step("a", returns(1, after=60)), Step("b", returns(1, after=60))], hooks=[events, logger])
    try:
        asyncio.run(main(workflow))
    except KeyboardInterrupt:
        assert main is interrupts
    assert events.check().data["status"] == "cancelled"
    assert [event.event_type for event in keeping.events] == events.types()
    assert keeping.calls == ["flush", "close"]
    assert len(stream.getvalue().splitlines()) == len(events)


def console() -> tuple[Sink, Callable[[], int]]:
    """Return a sink that renders, and what counts the events that it took."""
    stream = io.StringIO()
    return ConsoleSink(stream), lambda: stream.getvalue().count("\n")


def in_thread() -> tuple[Sink, Callable[[], int]]:
    """Return one that takes events one by one in a thread."""
    keeping = Keeping()
    return keeping, lambda: len(keeping.events)


def on_loop() -> tuple[Sink, Callable[[], int]]:
    """Return one that takes them on the loop; what it awaits for one event is its own affair."""
    taken: list[Event] = []

    async def take(event: Event) -> None:
        taken.append(event)
        await anyio.lowlevel.checkpoint()

    return CallbackSink(take), lambda: len(taken)


def loop_with_factory() -> asyncio.AbstractEventLoop:
    """Return a loop whose tasks somebody else makes."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(lambda loop, coro, **more: asyncio.Task(coro, loop=loop, **more))
    return loop


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, loop_with_factory])
@pytest.mark.parametrize("sink", [console, in_thread, on_loop])
def test_all_tasks_may_be_cancelled_at_any_turn_of_the_loop(sink: Any, loop_factory: Any) -> None:
    """Begun or not: the run ends, and no event of it is missing where its log goes."""

    async def stop(turns: int) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def main(turns: int) -> None:
        _left.append(asyncio.create_task(stop(turns)))
        items = {"items": [1, 2]}
        await Workflow("w", [Step("a", returns(1)), Step("b", returns(1), foreach="items")], hooks=[logger]).run(items)

    for turns in range(40):
        target, taken = sink()
        logger = RunLogger("verbose", [target])
        with asyncio.Runner(loop_factory=loop_factory) as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(main(turns))
        try:
            told: tuple[Event, ...] = logger.get_log().events
        except ConfigError:  # it had not begun
            continue
        assert told[-1].event_type == "workflow_complete"
        assert taken() == len(told), turns
