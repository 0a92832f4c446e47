"""A run in which everything happens that a picture shows, in virtual time: it is the same every time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import anyio

from kairos_async import (
    Event,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Step,
    StepContext,
    Workflow,
    WorkflowResult,
)
from tests.clocks import run_virtual

NAME = 'audit of <b>"everything"</b> & more'
ERROR = '"><script src=//evil.example/x.js></script><img src=x onerror=alert(1)>'
SECRET = "sk-ant-api03-" + "Zz9" * 30
ITEMS = 40
BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def takes(seconds: float, output: object = "done") -> Callable[[StepContext], Awaitable[object]]:
    """Return an action that takes its time."""

    async def act(ctx: StepContext) -> object:
        await anyio.sleep(seconds)
        return output

    return act


async def flaky(ctx: StepContext) -> str:
    """Succeed at the third attempt."""
    await anyio.sleep(0.12)
    if ctx.attempt < 3:
        raise ConnectionError("reset by peer")
    return "connected"


async def page(ctx: StepContext) -> int:
    """Fail for two of the items."""
    assert ctx.index is not None
    await anyio.sleep(0.02 + ctx.index * 7 % 11 / 60)
    if ctx.index in (5, 17):
        raise LookupError(f"no page {ctx.index}")
    return ctx.index


async def score(ctx: StepContext) -> str:
    """Fail for good, with a message that is no good for a page."""
    await anyio.sleep(0.3)
    raise ValueError(f"{ERROR} {SECRET}")


def troubled_workflow() -> Workflow:
    """Return the workflow: retries with waiting, a foreach with failures, a timeout, a skip, a cancellation."""
    once = FailurePolicy(max_retries=0)
    waiting = FailurePolicy(max_retries=3, retry_delay=0.15, retry_backoff=2.0, retry_jitter=0.0)
    late = FailurePolicy(max_retries=1, retry_delay=0.05, retry_jitter=0.0, fallback_action=FailureAction.SKIP)
    partial = ForeachPolicy.ALLOW_PARTIAL
    return Workflow(
        NAME,
        [
            Step("discover", takes(0.1, list(range(ITEMS)))),
            Step("pages", page, foreach="discover", max_concurrency=6, foreach_policy=partial, failure_policy=once),
            Step("connect", flaky, failure_policy=waiting),
            Step("inventory", takes(0.15), depends_on=["pages", "connect"]),
            Step("licences", takes(0.2), depends_on=["inventory"]),
            Step("requirements_of_every_package", takes(0.3), depends_on=["inventory", "discover"]),
            Step("late", takes(5), timeout=0.1, depends_on=["inventory"], failure_policy=late),
            Step("score", score, depends_on=["licences"], failure_policy=once),
            Step("background", takes(9), depends_on=["discover"]),
            Step("report", takes(0.1), depends_on=["score", "requirements_of_every_package", "late"]),
        ],
    )


@functools.cache
def troubled_run() -> tuple[WorkflowResult, tuple[Event, ...]]:
    """Return the result of the workflow and the events of its run, with the virtual clock's times."""
    events: list[Event] = []

    def keep(event: Event) -> None:
        events.append(dataclasses.replace(event, timestamp=BEGAN + timedelta(seconds=anyio.current_time())))

    workflow = troubled_workflow()
    workflow.add_hook(keep)
    return run_virtual(workflow.run, {"api_key": SECRET}), tuple(events)
