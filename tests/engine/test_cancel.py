"""Cancel safety: a run that is cancelled at any of its awaits ends everything that it started, and says so once."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from kairos_async import (
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Limiter,
    ReplanRequest,
    Step,
    StepContext,
    Workflow,
    WorkflowResult,
    all_of,
)
from kairos_async import validators as v
from kairos_async.testing import VirtualClockLoop
from tests.clocks import BACKENDS, run_virtual
from tests.engine.stepping import NEVER, Steps, jump, stepwise
from tests.engine.tools import (
    NO_RETRY,
    Clocked,
    Events,
    hides,
    hides_beside,
    open_contexts,
    others,
    raises,
    replanning,
    retrying,
    returns,
    statuses,
)

RUN_TIMEOUT = 1e6


class Twelve:
    """A graph of twelve steps with a foreach of each policy, retries, a handler, a re-plan and, if wanted, threads."""

    def __init__(self, *, threads: bool) -> None:
        self.running = 0
        self.cancelled = False
        self.begun_late: list[str] = []
        self.events = Events()
        self.limiter = Limiter(3)
        sync = self.threaded if threads else self.act()
        replan = FailurePolicy(max_retries=0, fallback_action=FailureAction.REPLAN)
        custom = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=self.answer)
        fast = ForeachPolicy.FAIL_FAST
        steps = [
            Step("start", self.act()),
            Step("sync", sync, depends_on=["start"]),
            Step("items", self.act(result=[1, 2, 3]), depends_on=["start"]),
            Step("each", self.act(), foreach="items", max_concurrency=2),
            Step("tried", self.act(failures=1), foreach="items", failure_policy=retrying(1, delay=0.25)),
            Step("threads", sync, foreach="items", foreach_policy=ForeachPolicy.ALLOW_PARTIAL),
            Step("fast", self.act(), foreach="items", foreach_policy=fast, timeout=50),
            Step(
                "flaky", self.act(failures=2), depends_on=["start"], failure_policy=retrying(2, delay=0.5), timeout=50
            ),
            Step("asked", self.act(failures=9), depends_on=["start"], failure_policy=custom),
            Step("bad", self.act(failures=9), depends_on=["each"], read_keys=[], write_keys=[], failure_policy=replan),
            Step("alone", self.act(), parallel=False, depends_on=["tried"]),
            Step("alone2", sync, parallel=False, depends_on=["tried"]),
        ]
        self.workflow = Workflow(
            "twelve", steps, max_concurrency=self.limiter, planner=self.planner, hooks=[self.events]
        )

    def act(self, *, failures: int = 0, result: object = None) -> Any:
        """Return an action that waits in two ways, and fails at first if asked to."""

        async def action(ctx: StepContext) -> object:
            self.began(ctx)
            try:
                await anyio.lowlevel.checkpoint()
                await anyio.sleep(0.125)
                if ctx.attempt <= failures:
                    raise ValueError
                return result
            finally:
                self.running -= 1

        return action

    def began(self, ctx: StepContext) -> None:
        """Note that an action runs."""
        self.running += 1
        if self.cancelled:
            self.begun_late.append(repr(ctx))

    def threaded(self, ctx: StepContext) -> str:
        """Run in a worker thread."""
        self.began(ctx)
        time.sleep(0.0002)
        self.running -= 1
        return "from a thread"

    async def answer(self, failure: object) -> str:
        """Give an output in place of the one that failed."""
        await anyio.lowlevel.checkpoint()
        return "replaced"

    async def planner(self, request: ReplanRequest) -> list[Step]:
        """Return one step in place of what failed, and what had not run."""
        await anyio.lowlevel.checkpoint()
        rest = [step for step in request.unfinished if step.name != "bad"]
        return [Step("planned", self.act(), read_keys=[], write_keys=[]), *rest]

    def check(self, tasks: set[object]) -> str:
        """Check that the run left nothing, and return the status in its final event."""
        final = self.events.check()
        assert self.running == 0, "an action still runs"
        assert others() == tasks, "a task still runs"
        assert open_contexts() == 0, "a context is still open"
        assert self.limiter.in_use == 0, "a slot is not given back"
        assert "0 runs waiting" in repr(self.limiter)
        return str(final.data["status"])


async def whole(twelve: Twelve) -> int:
    """Run without a cancellation; return how many steps the tasks made."""
    steps = Steps(NEVER, print)
    result = await stepwise(twelve.workflow.run, steps)
    assert result.raise_for_status().replans[0].added[0] == "planned"
    assert twelve.check(others()) == "complete"
    return steps.made


async def by_scope(k: int) -> bool:
    """Cancel an anyio scope around the run after the k-th step. True if there was something to cancel."""
    twelve, tasks = Twelve(threads=True), others()
    with anyio.CancelScope() as scope:

        def cancel() -> None:
            twelve.cancelled = True
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(stepwise, twelve.workflow.run, Steps(k, cancel))
    status = twelve.check(tasks)
    assert len(twelve.begun_late) <= twelve.limiter.total, "only what had its slot already may still begin"
    assert scope.cancelled_caught == (status == "cancelled")
    return scope.cancelled_caught


async def by_task(k: int) -> bool:
    """Cancel the asyncio task of the run after the k-th step; its exception comes out as it was put in."""
    twelve, tasks = Twelve(threads=True), others()
    waiting: list[asyncio.Task[WorkflowResult]] = []

    async def main() -> WorkflowResult:
        waiting.append(asyncio.create_task(twelve.workflow.run()))
        return await waiting[0]

    raised: tuple[object, ...] = ()
    try:
        await stepwise(main, Steps(k, lambda: waiting[0].cancel("stop it")))
    except asyncio.CancelledError as error:
        raised = error.args
    assert raised == (("stop it",) if waiting[0].cancelled() else ())
    if twelve.events or not waiting[0].cancelled():  # else it was cancelled before it began
        assert twelve.check(tasks) == ("cancelled" if waiting[0].cancelled() else "complete")
    return waiting[0].cancelled()


async def by_timeout(k: int) -> bool:
    """Let the run's time be up after the k-th step. True if it was not done by then."""
    twelve, tasks = Twelve(threads=False), others()

    def time_is_up() -> None:
        twelve.cancelled = True
        jump(RUN_TIMEOUT * 2)

    async def main() -> WorkflowResult:
        return await twelve.workflow.run(timeout=RUN_TIMEOUT)

    result = await stepwise(main, Steps(k, time_is_up))
    status = twelve.check(tasks)
    assert status == result.status
    if status == "failed":
        assert result.error_type == "StepTimeoutError"
        assert len(result.step_results) == 12
        assert len(twelve.begun_late) <= twelve.limiter.total
    return status == "failed"


