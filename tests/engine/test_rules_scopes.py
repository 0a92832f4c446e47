"""What a step sees: what it declared, as copies, as long as its attempt lasts."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import structlog

from kairos_async import KairosError, PlanError, ScopeError, StateError, Step, StepContext, Workflow
from tests.engine.tools import NO_RETRY, Events, open_contexts, output_of, retrying, returns, run, statuses

READS: dict[str, Callable[[StepContext], object]] = {
    "inputs": lambda ctx: ctx.inputs["api_key"],
    "inputs.get": lambda ctx: ctx.inputs.get("api_key"),
    "inputs.get with default": lambda ctx: ctx.inputs.get("api_key", "none"),
    "state": lambda ctx: ctx.state.get("api_key"),
    "state with default": lambda ctx: ctx.state.get("api_key", "none"),
}


@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("declared", [[], ["other"]])
async def test_an_unauthorized_read_is_a_state_error(how: str, declared: list[str]) -> None:
    """With a default too; it names the key and the step, and is not retried."""

    async def act(ctx: StepContext) -> object:
        return READS[how](ctx)

    result = await run(Step("a", act, read_keys=declared), inputs={"api_key": "secret-value-1", "other": 1})
    failed = result.step_results["a"]
    assert "Unauthorized read: key 'api_key' is not in the declared read_keys" in str(failed.error_message)
    assert "step 'a'" in str(failed.error_message)
    assert (failed.error_type, len(failed.attempts)) == ("ScopeError", 1)


def test_a_foreach_over_a_key_that_read_keys_leave_out_is_a_plan_error() -> None:
    """It would be a read that nobody declared."""
    with pytest.raises(PlanError, match="step 'a' has foreach='items', which its read_keys leave out"):
        Workflow("w", [Step("a", returns(1), foreach="items", read_keys=["other"])])


async def test_a_key_outside_read_keys_is_not_there() -> None:
    """`in` and `has` say so, and it is in no listing; also when it does not exist."""

    async def act(ctx: StepContext) -> object:
        there = ["api_key" in ctx.inputs, "api_key" in ctx.state, ctx.state.has("api_key"), ctx.state.has("nope")]
        return [*there, [*ctx.inputs], ctx.state.keys(), len(ctx.inputs), repr(ctx.inputs), repr(ctx.state)]

    result = await run(Step("a", act, read_keys=["b"]), inputs={"api_key": "x", "b": 1})
    views = ["<Inputs of step 'a': b>", "<State of step 'a': b>"]
    assert output_of(result, "a") == [False, False, False, False, ["b"], ["b"], 1, *views]


@pytest.mark.parametrize("read", [lambda ctx: ctx.inputs["nmae"], lambda ctx: ctx.state.get("nmae")])
async def test_a_missing_key_is_answered_with_what_there_is(read: Callable[[StepContext], object]) -> None:
    """A misspelt key is the commonest slip; of many keys, ten are named."""

    async def act(ctx: StepContext) -> object:
        return read(ctx)

    said = (await run(Step("a", act, failure_policy=NO_RETRY), inputs={"name": 1})).error_message
    assert "Step 'a' reads key 'nmae', which neither the inputs nor a step upstream of it gave" in str(said)
    assert "It can read ['name']" in str(said)
    many = {f"key{i:03}": 1 for i in range(1000)}
    said = (await run(Step("a", act, failure_policy=NO_RETRY), inputs=many)).error_message
    assert "'key009'] and 990 more" in str(said)


async def test_a_declared_key_that_is_not_there_is_not_an_unauthorized_read() -> None:
    """KeyError from inputs, StateError from state, the default if one is given."""

    async def act(ctx: StepContext) -> object:
        with pytest.raises(KeyError):
            ctx.inputs["k"]
        with pytest.raises(StateError, match="Step 'a' reads key 'k', which neither the inputs nor a step") as caught:
            ctx.state.get("k")
        assert not isinstance(caught.value, ScopeError)
        return [ctx.inputs.get("k", 1), ctx.state.get("k", 2), ctx.state.get("k", None)]

    assert (await run(Step("a", act, read_keys=["k"]))).output == [1, 2, None]


async def test_write_keys_are_the_only_keys_that_may_be_written() -> None:
    """The step's own output is stored all the same."""

    async def act(ctx: StepContext) -> str:
        ctx.state.set("k", 1)
        with pytest.raises(ScopeError, match="Unauthorized write: key 'x' is not in the declared write_keys"):
            ctx.state.set("x", 2)
        return "done"

    result = await run(Step("a", act, write_keys=["k"]), Step("b", returns("too"), write_keys=[]))
    assert result.final_state == {"k": 1, "a": "done", "b": "too"}


