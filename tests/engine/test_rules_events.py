"""Events: everything that happens, once, in order, redacted; and one final event however a run ends."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import typing
from datetime import datetime, timedelta
from typing import Any, cast

import anyio
import pytest
import structlog

from kairos_async import (
    SKIP,
    Event,
    EventLevel,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Step,
    StepContext,
    StepStart,
    StepStatus,
    Workflow,
    WorkflowComplete,
    WorkflowStart,
)
from kairos_async import events as event_types
from tests.engine.tools import NO_RETRY, SKIPPING, Events, flaky, raises, retrying, returns, run

ENDS: dict[str, tuple[list[Step], str]] = {
    "complete": ([Step("a", returns(1))], "complete"),
    "failed": ([Step("a", raises(ValueError), failure_policy=NO_RETRY), Step("b", returns(1, after=9))], "failed"),
    "timeout": ([Step("a", returns(1, after=500))], "failed"),
    "cancelled": ([Step("a", returns(1, after=50)), Step("b", returns(1), depends_on=["a"])], "cancelled"),
    "skipped": ([Step("a", returns(SKIP))], "complete"),
    "empty foreach": ([Step("a", returns(1), foreach="items")], "complete"),
    "bad planner": (
        [Step("a", raises(ValueError), failure_policy=FailurePolicy(on_execution_fail=FailureAction.REPLAN))],
        "failed",
    ),
}


@pytest.mark.parametrize("end", ENDS)
async def test_exactly_one_final_event_ends_every_run(end: str) -> None:
    """The sequence has no gaps, and the statuses agree."""
    steps, status = ENDS[end]
    events = Events()

    async def planner(request: object) -> list[Step]:
        raise LookupError

    workflow = Workflow("w", steps, hooks=[events], timeout=100, planner=planner)
    with anyio.move_on_after(20 if end == "cancelled" else 1000):
        await workflow.run({"items": []})
    final = events.check()
    assert (final.data["status"], final.level) == (status, "info" if status == "complete" else "error")
    assert isinstance(events[0], WorkflowStart)
    ended = events.of("step_complete") + events.of("step_fail") + events.of("step_skip") + events.of("step_cancel")
    assert sorted(str(event.step_id) for event in ended) == sorted(step.name for step in steps)


async def test_the_events_of_a_plain_run() -> None:
    """In order, with what their types document."""
    events = Events()
    result = await run(
        Step("a", returns(1, after=2)),
        Step("b", returns([1]), depends_on=["a"], output_contract=list[int]),
        inputs={"x": 1},
        hooks=[events],
    )
    assert events.types() == [
        "workflow_start",
        "step_start",
        "step_complete",
        "step_start",
        "validation_start",
        "validation_complete",
        "step_complete",
        "workflow_complete",
    ]
    assert events[0].data == {"workflow": "w", "steps": 2, "inputs": ["x"]}
    assert events[2].data == {"duration_ms": 2000, "attempts": 1, "attempt_ms": 2000, "output": 1}
    assert events[5].data == {"contract": "list[int]", "boundary": "output", "attempt": 1}
    assert (events[7].data["status"], events[7].data["duration_ms"]) == ("complete", 2000)
    assert {event.run_id for event in events} == {result.run_id}
    assert [event.step_id for event in events] == [None, "a", "a", "b", "b", "b", "b", None]


async def test_the_events_of_a_retry_and_a_failure() -> None:
    """Each attempt that is followed by another is a retry; the last is the failure."""
    events = Events()
    await run(Step("a", raises(ValueError("no")), failure_policy=retrying(2, delay=3)), hooks=[events])
    assert events.types("a") == ["step_start", "step_retry", "step_retry", "step_fail"]
    retry = events.of("step_retry")[1]
    expected = {"attempt": 2, "delay_s": 3, "kind": "execution", "error_type": "ValueError", "error_message": "no"}
    assert expected.items() <= retry.data.items()
    assert retry.data.keys() - expected.keys() == {"duration_ms", "retry_context"}
    failed = events.of("step_fail")[0]
    assert (failed.data["attempts"], failed.data["action"], failed.level) == (3, "abort", "error")


async def test_the_events_of_broken_contracts_name_rules_and_never_values() -> None:
    """Boundary, attempt and rules."""
    events = Events()
    step = Step("a", returns({"n": "attacker text"}), output_contract=dict[str, int], failure_policy=retrying(1, 0))
    await run(step, hooks=[events])
    assert [event.data["attempt"] for event in events.of("validation_fail")] == [1, 2]
    first = events.of("validation_fail")[0]
    assert (first.data["boundary"], first.level) == ("output", EventLevel.WARN)
    assert "attacker" not in repr(events)


async def test_the_events_of_a_foreach() -> None:
    """One for each item, with how many are done."""
    events = Events()
    await run(
        Step(
            "each",
            flaky(1, takes=1),
            foreach="items",
            foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
            max_concurrency=1,
            failure_policy=NO_RETRY,
        ),
        inputs={"items": ["x", "y"]},
        hooks=[events],
    )
    assert events.types("each") == ["step_start", "item_fail", "item_fail", "step_complete"]
    assert events.of("step_start")[0].data == {"attempt": 1, "items": 2, "needs": [], "foreach": "items"}
    assert [(e.data["index"], e.data["done"], e.data["total"]) for e in events.of("item_fail")] == [
        (0, 1, 2),
        (1, 2, 2),
    ]
    assert events.of("item_fail")[0].data["error_type"] == "ValueError"
    assert events.of("step_complete")[0].data["output"] == [None, None]


async def test_the_events_of_a_skip_say_why() -> None:
    """Whether the step returned SKIP, failed, or could not run."""
    events = Events()
    await run(
        Step("a", returns(SKIP)),
        Step("b", raises(ValueError), failure_policy=SKIPPING),
        Step("c", returns(1), foreach="b"),
        hooks=[events],
    )
    reasons = {event.step_id: event.data["reason"] for event in events.of("step_skip")}
    assert reasons["a"] == "its action returned SKIP"
    assert reasons["b"] == "it failed, and its policy skips it"
    assert reasons["c"] == "needs the output of step 'b', which has none"


def test_the_union_of_events_is_closed_frozen_and_tagged() -> None:
    """Every event type is in it, with a tag of its own."""
    members = typing.get_args(Event)
    tags = [typing.get_args(typing.get_type_hints(member)["event_type"])[0] for member in members]
    assert len(set(tags)) == len(members)
    defined = {
        kind
        for kind in vars(event_types).values()
        if dataclasses.is_dataclass(kind) and isinstance(kind, type) and not kind.__name__.startswith("_")
    }
    assert defined == set(members)
    for member in members:
        assert member.__dataclass_params__.frozen
        assert "__slots__" in vars(member)


async def test_an_event_says_when_and_cannot_be_changed() -> None:
    """In UTC."""
    events = Events()
    await run(Step("a", returns(1)), hooks=[events])
    for event in events:
        assert isinstance(event.timestamp, datetime)
        assert event.timestamp.utcoffset() == timedelta(0)
        with pytest.raises(dataclasses.FrozenInstanceError):
            event.sequence = 0  # type: ignore[misc]
    assert [event.timestamp for event in events] == sorted(event.timestamp for event in events)


async def test_events_are_redacted_before_any_hook_sees_them() -> None:
    """Once, for all hooks: by key, and wherever a secret of the run turns up."""
    secret = "correct-horse-battery"
    seen: list[str] = []
    await run(
        Step("a", returns({"token": secret, "echo": f"it is {secret}"})),
        Step("b", raises(ValueError(f"refused {secret}")), failure_policy=NO_RETRY, depends_on=["a"]),
        inputs={"password": secret},
        on_secret_output="allow",
        hooks=[lambda event: seen.append(repr(event)), lambda event: seen.append(str(event.data))],
    )
    assert [text for text in seen if secret in text] == []
    assert any("[REDACTED]" in text for text in seen)


async def test_a_hook_that_changes_an_event_changes_nothing_else() -> None:
    """Neither the state, nor what the next hook or step sees; nor does a step change an event."""
    seen: list[object] = []

    def vandal(event: Event) -> None:
        output = event.data.get("output")
        if isinstance(output, dict):
            seen.append(repr(output))
            output["list"] = "broken"

    async def reads(ctx: StepContext) -> object:
        if ctx.retry_context is None:
            raise ValueError
        ctx.retry_context.clear()
        return ctx.inputs["a"]

    events = Events()
    result = await run(
        Step("a", returns({"list": [1]})),
        Step("b", reads, depends_on=["a"], failure_policy=retrying(1)),
        hooks=[vandal, vandal, events],
    )
    told: Any = events.of("step_retry")[0].data["retry_context"]
    assert told["error_class"] == "ValueError"
    assert result.output == {"list": [1]}
    assert result.final_state == {"a": {"list": [1]}, "b": {"list": [1]}}


async def test_the_events_of_one_validation_can_be_changed_apart() -> None:
    """And neither is changed for the next hook."""
    events = Events()

    def vandal(event: Event) -> None:
        if event.event_type.startswith("validation"):
            cast(dict[str, object], event.data)["contract"] = "broken"

    await run(Step("a", returns(1), output_contract=int), hooks=[vandal, events])
    for event in (*events.of("validation_start"), *events.of("validation_complete")):
        assert event.data == {"contract": "int", "boundary": "output", "attempt": 1}


HOOK_ERRORS = [RuntimeError("full"), TypeError("wrong"), Exception(), SystemExit(3), asyncio.CancelledError()]


@pytest.mark.parametrize("error", HOOK_ERRORS, ids=repr)
async def test_a_hook_that_raises_is_reported_once_and_harms_nobody(error: BaseException) -> None:
    """In the log and in the warnings; it goes on getting events, and so do the others."""
    calls: list[str] = []
    events = Events()

    def broken(event: Event) -> None:
        calls.append(event.event_type)
        raise error

    with structlog.testing.capture_logs() as lines:
        result = await run(Step("a", returns(1)), hooks=[broken, events])
    assert (result.status, result.output) == ("complete", 1)
    assert calls == events.types()
    assert len(result.warnings) == len(lines) == 1
    assert type(error).__name__ in result.warnings[0]
    assert "broken" in result.warnings[0]


async def test_two_broken_hooks_are_each_reported() -> None:
    """Also if they are one function twice, or have no name."""

    class Broken:
        def __call__(self, event: Event) -> None:
            raise ValueError("object")

    def function(event: Event, extra: int = 0) -> None:
        raise ValueError("function")

    with structlog.testing.capture_logs():
        result = await run(Step("a", returns(1)), hooks=[Broken(), function, functools.partial(function, extra=1)])
    assert len(result.warnings) == 3
    assert "Broken" in result.warnings[0]


async def test_hooks_are_called_in_order_on_the_loops_own_thread() -> None:
    """For steps that run in threads too."""
    order: list[int] = []
    threads: set[object] = set()

    def first(event: Event) -> None:
        order.append(1)
        threads.add(anyio.get_current_task().id)

    await run(Step("a", lambda ctx: 1), hooks=[first, lambda event: order.append(2)])
    assert order == [1, 2] * (len(order) // 2)
    assert len(threads) >= 1


async def test_a_hook_added_later_sees_the_runs_that_start_later() -> None:
    """And not the one that is under way."""
    late = Events()

    async def act(ctx: object) -> None:
        workflow.add_hook(late)

    workflow = Workflow("w", [Step("a", act)])
    await workflow.run()
    assert late == []
    workflow = Workflow("w", [Step("a", returns(1))])
    workflow.add_hook(late)
    await workflow.run()
    late.check()


async def test_no_event_object_is_built_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one, whatever happens; with a hook they are."""
    built: list[str] = []

    def counting(kind: type[Event]) -> Event:
        built.append(kind.__name__)
        return object.__new__(kind)

    monkeypatch.setattr("kairos_async.events.new_event", counting)
    steps = [
        Step("a", flaky(1), failure_policy=retrying(1, 0)),
        Step("b", returns(1), foreach="items", output_contract=int),
        Step("c", returns(SKIP)),
        Step("d", raises(ValueError), depends_on=["a", "b", "c"], failure_policy=NO_RETRY),
    ]
    await run(*steps, inputs={"items": [1, 2]})
    assert built == []
    await run(*steps, inputs={"items": [1, 2]}, hooks=[lambda event: None])
    assert {StepStart.__name__, WorkflowComplete.__name__} < set(built)


