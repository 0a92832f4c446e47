"""How good schedules are: against a list scheduler written for this test, proven bounds, and real graphs where present.

The real graphs are other people's and not part of this repository. Where they are absent, their tests say that they
were skipped; the property that they check is checked on random graphs in any case.
"""

from __future__ import annotations

import json
import random
from bisect import insort
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.dags import Dag, dags_directory, load, makespan
from benchmarks.makespan import judge, main, measure
from kairos_async.outcomes import WorkflowResult
from tests.clocks import BACKENDS, run_virtual

DIRECTORY = dags_directory()
real_graphs_only = pytest.mark.skipif(
    DIRECTORY is None, reason="the real graphs are not there: neither in ../shared/dags nor where KAIROS_DAGS says"
)
on_both_backends = pytest.mark.parametrize("backend", BACKENDS)

LARGEST = {"asyncio": 450, "trio": 200}
"""Steps of the largest graph that is tested here; `python -m benchmarks.makespan` runs them all."""

# A small engine of its own, to check the real one against.


def list_schedule(dag: Dag, limit: int, urgency: Callable[[int], float] | None = None) -> dict[int, int]:
    """When each task starts, if the most urgent ready task always goes first (None: the one that was ready first).

    For graphs in which no two tasks end at the same time.
    """
    missing = [set(needs) for needs in dag.needs]
    ready = [task for task in range(len(dag)) if not missing[task]]
    running: list[tuple[int, int]] = []
    starts: dict[int, int] = {}
    now = 0
    while ready or running:
        while ready and len(running) < limit:
            task = max(ready, key=urgency) if urgency else ready[0]
            ready.remove(task)
            starts[task] = now
            insort(running, (now + dag.runtimes[task], task))
        now, ended = running.pop(0)
        for task, needs in enumerate(missing):
            if ended in needs:
                needs.remove(ended)
                if not needs:
                    ready.append(task)
    return starts


def longest_path_from(dag: Dag) -> dict[int, int]:
    """Microseconds of the longest path from the start of each task to an end of the graph."""
    paths: dict[int, int] = {}
    for task in reversed(range(len(dag))):
        after = [paths[other] for other in range(len(dag)) if task in dag.needs[other]]
        paths[task] = dag.runtimes[task] + max(after, default=0)
    return paths


@st.composite
def needs_of_tasks(draw: st.DrawFn, most: int) -> tuple[tuple[int, ...], ...]:
    """What each task needs: some of the tasks before it."""
    count = draw(st.integers(1, most))
    density = draw(st.floats(0, 1))
    rolls = random.Random(draw(st.integers(0, 2**32)))
    return tuple(tuple(need for need in range(task) if rolls.random() < density) for task in range(count))


@st.composite
def dags_without_ties(draw: st.DrawFn) -> Dag:
    """A random graph in which no two tasks end at once, and no two remaining paths are equally long.

    Each runtime is another power of two, so a sum of some of them says which they are. A task ends when the chain of
    tasks that it waited for is over; two tasks that end together would each be in the other's chain.
    """
    needs = draw(needs_of_tasks(24))
    powers = draw(st.permutations(range(len(needs))))
    return Dag("random", needs, tuple(2**power for power in powers))


@st.composite
def dags_with_ties(draw: st.DrawFn) -> Dag:
    """A random graph in which many tasks end at once, and some take no time at all."""
    needs = draw(needs_of_tasks(24))
    runtimes = draw(st.lists(st.integers(0, 5), min_size=len(needs), max_size=len(needs)))
    return Dag("random", needs, tuple(runtimes))


def starts(dag: Dag, limit: int, backend: str, *, hints: bool = False) -> dict[int, int]:
    """When each task starts in a run of the workflow, in virtual time."""
    result = run_virtual(dag.workflow(limit, hints=hints).run, on=backend)
    assert isinstance(result, WorkflowResult)
    result.raise_for_status()
    found = [result.step_results[f"t{task}"].started_ms for task in range(len(dag))]
    return {task: round(started / 1000) for task, started in enumerate(found) if started is not None}


LIMITS = st.integers(1, 6)


@given(dag=dags_without_ties(), limit=LIMITS, backend=st.sampled_from(BACKENDS))
def test_without_hints_every_step_starts_when_first_come_first_served_says(dag: Dag, limit: int, backend: str) -> None:
    """The whole schedule is that of the list scheduler, to the microsecond."""
    assert starts(dag, limit, backend) == list_schedule(dag, limit)


