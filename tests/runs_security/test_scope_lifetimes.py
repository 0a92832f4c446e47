"""Attempts that take more than one step, attempt, task or thread: a scope ends with its attempt."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import SecretStr

from kairos_async import (
    Event,
    KairosError,
    RunLogger,
    ScopeError,
    StateError,
    Step,
    StepComplete,
    StepContext,
    Workflow,
)
from tests.engine.tools import output_of, raises, retrying, returns, run

MARKER = "FORBIDDEN-7731"
AT_ONCE = retrying(2, delay=0.0)

USES: dict[str, Callable[[Any, Any, Any], object]] = {
    "inputs": lambda ctx, inputs, state: ctx.inputs["x"],
    "kept inputs": lambda ctx, inputs, state: inputs["x"],
    "kept inputs, iter": lambda ctx, inputs, state: [*inputs],
    "kept inputs, in": lambda ctx, inputs, state: "x" in inputs,
    "kept inputs, len": lambda ctx, inputs, state: len(inputs),
    "kept inputs, repr": lambda ctx, inputs, state: repr(inputs),
    "kept inputs, get": lambda ctx, inputs, state: inputs.get("x", None),
    "state.get": lambda ctx, inputs, state: ctx.state.get("x", None),
    "kept state.get": lambda ctx, inputs, state: state.get("x", None),
    "kept state.set": lambda ctx, inputs, state: state.set("k", "late"),
    "state.set": lambda ctx, inputs, state: ctx.state.set("k", "late"),
    "kept state.has": lambda ctx, inputs, state: state.has("x"),
    "kept state.keys": lambda ctx, inputs, state: state.keys(),
    "log": lambda ctx, inputs, state: ctx.log,
    "count_llm_calls": lambda ctx, inputs, state: ctx.count_llm_calls(),
}


def refusals(kept: list[Any]) -> list[str]:
    """Return the uses of a kept context that were refused."""
    refused = []
    for name, use in USES.items():
        try:
            use(*kept)
        except StateError:
            refused.append(name)
    return refused


async def test_a_kept_context_is_dead_in_a_later_step() -> None:
    """Whichever way it is used; its views too."""
    kept: list[Any] = []

    async def first(ctx: StepContext) -> None:
        kept.extend([ctx, ctx.inputs, ctx.state])

    async def later(ctx: StepContext) -> list[str]:
        return refusals(kept)

    result = await run(Step("a", first), Step("b", later, depends_on=["a"]), inputs={"x": MARKER})
    assert (result.output, result.llm_calls, "k" in result.final_state) == ([*USES], 0, False)


@pytest.mark.real_time
async def test_a_kept_context_is_dead_in_a_later_thread() -> None:
    """Threads have no way around."""
    kept: list[Any] = []

    def first(ctx: StepContext) -> None:
        kept.extend([ctx, ctx.inputs, ctx.state])

    def later(ctx: StepContext) -> list[str]:
        return refusals(kept)

    result = await run(Step("a", first), Step("b", later, depends_on=["a"]), inputs={"x": MARKER})
    assert result.output == [*USES]


async def test_a_kept_context_is_dead_in_the_next_attempt() -> None:
    """Also that of an attempt that failed."""
    kept: list[Any] = []

    async def act(ctx: StepContext) -> list[str]:
        if ctx.attempt == 1:
            kept.extend([ctx, ctx.inputs, ctx.state])
            raise ValueError
        return refusals(kept)

    assert (await run(Step("a", act, failure_policy=AT_ONCE), inputs={"x": 1})).output == [*USES]


async def test_a_task_that_lives_on_is_refused() -> None:
    """The next step, hours later, sees nothing of what it tries."""
    refused: list[str] = []

    async def late(kept: list[Any]) -> None:
        await anyio.sleep(3600)
        refused.extend(refusals(kept))

    async with anyio.create_task_group() as outside:

        async def act(ctx: StepContext) -> None:
            outside.start_soon(late, [ctx, ctx.inputs, ctx.state])

        result = await run(Step("a", act), Step("b", returns(1, after=7200), depends_on=["a"]), inputs={"x": 1})
    assert refused == [*USES]
    assert set(result.final_state) == {"x", "a", "b"}


@pytest.mark.real_time
async def test_a_thread_that_goes_on_after_its_deadline_is_refused() -> None:
    """It is abandoned, and what it then tries neither reads nor writes."""
    ended, done = threading.Event(), threading.Event()
    refused: list[str] = []

    def act(ctx: StepContext) -> None:
        kept = [ctx, ctx.inputs, ctx.state]
        ended.wait(30)
        refused.extend(refusals(kept))
        done.set()

    policy = retrying(0)
    result = await run(Step("a", act, timeout=0.25, failure_policy=policy), inputs={"x": 1})
    ended.set()
    await anyio.to_thread.run_sync(done.wait, 30)
    assert refused == [*USES]
    assert result.step_results["a"].error_type == "StepTimeoutError"
    assert result.final_state == {"x": 1}


@pytest.mark.real_time
async def test_a_write_that_began_before_the_deadline_is_not_the_next_attempts() -> None:
    """Copying a value takes time: a write is refused if its attempt ended meanwhile."""
    second, done = threading.Event(), threading.Event()
    refused: list[type[BaseException]] = []

    class Slow(list[object]):
        def __iter__(self) -> Iterator[object]:
            second.wait(30)
            return iter(["late"])

    def act(ctx: StepContext) -> int:
        if ctx.attempt == 2:
            second.set()
            done.wait(30)
            return 2
        try:
            ctx.state.set("k", Slow())
        except StateError as error:
            refused.append(type(error))
        finally:
            done.set()
        return 1

    result = await run(Step("a", act, timeout=0.2, failure_policy=AT_ONCE))
    assert (result.final_state, refused) == ({"a": 2}, [StateError])


async def test_a_wrapped_secret_cannot_be_changed() -> None:
    """What a step reads of it is its own, and so is what the caller keeps."""
    given = SecretStr("hunter2-hunter2")

    async def forge(ctx: StepContext) -> None:
        ctx.inputs["api_key"]._secret_value = "forged-forged"

    async def use(ctx: StepContext) -> bool:
        return bool(ctx.inputs["api_key"].get_secret_value() == "hunter2-hunter2")

    result = await run(Step("a", forge), Step("b", use, depends_on=["a"]), inputs={"api_key": given})
    assert (result.output, given.get_secret_value()) == (True, "hunter2-hunter2")


async def test_what_a_failed_attempt_wrote_is_gone() -> None:
    """The next attempt starts from the state before the step, and so does what follows."""

    async def act(ctx: StepContext) -> object:
        seen = [ctx.state.get("k", None), ctx.state.has("k"), "k" in ctx.inputs, ctx.state.keys()]
        ctx.state.set("k", "written")
        if ctx.attempt < 3:
            raise ValueError
        return seen

    result = await run(Step("a", act, failure_policy=AT_ONCE))
    assert result.output == [None, False, False, []]

    async def fails(ctx: StepContext) -> None:
        ctx.state.set("k", "written")
        raise ScopeError("no")

    assert "k" not in (await run(Step("a", fails))).final_state


async def test_the_retry_context_is_the_attempts_own() -> None:
    """Changing it changes nothing for the next one, nor for the same step of another run, nor what events tell of
    it to who reads them later, as a log does."""

    async def act(ctx: StepContext) -> object:
        if ctx.attempt == 3:
            return ctx.retry_context
        if ctx.retry_context is not None:
            ctx.retry_context.update(guidance="obey", errors=["obey"])
        raise ValueError

    step = Step("a", act, failure_policy=AT_ONCE)
    events: list[Event] = []
    for _ in range(2):
        assert "obey" not in repr((await run(step, hooks=[events.append])).output)
    assert "obey" not in repr(events)


async def test_a_later_step_cannot_rewrite_an_earlier_result() -> None:
    """Not by its copy, not by its name, not with a run's output in hand."""
    kept: list[Any] = []

    async def first(ctx: StepContext) -> object:
        kept.append({"rows": [1]})
        return kept[0]

    async def later(ctx: StepContext) -> None:
        kept[0]["rows"].append("forged")
        ctx.inputs["a"]["rows"].append("forged")
        with pytest.raises(ScopeError, match="the name of a step"):
            ctx.state.set("a", "forged")

    result = await run(Step("a", first), Step("b", later, depends_on=["a"]))
    assert output_of(result, "a") == {"rows": [1]}
    assert result.final_state["a"] == {"rows": [1]}


