"""One step over many items: concurrent and bounded, in order, each item with its own retries, contract and outcome.

Of 200 pages, each fetched by a call that takes 20 ms, every tenth fails at its first attempt and two are never there.
ALLOW_PARTIAL completes the step without them, and the result says which they were and why.
"""

from __future__ import annotations

import anyio
from pydantic import BaseModel

from kairos_async import FailurePolicy, ForeachPolicy, Step, StepContext, StepStatus, Workflow

GONE = {17, 120}


class Page(BaseModel):
    """The contract of one item's output."""

    number: int
    words: int


async def pages(ctx: StepContext) -> list[int]:
    """Return what there is to do."""
    return list(range(int(ctx.inputs["count"])))


async def fetch(ctx: StepContext) -> Page:
    """Fetch one page; `ctx.item` is one of the list that `pages` returned."""
    number = ctx.item
    assert isinstance(number, int)
    await anyio.sleep(0.02)
    if number in GONE:
        raise LookupError("no such page")
    if number % 10 == 0 and ctx.attempt == 1:
        raise ConnectionError("reset by peer")
    return Page(number=number, words=100 + number)


async def total(ctx: StepContext) -> int:
    """Add up what was fetched; a page that failed is None, in its place."""
    return sum(page["words"] for page in ctx.inputs["fetch"] if page is not None)


workflow = Workflow(
    name="fan-out",
    steps=[
        Step("pages", pages),
        Step(
            "fetch",
            fetch,
            foreach="pages",
            foreach_policy=ForeachPolicy.ALLOW_PARTIAL,
            max_concurrency=50,
            output_contract=Page,
            failure_policy=FailurePolicy(max_retries=1, retry_delay=0.05),
        ),
        Step("total", total, depends_on=["fetch"]),
    ],
)


async def main() -> None:
    """Follow the run by its events, then look at what it left."""
    async for event in workflow.stream({"count": 200}):
        if event.event_type in {"item_complete", "item_fail"} and event.data["done"] in {50, 100, 150, 200}:
            print(f"{event.data['done']} of {event.data['total']} pages are done")
    result = (await workflow.run({"count": 200})).raise_for_status()
    items = result.step_results["fetch"].items
    assert items is not None
    fetched = [Page.model_validate(item.output) for item in items if item.status is StepStatus.COMPLETED]
    in_order = fetched == sorted(fetched, key=lambda page: page.number)
    print(f"{len(fetched)} pages fetched, in order: {in_order}; words in all: {result.output}")
    print(f"{sum(len(item.attempts) > 1 for item in items)} pages took a second attempt")
    for item in items:
        if item.error_type is not None:
            print(f"page {item.index} failed: {item.error_type}: {item.error_message}")
    print(f"{len(items)} calls of 20 ms, 50 at a time, took {result.duration_ms:.0f} ms")


if __name__ == "__main__":
    anyio.run(main)
