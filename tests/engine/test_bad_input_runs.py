"""Bad input at run time: raised before the first step if it can be known then, else an outcome in the result."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import BaseModel

from kairos_async import (
    ConfigError,
    FailureAction,
    FailurePolicy,
    PlanError,
    StateError,
    Step,
    StepContext,
    Workflow,
    WorkflowStatus,
)
from tests.engine.tools import NO_RETRY, Events, raises, returns, run, statuses

OK = returns("fine")


def cyclic() -> list[object]:
    """Return a list that contains itself."""
    loop: list[object] = []
    loop.append(loop)
    return loop


class Record(BaseModel):
    """A model whose fields hold anything."""

    rows: Any


@dataclasses.dataclass
class Page:
    """The same as a dataclass."""

    rows: Any


def endless() -> Iterator[int]:
    """Give numbers without end."""
    return (number for number in itertools.count())


def deep(levels: int) -> object:
    """Return empty lists inside lists."""
    value: object = 0
    for _ in range(levels):
        value = [value]
    return value


NOT_JSON: dict[str, Callable[[], object]] = {
    "set": lambda: {1, 2},
    "endless generator": endless,
    "endless generator in a model": lambda: Record(rows=endless()),
    "endless generator deep in a dataclass": lambda: Page({"of": [deque([Record(rows={endless()})])]}),
    "iterator, which could be endless": lambda: map(str, [1]),
    "nan": lambda: math.nan,
    "infinity": lambda: -math.inf,
    "bytes": lambda: b"raw",
    "cycle": cyclic,
    "object": object,
    "surrogate": lambda: "\ud800",
    "too deep": lambda: deep(101),
    "int keys": lambda: {1: "one"},
    "huge int": lambda: 10**5000,
    "function": lambda: cyclic,
}


@pytest.mark.parametrize("kind", NOT_JSON)
async def test_an_input_that_is_not_json_is_raised_before_the_first_step(kind: str) -> None:
    """It names the input and the place in it, no step runs, and no event is sent."""
    events, begun = Events(), []

    def act(ctx: StepContext) -> None:
        begun.append(ctx.step_id)

    with pytest.raises(StateError, match=r"Input 'data': the value at \$\.deep\["):
        await run(Step("a", act), inputs={"data": {"deep": [1, NOT_JSON[kind]()]}}, hooks=[events])
    assert (begun, events) == ([], [])


async def test_inputs_are_a_mapping_with_str_keys() -> None:
    """Anything else is refused."""
    workflow = Workflow("w", [Step("a", OK)])
    with pytest.raises(StateError, match=r"The inputs of workflow .w. are a list.* mapping"):
        await workflow.run([("a", 1)])  # type: ignore[arg-type]
    with pytest.raises(StateError, match="Input key of type int is not a str"):
        await workflow.run({3: 1})  # type: ignore[dict-item]


async def test_an_input_named_like_a_step_is_an_error() -> None:
    """One name, one value."""
    with pytest.raises((StateError, PlanError), match="input 'a' has the name of a step"):
        await run(Step("a", OK), inputs={"a": 1})


async def test_the_timeout_of_a_run_is_checked() -> None:
    """As the workflow's own."""
    with pytest.raises(ConfigError, match="timeout=-1 must be"):
        await Workflow("w", [Step("a", OK)]).run(timeout=-1)


async def test_run_sync_inside_a_loop_says_what_to_do() -> None:
    """It would deadlock or nest loops."""
    workflow = Workflow("w", [Step("a", OK)])
    with pytest.raises(ConfigError, match=r"await workflow\.run"):
        workflow.run_sync()
    assert (await anyio.to_thread.run_sync(workflow.run_sync)).status == "complete"


def test_run_sync_in_a_callback_of_a_loop_says_so_too() -> None:
    """A signal handler, say, while no task runs."""
    workflow = Workflow("w", [Step("a", OK)])
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: raised.append(context["exception"]))
    raised: list[Exception] = []
    loop.call_soon(workflow.run_sync)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    assert [type(error) for error in raised] == [ConfigError]


@pytest.mark.parametrize("kind", NOT_JSON)
async def test_an_output_that_is_not_json_is_an_outcome_that_names_step_and_path(kind: str) -> None:
    """What finished before is not lost."""
    bad = Step("bad", returns({"deep": [1, NOT_JSON[kind]()]}), depends_on=["first"], failure_policy=NO_RETRY)
    result = await run(Step("first", OK), bad)
    failed = result.step_results["bad"]
    assert statuses(result) == {"first": "completed", "bad": "failed_final"}
    assert failed.error_type == "StateError"
    assert failed.error_message is not None
    assert failed.error_message.startswith("The output of step 'bad': the value at $.deep[1]")
    assert result.final_state["first"] == "fine"


@pytest.mark.parametrize("kind", NOT_JSON)
async def test_a_write_that_is_not_json_is_an_outcome_that_names_step_and_path(kind: str) -> None:
    """The same for `ctx.state.set`, at once when it is called."""

    async def act(ctx: StepContext) -> str:
        with pytest.raises(StateError, match=r"Step 'bad', write to 'k': the value at \$\[0\]"):
            ctx.state.set("k", [NOT_JSON[kind]()])
        return "wrote nothing"

    result = await run(Step("bad", act))
    assert result.final_state == {"bad": "wrote nothing"}


