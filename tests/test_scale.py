"""Large graphs and long lists: what a run holds follows what is under way, not what there is to do.

Counts and no timers: what is alive is counted from inside of the actions, at every hundredth call of one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import kairos_async
from kairos_async import Action, FailurePolicy, Step, StepContext, Workflow, context
from kairos_async.engine.run import Run

CONCURRENCY = 20
NO_RETRY = FailurePolicy(max_retries=0)
OTHER_TASKS = 4
"""Of the test and its backend, and the one in which `run()` was called."""


@dataclass
class Most:
    """The most of each that was there at once."""

    tasks: int = 0
    contexts: int = 0
    queued: int = 0
    calls: int = 0

    def look(self, ctx: StepContext) -> None:
        """Count what is alive while this attempt runs, now and then."""
        self.calls += 1
        self.contexts = max(self.contexts, len(context.OPEN))
        if self.calls % 100 == 1:
            run = context.OPEN[ctx].run
            assert isinstance(run, Run)
            self.tasks = max(self.tasks, len(anyio.get_running_tasks()))
            self.queued = max(self.queued, len(run.schedule.waiting))


async def finish(most: Most, steps: list[Step], items: int = 0) -> int:
    """Run the steps, at most `CONCURRENCY` at once, and return how many calls of actions there were."""
    inputs = {"items": list(range(items))} if items else None
    result = await Workflow("large", steps, max_concurrency=CONCURRENCY).run(inputs)
    result.raise_for_status()
    assert len(result.step_results) == len(steps)
    assert context.OPEN == {}
    return most.calls


def action(most: Most) -> Action:
    """Return an action that looks around, and lets others have their turn."""

    async def look(ctx: StepContext) -> int:
        most.look(ctx)
        await anyio.lowlevel.checkpoint()
        return 1

    return look


async def test_a_chain_of_5_000_steps_takes_one_task() -> None:
    """A worker goes on with what it made ready; nothing waits in the queue."""
    most = Most()
    steps = [Step(f"s{i}", action(most), depends_on=[f"s{i - 1}"] if i else []) for i in range(5_000)]
    assert await finish(most, steps) == 5_000
    assert most.tasks <= 1 + OTHER_TASKS
    assert (most.contexts, most.queued) == (1, 0)


async def test_5_000_steps_in_layers_take_as_many_tasks_as_slots() -> None:
    """Of a layer of a hundred, twenty run and at most eighty wait, with those of the next layer that are ready."""
    most = Most()
    width = 100
    steps = [
        Step(f"s{i}", action(most), depends_on=[f"s{i - width}", f"s{max(i - width - 1, 0)}"] if i >= width else [])
        for i in range(5_000)
    ]
    assert await finish(most, steps) == 5_000
    assert CONCURRENCY < most.tasks <= CONCURRENCY + OTHER_TASKS
    assert most.contexts == CONCURRENCY
    assert most.queued <= width


async def test_a_foreach_over_30_000_items_holds_as_many_items_as_slots() -> None:
    """The list of items never becomes a queue of items: the foreach waits as one unit."""
    most = Most()
    assert await finish(most, [Step("each", action(most), foreach="items")], 30_000) == 30_000
    assert CONCURRENCY < most.tasks <= CONCURRENCY + OTHER_TASKS
    assert most.contexts == CONCURRENCY
    assert most.queued <= 1


async def test_items_that_wait_for_a_retry_are_bounded_too() -> None:
    """When every item fails at first, not all of them may be waiting at the same time."""
    most = Most()

    async def fail_first(ctx: StepContext) -> int:
        most.look(ctx)
        await anyio.lowlevel.checkpoint()
        if ctx.attempt == 1:
            raise OSError
        return 1

    policy = FailurePolicy(max_retries=1, retry_delay=60)
    step = Step("each", fail_first, foreach="items", max_concurrency=50, failure_policy=policy)
    assert await finish(most, [step], 2_000) == 4_000
    assert most.tasks <= 50 + OTHER_TASKS
    assert most.contexts <= CONCURRENCY


@contextmanager
def counted_lines() -> Iterator[list[int]]:
    """Count the lines of the package that are executed meanwhile: what time would say, without its noise."""
    count = [0]
    package = str(Path(kairos_async.__file__).parent)

    def see_line(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            count[0] += 1
        return see_line

    def see_call(frame: FrameType, event: str, argument: object) -> Any:
        return see_line if frame.f_code.co_filename.startswith(package) else None

    before = sys.gettrace()
    sys.settrace(see_call)
    try:
        yield count
    finally:
        sys.settrace(before)


async def one(ctx: StepContext) -> dict[str, int]:
    """Do nothing, at once."""
    return {"n": 1}


async def fails(ctx: StepContext) -> None:
    """Fail, at once."""
    raise ValueError


def chain(size: int, first: Action = one) -> list[Step]:
    """Each step reads what the one before returned."""
    return [
        Step(f"s{i}", one if i else first, read_keys=[f"s{i - 1}"] if i else [], write_keys=[f"k{i}"])
        for i in range(size)
    ]


def broken_chain(size: int) -> list[Step]:
    """Its first step ends the run."""
    return chain(size, fails)


def fan_out(size: int) -> list[Step]:
    """All steps but the first need the first."""
    return [Step("root", one), *(Step(f"s{i}", one, depends_on=["root"]) for i in range(size - 1))]


def test_whether_a_step_is_upstream_is_sought_between_the_two_alone() -> None:
    """Of two chains beside each other, not down to their beginnings."""
    steps = [Step(f"s{i}", one, depends_on=[f"s{i - 2}"] if i > 1 else []) for i in range(2_000)]
    graph = Workflow("two chains", steps).graph
    with counted_lines() as counted:
        assert not graph.reaches(1_990, 1_999)
    assert counted[0] < 100


@pytest.mark.parametrize("graph", [chain, broken_chain, fan_out])
async def test_the_work_for_one_step_does_not_grow_with_the_graph(graph: Callable[[int], list[Step]]) -> None:
    """Lines executed to build and to run a graph, per step: the same for 400 steps and for five times as many."""
    per_step = []
    for size in (400, 2_000):
        steps = graph(size)
        await Workflow("warm", steps, max_concurrency=CONCURRENCY, failure_policy=NO_RETRY).run()
        with counted_lines() as built:
            workflow = Workflow("counted", steps, max_concurrency=CONCURRENCY, failure_policy=NO_RETRY)
        with counted_lines() as ran:
            await workflow.run()
        per_step.append((built[0] / size, ran[0] / size))
    for small, large in zip(*per_step, strict=True):
        assert large <= small * 1.05
