"""Sync actions run in worker threads: how many, with what, and what becomes of those that take too long."""

from __future__ import annotations

import gc
import inspect
import threading
import time
from collections.abc import Coroutine
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from kairos_async import Limiter, StateError, Step, StepContext, Workflow, WorkflowStatus
from tests.engine.tools import (
    NO_RETRY,
    SKIPPING,
    Gauge,
    open_contexts,
    output_of,
    raises,
    retrying,
    returns,
    run,
    statuses,
    tries,
)


class Gate:
    """Holds sync actions until it is opened, and tells how many are held."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.gauge = Gauge()
        self.ended: list[str] = []

    def action(self, ctx: StepContext) -> str:
        """Wait in a thread until the gate is open."""
        with self.lock:
            self.gauge.__enter__()
        self.entered.release()
        assert self.open.wait(10)
        with self.lock:
            self.gauge.__exit__()
            self.ended.append(ctx.step_id)
        return threading.current_thread().name

    async def held(self, count: int) -> None:
        """Wait until so many actions are held."""
        for _ in range(count):
            assert await anyio.to_thread.run_sync(self.entered.acquire, True, 10)


async def test_sync_actions_run_in_threads_and_async_ones_on_the_loop() -> None:
    """Partials and objects with an async `__call__` are async."""
    here = threading.get_ident()

    class Callable:
        async def __call__(self, ctx: StepContext) -> bool:
            return threading.get_ident() == here

    class SyncCallable:
        def __call__(self, ctx: StepContext) -> bool:
            return threading.get_ident() == here

    async def asynchronous(ctx: StepContext) -> bool:
        return threading.get_ident() == here

    result = await run(
        Step("sync", lambda ctx: threading.get_ident() == here),
        Step("async", asynchronous),
        Step("object", Callable()),
        Step("sync_object", SyncCallable()),
    )
    assert [done.output for done in result.step_results.values()] == [False, True, True, False]


@pytest.mark.real_time
@pytest.mark.parametrize("slots", [1, 3, None])
async def test_threads_run_at_once_as_far_as_there_are_slots(slots: int | None) -> None:
    """More than forty, anyio's own limit, when nothing else limits them."""
    gate, count = Gate(), 60
    workflow = Workflow("w", [Step(f"s{i}", gate.action) for i in range(count)], max_concurrency=slots)
    async with anyio.create_task_group() as group:
        group.start_soon(workflow.run)
        await gate.held(slots or count)
        gate.open.set()
    assert gate.gauge.peak == (slots or count)
    assert len(gate.ended) == count


@pytest.mark.real_time
async def test_the_loop_goes_on_while_threads_block() -> None:
    """Async steps are not held up."""
    gate = Gate()

    async def opens(ctx: StepContext) -> str:
        await gate.held(2)
        gate.open.set()
        return "opened"

    result = await run(Step("a", gate.action), Step("b", gate.action), Step("c", opens))
    assert result.output == "opened"
    assert sorted(gate.ended) == ["a", "b"]


async def test_what_a_thread_raises_is_the_steps_failure() -> None:
    """With its retries."""

    def act(ctx: StepContext) -> str:
        if ctx.attempt < 3:
            raise ValueError(f"attempt {ctx.attempt}")
        return "ok"

    result = await run(Step("a", act, failure_policy=retrying(2, delay=0)))
    assert (result.output, len(result.step_results["a"].attempts)) == ("ok", 3)


@pytest.mark.real_time
async def test_a_sync_action_that_outlives_its_timeout_is_abandoned() -> None:
    """It is reported, its context is dead, its result is dropped, and the run goes on at once."""
    gate = Gate()
    late: list[object] = []

    def act(ctx: StepContext) -> str:
        gate.action(ctx)
        try:
            ctx.state.set("k", "late")
        except StateError as error:
            late.append(error)
        return "late"

    result = await run(
        Step("a", act, timeout=0.25, failure_policy=SKIPPING), Step("b", returns("on"), depends_on=["a"])
    )
    assert statuses(result) == {"a": "skipped", "b": "completed"}
    assert "its thread cannot be stopped and was abandoned" in str(result.step_results["a"].error_message)
    assert [attempt.status for attempt in result.step_results["a"].attempts] == ["timeout"]
    assert gate.ended == []
    gate.open.set()
    for _ in range(1000):
        if late:
            break
        await anyio.sleep(0.005)
    assert len(late) == 1
    assert "k" not in result.final_state
    assert open_contexts() == 0


