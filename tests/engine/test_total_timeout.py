"""`Step(total_timeout=)`: seconds for the whole step, with all its attempts, delays, waiting and items."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import pytest

from kairos_async import FailureAction, FailurePolicy, ForeachPolicy, Step, WorkflowStatus
from tests.engine.tools import (
    NO_RETRY,
    SKIPPING,
    Calls,
    Clocked,
    hides,
    hides_beside,
    retrying,
    returns,
    run,
    statuses,
)


async def test_a_step_has_a_total_timeout() -> None:
    """Over its attempts: the last one is cut, and the message says what was up."""
    calls = Calls(takes=2)
    result = await run(Step("a", calls, total_timeout=7, failure_policy=retrying(9, delay=1)))
    assert calls.at == [0, 3, 6]
    assert anyio.current_time() == 7
    assert result.error_message == "Step 'a' with all its attempts did not finish within 7 s"
    assert [attempt.status for attempt in result.step_results["a"].attempts] == ["failure", "failure", "timeout"]


async def test_no_retry_is_waited_for_that_would_come_after_the_total_timeout() -> None:
    """Or just as it passes: the step fails at once, with its last failure."""
    for limit in (7, 10):
        calls, begun = Calls(), anyio.current_time()
        result = await run(Step("a", calls, total_timeout=limit, failure_policy=retrying(9, delay=5)))
        assert (calls.at, result.error_type) == ([begun, begun + 5], "ValueError")
        assert anyio.current_time() == begun + 5


@pytest.mark.parametrize("policy", list(ForeachPolicy))
async def test_a_foreach_has_a_total_timeout_too(policy: ForeachPolicy) -> None:
    """Items that are done are kept; those under way and to come fail."""
    result = await run(
        Step(
            "each",
            returns("x", after=2),
            foreach="items",
            max_concurrency=1,
            total_timeout=5,
            foreach_policy=policy,
            failure_policy=NO_RETRY,
        ),
        inputs={"items": [*range(4)]},
    )
    items = result.step_results["each"].items
    assert items is not None
    assert [item.output for item in items] == ["x", "x", None, None]
    assert anyio.current_time() == 5
    partial = policy is ForeachPolicy.ALLOW_PARTIAL
    assert result.status is (WorkflowStatus.COMPLETE if partial else WorkflowStatus.FAILED)


async def test_a_retry_that_waits_for_a_slot_is_not_called_after_the_total_timeout() -> None:
    """The step ends when its time is up, although the slot is still taken."""
    calls, clocked = Calls(), Clocked()
    policy = retrying(3, delay=1, fallback_action=FailureAction.SKIP)
    result = await run(
        Step("a", calls, total_timeout=5, failure_policy=policy),
        clocked.step("long", 50),
        clocked.step("after", 1, depends_on=["a"]),
        max_concurrency=1,
    )
    assert calls.at == [0]
    assert result.step_results["a"].duration_ms == 5000
    assert statuses(result) == {"a": "skipped", "long": "completed", "after": "completed"}


async def swallows(failure: object) -> str:
    """Answer late."""
    with contextlib.suppress(BaseException):
        await anyio.sleep(100)
    return "late"


@pytest.mark.parametrize("handler", [returns("late", after=100), swallows, hides, hides_beside])
async def test_a_handler_that_thinks_is_bound_by_the_total_timeout(handler: Any) -> None:
    """The step has failed when its time is up, whatever the handler makes of its cancellation."""
    policy = FailurePolicy(on_execution_fail=FailureAction.CUSTOM, custom_handler=handler)
    result = await run(Step("a", Calls(), total_timeout=5, failure_policy=policy))
    assert (result.error_type, anyio.current_time()) == ("StepTimeoutError", 5)


async def test_an_attempt_that_is_in_time_is_not_hit_by_the_total_timeout_of_another_step() -> None:
    """Each step has its own clock, from when it began."""
    result = await run(
        Step("a", returns(1, after=3), total_timeout=2, failure_policy=SKIPPING),
        Step("b", returns(2, after=1.5), total_timeout=2, depends_on=["a"]),
        Step("c", returns(3, after=1.5), total_timeout=2, depends_on=["b"], failure_policy=NO_RETRY),
    )
    assert statuses(result) == {"a": "skipped", "b": "completed", "c": "completed"}
