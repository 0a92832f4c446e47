"""Scheduling: a step starts the moment its own needs are met and a slot is free."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos_async import FailureAction, FailurePolicy, Step, StepContext, Workflow
from tests.clocks import run_virtual
from tests.engine.tools import (
    NO_RETRY,
    SKIPPING,
    Clocked,
    chance,
    flaky,
    others,
    raises,
    retrying,
    returns,
    run,
    statuses,
)


async def test_barrier_the_child_of_the_fast_step_starts_at_a_tenth_of_a_second() -> None:
    """A 0.1 s step beside a 1 s step: nothing waits for the slow one that does not need it."""
    clocked = Clocked()
    await run(clocked.step("fast", 0.1), clocked.step("slow", 1), clocked.step("child", 0.5, depends_on=["fast"]))
    assert clocked.started["child"] == 0.1


async def test_without_a_limit_all_ready_steps_run_at_once() -> None:
    """A thousand of them."""
    clocked = Clocked()
    await run(*(clocked.step(f"s{i}", 1) for i in range(1000)))
    assert (clocked.peak, anyio.current_time()) == (1000, 1)


@pytest.mark.parametrize("slots", [1, 2, 7, 100])
async def test_at_most_max_concurrency_attempts_run_at_once(slots: int) -> None:
    """And no fewer, while there is something to do."""
    clocked = Clocked()
    await run(*(clocked.step(f"s{i}", 1) for i in range(100)), max_concurrency=slots)
    assert clocked.peak == slots
    assert anyio.current_time() == -(-100 // slots)


async def test_a_slot_is_held_only_while_an_attempt_runs() -> None:
    """With one slot and ten steps that wait ten seconds for a retry, all delays pass together."""
    steps = [Step(f"s{i}", flaky(1, takes=0.1), failure_policy=retrying(1, delay=10)) for i in range(10)]
    await run(*steps, max_concurrency=1)
    assert anyio.current_time() == pytest.approx(10 + 10 * 0.1 + 0.1)


async def test_when_slots_are_scarce_the_step_declared_first_goes_first() -> None:
    """Of those that became ready together: at the start, and after a common parent."""
    clocked = Clocked()
    names = [f"s{chance(i).random()}"[:8].replace(".", "_") for i in range(20)]
    await run(*(clocked.step(name, 1) for name in names), max_concurrency=1)
    assert clocked.starts == names
    clocked = Clocked()
    children = [clocked.step(name, 1, depends_on=["parent"]) for name in names]
    await run(*children[:10], clocked.step("parent", 1), *children[10:], max_concurrency=1)
    assert clocked.starts == ["parent", *names]


async def test_a_step_that_was_ready_first_goes_before_one_that_became_ready_later() -> None:
    """So no step waits for ever behind a long chain that is declared before it."""
    clocked = Clocked()
    chain = [clocked.step(f"c{i}", 1, depends_on=[f"c{i - 1}"] if i else []) for i in range(10)]
    await run(*chain, clocked.step("waits", 1), max_concurrency=1)
    assert clocked.started["waits"] == 1


async def test_with_hints_the_longest_remaining_path_goes_first() -> None:
    """With one that has no hint counted as a typical one."""
    clocked = Clocked()
    await run(
        clocked.step("short", 1, expected_seconds=1),
        clocked.step("long", 1, expected_seconds=5),
        clocked.step("head", 1, expected_seconds=0.5),
        clocked.step("tail", 1, expected_seconds=20, depends_on=["head"]),
        clocked.step("unknown", 1),
        max_concurrency=1,
    )
    assert clocked.starts == ["head", "tail", "unknown", "long", "short"]


async def test_durations_learned_from_a_run_order_the_next_one() -> None:
    """A hint of the step's own is kept; from a step that did not complete nothing is learned."""
    clocked = Clocked()
    steps = [
        clocked.step("a", 1),
        clocked.step("b", 3),
        clocked.step("c", 2, expected_seconds=9),
        Step("d", raises(ValueError, after=99), failure_policy=SKIPPING),
    ]
    workflow = Workflow("w", steps, max_concurrency=1)
    learned = workflow.with_durations(await workflow.run())
    assert [step.expected_seconds for step in learned.steps] == [1, 3, 9, None]
    clocked.starts.clear()
    await learned.run()
    assert clocked.starts == ["c", "b", "a"]


async def test_no_two_serial_steps_run_beside_each_other() -> None:
    """`parallel=False` steps take turns; the others run beside them."""
    serial, beside = Clocked(), Clocked()
    await run(
        *(serial.step(f"s{i}", 1, parallel=False) for i in range(5)),
        *(beside.step(f"p{i}", 1) for i in range(5)),
    )
    assert (serial.peak, beside.peak) == (1, 5)
    assert sorted(serial.started.values()) == [0, 1, 2, 3, 4]
    assert serial.starts == [f"s{i}" for i in range(5)]


async def test_a_serial_step_that_waits_for_its_turn_holds_no_slot() -> None:
    """Others use it."""
    clocked = Clocked()
    steps = [clocked.step(f"s{i}", 5, parallel=False) for i in range(3)]
    await run(*steps, clocked.step("p", 1), max_concurrency=2)
    assert clocked.started == {"s0": 0, "s1": 5, "s2": 10, "p": 0}


async def test_a_serial_step_whose_turn_comes_goes_before_what_became_ready_later() -> None:
    """It has waited longest."""
    clocked = Clocked()
    serial = [clocked.step(f"s{i}", 5, parallel=False) for i in range(2)]
    await run(*serial, *(clocked.step(f"p{i}", 2) for i in range(9)), max_concurrency=2)
    assert clocked.started["s1"] == 5