WAYS: list[tuple[str, Callable[[int], Any]]] = [
    ("asyncio", by_task),
    *((name, by_scope) for name in BACKENDS),
    *((name, by_timeout) for name in BACKENDS),
]


@pytest.mark.parametrize(("name", "way"), WAYS, ids=lambda value: getattr(value, "__name__", value))
def test_a_run_can_be_cancelled_at_every_await(name: str, way: Callable[[int], Any]) -> None:
    """For every k until the run is done before: cancel it after the k-th step that its tasks make."""
    most = run_virtual(whole, Twelve(threads=way is not by_timeout), on=name)
    stopped = [run_virtual(way, k, on=name) for k in range(1, most + 20)]
    assert sum(stopped) > most / 2
    assert not any(stopped[-5:])


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_that_is_left_in_the_background_ends_with_its_loop(begun: bool) -> None:
    """As `asyncio.run` ends, it cancels every task there is at once: the run's own, and the workers beside it.

    Also those that have not begun.
    """

    async def act(_: StepContext) -> None:
        await asyncio.sleep(1000)

    async def main() -> bool:
        steps = [Step(name, act) for name in "ab"]
        run = asyncio.create_task(Workflow("w", steps).run())
        await asyncio.sleep(0.01 if begun else 0)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(tasks) == 3
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=5)
        return run.cancelled() and open_contexts() == 0

    assert asyncio.run(main())


def loop_with_factory() -> asyncio.AbstractEventLoop:
    """Return a loop whose tasks somebody else makes."""
    loop = VirtualClockLoop()
    loop.set_task_factory(lambda loop, coro, **more: asyncio.Task(coro, loop=loop, **more))
    return loop


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # of tasks that never began
@pytest.mark.parametrize("loop_factory", [VirtualClockLoop, loop_with_factory])
@pytest.mark.parametrize("streamed", [False, True])
def test_all_tasks_may_be_cancelled_at_any_turn_of_the_loop(streamed: bool, loop_factory: Any) -> None:
    """Begun or not: the run ends, so does who reads its events, and every slot is given back."""
    limiter = Limiter(2)
    workflow = Workflow("w", [Step(name, returns(1, after=1)) for name in "abc"], max_concurrency=limiter)

    async def read() -> None:
        async for _ in workflow.stream():
            pass

    async def main(turns: int) -> None:
        run = asyncio.create_task(read() if streamed else workflow.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.wait([run], timeout=60)
        assert (run.cancelled(), limiter.in_use, open_contexts()) == (True, 0, 0), turns

    for turns in range(8):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main(turns))
    gc.collect()  # what never began, while Python's warnings of it are ignored