async def test_a_scope_violation_is_never_retried() -> None:
    """The same code would ask the same again."""

    async def act(ctx: StepContext) -> None:
        ctx.state.set("x", 2)

    result = await run(Step("a", act, write_keys=[]))
    assert [attempt.error_type for attempt in result.step_results["a"].attempts] == ["ScopeError"]


async def test_the_name_of_a_step_cannot_be_written() -> None:
    """Its value is what the step returns; also its own name, and that of a step which has not run."""

    async def act(ctx: StepContext) -> str:
        for name in ("a", "b"):
            with pytest.raises(ScopeError, match=f"writes '{name}', which is the name of a step"):
                ctx.state.set(name, "forged")
        return "real"

    result = await run(Step("a", act), Step("b", returns(1), depends_on=["a"]))
    assert result.final_state == {"a": "real", "b": 1}


async def test_keys_are_plain_strings() -> None:
    """A subclass could answer differently each time it is asked."""

    class Chameleon(str):
        pass

    async def act(ctx: StepContext) -> None:
        for key in (Chameleon("k"), 3, None):
            for use in (lambda k: ctx.state.get(k), lambda k: ctx.inputs[k], lambda k: ctx.state.set(k, 1)):
                with pytest.raises(ScopeError, match="keys are plain str"):
                    use(key)
            assert not ctx.state.has(key)  # type: ignore[arg-type]

    assert statuses(await run(Step("a", act), inputs={"k": 1})) == {"a": "completed"}


async def test_what_a_step_reads_is_a_copy() -> None:
    """Two reads give two objects; changing one changes nothing else."""

    async def act(ctx: StepContext) -> object:
        second = ctx.inputs["data"]
        for first in (ctx.inputs["data"], ctx.inputs.get("data"), ctx.state.get("data")):
            first["x"].append("broken")
            first["y"] = "broken"
        own: dict[str, list[object]] = {"list": [1]}
        ctx.state.set("own", own)
        own["list"].append("broken")
        ctx.state.get("own")["list"].append("broken")
        return [second, ctx.state.get("data"), ctx.state.get("own")]

    data: dict[str, list[object]] = {"x": [1]}
    result = await run(Step("a", act), inputs={"data": data})
    assert result.output == [{"x": [1]}, {"x": [1]}, {"list": [1]}]
    assert result.final_state == {"data": {"x": [1]}, "own": {"list": [1]}, "a": result.output}
    data["x"].append("broken")
    assert result.final_state["data"] == {"x": [1]}


async def test_an_output_is_copied_when_it_is_stored() -> None:
    """What the action keeps of it is its own affair."""
    kept = {"list": [1]}
    result = await run(Step("a", returns(kept)), Step("b", returns(None), depends_on=["a"]))
    kept["list"].append(2)
    assert output_of(result, "a") == {"list": [1]}


async def test_inputs_are_a_read_only_mapping() -> None:
    """There is nothing to assign to."""

    async def act(ctx: StepContext) -> object:
        with pytest.raises(TypeError):
            ctx.inputs["x"] = 2  # type: ignore[index]
        with pytest.raises(TypeError):
            del ctx.inputs["x"]  # type: ignore[attr-defined]
        return [dict(ctx.inputs), [*ctx.inputs.items()], ctx.inputs == {"x": 1}]

    assert (await run(Step("a", act), inputs={"x": 1})).output == [{"x": 1}, [["x", 1]], True]


async def test_a_context_says_where_it_is() -> None:
    """Step, run, attempt, item and index."""

    async def act(ctx: StepContext) -> object:
        if ctx.index is None:
            return [ctx.step_id, ctx.item, ctx.index, ctx.attempt, ctx.retry_context, len(ctx.run_id)]
        return [ctx.step_id, ctx.item, ctx.index, ctx.attempt]

    result = await run(Step("a", act), Step("each", act, foreach="items"), inputs={"items": ["x", None]})
    assert output_of(result, "a") == ["a", None, None, 1, None, 32]
    assert output_of(result, "each") == [["each", "x", 0, 1], ["each", None, 1, 1]]


@pytest.mark.parametrize("method", ["count_llm_calls", "increment_llm_calls"])
async def test_llm_calls_are_counted(method: str) -> None:
    """From the loop and from threads, of attempts that fail too."""

    async def act(ctx: StepContext) -> None:
        getattr(ctx, method)()
        getattr(ctx, method)(4)
        raise ValueError

    def threaded(ctx: StepContext) -> None:
        getattr(ctx, method)(10)

    policy = retrying(1)
    result = await run(Step("t", threaded), Step("a", act, failure_policy=policy, depends_on=["t"]))
    assert result.llm_calls == 20


