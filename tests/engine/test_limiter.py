"""A Limiter that runs share: never more attempts than slots, the oldest run first, and every slot comes back."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos_async import ConfigError, FailureAction, FailurePolicy, ForeachPolicy, Limiter, Step, StepContext, Workflow
from tests.clocks import BACKENDS, run_virtual
from tests.engine.graphs import Spec, World, canonical, graphs
from tests.engine.tools import NO_RETRY, Clocked, Gauge, flaky, raises, retrying, returns, run, statuses, tries


async def together(*workflows: Workflow) -> None:
    """Run the workflows at once; they start in this order."""
    async with anyio.create_task_group() as group:
        for workflow in workflows:
            group.start_soon(workflow.run)
            await anyio.sleep(1e-6)


async def test_two_runs_on_one_limiter_never_exceed_it() -> None:
    """Steps, items and retries count alike."""
    clocked, limiter = Clocked(), Limiter(3)
    items = returns([*range(10)])
    steps = [
        Step("items", items),
        clocked.step("each", 1, foreach="items"),
        *(clocked.step(f"s{i}", 2) for i in range(5)),
    ]
    await together(*(Workflow(f"w{i}", steps, max_concurrency=limiter) for i in range(4)))
    assert clocked.peak == 3
    assert anyio.current_time() == pytest.approx(4 * (10 + 2 * 5) / 3, abs=2)
    assert limiter.in_use == 0


async def test_the_oldest_run_is_served_first() -> None:
    """A younger run gets only the slots that the older ones do not want."""
    clocked, limiter = Clocked(), Limiter(2)

    def workflow(name: str) -> Workflow:
        return Workflow(name, [clocked.step(f"{name}{i}", 1) for i in range(4)], max_concurrency=limiter)

    await together(workflow("a"), workflow("b"), workflow("c"))
    starts = sorted(clocked.started.items(), key=lambda entry: entry[1])
    assert "".join(name[0] for name, _ in starts) == "aaaabbbbcccc"


@pytest.mark.parametrize("foreach", [None, "items"])
async def test_an_older_run_gets_the_next_slot_before_a_younger_one_goes_on(foreach: str | None) -> None:
    """Even if the younger has all slots and more to do when the older's next step becomes ready."""
    clocked, limiter = Clocked(), Limiter(1)
    first = Step("a", flaky(1), failure_policy=retrying(1, delay=2.5))
    old = Workflow("old", [first, clocked.step("b", 1, depends_on=["a"])], max_concurrency=limiter)
    items = Step("items", returns([*range(10)]))
    many = (
        [items, clocked.step("y", 1, foreach="items", max_concurrency=1)]
        if foreach
        else [clocked.step(f"y{i}", 1) for i in range(10)]
    )
    await together(old, Workflow("young", many, max_concurrency=limiter))
    assert clocked.started["b"] == pytest.approx(3, abs=1e-3)
    assert clocked.started["y[3]" if foreach else "y3"] == pytest.approx(4, abs=1e-3)


async def test_a_slot_is_not_held_during_a_retry_delay() -> None:
    """Others run meanwhile; the retry queues behind what waits already."""
    clocked, limiter = Clocked(), Limiter(1)
    result = await run(
        Step("a", flaky(1, takes=1), failure_policy=retrying(1, delay=10)),
        *(clocked.step(f"s{i}", 2) for i in range(4)),
        max_concurrency=limiter,
    )
    assert clocked.started == {"s0": 1, "s1": 3, "s2": 5, "s3": 7}
    assert result.duration_ms == 12_000
    assert clocked.running == limiter.in_use == 0


async def test_a_retry_that_comes_back_waits_for_a_slot() -> None:
    """It takes none that is in use."""
    clocked = Clocked()
    result = await run(
        Step("a", flaky(1, takes=1), failure_policy=retrying(1, delay=1)),
        clocked.step("s", 10),
        max_concurrency=1,
    )
    assert clocked.started == {"s": 1}
    assert result.duration_ms == 12_000


