"""Hooks with a lifespan, and hooks that prepare the context variables of attempts."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest

from kairos_async import (
    Event,
    EventLevel,
    LLMCall,
    StateError,
    Step,
    StepContext,
    Workflow,
    WorkflowResult,
    context,
    current_step,
)
from tests.engine.tools import NO_RETRY, Events, output_of, retrying, returns, run

seen_by_action: contextvars.ContextVar[str] = contextvars.ContextVar("seen_by_action", default="nothing")


class Watcher:
    """A hook that notes what happens to it, and may fail at one point of its lifespan."""

    def __init__(self, fails: str = "", required: bool = False, error: BaseException | None = None) -> None:
        self.fails = fails
        self.error = error or OSError("No space left on device: '/srv/secret/run.jsonl'")
        self.required = required
        self.notes: list[str] = []

    def __call__(self, event: Event) -> None:
        self.notes.append(event.event_type)

    @asynccontextmanager
    async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[None]:
        """Note the start and the end."""
        self._note("enter", f"enter {workflow}")
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            self._note("leave", "leave")

    def _note(self, point: str, text: str) -> None:
        self.notes.append(text)
        if self.fails == point:
            raise self.error


AROUND = ["enter w", "workflow_start", "step_start", "step_complete", "workflow_complete", "leave"]


async def test_a_lifespan_is_around_all_events_of_a_run() -> None:
    """It is entered before the first event and has been left when run() returns."""
    watcher = Watcher()
    await run(Step("a", returns(1)), hooks=[watcher])
    assert watcher.notes == AROUND


async def test_a_lifespan_is_left_when_the_run_is_cancelled() -> None:
    """What it shields is done before the cancellation goes on, and the final event came before."""
    watcher = Watcher()
    with anyio.move_on_after(5) as scope:
        await run(Step("a", returns(1, after=60)), hooks=[watcher])
    assert scope.cancelled_caught
    assert watcher.notes[-2:] == ["workflow_complete", "leave"]


@pytest.mark.parametrize("point", ["enter", "leave"])
async def test_a_lifespan_that_raises_is_a_warning(point: str) -> None:
    """The run and the other hooks go on, in either order; the warning shows no directory."""
    for broken_first in (True, False):
        broken, sound = Watcher(fails=point), Watcher()
        result = await run(Step("a", returns(1)), hooks=[broken, sound] if broken_first else [sound, broken])
        assert result.status == "complete"
        assert sound.notes == AROUND
        assert len(result.warnings) == 1
        assert result.warnings[0].startswith("hook Watcher raised OSError: No space left on device")
        assert "/srv" not in result.warnings[0]


@pytest.mark.parametrize("point", ["enter", "leave"])
@pytest.mark.parametrize(
    "error", [SystemExit(3), asyncio.CancelledError(), BaseExceptionGroup("", [SystemExit(3)])], ids=repr
)
async def test_a_lifespan_that_raises_no_exception_is_a_warning_too(point: str, error: BaseException) -> None:
    """A script's way to end, or a cancellation that nobody asked for: the run and the other hooks go on."""
    sound = Watcher()
    result = await run(Step("a", returns(1)), hooks=[Watcher(fails=point, error=error), sound])
    assert (result.status, sound.notes) == ("complete", AROUND)
    (warning,) = result.warnings
    assert warning.startswith(f"hook Watcher raised {'SystemExit' if '3' in str(error.args) else 'CancelledError'}")
    failed = await run(Step("a", returns(1)), hooks=[Watcher(fails=point, error=error, required=True)])
    assert failed.status == "failed"


@pytest.mark.parametrize("point", ["enter", "leave"])
async def test_a_lifespan_lets_interrupts_through(point: str) -> None:
    """A KeyboardInterrupt is for the process."""
    with pytest.raises(KeyboardInterrupt):
        await run(Step("a", returns(1)), hooks=[Watcher(fails=point, error=KeyboardInterrupt())])


class Hiding(Watcher):
    """A hook whose lifespan makes an end of the process of its cancellation."""

    @asynccontextmanager
    async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[None]:
        """Wait for longer than anybody has time, there or in the step."""
        try:
            if self.fails == "enter":
                await anyio.sleep_forever()
            yield
        finally:
            raise SystemExit(3)