async def test_what_leaves_a_run_is_a_copy() -> None:
    """The caller's inputs, events, final_state and to_dict() can be changed without effect on the run."""
    inputs: dict[str, Any] = {"x": {"list": [1]}}

    def hook(event: Event) -> None:
        if isinstance(event, StepComplete):
            output: Any = event.data["output"]
            output["list"].append("forged")

    async def act(ctx: StepContext) -> object:
        inputs["x"]["list"].append("forged")
        inputs["y"] = "forged"
        return ctx.inputs["a" if ctx.step_id == "b" else "x"]

    result = await run(Step("a", act), Step("b", act, depends_on=["a"]), inputs=inputs, hooks=[hook])
    assert result.output == {"list": [1]}
    exported: Any = result.to_dict()
    exported["step_results"]["a"]["output"]["list"].append("forged")
    state: Any = result.final_state
    state["a"]["list"].append("forged")
    state["y"] = "forged"
    output: Any = result.output
    output["list"].append("forged")
    assert result.final_state == {"x": {"list": [1]}, "a": {"list": [1]}, "b": {"list": [1]}}
    assert "forged" not in repr(result.to_dict()["step_results"]["a"])  # type: ignore[index,call-overload]


async def test_a_hook_that_changes_an_event_changes_nobody_elses() -> None:
    """Neither for the next hook nor in a log: what it adds has not been redacted."""
    seen: list[Event] = []

    def adds(event: Event) -> None:
        data: Any = event.data
        data["added"] = MARKER

    logger = RunLogger()
    step = Step("a", raises(ValueError), failure_policy=AT_ONCE)
    result = await run(step, hooks=[adds, seen.append, logger])
    assert len(seen) == 6
    assert MARKER not in repr([event.data for event in seen]) + repr(logger.get_log(result.run_id).to_dict())


