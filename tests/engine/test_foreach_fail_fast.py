"""FAIL_FAST: the first item that fails for good cancels the others, and nothing else."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import pytest

from kairos_async import FailureAction, FailurePolicy, ForeachPolicy, Step, StepContext
from tests.engine.items import follows, items_of
from tests.engine.tools import (
    NO_RETRY,
    Events,
    flaky,
    hides,
    hides_beside,
    open_contexts,
    replanning,
    retrying,
    returns,
    run,
    statuses,
)

FAST = ForeachPolicy.FAIL_FAST


async def test_fail_fast_cancels_the_others_and_fails() -> None:
    """Those under way are cancelled and awaited, those to come never start."""
    items: list[object] = [{"takes": 1}, {"takes": 2, "failures": 9}, {"takes": 50}, {"takes": 50}, {}]
    events = Events()
    result = await run(
        Step("each", follows, foreach="items", foreach_policy=FAST, max_concurrency=3, failure_policy=NO_RETRY),
        inputs={"items": items},
        hooks=[events],
    )
    assert anyio.current_time() == 2
    assert result.error_message == "item 1, attempt 1"
    expected = ["completed", "failed_final", "cancelled", "cancelled", "skipped"]
    assert [item.status for item in items_of(result)] == expected
    assert open_contexts() == 0
    events.check()


@pytest.mark.parametrize("slots", [1, 2, None])
@pytest.mark.parametrize("action", [FailureAction.SKIP, FailureAction.ABORT])
async def test_fail_fast_while_other_items_wait_for_a_retry(action: FailureAction, slots: int | None) -> None:
    """The waiting is cut short, and the run goes on as the policy says."""

    async def answer(failure: Any) -> FailureAction:
        return FailureAction.REPLAN if "1" in failure.error_message[:6] else FailureAction.RETRY

    policy = FailurePolicy(
        max_retries=5,
        retry_delay=50,
        on_execution_fail=FailureAction.CUSTOM,
        custom_handler=answer,
        fallback_action=action,
    )
    result = await run(
        Step("each", follows, foreach="items", foreach_policy=FAST, failure_policy=policy),
        Step("after", returns("ran"), depends_on=["each"]),
        inputs={"items": [{"failures": 9}, {"takes": 1, "failures": 9}, {"failures": 9}]},
        max_concurrency=slots,
        within=1000,
    )
    assert anyio.current_time() <= 2
    skipped = action is FailureAction.SKIP
    expected = {"each": "skipped" if skipped else "failed_final", "after": "completed" if skipped else "skipped"}
    assert statuses(result) == expected


async def swallows(ctx: object) -> None:
    """Return all the same, late."""
    with contextlib.suppress(BaseException):
        await anyio.sleep(100)


@pytest.mark.parametrize("hide", [hides, hides_beside, swallows])
async def test_fail_fast_what_an_item_makes_of_its_cancellation_is_nobodys(hide: Any) -> None:
    """It was cancelled, and the failure is that of the item that failed."""

    async def act(ctx: StepContext) -> None:
        if ctx.item == 0:
            await anyio.sleep(1)
            raise ValueError("the first")
        await hide(ctx)

    step = Step("each", act, foreach="items", foreach_policy=FAST, failure_policy=NO_RETRY)
    result = await run(step, inputs={"items": [0, 1]})
    assert result.error_message == "the first"
    assert [item.status for item in items_of(result)] == ["failed_final", "cancelled"]


async def test_fail_fast_leaves_workers_that_are_fit_for_items_of_another_foreach() -> None:
    """Those that it stopped go on with what waits."""

    async def planner(request: object) -> list[Step]:
        return [Step("planned", returns("ran"))]

    bad = [{"takes": 1, "failures": 9}, {"takes": 50}, {"takes": 50}]
    result = await run(
        Step("fast", follows, foreach="bad", foreach_policy=FAST, failure_policy=replanning()),
        Step("other", follows, foreach="good"),
        planner=planner,
        inputs={"bad": bad, "good": [{"takes": 1}] * 9},
        max_concurrency=5,
        within=100,
    )
    assert statuses(result) == {"other": "completed", "planned": "completed"}


async def test_fail_fast_an_item_that_swallows_its_cancellation_stops_nothing_else() -> None:
    """The plan that follows runs, and so does the step beside."""

    async def act(ctx: StepContext) -> str:
        if ctx.item == 0:
            await anyio.sleep(1)
            raise ValueError
        with contextlib.suppress(BaseException):
            await anyio.sleep(100)
        return "late"

    async def planner(request: object) -> list[Step]:
        return [Step("planned", returns("ran"))]

    policy = FailurePolicy(max_retries=0, on_execution_fail=FailureAction.REPLAN)
    result = await run(
        Step("each", act, foreach="items", foreach_policy=FAST, failure_policy=policy),
        Step("beside", flaky(3), failure_policy=retrying(3, delay=5)),
        planner=planner,
        inputs={"items": [0, 1, 2]},
        within=1000,
    )
    assert statuses(result) == {"beside": "completed", "planned": "completed"}
