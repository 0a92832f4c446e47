"""Everything at once: random graphs in which steps, handlers and planners misbehave, ended at random moments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from kairos_async import (
    SKIP,
    FailureAction,
    FailurePolicy,
    ForeachPolicy,
    Limiter,
    ReplanRequest,
    Step,
    StepContext,
    Workflow,
    WorkflowResult,
    WorkflowStatus,
)
from tests.clocks import BACKENDS, run_virtual
from tests.engine.stepping import settled
from tests.engine.tools import Events, Gauge, chance, open_contexts, others

ACTIONS = [FailureAction.RETRY] * 3 + [
    FailureAction.SKIP,
    FailureAction.ABORT,
    FailureAction.REPLAN,
    FailureAction.CUSTOM,
]
FALLBACKS = [FailureAction.SKIP] * 3 + [FailureAction.ABORT, FailureAction.REPLAN]
WAYS = ["return"] * 8 + ["fail", "fail", "fail", "skip", "set", "swallow", "cancelled", "group", "exit"]


@dataclass(frozen=True)
class Chaos:
    """One run, or as many as share a limiter: a seed decides everything that the other fields do not."""

    seed: int
    steps: int
    slots: int | None
    shared: int
    end: str
    at: float


CHAOS = st.builds(
    Chaos,
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 9),
    slots=st.sampled_from([1, 2, 3, None]),
    shared=st.sampled_from([0, 1, 2, 3]),
    end=st.sampled_from(["", "", "cancel", "timeout"]),
    at=st.integers(0, 40).map(lambda ticks: ticks / 4),
)


class Scene:
    """The steps of one run, and what is seen of it."""

    def __init__(self, chaos: Chaos, limiter: Limiter | None, gauge: Gauge) -> None:
        self.chaos = chaos
        self.random = chance(chaos)
        self.gauge = gauge
        self.events = Events()
        self.limiter = limiter
        self.result: WorkflowResult | None = None
        self.planned = 0
        self.steps = [
            self.step(f"s{n}", [f"s{k}" for k in range(n) if self.random.random() < 0.3]) for n in range(chaos.steps)
        ]
        self.random.shuffle(self.steps)

    def step(self, name: str, needs: list[str]) -> Step:
        """Return a step with random declarations."""
        choose = self.random.choice
        declared: dict[str, Any] = {"depends_on": needs, "parallel": self.random.random() < 0.8}
        if self.random.random() < 0.35:
            declared["foreach"] = choose(["items", *needs])
            declared["foreach_policy"] = choose(list(ForeachPolicy))
            declared["max_concurrency"] = choose([None, 1, 2])
        declared["timeout"] = choose([None, None, 1.5])
        declared["total_timeout"] = choose([None, None, None, 3.0])
        declared["expected_seconds"] = choose([None, None, 2.0])
        policy = FailurePolicy(
            max_retries=choose([0, 1, 2]),
            max_replans=choose([0, 1, 2]),
            retry_delay=choose([0, 0.5, 1]),
            on_execution_fail=choose(ACTIONS),
            fallback_action=choose(FALLBACKS),
            custom_handler=self.handler,
        )
        return Step(name, self.action(name), failure_policy=policy, **declared)

    def action(self, name: str) -> Any:
        """Return an action that does something random, the same for the same attempt."""

        async def action(ctx: StepContext) -> object:
            random = chance((self.chaos.seed, name, ctx.index, ctx.attempt))
            with self.gauge:
                ctx.state.set(f"w_{name}_{ctx.index}", ctx.attempt)
                way = random.choice(WAYS)
                try:
                    for _ in range(random.choice([0, 1, 1, 2])):
                        await anyio.sleep(random.choice([0, 0.25, 1, 2]))
                except anyio.get_cancelled_exc_class():
                    if way != "swallow":
                        raise
                return self.finish(way, ctx)

        return action

    def finish(self, way: str, ctx: StepContext) -> object:
        """End an action in one of the ways."""
        match way:
            case "fail":
                raise ValueError(f"attempt {ctx.attempt}")
            case "cancelled":
                raise LookupError from OSError()
            case "group":
                raise ExceptionGroup("both", [ValueError("x"), KeyError("y")])
            case "exit":
                raise SystemExit(3)
            case "skip":
                return SKIP
            case "set":
                return {1}
        return [ctx.attempt, ctx.step_id]

    async def handler(self, failure: Any) -> Any:
        """Answer something random."""
        await anyio.sleep(self.random.choice([0, 0.5]))
        answer = self.random.choice([*FailureAction, *FailureAction, "text", {2}, LookupError])
        if answer is LookupError:
            raise LookupError
        return answer

    async def planner(self, request: ReplanRequest) -> Any:
        """Plan something random: some of the old steps, some new ones, or nonsense."""
        await anyio.sleep(self.random.choice([0, 0.5, 3]))
        kept = [step for step in request.unfinished if self.random.random() < 0.6]
        names = {step.name for step in kept} | {*request.finished, *request.running}
        kept = [step for step in kept if needed(step) <= names]
        self.planned += 1
        new = [Step(f"n{self.planned}_{n}", self.action(f"n{self.planned}_{n}"), read_keys=[]) for n in range(2)]
        match self.random.choice(["some", "some", "some", "all", "raise", "nothing", "wrong"]):
            case "all":
                return request.unfinished
            case "raise":
                raise LookupError
            case "nothing":
                return []
            case "wrong":
                return [*kept, "no step"]
        return [*kept, *new]

    async def run(self) -> None:
        """Run it, and end it as the chaos says. There is no result if it was cancelled."""
        workflow = Workflow(
            "w",
            self.steps,
            max_concurrency=self.limiter or self.chaos.slots,
            planner=self.planner,
            hooks=[self.events],
        )
        timeout = self.chaos.at + 0.125 if self.chaos.end == "timeout" else None
        with anyio.fail_after(10_000), anyio.CancelScope() as scope:
            if self.chaos.end == "cancel":
                scope.deadline = anyio.current_time() + self.chaos.at
            self.result = await workflow.run({"items": [*range(4)]}, timeout=timeout)


def needed(step: Step) -> set[str]:
    """Return the names of the steps that a step needs."""
    return {*step.depends_on, *([step.foreach] if step.foreach and step.foreach != "items" else [])}


def check_result(events: Events, result: WorkflowResult) -> None:
    """Check that a result is in itself consistent, and with its events."""
    assert result.status in (WorkflowStatus.COMPLETE, WorkflowStatus.FAILED)
    for name, done in result.step_results.items():
        numbers = [attempt.attempt_number for attempt in done.attempts]
        assert numbers == [*range(1, len(numbers) + 1)]
        assert (name in result.final_state) == (done.status == "completed")
        assert done.status != "failed_final" or result.status is WorkflowStatus.FAILED
        assert done.status != "cancelled" or result.status is WorkflowStatus.FAILED
        last = {"completed": "complete", "failed_final": "fail", "skipped": "skip", "cancelled": "cancel"}[done.status]
        assert [kind for kind in events.types(name) if kind in ENDINGS][-1] == f"step_{last}"
        if done.items is not None and done.status == "completed":
            assert done.output == [item.output for item in done.items]
    assert (result.error_type is None) == (result.status is WorkflowStatus.COMPLETE)
    assert WorkflowResult.from_dict(result.to_dict()).to_dict() == result.to_dict()


ENDINGS = {"step_complete", "step_fail", "step_skip", "step_cancel"}


async def play(chaos: Chaos) -> None:
    """Run one scene, or some together, and check what they leave."""
    before, gauge = others(), Gauge()
    limiter = Limiter(chaos.slots or 4) if chaos.shared else None
    scenes = [Scene(replace(chaos, seed=chaos.seed + number), limiter, gauge) for number in range(chaos.shared or 1)]
    async with anyio.create_task_group() as group:
        for scene in scenes:
            group.start_soon(scene.run)
    await settled()
    assert others() == before
    assert (open_contexts(), gauge.running) == (0, 0)
    assert chaos.slots is None or gauge.peak <= chaos.slots
    if limiter is not None:
        assert limiter.in_use == 0
        assert "0 runs waiting" in repr(limiter)
    for scene in scenes:
        final = scene.events.check()
        assert final.data["status"] == (scene.result.status if scene.result else "cancelled")
        if scene.result is not None:
            check_result(scene.events, scene.result)


@settings(max_examples=300)
@given(chaos=CHAOS, on=st.sampled_from(BACKENDS))
def test_whatever_happens_a_run_ends_whole_and_leaves_nothing(chaos: Chaos, on: str) -> None:
    """No hang, no task, no slot, no open context; one final event; a result that agrees with the events."""
    run_virtual(play, chaos, on=on)
