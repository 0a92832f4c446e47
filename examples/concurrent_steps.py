"""Independent steps run at the same time: the same workflow, measured one step at a time and all at once.

Each step waits as long as a call of a service might. The last one starts when its four needs are met, and `fastest`
as soon as its one need is: there are no waves.

(A file named concurrent.py would hide the standard library's package of that name from every example beside it.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from kairos_async import Step, StepContext, Workflow, WorkflowResult

SECONDS = {"weather": 0.1, "traffic": 0.2, "news": 0.2, "stocks": 0.3}


def call(seconds: float) -> Callable[[StepContext], Awaitable[str]]:
    """Return an action that takes this long."""

    async def action(ctx: StepContext) -> str:
        await anyio.sleep(seconds)
        return f"{ctx.step_id}: {seconds} s"

    return action


async def fastest(ctx: StepContext) -> str:
    """It needs the weather alone."""
    return f"umbrella? ({ctx.inputs['weather']})"


async def digest(ctx: StepContext) -> list[str]:
    """It needs all four."""
    return [str(ctx.inputs[name]) for name in SECONDS]


def briefing(max_concurrency: int | None) -> Workflow:
    """Return the workflow, with a limit on how many steps run at once."""
    return Workflow(
        name="briefing",
        steps=[
            *(Step(name, call(seconds)) for name, seconds in SECONDS.items()),
            Step("fastest", fastest, depends_on=["weather"]),
            Step("digest", digest, depends_on=list(SECONDS)),
        ],
        max_concurrency=max_concurrency,
    )


async def measured(max_concurrency: int | None) -> WorkflowResult:
    """Run the workflow once."""
    return (await briefing(max_concurrency).run()).raise_for_status()


async def main() -> None:
    """Run it both ways and compare."""
    one_by_one = await measured(1)
    together = await measured(None)
    assert one_by_one.output == together.output
    print(f"one step at a time: {one_by_one.duration_ms:5.0f} ms (the sum is {sum(SECONDS.values()) * 1000:.0f})")
    print(f"all at once:        {together.duration_ms:5.0f} ms (the longest is {max(SECONDS.values()) * 1000:.0f})")
    print(f"measured speed-up:  {one_by_one.duration_ms / together.duration_ms:5.1f}")
    started = together.step_results["fastest"].started_ms
    print(f"`fastest` started after {started:.0f} ms, beside steps that were still running")


if __name__ == "__main__":
    anyio.run(main)