@given(dag=dags_without_ties(), limit=LIMITS, backend=st.sampled_from(BACKENDS))
def test_with_hints_the_longest_remaining_path_goes_first(dag: Dag, limit: int, backend: str) -> None:
    """The whole schedule is that of the list scheduler, to the microsecond."""
    assert starts(dag, limit, backend, hints=True) == list_schedule(dag, limit, longest_path_from(dag).__getitem__)


@given(dag=dags_with_ties(), limit=LIMITS, hints=st.booleans(), backend=st.sampled_from(BACKENDS))
def test_no_schedule_is_worse_than_grahams_bound(dag: Dag, limit: int, hints: bool, backend: str) -> None:
    """Ties and steps without duration included: no slot is idle while a step is ready."""
    took = makespan(dag.workflow(limit, hints=hints), backend)
    assert max(dag.critical_path, dag.work / limit) <= took <= dag.graham_bound(limit)


@given(dag=dags_with_ties(), hints=st.booleans(), backend=st.sampled_from(BACKENDS))
def test_one_slot_takes_the_work_and_no_limit_takes_the_critical_path(dag: Dag, hints: bool, backend: str) -> None:
    """The two ends of the scale are exact."""
    assert makespan(dag.workflow(1, hints=hints), backend) == dag.work
    assert makespan(dag.workflow(None, hints=hints), backend) == dag.critical_path


@given(dag=dags_with_ties())
def test_the_critical_path_is_the_longest_remaining_path(dag: Dag) -> None:
    """Two computations of it, forwards and backwards, agree."""
    assert dag.critical_path == max(longest_path_from(dag).values())


# The real graphs.


def test_a_wrong_makespan_is_noticed() -> None:
    """The judge of the benchmark finds fault with each way of being wrong."""
    dag = Dag("two pairs", ((), (), (0,), (1,)), (3, 3, 4, 4))
    expected: dict[str, Any] = {"lb_strong": 7e-6, "fifo": 7e-6, "hlf": 7e-6, "fifo_tie_sensitive": False}
    assert judge(dag, 2, 7, 7, expected) == ()
    assert judge(dag, 2, 8, 7, expected) == ("not fifo",)
    assert judge(dag, 2, 8, 7, {**expected, "fifo_tie_sensitive": True}) == ()
    assert judge(dag, 2, 7, 8, expected) == ("hints worse than hlf",)
    assert "plain below the bound" in judge(dag, 2, 6, 7, expected)
    assert "plain above Graham's bound" in judge(dag, 2, 12, 7, expected)
    assert "hinted not exact" in judge(dag, None, 7, 8, expected)


def test_without_the_graphs_the_benchmark_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is no failure that other people's data is not there."""
    monkeypatch.setenv("KAIROS_DAGS", "nowhere")
    assert main([]) == 0
    assert "the graphs are not there" in capsys.readouterr().out


def known_graphs() -> dict[str, Any]:
    """What is known of each real graph, by name; nothing where they are absent."""
    if DIRECTORY is None:
        return {}
    text = (DIRECTORY / "expected.json").read_text("utf-8")
    instances: dict[str, Any] = json.loads(text)["instances"]
    return instances


@real_graphs_only
@on_both_backends
def test_schedules_of_real_graphs(backend: str) -> None:
    """First come first served to the microsecond, within the proven bounds, and with hints as good as can be asked."""
    assert DIRECTORY is not None
    broken = []
    for known in known_graphs().values():
        if known["nodes"] <= LARGEST[backend]:
            found = list(measure(load(DIRECTORY / known["file"]), known, backend))
            assert len(found) == 7
            broken += [(result.graph, result.limit, result.broken) for result in found if result.broken]
    assert broken == []


@real_graphs_only
@on_both_backends
def test_plans_with_a_published_optimum(backend: str) -> None:
    """Without a limit, a run takes as long as the authors of the plans say that it must."""
    assert DIRECTORY is not None
    lines = (DIRECTORY / "oracle" / "asynchow_plans.jsonl").read_text("utf-8").splitlines()
    plans = [json.loads(line) for line in lines]
    assert len(plans) > 500
    wrong = []

    async def run_all() -> None:
        for plan in plans:
            started = anyio.current_time()
            (await Dag.from_json(plan).workflow(None).run()).raise_for_status()
            took = anyio.current_time() - started
            if took != plan["optimal_unbounded"] * 1_000_000:
                wrong.append((plan["name"], took))

    run_virtual(run_all, on=backend)
    assert wrong == []
