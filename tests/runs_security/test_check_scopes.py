"""`workflow.check_scopes()`: what steps may read and were not seen to read."""

from __future__ import annotations

import pytest

from kairos_async import ScopeReport, Step, StepContext, Workflow
from tests.engine.tools import NO_RETRY, returns


def reads(*keys: str, **declared: object) -> Step:
    """Return a step named `a` that reads these keys."""

    async def act(ctx: StepContext) -> object:
        return [ctx.inputs.get(key) for key in keys]

    return Step("a", act, **declared)  # type: ignore[arg-type]


async def report(*steps: Step) -> dict[str, ScopeReport]:
    """Return the reports after one run."""
    workflow = Workflow("w", steps)
    await workflow.run({"x": 1, "y": 2, "items": [1, 2]})
    return workflow.check_scopes()


async def test_a_step_that_uses_all_it_may_read_is_not_reported() -> None:
    """Nothing to tighten."""
    assert await report(reads("x", "y", read_keys=["x", "y"])) == {}


async def test_a_key_that_was_not_read_is_reported() -> None:
    """`used` and `unused` together are what the step declared."""
    found = await report(reads("x", read_keys=["x", "y"]))
    assert found == {"a": ScopeReport(frozenset({"x"}), frozenset({"y"}), unrestricted=False)}


async def test_a_step_without_read_keys_is_reported_with_what_they_could_be() -> None:
    """Upstream results are keys like inputs."""
    before = Step("b", returns(1), read_keys=[])
    found = await report(before, reads("x", "b", depends_on=["b"]))
    assert found == {"a": ScopeReport(frozenset({"x", "b"}), frozenset(), unrestricted=True)}


async def test_every_way_to_read_counts() -> None:
    """`in`, `has`, `get` with a default, iteration and the input contract."""

    async def act(ctx: StepContext) -> object:
        return [
            "k1" in ctx.inputs,
            ctx.state.has("k2"),
            ctx.state.get("k3", None),
            ctx.inputs.get("k4"),
            {**ctx.inputs},
        ]

    workflow = Workflow("w", [Step("a", act, read_keys=["k1", "k2", "k3", "k4", "k5", "k6"])])
    await workflow.run({"k5": 1})
    assert workflow.check_scopes()["a"].unused == {"k6"}
    contracted = Workflow("w", [Step("a", returns(1), read_keys=["x", "y"], input_contract=dict[str, int])])
    await contracted.run({"x": 1})
    assert contracted.check_scopes()["a"].unused == {"y"}


async def test_a_refused_read_is_not_a_used_key() -> None:
    """It was not granted, so there is nothing to tighten."""
    found = await report(reads("secret", read_keys=["x"], failure_policy=NO_RETRY))
    assert found == {"a": ScopeReport(frozenset(), frozenset({"x"}), unrestricted=False)}


async def test_the_key_of_a_foreach_is_used() -> None:
    """The step cannot do without it, whether its action reads the list or not."""
    assert await report(reads("x", foreach="items", read_keys=["items", "x"])) == {}
    found = await report(reads("x", foreach="items", read_keys=["items", "x", "y"]))
    assert found == {"a": ScopeReport(frozenset({"items", "x"}), frozenset({"y"}), unrestricted=False)}
    found = await report(reads("x", foreach="items"))
    assert await report(reads("x", foreach="items", read_keys=found["a"].used)) == {}


async def test_a_step_that_has_not_run_is_left_out() -> None:
    """Nothing is known of it; neither before the first run."""

    async def fails(ctx: StepContext) -> None:
        raise ValueError

    steps = [Step("f", fails, read_keys=[], failure_policy=NO_RETRY), reads(read_keys=["f", "x"])]
    assert Workflow("w", steps).check_scopes() == {}
    assert await report(*steps) == {}


async def test_all_runs_of_a_workflow_count() -> None:
    """What one run did not read, another did."""

    async def act(ctx: StepContext) -> object:
        return ctx.inputs["x"] or ctx.inputs["y"]

    workflow = Workflow("w", [Step("a", act, read_keys=["x", "y"])])
    await workflow.run({"x": 1, "y": 2})
    assert workflow.check_scopes()["a"].unused == {"y"}
    await workflow.run({"x": 0, "y": 2})
    assert workflow.check_scopes() == {}


@pytest.mark.real_time
async def test_reads_in_threads_count() -> None:
    """Sync steps are observed too."""

    def act(ctx: StepContext) -> object:
        return ctx.state.get("x")

    found = await report(Step("a", act, read_keys=["x", "y"]))
    assert found == {"a": ScopeReport(frozenset({"x"}), frozenset({"y"}), unrestricted=False)}