async def test_an_input_named_like_a_step_is_refused() -> None:
    """A step's result cannot be given from outside, nor replace an input."""
    with pytest.raises(KairosError, match="input 'a' has the name of a step"):
        await run(Step("a", returns(1)), inputs={"a": "forged"})


async def test_scopes_are_fixed_when_they_are_declared() -> None:
    """Lists changed afterwards, and attributes of a step set after its workflow was built, grant nothing."""
    reads, writes = ["x"], ["k"]

    async def act(ctx: StepContext) -> list[object]:
        with pytest.raises(ScopeError):
            ctx.inputs["ledger"]
        with pytest.raises(ScopeError):
            ctx.state.set("other", 1)
        return [*ctx.inputs]

    step = Step("a", act, read_keys=reads, write_keys=writes)
    reads.append("ledger")
    writes.append("other")
    workflow = Workflow("w", [step])
    step.read_keys = step.write_keys = None
    step.action = returns("forged")
    assert (await workflow.run({"x": 1, "ledger": MARKER})).raise_for_status().output == ["x"]


async def test_items_do_not_reach_each_other() -> None:
    """An item is a copy, and what another item writes is not seen."""

    async def act(ctx: StepContext) -> object:
        ctx.item["rows"].append(ctx.index)
        ctx.inputs["items"][1 - (ctx.index or 0)]["rows"].append("forged")
        await anyio.sleep(1)
        ctx.state.set(f"k{ctx.index}", ctx.index)
        await anyio.sleep(1)
        return [ctx.item, ctx.inputs["items"], ctx.state.keys()]

    given: dict[str, object] = {"items": [{"rows": []}, {"rows": []}]}
    result = await run(Step("each", act, foreach="items", read_keys=["items"]), inputs=copy.deepcopy(given))
    assert result.output == [[{"rows": [i]}, given["items"], ["items", f"k{i}"]] for i in range(2)]
    assert result.final_state["items"] == given["items"]
