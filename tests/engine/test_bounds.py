"""What has to stay bounded, however many there are: tasks that wait for retries, writers of a key, runs that wait."""

from __future__ import annotations

import anyio
import pytest

from kairos_async import Limiter, Step, StepContext, Workflow
from kairos_async.limits import Run
from tests.engine.tools import Gauge, retrying, returns


async def test_items_that_wait_for_a_retry_are_bounded_by_the_slots() -> None:
    """They hold no slot, but a task each: without a bound, all of a long list would fail first and then wait."""
    waiting = Gauge()

    async def fail_once(ctx: StepContext) -> None:
        if ctx.attempt == 1:
            waiting.__enter__()
            raise ValueError
        waiting.__exit__()

    step = Step("a", fail_once, foreach="items", failure_policy=retrying(1, delay=10))
    result = await Workflow("w", [step], max_concurrency=2).run({"items": list(range(200))})
    assert result.status == "complete"
    assert waiting.peak == 32


async def test_without_a_limit_all_items_of_a_foreach_are_under_way() -> None:
    """Neither the step nor the workflow has one."""
    gauge = Gauge()

    async def wait(ctx: StepContext) -> None:
        with gauge:
            await anyio.sleep(1)

    await Workflow("w", [Step("a", wait, foreach="items")]).run({"items": list(range(100))})
    assert gauge.peak == 100


def test_a_graph_in_which_every_step_reads_and_writes_one_key_has_an_edge_for_each() -> None:
    """From the writer before it alone, not from all; what follows in `needs` is linear in the steps."""
    steps = [
        Step(f"s{i}", returns(None), read_keys=["total"], write_keys=["total"], depends_on=[f"s{i - 1}"] if i else [])
        for i in range(2_000)
    ]
    graph = Workflow("sum", steps).graph
    assert sum(len(node.needs) for node in graph.nodes) == 1_999


def test_a_reader_runs_after_the_last_writer_that_it_does_not_precede() -> None:
    """Wherever it stands beside the row of writers; the earlier ones are before that one."""
    writers = [
        Step(f"w{i}", returns(None), write_keys=["k"], read_keys=[], depends_on=[f"w{i - 1}"] if i else [])
        for i in range(6)
    ]
    for stop in range(1, 6):
        reader = Step("reader", returns(None), read_keys=["k"], write_keys=[])
        row = [
            Step(w.name, w.action, write_keys=["k"], read_keys=[], depends_on=[*w.depends_on, "reader"])
            if w.name == f"w{stop}"
            else w
            for w in writers
        ]
        assert Workflow("w", [*row, reader]).graph.needs("reader") == (f"w{stop - 1}",)
    assert Workflow("w", [*writers, Step("end", returns(None), read_keys=["k"])]).graph.needs("end") == ("w5",)


class Waiting:
    """A run as a limiter sees it."""

    def __init__(self, order: int, served: list[int]) -> None:
        self.order = order
        self._served = served

    def slot_granted(self) -> None:
        """Note whose turn it is."""
        self._served.append(self.order)


@pytest.mark.parametrize("asks", [1, 3])
def test_a_limiter_serves_waiting_runs_by_age_and_forgets_those_that_left(asks: int) -> None:
    """However often each asked; one that left and asks again waits again."""
    limiter, served = Limiter(1), list[int]()
    runs: list[Run] = [Waiting(order, served) for order in (5, 3, 4, 1, 2)]
    assert limiter.take(runs[0])
    for _ in range(asks):
        assert not any(limiter.take(run) for run in runs)
    limiter.leave(runs[3])
    limiter.leave(runs[4])
    limiter.take(runs[4])
    assert limiter.wanted_before(runs[2])
    assert not limiter.wanted_before(runs[3])
    for _ in range(5):
        limiter.release()
    assert served == [2, 3, 4, 5]
    assert limiter.in_use == 0