async def test_attempts_and_items_say_when_they_began() -> None:
    """With the needs of each step, that is all that a timeline is drawn from."""

    async def flaky(ctx: StepContext) -> int:
        await anyio.sleep(1)
        if ctx.attempt < 3:
            raise ConnectionError
        return 1

    async def each(ctx: StepContext) -> int:
        await anyio.sleep(1)
        return 1

    policy = FailurePolicy(max_retries=2, retry_delay=2.0, retry_backoff=2.0, retry_jitter=0.0)
    workflow = Workflow(
        "timed",
        [
            Step("flaky", flaky, failure_policy=policy),
            Step("each", each, foreach="items", depends_on=["flaky"], max_concurrency=1),
        ],
    )
    events: list[Event] = []
    workflow.add_hook(events.append)
    result = await workflow.run({"items": [1, 2]})
    attempts = result.step_results["flaky"].attempts
    assert [attempt.started_ms for attempt in attempts] == pytest.approx([0, 3000, 8000])
    assert [attempt.duration_ms for attempt in attempts] == pytest.approx([1000, 1000, 1000])
    each_result = result.step_results["each"]
    assert each_result.needs == ("flaky",)
    assert each_result.items is not None
    assert [item.started_ms for item in each_result.items] == pytest.approx([9000, 10000])
    assert each_result.items[1].attempts[0].started_ms == pytest.approx(10000)
    retry = next(event for event in events if event.event_type == "step_retry")
    assert retry.data["duration_ms"] == pytest.approx(1000)
    assert retry.data["retry_context"] == {
        "attempt": 2,
        "error_type": "execution",
        "guidance": "The step raised an error. Review what it did and try again.",
        "error_class": "ConnectionError",
    }
    facts = {(event.event_type, event.step_id): event.data for event in events}
    assert facts["step_complete", "flaky"]["attempt_ms"] == pytest.approx(1000)
    assert facts["step_start", "each"]["needs"] == ["flaky"]
    assert facts["item_complete", "each"]["attempts"] == 1
    assert facts["item_complete", "each"]["attempt_ms"] == pytest.approx(1000)


async def test_an_item_that_never_started_is_skipped() -> None:
    """FAIL_FAST ends a foreach before its last items begin; they are no successes."""

    async def action(ctx: StepContext) -> int:
        raise ValueError

    policy = FailurePolicy(max_retries=0)
    step = Step(
        "s", action, foreach="xs", max_concurrency=1, foreach_policy=ForeachPolicy.FAIL_FAST, failure_policy=policy
    )
    items = (await Workflow("w", [step]).run({"xs": [1, 2]})).step_results["s"].items
    assert items is not None
    assert items[0].status is StepStatus.FAILED_FINAL
    assert (items[1].status, items[1].duration_ms, items[1].attempts) == (StepStatus.SKIPPED, 0.0, ())