@pytest.mark.parametrize("how", ["cancel", "timeout", "abort"])
async def test_a_run_waits_for_the_cleanup_of_its_steps(how: str) -> None:
    """However it ends, it ends when its last task has ended."""
    cleaned: list[float] = []

    async def act(ctx: StepContext) -> None:
        try:
            await anyio.sleep(100)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(5)
            cleaned.append(anyio.current_time())

    bad = Step("bad", raises(ValueError, after=1), failure_policy=NO_RETRY)
    workflow = Workflow("w", [Step("a", act), *([bad] if how == "abort" else [])])
    with anyio.move_on_after(1 if how == "cancel" else 1000):
        await workflow.run(timeout=1 if how == "timeout" else None)
    assert (cleaned, anyio.current_time()) == ([6], 6)


@pytest.mark.parametrize("how", ["cancel", "timeout", "abort"])
@pytest.mark.parametrize("hide", [hides, hides_beside])
async def test_a_step_that_turns_its_cancellation_into_an_error_is_not_retried(
    how: str, hide: Callable[[object], Awaitable[None]]
) -> None:
    """The run is ending; there is nothing to recover, and nothing of it comes out of the run."""
    calls: list[int] = []

    async def act(ctx: StepContext) -> None:
        calls.append(ctx.attempt)
        await hide(ctx)

    policy = retrying(3, delay=0)
    bad = Step("bad", raises(ValueError, after=1), failure_policy=NO_RETRY)
    steps = [Step("a", act, failure_policy=policy), *([bad] if how == "abort" else [])]
    result = None
    with anyio.move_on_after(1 if how == "cancel" else 1000) as scope:
        result = await Workflow("w", steps).run(timeout=1 if how == "timeout" else None)
    assert calls == [1]
    assert scope.cancelled_caught == (how == "cancel")
    if result is not None:
        assert result.error_type == ("StepTimeoutError" if how == "timeout" else "ValueError")
        assert result.error_message != "hidden"


async def test_a_step_that_swallows_the_callers_cancellation_does_not_keep_it() -> None:
    """The caller is cancelled all the same, and no further step starts."""
    begun: list[str] = []

    async def stubborn(ctx: StepContext) -> str:
        begun.append(ctx.step_id)
        try:
            await anyio.sleep(100)
        except anyio.get_cancelled_exc_class():
            pass
        return "late"

    events = Events()
    workflow = Workflow(
        "w", [Step("a", stubborn), Step("b", stubborn, depends_on=["a"])], hooks=[events], max_concurrency=1
    )
    with anyio.move_on_after(1) as scope:
        await workflow.run()
    assert scope.cancelled_caught
    assert begun == ["a"]
    assert events.check().data["status"] == "cancelled"


@pytest.mark.parametrize("how", ["cancel", "timeout", "abort"])
@pytest.mark.parametrize("slots", [1, 3])
async def test_steps_that_wait_for_a_slot_never_start_once_the_run_is_ending(how: str, slots: int) -> None:
    """The slots that the ending steps give back go to nobody."""
    clocked = Clocked()
    bad = Step("bad", raises(ValueError, after=1), failure_policy=NO_RETRY)
    steps = [*([bad] if how == "abort" else []), *(clocked.step(f"s{i}", 10) for i in range(20))]
    events = Events()
    workflow = Workflow("w", steps, max_concurrency=slots, hooks=[events])
    with anyio.move_on_after(1 if how == "cancel" else 1000):
        await workflow.run(timeout=1 if how == "timeout" else None)
    begun = slots - 1 if how == "abort" else slots
    assert set(clocked.starts) == {f"s{i}" for i in range(begun)}
    assert len(events.of("step_cancel")) == begun
    assert len(events.of("step_skip")) == 20 - begun


async def test_a_run_inside_a_cancelled_scope_ends_at_once() -> None:
    """With one final event, no action called, and nothing left."""
    events, limiter = Events(), Limiter(2)
    called: list[str] = []

    async def act(ctx: StepContext) -> None:
        called.append(ctx.step_id)

    with anyio.CancelScope() as scope:
        scope.cancel()
        steps = [Step("a", act), Step("b", act), Step("each", act, foreach="items")]
        await Workflow("w", steps, hooks=[events], max_concurrency=limiter).run({"items": [1]})
    assert (called, anyio.current_time()) == ([], 0)
    assert events.check().data["status"] == "cancelled"
    assert (limiter.in_use, open_contexts()) == (0, 0)