@pytest.mark.real_time
async def test_a_retry_after_an_abandoned_thread_runs() -> None:
    """Although its thread still runs, and there is one slot only. A busy machine may need some more tries."""
    gate = Gate()

    def act(ctx: StepContext) -> int:
        if ctx.attempt < 3:
            gate.action(ctx)
        return ctx.attempt

    try:
        result = await run(Step("a", act, timeout=0.25, failure_policy=retrying(9, delay=0)), max_concurrency=1)
    finally:
        gate.open.set()
    assert result.status is WorkflowStatus.COMPLETE
    assert output_of(result, "a") == tries(result) >= 3


@pytest.mark.real_time
async def test_the_timeout_of_a_run_abandons_its_threads() -> None:
    """The run ends in its time; the step is cancelled in the result."""
    gate = Gate()
    try:
        result = await run(Step("a", gate.action), Step("b", returns(1), depends_on=["a"]), timeout=0.25)
        assert gate.ended == []
    finally:
        gate.open.set()
    assert (result.status, result.error_type) == (WorkflowStatus.FAILED, "StepTimeoutError")
    assert statuses(result)["b"] == "skipped"
    assert result.duration_ms < 5000


@pytest.mark.real_time
@pytest.mark.parametrize("how", ["cancel", "abort", "fail fast"])
async def test_a_cancellation_waits_for_threads(how: str) -> None:
    """They cannot be stopped, and nothing may go on unseen."""
    gate, limiter = Gate(), Limiter(5)

    async def fails(ctx: StepContext) -> None:
        await gate.held(1)
        threading.Timer(0.05, gate.open.set).start()
        raise ValueError

    async def cancels(ctx: StepContext) -> None:
        await gate.held(1)
        threading.Timer(0.05, gate.open.set).start()
        scope.cancel()

    steps = [Step("a", gate.action), Step("b", fails if how != "cancel" else cancels, failure_policy=NO_RETRY)]
    workflow = Workflow("w", steps, max_concurrency=limiter)
    with anyio.CancelScope() as scope:
        result = await workflow.run()
    assert gate.ended == ["a"]
    assert (limiter.in_use, open_contexts()) == (0, 0)
    if how != "cancel":
        assert statuses(result) == {"a": "cancelled", "b": "failed_final"}


async def test_a_coroutine_that_a_thread_returns_to_a_cancelled_run_is_closed() -> None:
    """Nothing of it runs, and Python has no warning for one that was never awaited."""
    called: list[str] = []

    async def act(ctx: StepContext) -> None:
        called.append("act")

    def returns_coroutine(ctx: StepContext) -> Any:
        anyio.from_thread.run_sync(scope.cancel)
        called.append("thread")
        return act(ctx)

    with anyio.CancelScope() as scope:
        await run(Step("a", returns_coroutine))
    gc.collect()
    assert (called, scope.cancelled_caught) == (["thread"], True)


@pytest.mark.real_time
@pytest.mark.parametrize("of", ["action", "handler"])
async def test_a_coroutine_that_an_abandoned_thread_returns_is_closed(of: str) -> None:
    """In the thread, as nobody waits for it any more: nothing of it runs, and Python has no warning for it."""
    gate = threading.Event()
    made: list[Coroutine[Any, Any, None]] = []

    async def act() -> None:
        raise AssertionError("nobody awaits this")

    def returns_coroutine(_: Any) -> Any:
        assert gate.wait(10)
        made.append(act())
        return made[0]

    policy = retrying(0, on_execution_fail="custom", custom_handler=returns_coroutine)
    action = returns_coroutine if of == "action" else raises(ValueError)
    policy = NO_RETRY if of == "action" else policy
    result = await run(Step("a", action, total_timeout=0.25, failure_policy=policy))
    assert result.error_type == "StepTimeoutError"
    gate.set()
    for _ in range(1000):
        if made and inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED:
            break
        await anyio.sleep(0.005)
    assert inspect.getcoroutinestate(made.pop()) == inspect.CORO_CLOSED


