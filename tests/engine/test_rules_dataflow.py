"""Data flow is the graph: what a step needs is an edge, and a value never depends on timing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from kairos_async import PlanError, ScopeError, StateError, Step, StepContext, TaskGraph, Workflow, WorkflowStatus
from tests.engine.tools import NO_RETRY, Clocked, output_of, returns, run, statuses

LIST = returns([1, 2])


async def keeps(ctx: StepContext) -> str:
    """Write a key that is declared."""
    ctx.state.set("k", "kept")
    return "done"


@pytest.mark.parametrize(
    "needs",
    [
        {"depends_on": ["a"]},
        {"depends_on": [Step("a", LIST)]},
        {"foreach": "a"},
        {"foreach": Step("a", LIST)},
        {"read_keys": ["a"]},
        {"read_keys": [Step("a", LIST)]},
        {"read_keys": ["k"]},
        {"foreach": "k", "read_keys": ["k"]},
        {"foreach": "k"},
    ],
    ids=repr,
)
async def test_an_edge_exists_when_a_step_says_that_it_needs_another(needs: dict[str, Any]) -> None:
    """By name or as the Step object, in each of the ways; the order of declaration does not matter."""

    async def act(ctx: StepContext) -> list[int]:
        await anyio.sleep(1)
        ctx.state.set("k", [1, 2])
        return [1, 2]

    clocked = Clocked()
    a, b = Step("a", act, write_keys=["k"]), clocked.step("b", 1, **needs)
    for steps in ([a, b], [b, a]):
        assert TaskGraph(steps).needs("b") == ("a",)
    assert (await run(b, a)).status is WorkflowStatus.COMPLETE
    assert set(clocked.started.values()) == {1}


async def test_a_declared_read_never_races_with_the_write_that_it_needs() -> None:
    """The reader waits for the writer, however slow it is and wherever it is declared."""

    async def writes(ctx: StepContext) -> None:
        await anyio.sleep(50)
        ctx.state.set("k", "written")

    async def reads(ctx: StepContext) -> object:
        return ctx.state.get("k")

    reader, writer = Step("r", reads, read_keys=["k"]), Step("w", writes, write_keys=["k"])
    for steps in ([reader, writer], [writer, reader]):
        assert output_of(await run(*steps), "r") == "written"


async def test_a_reader_upstream_of_the_writer_reads_the_older_value() -> None:
    """A key may be read, changed and read again along a chain."""

    async def bump(ctx: StepContext) -> object:
        value = ctx.state.get("n")
        ctx.state.set("n", value + 1)
        return value

    declared: dict[str, Any] = {"read_keys": ["n"], "write_keys": ["n"]}
    result = await run(
        Step("a", bump, **declared),
        Step("b", bump, depends_on=["a"], **declared),
        Step("c", bump, depends_on=["b"], **declared),
        inputs={"n": 10},
    )
    assert [output_of(result, name) for name in "abc"] == [10, 11, 12]
    assert result.final_state["n"] == 13


@pytest.mark.parametrize("declared_first", [True, False])
@pytest.mark.parametrize("delay", [0.0, 5.0])
@pytest.mark.parametrize("how", ["inputs", "state", "state with default", "inputs.get"])
async def test_reading_an_output_that_is_not_upstream_names_the_missing_edge(
    how: str, delay: float, declared_first: bool
) -> None:
    """Whether the other step has ended or not: never a value that depends on timing."""
    read: dict[str, Callable[[StepContext], object]] = {
        "inputs": lambda ctx: ctx.inputs["other"],
        "inputs.get": lambda ctx: ctx.inputs.get("other"),
        "state": lambda ctx: ctx.state.get("other"),
        "state with default": lambda ctx: ctx.state.get("other", None),
    }

    async def reads(ctx: StepContext) -> object:
        await anyio.sleep(delay)
        return read[how](ctx)

    steps = [Step("reader", reads, failure_policy=NO_RETRY), Step("other", returns("x", after=1))]
    result = await run(*(steps if declared_first else reversed(steps)))
    assert result.step_results["reader"].error_type == "ScopeError"
    assert "Add depends_on=['other'] or read_keys=['other'] to step 'reader'" in str(result.error_message)


@pytest.mark.parametrize("key", ["a", "b", "c"])
async def test_the_way_out_of_reading_too_early_is_no_cycle(key: str) -> None:
    """What a step itself, or one behind it, will produce is not there for it, whatever it declares."""

    async def act(ctx: StepContext) -> object:
        return ctx.inputs[key]

    behind = Step("b", returns(1), depends_on=["a"]), Step("c", returns(1), depends_on=["b"])
    result = await run(Step("a", act, failure_policy=NO_RETRY), *behind)
    assert result.error_type == "ScopeError"
    assert f"Read {key!r} in a step that runs after {key!r}." in str(result.error_message)


async def test_an_output_that_is_not_upstream_is_not_there() -> None:
    """Neither for `in`, nor for `has`, nor among the keys."""

    async def looks(ctx: StepContext) -> list[object]:
        await anyio.sleep(5)
        return ["other" in ctx.inputs, ctx.state.has("other"), "other" in ctx.state, ctx.state.keys(), [*ctx.inputs]]

    result = await run(Step("looks", looks), Step("other", returns("x")), inputs={"i": 1})
    assert output_of(result, "looks") == [False, False, False, ["i"], ["i"]]


async def test_a_step_sees_everything_upstream_not_only_what_it_depends_on_directly() -> None:
    """Upstream is transitive, and so is what was written there."""

    async def reads(ctx: StepContext) -> object:
        return [ctx.inputs["a"], ctx.inputs["k"], sorted(ctx.inputs), len(ctx.inputs)]

    result = await run(
        Step("a", keeps), Step("b", returns(2), depends_on=["a"]), Step("c", reads, depends_on=["b"]), inputs={"i": 0}
    )
    assert output_of(result, "c") == ["done", "kept", ["a", "b", "i", "k"], 4]


def test_two_steps_that_declare_the_same_write_key_without_an_order_are_a_plan_error() -> None:
    """When the workflow is built; a chain of any length is an order."""
    names = [f"s{i}" for i in range(6)]
    chain = [
        Step(name, LIST, write_keys=["k"], depends_on=[before] if before else [])
        for name, before in zip(names, ["", *names], strict=False)
    ]
    Workflow("w", chain)
    loose = [*chain[:3], Step("s3", LIST, write_keys=["k"], depends_on=["s1"])]
    with pytest.raises(PlanError, match="steps 's2' and 's3' both write key 'k'"):
        Workflow("w", loose)


@pytest.mark.parametrize("delays", [(0, 1), (1, 0), (1, 1)])
async def test_undeclared_unordered_writes_to_one_key_are_a_state_error_at_the_second_write(
    delays: tuple[float, float],
) -> None:
    """The message names both steps and the key."""

    def writer(delay: float) -> Any:
        async def act(ctx: StepContext) -> None:
            await anyio.sleep(delay)
            ctx.state.set("k", delay)

        return act

    result = await run(Step("a", writer(delays[0])), Step("b", writer(delays[1])))
    assert result.status is WorkflowStatus.FAILED
    assert result.error_type == "ScopeError"
    assert "Steps 'a' and 'b' both write key 'k' and neither runs after the other" in str(result.error_message)
    assert sorted(statuses(result).values()) == ["completed", "failed_final"]
    assert issubclass(ScopeError, StateError)


async def test_ordered_undeclared_writes_to_one_key_are_fine() -> None:
    """The last one along the path counts."""

    def writer(value: str) -> Any:
        async def act(ctx: StepContext) -> object:
            before = ctx.state.get("k", "nothing")
            ctx.state.set("k", value)
            return before

        return act

    result = await run(Step("a", writer("x")), Step("b", writer("y"), depends_on=["a"]), inputs={"k": "input"})
    assert [output_of(result, "a"), output_of(result, "b"), result.final_state["k"]] == ["input", "x", "y"]


async def test_an_undeclared_write_beside_a_reader_is_never_seen_by_it() -> None:
    """The reader sees the input, before and after the write."""

    async def writes(ctx: StepContext) -> None:
        ctx.state.set("k", "new")

    async def reads(ctx: StepContext) -> object:
        early = ctx.state.get("k")
        await anyio.sleep(10)
        return [early, ctx.state.get("k"), ctx.inputs["k"]]

    result = await run(Step("r", reads), Step("w", writes), inputs={"k": "old"})
    assert output_of(result, "r") == ["old", "old", "old"]
    assert result.final_state["k"] == "new"


async def test_depends_on_only_orders_when_read_keys_are_given() -> None:
    """The step waits, and does not see."""
    clocked = Clocked()

    async def reads(ctx: StepContext) -> object:
        return [anyio.current_time(), sorted(ctx.inputs)]

    result = await run(clocked.step("a", 3), Step("b", reads, depends_on=["a"], read_keys=["i"]), inputs={"i": 1})
    assert output_of(result, "b") == [3, ["i"]]
