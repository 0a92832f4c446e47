"""The result of a run never depends on scheduling order, and every step starts as soon as it may."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kairos_async import Workflow, WorkflowResult
from tests.clocks import BACKENDS, run_virtual
from tests.engine.graphs import Spec, World, canonical, graphs, list_schedule
from tests.engine.tools import open_contexts

LIMITS = st.sampled_from([1, 2, 3, 5, None])


def ran(world: World, slots: int | None, on: str) -> WorkflowResult:
    """Run the world's graph to its end."""

    async def main() -> WorkflowResult:
        return await Workflow("w", world.steps(), max_concurrency=slots).run({"given": 1})

    return run_virtual(main, on=on)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(graphs(), st.lists(st.tuples(st.integers(0, 99), LIMITS), min_size=2, max_size=3))
def test_the_result_never_depends_on_the_order(specs: list[Spec], ways: list[tuple[int, int | None]]) -> None:
    """Whatever the durations, the slots and the event loop: equal statuses, outputs, attempts and final state."""
    found = []
    for position, (seed, slots) in enumerate(ways):
        world = World(specs, seed)
        found.append(canonical(ran(world, slots, BACKENDS[position % 2])))
        assert slots is None or world.gauge.peak <= slots
        assert world.gauge.running == 0
    assert all(facts == found[0] for facts in found[1:])
    assert open_contexts() == 0


@pytest.mark.parametrize("on", BACKENDS)
@settings(max_examples=200)
@given(specs=graphs(plain=True), seed=st.integers(0, 99), slots=LIMITS)
def test_every_step_starts_as_soon_as_its_needs_and_a_slot_allow(
    on: str, specs: list[Spec], seed: int, slots: int | None
) -> None:
    """To the instant, retries included: as a list scheduler that looks at nothing else."""
    world = World(specs, seed)
    result = ran(world, slots, on)
    expected = list_schedule(world, slots)
    found = {(name, attempt): at for at, name, attempt in world.started}
    assert found == pytest.approx({(name, attempt): at for at, name, attempt in expected})
    assert len(result.step_results) == len(specs)


@settings(max_examples=60)
@given(graphs(plain=True, most=9), st.integers(0, 99))
def test_the_order_of_declaration_changes_no_output(specs: list[Spec], seed: int) -> None:
    """Only who comes first when slots are scarce."""
    first = canonical(ran(World(specs, seed), 2, "asyncio"))
    second = canonical(ran(World(specs[::-1], seed), 2, "asyncio"))
    assert (first["steps"], first["state"]) == (second["steps"], second["state"])