@pytest.mark.parametrize("count", [-1, 1.5, True, "1", None])
async def test_llm_calls_are_whole_numbers(count: Any) -> None:
    """Anything else is refused."""

    async def act(ctx: StepContext) -> None:
        with pytest.raises(KairosError, match="count_llm_calls"):
            ctx.count_llm_calls(count)

    assert (await run(Step("a", act))).raise_for_status().llm_calls == 0


async def test_a_context_is_dead_once_its_attempt_ended() -> None:
    """Kept, copied, or through the views taken from it; plain facts about the attempt stay."""
    kept: list[Any] = []

    async def act(ctx: StepContext) -> None:
        kept.extend([ctx, ctx.inputs, ctx.state])
        if ctx.attempt == 1:
            raise ValueError

    def uses(ctx: StepContext, inputs: Any, state: Any) -> list[Callable[[], object]]:
        fresh: list[Callable[[], object]] = [
            lambda: ctx.inputs["x"],
            lambda: ctx.state.get("x", None),
            lambda: ctx.state.set("k", 1),
            lambda: ctx.log,
            ctx.count_llm_calls,
        ]
        old: list[Callable[[], object]] = [lambda: inputs["x"], lambda: "x" in inputs, lambda: state.set("k", 1)]
        return fresh + old

    await run(Step("a", act), inputs={"x": 1})
    assert len(kept) == 6
    for ctx, inputs, state in (kept[:3], kept[3:]):
        for use in uses(ctx, inputs, state):
            with pytest.raises(StateError, match="is closed: the attempt has ended"):
                use()
        assert ctx.step_id == "a"
    assert open_contexts() == 0


async def test_copies_of_a_context_are_dead() -> None:
    """A copy reaches nothing, not even while the original does."""

    async def act(ctx: StepContext) -> object:
        twins = [copy.copy(ctx), copy.deepcopy(ctx), pickle.loads(pickle.dumps(ctx))]
        for twin in twins:
            with pytest.raises(StateError):
                twin.state.get("x")
        return ctx.state.get("x")

    assert (await run(Step("a", act), inputs={"x": 1})).output == 1


async def test_a_task_that_outlives_its_attempt_cannot_write() -> None:
    """What it tries is refused, and the next step does not see it."""
    refused: list[str] = []

    async def late(ctx: StepContext) -> None:
        await anyio.sleep(1)
        try:
            ctx.state.set("k", "late")
        except StateError as error:
            refused.append(str(error))

    async with anyio.create_task_group() as outside:

        async def act(ctx: StepContext) -> None:
            outside.start_soon(late, ctx)

        result = await run(Step("a", act), Step("b", returns(None, after=5), depends_on=["a"]))
    assert len(refused) == 1
    assert "k" not in result.final_state


async def test_the_log_of_a_context_is_bound_and_redacted() -> None:
    """It names run, step, attempt and item, and hides what is sensitive from the host's own logging."""
    with structlog.testing.capture_logs() as lines:

        async def act(ctx: StepContext) -> None:
            ctx.log.info("calling", password="hunter2hunter2", value=3)
            if ctx.attempt == 1 and ctx.index is None:
                raise ValueError

        first = Step("a", act, failure_policy=retrying(1))
        await run(first, Step("each", act, foreach="items", depends_on=["a"]), inputs={"items": [1]})
    assert [(line["event"], line["step"], line["attempt"], line.get("item")) for line in lines] == [
        ("calling", "a", 1, None),
        ("calling", "a", 2, None),
        ("calling", "each", 1, 0),
    ]
    assert {(line["password"], line["value"]) for line in lines} == {("[REDACTED]", 3)}
    assert len({line["run_id"] for line in lines}) == 1


async def test_secrets_leave_no_run_by_key() -> None:
    """The step has the real value; events, results and what is printed have not."""
    secret = "correct-horse-battery"
    events = Events()

    async def act(ctx: StepContext) -> object:
        assert ctx.inputs["api_key"] == secret
        ctx.state.set("session_token", {"value": secret})
        return {"password": secret, "max_tokens": 7}

    result = await run(Step("a", act), inputs={"api_key": secret, "author": "Ada"}, hooks=[events])
    assert result.output == {"password": secret, "max_tokens": 7}
    for shown in (repr(events), repr(result), repr(result.to_dict()), repr(result.final_state)):
        assert secret not in shown
    assert result.final_state["author"] == "Ada"
    assert result.final_state["a"] == {"password": "[REDACTED]", "max_tokens": 7}