async def test_a_retry_waits_behind_what_waits_already() -> None:
    """For the one slot, once its delay is over."""
    clocked = Clocked()

    async def fails_once(ctx: StepContext) -> None:
        clocked.starts.append(f"a{ctx.attempt}")
        if ctx.attempt == 1:
            raise ValueError

    first = Step("a", fails_once, failure_policy=retrying(1, delay=1))
    await run(first, *(clocked.step(f"s{i}", 2) for i in range(3)), max_concurrency=1)
    assert clocked.starts == ["a1", "s0", "s1", "s2", "a2"]


@pytest.mark.parametrize("kind", ["retry", "foreach", "skip", "fail"])
async def test_a_serial_step_holds_its_turn_until_it_has_ended(kind: str) -> None:
    """Through its retries and all its items, and not beyond, however it ends."""
    clocked = Clocked()
    first: dict[str, Step] = {
        "retry": Step("first", flaky(1, takes=1), failure_policy=retrying(1, delay=3), parallel=False),
        "foreach": Step("first", returns(0, after=5), foreach="items", parallel=False),
        "skip": Step(
            "first",
            raises(ValueError, after=5),
            failure_policy=FailurePolicy(on_execution_fail=FailureAction.SKIP),
            parallel=False,
        ),
        "fail": Step("first", flaky(0, takes=5), parallel=False),
    }
    await run(first[kind], clocked.step("second", 1, parallel=False), inputs={"items": [1, 2, 3]})
    assert clocked.started == {"second": 5}


async def test_a_serial_step_whose_input_is_missing_frees_its_turn() -> None:
    """It is skipped without having run."""
    skip = FailurePolicy(max_retries=0, fallback_action=FailureAction.SKIP)
    result = await run(
        Step("a", raises(ValueError), failure_policy=skip),
        Step("b", returns(0), foreach="a", parallel=False),
        Step("c", returns(0), parallel=False),
        Step("d", returns(0), parallel=False, depends_on=["b"]),
        within=100,
    )
    assert statuses(result) == {"a": "skipped", "b": "skipped", "c": "completed", "d": "completed"}


async def test_the_max_concurrency_of_a_step_bounds_its_items() -> None:
    """Beside the workflow's own limit; an item that waits for a retry counts as under way."""
    clocked = Clocked()
    each = clocked.step("each", 1, foreach="items", max_concurrency=3)
    other = clocked.step("other", 1, foreach="items")
    await run(each, inputs={"items": [*range(12)]})
    assert (clocked.peak, anyio.current_time()) == (3, 4)
    await run(each, other, inputs={"items": [*range(12)]}, max_concurrency=2)
    assert clocked.peak == 3
    assert anyio.current_time() == 4 + 12


async def test_a_chain_runs_in_one_task_and_a_foreach_in_as_many_as_its_concurrency() -> None:
    """Tasks in flight follow the width of what runs, not the number of steps or items."""
    most = 0

    async def counts(ctx: StepContext) -> None:
        nonlocal most
        await anyio.lowlevel.checkpoint()
        most = max(most, len(others()))

    before = len(others())
    await run(*(Step(f"s{i}", counts, depends_on=[f"s{i - 1}"] if i else []) for i in range(300)))
    assert most - before == 1
    await run(Step("each", counts, foreach="items", max_concurrency=7), inputs={"items": [*range(2000)]})
    assert most - before <= 8


@settings(max_examples=100)
@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 999))
def test_work_is_conserved(count: int, slots: int, seed: int) -> None:
    """No slot is idle while a step is ready: the makespan of independent steps is that of a list schedule."""
    durations = [chance((seed, i)).choice([0.25, 0.5, 1, 2]) for i in range(count)]

    async def main() -> float:
        clocked = Clocked()
        await run(*(clocked.step(f"s{i}", takes) for i, takes in enumerate(durations)), max_concurrency=slots)
        return anyio.current_time()

    free = [0.0] * slots
    for takes in durations:
        free[free.index(min(free))] += takes
    assert run_virtual(main) == max(free)


async def test_steps_that_never_wait_let_other_tasks_run() -> None:
    """A long chain of them does not keep the event loop for itself."""
    turns = 0

    async def beside() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def act(ctx: StepContext) -> Any:
        return None

    async with anyio.create_task_group() as group:
        group.start_soon(beside)
        await anyio.lowlevel.checkpoint()
        before = turns
        await run(*(Step(f"s{i}", act, depends_on=[f"s{i - 1}"] if i else []) for i in range(1000)))
        assert turns - before >= 10
        group.cancel_scope.cancel()


def test_on_asyncio_layers_take_as_many_tasks_as_they_are_wide() -> None:
    """A worker with nothing to do rests until the next layer is ready. None is left at the end, or at an abort."""
    tasks: set[asyncio.Task[Any] | None] = set()

    async def act(ctx: StepContext) -> None:
        tasks.add(asyncio.current_task())
        await asyncio.sleep(0.001 if ctx.step_id.endswith("_0") else 0)  # the others rest meanwhile
        if ctx.step_id == "s9_1":
            raise ValueError

    def layered(depth: int) -> Workflow:
        layers = [[f"s{layer}_{place}" for place in range(5)] for layer in range(depth)]
        needs: list[list[str]] = [[], *layers]
        steps = [Step(name, act, depends_on=needs[layer]) for layer, names in enumerate(layers) for name in names]
        return Workflow("w", steps, failure_policy=NO_RETRY)

    async def main() -> list[Any]:
        ended = [(await layered(9).run()).status, len(tasks)]
        tasks.clear()
        return [*ended, (await layered(12).run()).status, len(tasks), len(asyncio.all_tasks())]

    assert asyncio.run(main()) == ["complete", 5, "failed", 5, 1]