async def test_many_runs_that_share_a_limiter_are_cancelled_together() -> None:
    """Every slot comes back, and a run after them has all of them."""
    limiter, clocked = Limiter(4), Clocked()
    workflow = Workflow("w", [clocked.step(f"s{i}") for i in range(5)], max_concurrency=limiter)
    with anyio.move_on_after(7.5):
        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(workflow.run)
    assert (limiter.in_use, clocked.running, clocked.peak) == (0, 0, 4)
    assert "0 runs waiting" in repr(limiter)
    begun = len(clocked.starts)
    assert begun <= 4 * 8 + 4, "what starts each second, and what had its slot already when the end came"
    assert (await workflow.run()).raise_for_status().duration_ms == 2000


@pytest.mark.parametrize("what", ["handler", "planner"])
async def test_a_handler_or_planner_under_way_is_cancelled_too(what: str) -> None:
    """It is awaited like a step."""
    ended: list[str] = []

    async def hang(request: object) -> Any:
        try:
            await anyio.sleep(100)
        finally:
            ended.append(what)

    custom = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=hang)
    replan = FailurePolicy(on_execution_fail=FailureAction.REPLAN)
    events, limiter = Events(), Limiter(1)
    workflow = Workflow(
        "w",
        [Step("a", raises(ValueError), failure_policy=custom if what == "handler" else replan)],
        planner=hang,
        hooks=[events],
        max_concurrency=limiter,
    )
    with anyio.move_on_after(1):
        await workflow.run()
    assert (ended, anyio.current_time(), limiter.in_use) == ([what], 1, 0)
    assert events.check().data["status"] == "cancelled"


@pytest.mark.parametrize("hide", [hides, hides_beside])
@pytest.mark.parametrize("what", ["handler", "planner", "rule"])
async def test_what_a_handler_a_planner_or_a_rule_makes_of_its_cancellation_is_nobodys(
    what: str, hide: Callable[[object], Any]
) -> None:
    """The run says why it ended, and that is its timeout. The rule is one on a handler's replacement output."""
    handlers: dict[str, Any] = {"handler": hide, "rule": returns("instead")}
    policy = replanning()
    if what in handlers:
        policy = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=handlers[what])
    contract = all_of(str, v.rule(hide)) if what == "rule" else None
    step = Step("a", raises(ValueError), failure_policy=policy, output_contract=contract)
    result = await Workflow("w", [step], planner=hide).run(timeout=1)
    ended = "failed_final" if what == "planner" else "cancelled"  # the step had failed before a planner was asked
    assert (result.error_type, statuses(result)) == ("StepTimeoutError", {"a": ended})


async def fails_when_cancelled(anything: object) -> Any:
    """Raise a group: on trio, of the cancellation and of what a child made of it."""

    async def child() -> None:
        try:
            await anyio.sleep(100)
        except anyio.get_cancelled_exc_class():
            raise ValueError("in the middle of cleaning up") from None

    async with anyio.create_task_group() as group:
        group.start_soon(child)
        await anyio.sleep(100)


ASKING = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=fails_when_cancelled)


@pytest.mark.parametrize(
    "step",
    [
        Step("a", fails_when_cancelled),
        Step("a", fails_when_cancelled, foreach="items", foreach_policy=ForeachPolicy.FAIL_FAST),
        Step("a", raises(ValueError), failure_policy=ASKING),
        Step("a", raises(ValueError), failure_policy=replanning()),
    ],
    ids=["action", "item", "handler", "planner"],
)
async def test_what_fails_beside_a_cancellation_is_no_error_of_the_run(step: Step) -> None:
    """The run's time is up, another step ends it, or its caller is cancelled: nothing else comes out."""
    steps = [step, Step("ends", raises(LookupError("first"), after=5), failure_policy=NO_RETRY)]
    inputs = {"items": [1, 2]}
    result = await Workflow("w", steps, planner=fails_when_cancelled).run(inputs)
    assert (result.error_type, result.error_message) == ("LookupError", "first")
    result = await Workflow("w", steps[:1], planner=fails_when_cancelled).run(inputs, timeout=5)
    assert (result.error_type, result.error_message) == ("StepTimeoutError", "Workflow 'w' did not finish within 5 s")
    with anyio.move_on_after(5) as scope:
        await Workflow("w", steps[:1], planner=fails_when_cancelled).run(inputs)
    assert scope.cancelled_caught


async def test_what_fails_beside_the_end_of_a_foreach_is_no_error_of_the_run() -> None:
    """An item that another one's failure ends."""

    async def act(ctx: StepContext) -> None:
        if ctx.item == 2:
            await anyio.sleep(5)
            raise LookupError("first")
        await fails_when_cancelled(ctx)

    step = Step("a", act, foreach="items", foreach_policy=ForeachPolicy.FAIL_FAST, failure_policy=NO_RETRY)
    result = await Workflow("w", [step]).run({"items": [1, 2]})
    assert (result.error_type, result.error_message) == ("LookupError", "first")