@pytest.mark.parametrize("value", [{"x": 1}, "text", 3, None, True])
async def test_a_foreach_over_something_else_than_a_list_is_an_outcome(value: object) -> None:
    """The message names the step, the key and the way out; what finished is not lost."""
    each = Step("each", OK, foreach="items", failure_policy=NO_RETRY)
    events = Events()
    result = await run(Step("items", returns(value)), each, hooks=[events])
    assert statuses(result) == {"items": "completed", "each": "failed_final"}
    assert events.types("each") == ["step_start", "step_fail"]
    assert events.of("step_start")[1].data == {"attempt": 1, "needs": ["items"], "foreach": "items"}
    assert result.output is None
    assert output_of_items(result.final_state) == value
    message = str(result.step_results["each"].error_message)
    assert "Step 'each' has foreach='items'" in message
    assert f"a value of type {type(value).__name__}; it needs a list" in message


def output_of_items(state: dict[str, Any]) -> object:
    """Return what is stored for the step of this name."""
    return state["items"]


async def test_a_foreach_over_a_key_that_nobody_gives_is_raised_before_the_first_step() -> None:
    """With a hint at what was meant."""
    events = Events()
    with pytest.raises(PlanError, match=r"step 'each' has foreach='itmes'.* Did you mean 'items'\?"):
        await run(Step("each", OK, foreach="itmes"), inputs={"items": []}, hooks=[events])
    assert events == []


async def test_a_hook_that_raises_is_reported_once_and_harmless() -> None:
    """The other hooks get everything."""
    events = Events()

    def broken(event: object) -> None:
        raise RuntimeError("sink is full")

    result = await run(Step("a", OK), Step("b", OK, depends_on=["a"]), hooks=[broken, events])
    assert result.status is WorkflowStatus.COMPLETE
    assert len(result.warnings) == 1
    assert "broken raised RuntimeError: sink is full" in result.warnings[0]
    events.check()


REPLANNING = FailurePolicy(max_retries=0, fallback_action=FailureAction.REPLAN)

BAD_PLANS: dict[str, tuple[Callable[[], Any], str]] = {
    "cycle": (lambda: [Step("x", OK, depends_on=["y"]), Step("y", OK, depends_on=["x"])], "cycle: x -> y -> x"),
    "unknown need": (lambda: [Step("x", OK, depends_on=["gone"])], "'gone', which is not a step"),
    "wider read": (lambda: [Step("x", OK, read_keys=["api_key"])], "step 'x' could read 'api_key'"),
    "all reads": (lambda: [Step("x", OK, write_keys=[])], "step 'x' could read 'api_key'"),
    "wider write": (lambda: [Step("x", OK, read_keys=[], write_keys=["k"])], "step 'x' could write 'k'"),
    "all writes": (lambda: [Step("x", OK, read_keys=[])], "step 'x' could write any key"),
    "twice": (lambda: [Step("x", OK), Step("x", OK)], "used twice"),
    "a finished name": (lambda: [Step("first", OK)], "used twice"),
    "no steps": (lambda: ["x"], "which is no Step"),
    "no list": (lambda: 3, "the planner returned 3, which is no list of steps"),
    "nothing": (lambda: None, "the planner returned None, which is no list of steps"),
    "a step": (lambda: Step("x", OK), "the planner returned <Step 'x'>, which is no list of steps"),
}


@pytest.mark.parametrize("kind", BAD_PLANS)
async def test_a_planner_that_returns_a_bad_plan_is_an_outcome(kind: str) -> None:
    """The run ends with the planner's problem and loses nothing that finished."""
    plan, message = BAD_PLANS[kind]
    result = await run(
        Step("first", OK),
        Step("bad", raises(ValueError), read_keys=["first"], write_keys=[], failure_policy=REPLANNING),
        planner=lambda request: plan(),
        inputs={"api_key": "sk-0123456789"},
    )
    assert result.status is WorkflowStatus.FAILED
    assert statuses(result) == {"first": "completed", "bad": "failed_final"}
    assert "the planner failed" in str(result.error_message)
    assert message in str(result.error_message)
    assert result.final_state["first"] == "fine"


async def test_a_planner_that_raises_is_an_outcome() -> None:
    """Whether it is async or not."""

    async def planner(request: object) -> list[Step]:
        await anyio.sleep(1)
        raise LookupError("no idea")

    for planning in (planner, raises_lookup_error):
        result = await run(
            Step("first", OK),
            Step("bad", raises(ValueError), depends_on=["first"], failure_policy=REPLANNING),
            planner=planning,
        )
        assert result.status is WorkflowStatus.FAILED
        assert (result.error_type, result.error_message) == ("LookupError", "the planner failed: no idea")
        assert result.step_results["bad"].error_type == "ValueError"
        assert result.step_results["first"].output == "fine"


def raises_lookup_error(request: object) -> list[Step]:
    """Raise, in a worker thread."""
    raise LookupError("no idea")


async def test_a_custom_handler_that_raises_is_an_outcome() -> None:
    """The handler's failure is the step's, and nothing that finished is lost."""

    def handler(failure: object) -> FailureAction:
        raise LookupError("no answer")

    policy = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=handler)
    result = await run(Step("first", OK), Step("bad", raises(ValueError), depends_on=["first"], failure_policy=policy))
    assert statuses(result) == {"first": "completed", "bad": "failed_final"}
    said = "the custom_handler of step 'bad' failed: no answer"
    assert (result.error_type, result.error_message) == ("LookupError", said)
    assert [attempt.error_type for attempt in result.step_results["bad"].attempts] == ["ValueError"]