@pytest.mark.real_time
async def test_the_deadline_of_a_scope_around_the_run_abandons_its_threads() -> None:
    """As the run's own timeout does: a deadline is kept."""
    gate, limiter = Gate(), Limiter(2)
    try:
        with anyio.move_on_after(0.25) as scope:
            await Workflow("w", [Step("a", gate.action)], max_concurrency=limiter).run()
        assert gate.ended == []
    finally:
        gate.open.set()
    assert scope.cancelled_caught
    assert (limiter.in_use, open_contexts()) == (0, 0)


@pytest.mark.real_time
async def test_planners_and_handlers_may_be_sync() -> None:
    """They run in threads, and may take their time without holding up the loop."""
    here = threading.get_ident()
    threads: list[bool] = []

    def handler(failure: Any) -> str:
        threads.append(threading.get_ident() != here)
        time.sleep(0.01)
        return "handled"

    policy = retrying(0, on_execution_fail="custom", custom_handler=handler)
    result = await run(Step("a", lambda ctx: 1 / 0, failure_policy=policy))
    assert (result.output, threads) == ("handled", [True])


@pytest.mark.real_time
async def test_many_sync_items() -> None:
    """A thousand of them, in order."""

    def act(ctx: StepContext) -> int:
        item: Any = ctx.item
        return int(item) * 2

    result = await run(Step("each", act, foreach="items", max_concurrency=8), inputs={"items": [*range(1000)]})
    assert output_of(result, "each") == [number * 2 for number in range(1000)]


@pytest.mark.real_time
@pytest.mark.parametrize(("asked", "ends"), [(a, e) for a in ("handler", "planner") for e in ("run", "around")])
async def test_a_sync_handler_or_planner_that_is_out_of_time_is_abandoned(asked: str, ends: str) -> None:
    """As a sync action is: neither the run's deadline nor that of a scope around it waits for the thread."""
    gate = threading.Event()

    def slow(_: Any) -> list[Step]:
        assert gate.wait(10)
        return []

    handler = slow if asked == "handler" else None
    policy = retrying(0, on_execution_fail="custom" if handler else "replan", custom_handler=handler)
    workflow = Workflow("w", [Step("a", raises(ValueError), failure_policy=policy)], planner=slow)
    try:
        with anyio.fail_after(5), anyio.move_on_after(0.1 if ends == "around" else 5) as scope:
            result = await workflow.run(timeout=0.1 if ends == "run" else None)
            assert result.status is WorkflowStatus.FAILED
        assert scope.cancelled_caught == (ends == "around")
        assert not gate.is_set()
    finally:
        gate.set()


@pytest.mark.real_time
async def test_a_sync_handler_is_abandoned_when_its_steps_time_is_up() -> None:
    """That is the step's failure."""
    gate = threading.Event()

    def slow(_: Any) -> str:
        assert gate.wait(10)
        return "late"

    policy = retrying(0, on_execution_fail="custom", custom_handler=slow)
    try:
        result = await run(Step("a", raises(ValueError), failure_policy=policy, total_timeout=0.1))
        assert result.step_results["a"].error_type == "StepTimeoutError"
    finally:
        gate.set()


@pytest.mark.real_time
async def test_a_thread_whose_outer_deadline_is_moved_fails_its_step() -> None:
    """The thread was abandoned at the deadline that there was; nothing hangs, and nothing of it is kept."""
    gate = threading.Event()

    def move() -> None:
        scope.deadline = anyio.current_time() + 30

    def slow(ctx: StepContext) -> str:
        anyio.from_thread.run_sync(move)
        assert gate.wait(10)
        return "late"

    try:
        with anyio.move_on_after(0.4) as scope:
            result = await run(Step("a", slow, failure_policy=NO_RETRY))
        assert not scope.cancelled_caught
        assert result.step_results["a"].error_type == "StepTimeoutError"
    finally:
        gate.set()
