"""What a hook may ask of the engine: fewer events, no outputs, and that the run waits for it."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import anyio
import pytest

from kairos_async import (
    Event,
    EventLevel,
    LLMCall,
    Step,
    StepComplete,
    StepContext,
    Workflow,
    WorkflowComplete,
    context,
    events,
)
from tests.engine.tools import Events, returns, run


class Choosy(Events):
    """A hook that wants events of some kinds only."""

    def __init__(self, *kinds: type[Any], outputs: bool = True) -> None:
        super().__init__()
        self.kinds = frozenset(kinds)
        self.outputs = outputs


async def test_a_hook_gets_the_kinds_that_it_wants() -> None:
    """Others get theirs; the sequence counts what happened, not what was wanted."""
    choosy, everything = Choosy(StepComplete, WorkflowComplete), Events()
    await run(Step("a", returns(1), output_contract=int), hooks=[choosy, everything])
    everything.check()
    assert list(choosy) == [event for event in everything if type(event) in choosy.kinds]
    await run(Step("a", returns(1)), hooks=[alone := Choosy(WorkflowComplete)])
    assert [(event.event_type, event.sequence) for event in alone] == [("workflow_complete", 4)]


async def test_what_no_hook_wants_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by the engine, nor when something is reported from inside a step."""

    built: list[type[Event]] = []

    def counting(kind: type[Event]) -> Event:
        built.append(kind)
        return object.__new__(kind)

    monkeypatch.setattr("kairos_async.events.new_event", counting)

    async def act(ctx: StepContext) -> None:
        context.report(ctx, LLMCall, EventLevel.INFO, {"model": "m"})

    result = await run(Step("a", act), hooks=[Choosy(WorkflowComplete)])
    assert (result.status, built) == ("complete", [WorkflowComplete])


async def test_outputs_are_copied_only_for_hooks_that_want_them() -> None:
    """One that does is enough."""
    without, alone, wanting = (Choosy(StepComplete, outputs=False) for _ in range(3))
    wanting.outputs = True
    await run(Step("a", returns([1])), hooks=[alone])
    assert alone[0].data["attempts"] == 1
    assert "output" not in alone[0].data
    await run(Step("a", returns([1])), hooks=[without, wanting])
    assert without[0].data == wanting[0].data
    assert wanting[0].data["output"] == [1]


def test_an_event_is_made_by_position_or_name() -> None:
    """As any dataclass, and equal then."""
    names = ("run_id", "sequence", "timestamp", "step_id", "level", "data")
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    values: tuple[Any, ...] = ("r", 1, moment, "a", EventLevel.INFO, {"n": 1})
    made = events.StepStart(*values)
    assert made == events.StepStart(**dict(zip(names, values, strict=True)))
    assert made != cast(Any, events.StepSkip)(*values)
    assert [getattr(made, name) for name in names] == list(values)
    assert dataclasses.asdict(made) == dict(zip(names, values, strict=True))
    assert dataclasses.replace(made, step_id="b").step_id == "b"
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.sequence = 2  # type: ignore[misc]


class Slow:
    """A hook that cannot keep up: full after so many events, until it is drained for a second."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = 0
        self.peak = 0
        self.drained = 0

    def __call__(self, event: Event) -> None:
        self.taken += 1
        self.peak = max(self.peak, self.taken)

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return self.taken >= self.room

    async def drain(self) -> None:
        """Make room, after a second."""
        self.drained += 1
        await anyio.sleep(1)
        self.taken = 0

    @asynccontextmanager
    async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[Slow]:
        """Give itself."""
        yield self


@pytest.mark.parametrize("shape", ["chain", "fan-out", "foreach"])
async def test_a_run_waits_for_a_hook_that_cannot_keep_up(shape: str) -> None:
    """Before it starts a step or an item; what is under way still tells its events."""
    slow = Slow(10)
    steps = {
        "chain": [Step(f"s{i}", returns(1), depends_on=[f"s{i - 1}"] if i else []) for i in range(100)],
        "fan-out": [Step(f"s{i}", returns(1)) for i in range(100)],
        "foreach": [Step("each", returns(1), foreach="items")],
    }[shape]
    await run(*steps, inputs={"items": [1] * 200}, hooks=[slow], max_concurrency=4)
    assert slow.drained >= 15
    assert slow.peak <= 10 + 2 * 4 + 2


async def test_a_run_that_waits_for_a_hook_can_be_cancelled() -> None:
    """And its time goes on."""
    slow = Slow(1)
    result = await Workflow("w", [Step("a", returns(1)), Step("b", returns(1))], hooks=[slow]).run(timeout=0.5)
    assert (result.status, result.error_type) == ("failed", "StepTimeoutError")
    with anyio.move_on_after(0.5) as scope:
        await Workflow("w", [Step("a", returns(1))], hooks=[Slow(1)]).run()
    assert scope.cancelled_caught


class Failing:
    """A hook whose lifespan ends with several errors at once."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = errors

    def __call__(self, event: Event) -> None:
        """Take the event."""

    @asynccontextmanager
    async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[None]:
        """Raise at the end."""
        yield
        raise ExceptionGroup("several", self.errors)


class Required(ValueError):
    """An error for which a run fails, whatever its hook says."""

    required = True


async def test_each_error_of_a_group_is_a_warning() -> None:
    """In order; and one may say for itself that the run fails for it."""
    result = await run(Step("a", returns(1)), hooks=[Failing(ValueError("one"), OSError("two"))])
    assert result.status == "complete"
    assert result.warnings == ("hook Failing raised ValueError: one", "hook Failing raised OSError: two")
    result = await run(Step("a", returns(1)), hooks=[Failing(ValueError("one"), Required("two"))])
    assert (result.status, result.error_type, len(result.warnings)) == ("failed", "Required", 2)
    assert result.output == 1


async def test_a_result_does_not_count_the_time_of_lifespans() -> None:
    """Its duration is that of the final event."""

    class Lingering(Events):
        @asynccontextmanager
        async def lifespan(self, run_id: str, workflow: str) -> AsyncIterator[None]:
            """Take ten seconds to end."""
            yield
            await anyio.sleep(10)

    lingering = Lingering()
    result = await run(Step("a", returns(1, after=2)), hooks=[lingering])
    assert result.duration_ms == lingering[-1].data["duration_ms"] == 2000
