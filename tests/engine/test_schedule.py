"""The ready set on its own, without a loop: what it hands out, when, and in which order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async import Step, TaskGraph
from kairos_async.engine.schedule import Schedule
from tests.engine.graphs import Spec, graphs
from tests.engine.tools import chance, returns

OK = returns(None)


def built(specs: list[Spec], *, hints: bool = False) -> TaskGraph:
    """Return the graph of the specs."""
    return TaskGraph(
        Step(
            spec.name,
            OK,
            depends_on=spec.needs,
            parallel=not spec.serial,
            expected_seconds=float(spec.failures) if hints else None,
        )
        for spec in specs
    )


class Model:
    """What a schedule must do, in the plainest words: it looks at everything again each time."""

    def __init__(self, specs: list[Spec]) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self.begun: set[str] = set()
        self.ended: set[str] = set()

    def ready(self) -> set[str]:
        """Return what may start now."""
        serial_runs = any(self.specs[name].serial for name in self.begun - self.ended)
        return {
            name
            for name, spec in self.specs.items()
            if name not in self.begun and self.ended.issuperset(spec.needs) and not (spec.serial and serial_runs)
        }


def take_all(schedule: Schedule) -> list[str]:
    """Return the names of everything that may start now."""
    taken = []
    while (unit := schedule.take()) is not None:
        taken.append(unit.node.name)
    return taken


@given(graphs(), st.integers(0, 99), st.booleans(), st.booleans())
def test_each_step_is_handed_out_once_and_as_soon_as_it_may(
    specs: list[Spec], seed: int, hints: bool, rebuild: bool
) -> None:
    """Whatever ends first, and also if the schedule is made anew from what has ended and begun."""
    graph, model, random = built(specs, hints=hints), Model(specs), chance(seed)
    schedule = Schedule(graph)
    while True:
        while ready := model.ready():
            unit = schedule.take()
            assert unit is not None
            assert unit.node.name in ready
            model.begun.add(unit.node.name)
        assert schedule.take() is None
        assert not schedule.waiting
        running = sorted(model.begun - model.ended)
        assert schedule.unended == len(specs) - len(model.ended)
        if not running:
            break
        done = random.choice(running)
        model.ended.add(done)
        schedule.record(graph.nodes[graph.index[done]])
        if rebuild:
            schedule = Schedule(graph, ended=model.ended, begun=model.begun - model.ended)
    assert model.ended == {spec.name for spec in specs}


def test_first_come_first_served_and_by_declaration_among_equals() -> None:
    """Steps that become ready at one moment are in the order of declaration; later ones queue behind."""
    names = ["late", "c", "a", "b", "first"]
    needs = {"late": ["a"], "c": ["first"], "b": ["first"]}
    graph = TaskGraph(Step(name, OK, depends_on=needs.get(name, [])) for name in names)
    schedule = Schedule(graph)
    assert take_all(schedule) == ["a", "first"]
    schedule.record(graph.nodes[graph.index["first"]])
    schedule.record(graph.nodes[graph.index["a"]])
    assert take_all(schedule) == ["c", "b", "late"]


def test_with_hints_the_longest_remaining_path_comes_first() -> None:
    """The step's own time counts; equal ones are first come, first served."""
    seconds = {"a": 1.0, "b": 2.0, "c": 1.0, "d": 5.0, "e": 2.0}
    steps = [Step(name, OK, expected_seconds=hint) for name, hint in seconds.items()]
    steps.append(Step("f", OK, depends_on=["c"], expected_seconds=9.0))
    assert take_all(Schedule(TaskGraph(steps))) == ["c", "d", "b", "e", "a"]


def test_a_wrong_hint_delays_and_never_loses_a_step() -> None:
    """Also hints of zero seconds."""
    graph = TaskGraph(Step(f"s{i}", OK, expected_seconds=0) for i in range(5))
    assert take_all(Schedule(graph)) == [f"s{i}" for i in range(5)]


@pytest.mark.parametrize("hints", [True, False])
def test_what_waits_can_be_taken_out_and_put_back_in_order(hints: bool) -> None:
    """As a re-plan does with items and retries."""
    graph = TaskGraph(Step(f"s{i}", OK, expected_seconds=1.0 if hints else None) for i in range(4))
    schedule = Schedule(graph)
    waiting = schedule.drain()
    assert [unit.node.name for unit in waiting] == ["s0", "s1", "s2", "s3"]
    assert schedule.take() is None
    for unit in waiting:
        schedule.push(unit)
    assert take_all(schedule) == ["s0", "s1", "s2", "s3"]


def test_a_serial_step_is_held_back_until_the_other_has_ended() -> None:
    """The one that waited longest goes next, before what became ready later."""
    steps = [Step(f"s{i}", OK, parallel=False) for i in range(3)]
    graph = TaskGraph([*steps, Step("p", OK), Step("q", OK, depends_on=["s0"])])
    schedule = Schedule(graph)
    assert take_all(schedule) == ["s0", "p"]
    schedule.record(graph.nodes[graph.index["s0"]])
    assert take_all(schedule) == ["s1", "q"]
    schedule.record(graph.nodes[graph.index["s1"]])
    assert take_all(schedule) == ["s2"]
