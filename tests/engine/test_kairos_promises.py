"""What kairos-ai says but does not do: a test for each point that fails on what it does."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pydantic
import pytest

from kairos_async import (
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Step,
    StepContext,
    StepStatus,
    Workflow,
    WorkflowStatus,
)
from tests.engine.tools import NO_RETRY, Clocked, flaky, output_of, raises, retrying, returns, run, statuses


def greet(ctx: StepContext) -> str:  # sync actions run in a worker thread
    """Greet."""
    return f"Hello, {ctx.inputs.get('name', 'World')}!"


async def shout(ctx: StepContext) -> str:  # async actions run on the loop
    """Shout."""
    return ctx.inputs["greet"].upper()  # type: ignore[no-any-return]


def hello() -> Workflow:
    """Return the workflow of the quick start."""
    return Workflow(
        name="hello",
        steps=[Step(name="greet", action=greet), Step(name="shout", action=shout, depends_on=["greet"])],
        max_concurrency=8,
    )


async def test_the_quick_start_with_await() -> None:
    """`ctx.inputs.get` and `result.output` are there."""
    result = await hello().run({"name": "Kairos"})
    assert result.output == "HELLO, KAIROS!"
    assert (await hello().run()).output == "HELLO, WORLD!"


def test_the_quick_start_with_run_sync() -> None:
    """The same from a script."""
    result = hello().run_sync({"name": "Kairos"})
    assert result.output == "HELLO, KAIROS!"
    assert result.status is WorkflowStatus.COMPLETE


async def test_runs_are_async() -> None:
    """Many runs of one workflow wait together, not one after the other."""
    workflow = Workflow("w", [Step("a", returns("done", after=1))])
    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(workflow.run)
    assert anyio.current_time() == 1


async def test_there_are_no_waves() -> None:
    """The child of a fast step starts when that step is done, not when a slow step beside it is."""
    clocked = Clocked()
    await run(
        clocked.step("fast", 0.1),
        clocked.step("slow", 1),
        clocked.step("child", 0.1, depends_on=["fast"]),
    )
    assert clocked.started == {"fast": 0, "slow": 0, "child": 0.1}
    assert anyio.current_time() == 1


async def test_max_retries_of_one_gives_one_retry() -> None:
    """Two attempts, and the second one counts."""
    policy = retrying(1)
    result = await run(Step("a", flaky(1), failure_policy=policy))
    assert (result.output, len(result.step_results["a"].attempts)) == ("ok", 2)
    result = await run(Step("a", flaky(2), failure_policy=policy))
    assert (result.status, len(result.step_results["a"].attempts)) == (WorkflowStatus.FAILED, 2)


async def test_the_delay_and_the_backoff_of_a_policy_are_kept() -> None:
    """To the second."""
    calls: list[float] = []

    async def act(ctx: StepContext) -> None:
        calls.append(anyio.current_time())
        raise ValueError

    policy = FailurePolicy(max_retries=3, retry_delay=2, retry_backoff=3, retry_jitter=0)
    await run(Step("a", act, failure_policy=policy))
    assert calls == [0, 2, 2 + 6, 2 + 6 + 18]


async def test_replan_is_not_abort() -> None:
    """The planner is asked, and its steps run."""
    policy = FailurePolicy(on_execution_fail=FailureAction.REPLAN)
    result = await run(
        Step("a", raises(ValueError), failure_policy=policy),
        planner=lambda request: [Step("b", returns("plan B"))],
    )
    assert (result.status, result.output) == (WorkflowStatus.COMPLETE, "plan B")


async def test_custom_is_not_abort() -> None:
    """The handler is asked, and its answer counts."""
    policy = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=lambda failure: "instead")
    result = await run(Step("a", raises(ValueError), failure_policy=policy))
    assert (result.status, result.output) == (WorkflowStatus.COMPLETE, "instead")


async def test_abort_ends_unrelated_steps() -> None:
    """They are cancelled where they stand, and no further step starts."""
    clocked = Clocked()
    result = await run(
        Step("bad", raises(ValueError, after=1), failure_policy=NO_RETRY),
        clocked.step("unrelated", 100),
        clocked.step("later", 1, depends_on=["unrelated"]),
    )
    assert anyio.current_time() == 1
    assert statuses(result) == {"bad": "failed_final", "unrelated": "cancelled", "later": "skipped"}
    assert "later" not in clocked.started


async def test_attempts_are_kept_after_an_abort() -> None:
    """Of the step that failed, of those that were done, and of those that were cancelled."""
    result = await run(
        Step("done", returns(1)),
        Step("running", returns(1, after=100)),
        Step("each", returns(1, after=1.5), foreach="items", max_concurrency=1),
        Step("bad", raises(ValueError("no")), depends_on=["done"], failure_policy=retrying(2)),
        inputs={"items": [0, 1, 2]},
    )
    numbers = {name: [a.attempt_number for a in done.attempts] for name, done in result.step_results.items()}
    assert numbers == {"done": [1], "running": [1], "each": [], "bad": [1, 2, 3]}
    items = result.step_results["each"].items
    assert items is not None
    assert [item.status for item in items] == ["completed", "cancelled", "skipped"]
    assert {a.error_message for a in result.step_results["bad"].attempts} == {"no"}
    assert [a.status for a in result.step_results["running"].attempts] == ["cancelled"]


class Report(pydantic.BaseModel):
    """A contract."""

    title: str
    pages: int


@pytest.mark.parametrize("output", [{"title": "T"}, {"title": "T", "pages": "12"}, {"title": "T", "pages": True}, "T"])
async def test_a_pydantic_model_is_an_enforced_contract(output: object) -> None:
    """What breaks it never reaches state."""
    result = await run(Step("a", returns(output), output_contract=Report, failure_policy=NO_RETRY))
    assert (result.status, result.error_type) == (WorkflowStatus.FAILED, "ValidationError")
    assert result.final_state == {}


async def test_extra_keys_do_not_pass_silently() -> None:
    """A contract that forbids them refuses them; a model that says nothing drops what it does not declare."""

    class Strict(pydantic.BaseModel, extra="forbid"):
        title: str

    extra = {"title": "T", "pages": 1, "injected": "x"}
    refused = await run(Step("a", returns(extra), output_contract=Strict, failure_policy=NO_RETRY))
    assert refused.error_type == "ValidationError"
    result = await run(Step("a", returns(extra), output_contract=Report))
    assert result.output == {"title": "T", "pages": 1}


async def test_redaction_covers_more_than_final_state_and_spares_author() -> None:
    """Events, `to_dict` and `repr` too; `author` and `max_tokens` are no secrets."""
    secret = "plainvalue-that-is-secret"
    seen: list[str] = []
    result = await run(
        Step("a", returns({"author": "Ada", "max_tokens": 5, "api_key": secret, "echo": f"used {secret}"})),
        hooks=[lambda event: seen.append(repr(event))],
    )
    everywhere = [repr(result), repr(result.to_dict()), repr(result.final_state), *seen]
    assert [text for text in everywhere if secret in text] == []
    state: Any = result.final_state["a"]
    assert (state["author"], state["max_tokens"], state["api_key"]) == ("Ada", 5, "[REDACTED]")
    assert output_of(result, "a")["api_key"] == secret


async def test_nested_state_cannot_be_changed_by_a_reader() -> None:
    """Not through inputs, not through state, not through an item."""

    async def vandal(ctx: StepContext) -> str:
        ctx.inputs["config"]["deep"].append("broken")
        ctx.state.get("config")["deep"].append("broken")
        if ctx.item is not None:
            ctx.item["deep"] = "broken"
        return "done"

    inputs = {"config": {"deep": [1]}, "items": [{"deep": [1]}]}
    result = await run(
        Step("a", vandal), Step("b", vandal, foreach="items"), Step("c", vandal, depends_on=["a", "b"]), inputs=inputs
    )
    assert result.final_state == {**inputs, "a": "done", "b": ["done"], "c": "done"}


async def test_no_attribute_of_a_context_reaches_the_store() -> None:
    """Neither by name nor by walking through what the context holds."""
    found: list[str] = []

    async def burglar(ctx: StepContext) -> None:
        assert not hasattr(ctx.state, "_store")
        seen: set[int] = set()
        waiting: list[Any] = [ctx, ctx.state, ctx.inputs]
        while waiting:
            part = waiting.pop()
            if id(part) in seen or isinstance(part, (type, str, int, float, type(None))) or callable(part):
                continue
            seen.add(id(part))
            found.append(type(part).__name__)
            slots = [slot for kind in type(part).__mro__ for slot in getattr(kind, "__slots__", ())]
            names = [*slots, *getattr(part, "__dict__", {})]
            waiting.extend(getattr(part, name) for name in names if hasattr(part, name))

    await run(Step("a", burglar, read_keys=[]), inputs={"api_key": "sk-0123456789"})
    assert sorted(found) == ["Inputs", "State", "StepContext"]


async def test_read_keys_hide_outputs_in_inputs_too() -> None:
    """`read_keys=[]` sees nothing at all, whatever it depends on."""
    seen: list[object] = []

    async def act(ctx: StepContext) -> None:
        seen.extend([dict(ctx.inputs), ctx.state.keys(), "a" in ctx.inputs, ctx.state.has("a")])

    await run(Step("a", returns(1)), Step("b", act, depends_on=["a"], read_keys=[]), inputs={"x": 1})
    assert seen == [{}, [], False, False]


async def test_a_timed_out_async_action_is_cancelled() -> None:
    """It does not run on unseen."""
    ended: list[str] = []

    async def act(ctx: StepContext) -> None:
        try:
            await anyio.sleep(100)
        finally:
            ended.append("cleaned up")

    result = await run(Step("a", act, timeout=1, failure_policy=NO_RETRY))
    assert (anyio.current_time(), ended) == (1, ["cleaned up"])
    assert result.error_message == "Step 'a', attempt 1, did not finish within 1 s"


@pytest.mark.real_time
async def test_a_timed_out_sync_action_is_reported_as_abandoned() -> None:
    """A thread cannot be stopped; what it still asks of its context is refused."""
    reported, refused = threading.Event(), threading.Event()

    def act(ctx: StepContext) -> None:
        assert reported.wait(30)
        try:
            ctx.state.set("k", 1)
        except Exception:
            refused.set()

    result = await run(Step("a", act, timeout=0.1, failure_policy=NO_RETRY))
    reported.set()
    assert "its thread cannot be stopped and was abandoned" in str(result.error_message)
    assert await anyio.to_thread.run_sync(refused.wait, 30)
    assert result.final_state == {}


async def test_foreach_is_concurrent() -> None:
    """A hundred items of a second each take a second."""
    result = await run(Step("a", returns("x", after=1), foreach="items"), inputs={"items": [*range(100)]})
    assert anyio.current_time() == 1
    assert result.output == ["x"] * 100


@pytest.mark.parametrize("policy", list(ForeachPolicy))
async def test_good_items_are_kept_whatever_the_foreach_policy(policy: ForeachPolicy) -> None:
    """Those that finished before a failure have their outputs in the step's items."""

    async def act(ctx: StepContext) -> object:
        await anyio.sleep(float(ctx.index or 0))
        if ctx.item == "bad":
            raise ValueError
        return ctx.item

    step = Step("a", act, foreach="items", foreach_policy=policy, failure_policy=NO_RETRY)
    result = await run(step, inputs={"items": ["x", "bad", "y"]})
    items = result.step_results["a"].items
    assert items is not None
    assert [item.output for item in items] == ["x", None, "y" if policy is not ForeachPolicy.FAIL_FAST else None]
    assert items[0].status is StepStatus.COMPLETED
    assert items[1].status is StepStatus.FAILED_FINAL