@pytest.mark.parametrize("point", ["enter", "leave"])
async def test_a_lifespan_cannot_hide_a_cancellation(point: str) -> None:
    """Whatever it makes of it, the caller is cancelled, and the other hooks are left."""
    sound = Watcher()
    with anyio.move_on_after(5) as scope:
        await run(Step("a", returns(1, after=60)), hooks=[sound, Hiding(fails=point)])
    assert scope.cancelled_caught
    assert sound.notes[-1] == "leave"


def test_a_lifespan_lets_the_cancellation_of_its_task_through() -> None:
    """By asyncio's own `Task.cancel()`, which no scope knows of."""

    class Entering(Watcher):
        @asynccontextmanager
        async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[None]:
            entered.set()
            await anyio.sleep_forever()
            yield

    async def main() -> asyncio.Task[WorkflowResult]:
        task = asyncio.create_task(run(Step("a", returns(1)), hooks=[Entering()]))
        await entered.wait()
        task.cancel()
        await asyncio.wait([task])
        return task

    entered = asyncio.Event()
    assert asyncio.run(main()).cancelled()


async def test_a_hook_that_raises_in_its_call_and_in_its_lifespan_is_reported_once() -> None:
    """It is one broken hook."""

    class Broken(Watcher):
        def __call__(self, event: Event) -> None:
            raise OSError("No space left on device")

    result = await run(Step("a", returns(1)), hooks=[Broken(fails="leave")])
    assert len(result.warnings) == 1


async def test_a_required_hook_that_cannot_start_fails_the_run_before_any_step() -> None:
    """Nothing ran, every step says why, and there is one final event."""
    events = Events()
    result = await run(Step("a", returns(1)), hooks=[Watcher(fails="enter", required=True), events])
    assert result.status == "failed"
    assert result.error_type == "OSError"
    assert "required hook Watcher" in str(result.error_message)
    assert result.step_results["a"].reason == "a required hook failed"
    assert events.types() == ["workflow_start", "step_skip", "workflow_complete"]


async def test_a_required_hook_that_cannot_end_fails_the_run_and_loses_no_output() -> None:
    """Also when it had raised before, for which it was reported already."""
    result = await run(Step("a", returns(1)), hooks=[Watcher(fails="leave", required=True)])
    assert result.status == "failed"
    assert result.output == 1
    with pytest.raises(Exception, match="required hook Watcher"):
        result.raise_for_status()


class Raiser:
    """A hook whose lifespan gives nothing to enter."""

    def __call__(self, event: Event) -> None:
        """Take the event."""

    def lifespan(self, run_id: str, workflow: str) -> AbstractAsyncContextManager[object]:
        """Fail before there is anything to enter."""
        raise ValueError("no")


async def test_a_lifespan_that_cannot_be_made_is_a_warning_too() -> None:
    """It is the hook's own function that raised."""
    result = await run(Step("a", returns(1)), hooks=[Raiser()])
    assert result.warnings == ("hook Raiser raised ValueError: no",)