async def test_a_slot_is_not_held_while_a_custom_handler_thinks() -> None:
    """Nor while a planner does."""
    clocked = Clocked()

    async def handler(failure: object) -> str:
        await anyio.sleep(10)
        return "replaced"

    async def planner(request: object) -> list[Step]:
        await anyio.sleep(10)
        return [Step("planned", returns(1))]

    custom = FailurePolicy(max_retries=0, on_execution_fail=FailureAction.CUSTOM, custom_handler=handler)
    await run(Step("a", raises(ValueError), failure_policy=custom), clocked.step("s", 5), max_concurrency=1)
    assert (clocked.started, anyio.current_time()) == ({"s": 0}, 10)
    other, limiter = Clocked(), Limiter(1)
    replan = FailurePolicy(max_retries=0, on_execution_fail=FailureAction.REPLAN)
    first = Workflow(
        "w", [Step("a", raises(ValueError), failure_policy=replan)], planner=planner, max_concurrency=limiter
    )
    await together(first, Workflow("v", [other.step("s", 5)], max_concurrency=limiter))
    assert other.started["s"] == pytest.approx(10, abs=1e-3)


ENDS: dict[str, list[Step]] = {
    "failure": [Step("bad", raises(ValueError, after=1), failure_policy=NO_RETRY)],
    "timeout": [Step("bad", returns(1, after=100), timeout=1, failure_policy=NO_RETRY)],
    "during a delay": [
        Step("late", flaky(9), failure_policy=retrying(9, delay=7)),
        Step("bad", raises(ValueError, after=3), failure_policy=NO_RETRY),
    ],
    "fail fast": [
        Step(
            "each",
            raises(ValueError, after=1),
            foreach="items",
            foreach_policy=ForeachPolicy.FAIL_FAST,
            failure_policy=NO_RETRY,
        )
    ],
    "not json": [Step("bad", returns({1}), failure_policy=NO_RETRY)],
    "foreach over text": [Step("bad", returns(1), foreach="text", failure_policy=NO_RETRY)],
    "skip": [Step("bad", raises(ValueError), failure_policy=FailurePolicy(on_execution_fail=FailureAction.SKIP))],
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("slots", [1, 2, 5])
async def test_every_slot_comes_back_however_a_run_ends(end: str, slots: int) -> None:
    """And other runs on the limiter go on."""
    limiter, clocked = Limiter(slots), Clocked()
    beside = [clocked.step(f"x{i}", 3) for i in range(3)]
    workflow = Workflow("w", [*ENDS[end], *beside], max_concurrency=limiter)
    bystander = Workflow("v", [clocked.step(f"v{i}", 2) for i in range(5)], max_concurrency=limiter)
    inputs = {"items": [1, 2, 3, 4], "text": "text"}
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(workflow.run, inputs)
            group.start_soon(bystander.run)
    assert (limiter.in_use, clocked.running) == (0, 0)
    assert "0 runs waiting" in repr(limiter)
    assert statuses(await bystander.run()) == {f"v{i}": "completed" for i in range(5)}


@pytest.mark.parametrize("how", ["cancel", "timeout"])
async def test_a_run_that_ends_while_it_waits_for_a_slot_waits_no_longer(how: str) -> None:
    """The limiter forgets it at once, while another run still holds the slot."""
    limiter, clocked = Limiter(1), Clocked()
    holds = Workflow("holds", [clocked.step("a", 10)], max_concurrency=limiter)
    waits = Workflow("waits", [clocked.step("b", 10)], max_concurrency=limiter)
    async with anyio.create_task_group() as group:
        group.start_soon(holds.run)
        await anyio.sleep(1)
        with anyio.move_on_after(2 if how == "cancel" else 100):
            await waits.run(timeout=2 if how == "timeout" else None)
        assert anyio.current_time() == 3
        assert repr(limiter) == "<Limiter: 1 of 1 slots in use, 0 runs waiting>"
    assert clocked.starts == ["a"]


async def test_a_limiter_can_be_used_on_one_loop_after_another() -> None:
    """It keeps nothing of a loop that has ended."""
    limiter = Limiter(2)
    workflow = Workflow("w", [Step("a", returns(1))], max_concurrency=limiter)
    assert (await workflow.run()).output == 1

    async def again() -> object:
        return (await workflow.run()).output

    assert await anyio.to_thread.run_sync(run_virtual, again) == 1
    assert limiter.in_use == 0


async def test_a_run_in_a_step_of_a_run_on_the_same_limiter() -> None:
    """With a slot to spare it works: the inner run is younger, and waits like any other."""
    limiter = Limiter(2)
    inner = Workflow("inner", [Step(f"i{n}", returns(n, after=1)) for n in range(3)], max_concurrency=limiter)

    async def act(ctx: StepContext) -> Any:
        return (await inner.run()).output

    result = await run(Step("outer", act), max_concurrency=limiter)
    assert (result.output, result.duration_ms, limiter.in_use) == (2, 3000, 0)


async def test_a_run_that_could_only_wait_for_the_step_that_runs_it_is_refused() -> None:
    """The step has the last slot: without an error, both would wait for ever."""
    limiter = Limiter(1)
    inner = Workflow("inner", [Step("i", returns(1))], max_concurrency=limiter)

    async def act(ctx: StepContext) -> Any:
        return (await inner.run()).output

    result = await run(Step("outer", act), max_concurrency=limiter, within=100)
    assert (result.error_type, tries(result, "outer"), limiter.in_use) == ("ConfigError", 1, 0)
    assert "'inner' would wait for ever" in str(result.error_message)
    assert (await inner.run()).output == 1


@pytest.mark.real_time
async def test_runs_on_two_event_loops_at_once_cannot_share_a_limiter() -> None:
    """The second one is refused, where it would wait for ever or exceed the limit; afterwards it runs."""
    limiter = Limiter(2)
    other = Workflow("other", [Step("o", returns(1))], max_concurrency=limiter)
    refused: list[Exception] = []

    def elsewhere() -> None:
        try:
            other.run_sync()
        except ConfigError as error:
            refused.append(error)

    def act(ctx: StepContext) -> None:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    result = await run(Step("a", act), max_concurrency=limiter)
    assert (result.status, len(refused), limiter.in_use) == ("complete", 1, 0)
    assert "another event loop" in str(refused[0])
    assert (await anyio.to_thread.run_sync(other.run_sync)).output == 1


@settings(max_examples=80)
@given(
    worlds=st.lists(st.tuples(graphs(most=7), st.integers(0, 99)), min_size=2, max_size=4),
    slots=st.integers(1, 4),
    on=st.sampled_from(BACKENDS),
)
def test_runs_on_one_limiter_do_not_change_each_others_results(
    worlds: list[tuple[list[Spec], int]], slots: int, on: str
) -> None:
    """Random graphs together, as each alone; never more attempts than slots."""
    limiter = Limiter(slots)
    gauge = Gauge()
    running = [World(specs, seed, gauge) for specs, seed in worlds]
    found: dict[int, object] = {}

    async def one(number: int, world: World) -> None:
        workflow = Workflow("w", world.steps(), max_concurrency=limiter)
        found[number] = canonical(await workflow.run({"given": 1}))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number, world in enumerate(running):
                group.start_soon(one, number, world)

    run_virtual(main, on=on)
    assert gauge.peak <= slots
    assert limiter.in_use == 0
    for number, (specs, seed) in enumerate(worlds):

        async def alone(specs: list[Spec] = specs, seed: int = seed) -> object:
            return canonical(await Workflow("w", World(specs, seed).steps()).run({"given": 1}))

        assert found[number] == run_virtual(alone)
