"""What the tests of the engine share: actions that do one thing, a hook that keeps events, and a look behind a run."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from typing import Any, NoReturn

import anyio
import pydantic
import trio

from kairos_async import (
    Action,
    Event,
    FailureAction,
    FailurePolicy,
    Step,
    StepContext,
    Workflow,
    WorkflowComplete,
    WorkflowResult,
    context,
)

pydantic.TypeAdapter(int)  # The first one of a process looks for plugins on disk: not within a test, on its loop.

NO_RETRY = FailurePolicy(max_retries=0)
SKIPPING = FailurePolicy(max_retries=0, fallback_action=FailureAction.SKIP)


def retrying(times: int = 2, delay: float = 1.0, **more: Any) -> FailurePolicy:
    """Return a policy with exact delays: no jitter, and no growth unless `more` says so."""
    return FailurePolicy(**{"max_retries": times, "retry_delay": delay, "retry_backoff": 1, "retry_jitter": 0, **more})


def replanning(**more: Any) -> FailurePolicy:
    """Return a policy that asks the planner at the first failure."""
    return FailurePolicy(**{"max_retries": 0, "on_execution_fail": FailureAction.REPLAN, **more})


def returns(value: object, after: float = 0.0) -> Action:
    """Return an async action that returns the value after so many seconds."""

    async def action(ctx: StepContext) -> object:
        if after:
            await anyio.sleep(after)
        return value

    return action


def raises(error: BaseException | type[BaseException], after: float = 0.0) -> Action:
    """Return an async action that raises after so many seconds."""

    async def action(ctx: StepContext) -> None:
        if after:
            await anyio.sleep(after)
        raise error

    return action


async def hides(request: object) -> NoReturn:
    """Turn a cancellation into an error."""
    try:
        await anyio.sleep(100)
    finally:
        raise ValueError("hidden")


async def hides_beside(request: object) -> None:
    """Turn a cancellation into a group of the cancellation and an error."""
    async with anyio.create_task_group() as group:
        group.start_soon(hides, request)
        group.start_soon(anyio.sleep, 100)


def flaky(failures: int, value: object = "ok", takes: float = 0.0) -> Action:
    """Return an async action whose first attempts raise ValueError and whose next one returns the value."""

    async def action(ctx: StepContext) -> object:
        if takes:
            await anyio.sleep(takes)
        if ctx.attempt <= failures:
            raise ValueError(f"attempt {ctx.attempt}")
        return value

    return action


async def run(
    *steps: Step, inputs: Mapping[str, object] | None = None, within: float = math.inf, **options: Any
) -> WorkflowResult:
    """Run the steps as a workflow. Where no thread takes part, `within` virtual seconds end a run that hangs."""
    with anyio.fail_after(within):
        return checked(await Workflow("w", steps, **options).run(inputs))


def checked(result: WorkflowResult) -> WorkflowResult:
    """Return the result, unless an assertion inside an action failed: for the run an outcome, here a failure."""
    for done in (*result.step_results.values(), *(replan.failed for replan in result.replans)):
        items = done.items.exceptional if done.items else ()
        for kind, message in [(done.error_type, done.error_message), *((i.error_type, i.error_message) for i in items)]:
            assert kind not in ("AssertionError", "Failed"), message
    return result


def statuses(result: WorkflowResult) -> dict[str, str]:
    """Return each step's status by name."""
    return {name: str(done.status) for name, done in result.step_results.items()}


def tries(result: WorkflowResult, step: str = "a") -> int:
    """Return how often the step's action was called."""
    return len(result.step_results[step].attempts)


def output_of(result: WorkflowResult, step: str) -> Any:
    """Return the output of a step, for tests that look inside it."""
    return result.step_results[step].output


class Events(list[Event]):
    """A hook that keeps what it is given."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def types(self, step: str | None = None) -> list[str]:
        """Return the types of the events, of one step if one is named."""
        return [event.event_type for event in self if step is None or event.step_id == step]

    def of(self, kind: str) -> list[Event]:
        """Return the events of one type."""
        return [event for event in self if event.event_type == kind]

    def check(self) -> Event:
        """Check that these are the events of one whole run, in order and with one final event; return that one."""
        assert [event.sequence for event in self] == list(range(1, len(self) + 1))
        assert len({event.run_id for event in self}) == 1
        assert [type(event) for event in self].count(WorkflowComplete) == 1
        assert isinstance(self[-1], WorkflowComplete)
        return self[-1]


class Calls:
    """Makes actions that note when they are called, and fail."""

    def __init__(self, error: BaseException | type[BaseException] = ValueError, takes: float = 0) -> None:
        self.at: list[float] = []
        self.error = error
        self.takes = takes

    async def __call__(self, ctx: StepContext) -> None:
        self.at.append(anyio.current_time())
        if self.takes:
            await anyio.sleep(self.takes)
        raise self.error


class Gauge:
    """Counts how many actions run at once: `with gauge: ...` around what each of them does."""

    def __init__(self) -> None:
        self.running = 0
        self.peak = 0

    def __enter__(self) -> None:
        self.running += 1
        self.peak = max(self.peak, self.running)

    def __exit__(self, *raised: object) -> None:
        self.running -= 1


class Clocked(Gauge):
    """Makes steps that note when they start and end, and how many of them run at once."""

    def __init__(self) -> None:
        super().__init__()
        self.started: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.starts: list[str] = []

    def step(self, name: str, takes: float = 1.0, result: object = None, **declared: Any) -> Step:
        """Return a step that takes so many seconds."""

        async def action(ctx: StepContext) -> object:
            label = name if ctx.index is None else f"{name}[{ctx.index}]"
            self.started[label] = anyio.current_time()
            self.starts.append(label)
            with self:
                await anyio.sleep(takes)
            self.ended[label] = anyio.current_time()
            return result

        return Step(name, action, **declared)


def others() -> set[object]:
    """Return the tasks that exist on this loop; asked before and after a run, the difference is what the run left."""
    if trio.lowlevel.in_trio_run():
        root = trio.lowlevel.current_root_task()
        assert root is not None
        found: set[object] = set()
        waiting = [root]
        while waiting:
            task = waiting.pop()
            found.add(task)
            waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
        return found
    return set(asyncio.all_tasks())


def open_contexts() -> int:
    """Return how many contexts can still reach a run's state."""
    return len(context.OPEN)


def chance(seed: object) -> random.Random:
    """Return a source of random numbers that gives the same ones on every run and Python."""
    return random.Random(repr(seed))