class Preparer:
    """A hook that sets a context variable for each attempt."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __call__(self, event: Event) -> None:
        """Take the event."""

    def enter_attempt(self, ctx: StepContext) -> None:
        """Say which attempt this is."""
        seen_by_action.set(f"{ctx.step_id} {ctx.index} {ctx.attempt}")
        if self.error is not None:
            raise self.error


async def look(ctx: StepContext) -> str:
    """Return what an action sees."""
    return seen_by_action.get()


def look_from_a_thread(ctx: StepContext) -> str:
    """Return what a sync action sees."""
    return seen_by_action.get()


@pytest.mark.real_time
async def test_what_a_hook_sets_for_an_attempt_is_seen_by_its_action_alone() -> None:
    """In async and sync actions, in items and retries; nothing stays in the worker's task or in the caller's."""
    workflow = Workflow(
        "w",
        [
            Step("a", look),
            Step("b", look_from_a_thread, depends_on=["a"]),
            Step("items", look, foreach="list", depends_on=["b"]),
            Step("again", retried, depends_on=["items"], failure_policy=retrying(1, delay=0)),
        ],
        hooks=[Preparer()],
    )
    result = await workflow.run({"list": [1, 2]})
    assert output_of(result, "a") == "a None 1"
    assert output_of(result, "b") == "b None 1"
    assert output_of(result, "items") == ["items 0 1", "items 1 1"]
    assert output_of(result, "again") == "again None 2"
    assert seen_by_action.get() == "nothing"


async def retried(ctx: StepContext) -> str:
    """Fail once."""
    if ctx.attempt == 1:
        raise ValueError
    return seen_by_action.get()


@pytest.mark.parametrize("error", [LookupError("no span"), SystemExit("no span")], ids=repr)
async def test_a_hook_that_cannot_prepare_an_attempt_is_reported_once(error: BaseException) -> None:
    """The action runs all the same."""
    result = await run(
        Step("a", look), Step("b", look, depends_on=["a"]), hooks=[Preparer(error)], failure_policy=NO_RETRY
    )
    assert result.status == "complete"
    assert result.warnings == (f"hook Preparer raised {type(error).__name__}: no span",)


@pytest.mark.real_time
async def test_current_step_is_the_context_of_the_attempt_around() -> None:
    """In async and sync actions, in tasks that an action starts, and nowhere else."""
    found: list[StepContext | None] = []

    async def note() -> None:
        found.append(current_step())

    async def action(ctx: StepContext) -> bool:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(note)
        return current_step() is ctx

    def sync_action(ctx: StepContext) -> bool:
        return current_step() is ctx

    result = await run(
        Step("a", action), Step("b", sync_action, depends_on=["a"]), Step("c", action, timeout=5, depends_on=["b"])
    )
    assert [output_of(result, name) for name in "abc"] == [True, True, True]
    assert [ctx.step_id for ctx in found if ctx is not None] == ["a", "c"]
    assert current_step() is None


async def test_current_step_of_an_inner_run_is_its_own() -> None:
    """And between its steps there is none, although the outer step is under way."""
    seen: list[str | None] = []

    async def inner(ctx: StepContext) -> None:
        step = current_step()
        seen.append(step.step_id if step else None)

    def hook(event: Event) -> None:
        step = current_step()
        seen.append(step.step_id if step else None)

    async def outer(ctx: StepContext) -> bool:
        await Workflow("inner", [Step("b", inner)], hooks=[hook]).run()
        return current_step() is ctx

    assert (await run(Step("a", outer))).output is True
    assert set(seen) == {"a", "b", None}
    assert seen.count("b") == 1


async def test_current_step_is_none_once_the_attempt_has_ended() -> None:
    """A task that outlives its attempt finds no context, not the next step's."""
    found: list[StepContext | None] = []

    async def look_later() -> None:
        await anyio.sleep(5)
        found.append(current_step())

    async with anyio.create_task_group() as outliving:

        async def action(ctx: StepContext) -> None:
            outliving.start_soon(look_later)

        await run(Step("a", action), Step("b", returns(1, after=10), depends_on=["a"]))
    assert found == [None]


async def test_report_emits_an_event_of_the_run() -> None:
    """In the run's own sequence, with the step's name, redacted; and not after the attempt."""
    events = Events()
    kept: list[StepContext] = []

    async def action(ctx: StepContext) -> None:
        kept.append(ctx)
        context.report(ctx, LLMCall, EventLevel.INFO, {"model": "m", "api_key": "sk-not-for-everyone"})

    await run(Step("a", action), hooks=[events])
    events.check()
    (call,) = [event for event in events if isinstance(event, LLMCall)]
    assert (call.step_id, call.sequence) == ("a", 3)
    assert call.data == {"model": "m", "api_key": "[REDACTED]"}
    with pytest.raises(StateError, match="is closed"):
        context.report(kept[0], LLMCall, EventLevel.INFO, {})


async def test_report_without_a_hook_builds_nothing() -> None:
    """As everywhere: no event without somebody who listens."""

    async def action(ctx: StepContext) -> str:
        context.report(ctx, LLMCall, EventLevel.INFO, {"not JSON": object()})  # type: ignore[dict-item]
        return "done"

    assert (await run(Step("a", action))).output == "done"
