"""Random graphs for Hypothesis, how to run them, and a list scheduler that is too simple to be wrong."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections import deque
from dataclasses import dataclass
from typing import Any

import anyio
from hypothesis import strategies as st

from kairos_async import FailureAction, FailurePolicy, Step, StepContext, StepResult, WorkflowResult
from tests.engine.tools import Gauge, chance

DELAY = 0.37


@dataclass(frozen=True)
class Spec:
    """What one step of a random graph is. A foreach goes over the output of the last need."""

    name: str
    needs: tuple[str, ...] = ()
    failures: int = 0
    retries: int = 0
    foreach: bool = False
    scoped: bool = False
    serial: bool = False


@st.composite
def graphs(draw: st.DrawFn, *, plain: bool = False, most: int = 12) -> list[Spec]:
    """Draw the steps of an acyclic graph, in an order of declaration that need not be a topological one."""
    specs: list[Spec] = []
    for number in range(draw(st.integers(1, most))):
        pool = [spec.name for spec in specs]
        needs = tuple(draw(st.lists(st.sampled_from(pool), max_size=3, unique=True))) if pool else ()
        flags = draw(st.integers(0, 7)) if not plain else 0
        spec = Spec(
            f"s{number}",
            needs,
            failures=draw(st.sampled_from([0, 0, 0, 1, 2, 3])),
            retries=draw(st.integers(0, 2)),
            foreach=bool(needs) and flags in (1, 2),
            scoped=bool(needs) and flags in (2, 3),
            serial=flags == 4,
        )
        specs.append(spec)
    return draw(st.permutations(specs))


class World:
    """Runs a graph once: durations from a seed, and a record of what started when."""

    def __init__(self, specs: list[Spec], seed: int, gauge: Gauge | None = None) -> None:
        self.specs = specs
        self.seed = seed
        self.started: list[tuple[float, str, int]] = []
        self.gauge = gauge or Gauge()

    def duration(self, label: str, attempt: int) -> float:
        """Return the seconds that an attempt takes: any number, so that no two ends fall together."""
        return chance((self.seed, label, attempt)).uniform(0.1, 3.0)

    def steps(self) -> list[Step]:
        """Return the graph as steps."""
        return [self._step(spec) for spec in self.specs]

    def _step(self, spec: Spec) -> Step:
        declared: dict[str, Any] = {"parallel": not spec.serial}
        declared["foreach" if spec.foreach else "depends_on"] = spec.needs[-1] if spec.foreach else spec.needs
        if spec.foreach:
            declared["depends_on"] = spec.needs[:-1]
        if spec.scoped:
            declared["read_keys"] = spec.needs
        policy = FailurePolicy(
            max_retries=spec.retries,
            retry_delay=DELAY,
            retry_backoff=1.5,
            retry_jitter=0,
            fallback_action=FailureAction.SKIP,
        )
        return Step(spec.name, self._action(spec), failure_policy=policy, **declared)

    def _action(self, spec: Spec) -> Any:
        async def action(ctx: StepContext) -> list[object]:
            label = spec.name if ctx.index is None else f"{spec.name}[{ctx.index}]"
            self.started.append((anyio.current_time(), label, ctx.attempt))
            with self.gauge:
                await anyio.sleep(self.duration(label, ctx.attempt))
            ctx.count_llm_calls()
            if ctx.attempt <= spec.failures and ctx.index != 1:
                raise ValueError(label)
            seen = {key: ctx.state.get(key) for key in ctx.state.keys()}  # noqa: SIM118 - it is no mapping
            assert seen == dict(ctx.inputs)
            digest = hashlib.sha256(json.dumps([seen, ctx.item, ctx.attempt], sort_keys=True).encode()).hexdigest()
            ctx.state.set(f"written_by_{label}", digest[:8])
            return [digest[:12], len(seen), label]

        return action


def canonical(result: WorkflowResult) -> dict[str, object]:
    """Return all of a result that must not depend on the order of things: everything but the times."""
    return {
        "status": result.status,
        "output": result.output,
        "state": result.final_state,
        "calls": result.llm_calls,
        "steps": {name: _facts(done) for name, done in result.step_results.items()},
    }


def _facts(done: StepResult) -> object:
    items = [
        (item.status, item.output, item.error_message, len(item.attempts), [a.status for a in item.attempts])
        for item in done.items or ()
    ]
    attempts = [(a.attempt_number, a.status, a.error_type, a.error_message) for a in done.attempts]
    return (done.status, done.output, done.reason, done.error_type, done.error_message, attempts, items)


def list_schedule(world: World, slots: int | None) -> list[tuple[float, str, int]]:
    """Return when each attempt of a graph without foreach starts: the first that is ready goes first.

    A slot is held while an attempt runs and not while a retry waits; what waits for a slot again queues at the end.
    """
    specs = {spec.name: spec for spec in world.specs}
    missing = {spec.name: set(spec.needs) for spec in world.specs}
    ready = deque((spec.name, 1) for spec in world.specs if not spec.needs)
    free = len(specs) if slots is None else slots
    happening: list[tuple[float, int, str, str, int]] = []
    starts: list[tuple[float, str, int]] = []
    now, order = 0.0, 0
    while ready or happening:
        while ready and free:
            name, attempt = ready.popleft()
            free -= 1
            starts.append((now, name, attempt))
            order += 1
            heapq.heappush(happening, (now + world.duration(name, attempt), order, "end", name, attempt))
        now, _, what, name, attempt = heapq.heappop(happening)
        if what == "retry":
            ready.append((name, attempt))
            continue
        free += 1
        spec = specs[name]
        if attempt <= spec.failures and attempt <= spec.retries:
            order += 1
            wait = DELAY * 1.5 ** (attempt - 1)
            heapq.heappush(happening, (now + wait, order, "retry", name, attempt + 1))
            continue
        for other in world.specs:
            if name in missing[other.name]:
                missing[other.name].discard(name)
                if not missing[other.name]:
                    ready.append((other.name, 1))
    return starts
