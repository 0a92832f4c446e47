"""Everything that happens in a run, as one closed union of frozen types.

Hooks are callables that take an event; `workflow.stream()` yields them. `data` is redacted before anyone sees it and
holds JSON values; each type's docstring names its keys. A union and one callable replace a class with a method for
each kind of event: a consumer matches on the type, and a checker tells it what it forgot.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, Literal, NoReturn, TypeAlias, TypeVar

from kairos_async._types import JSONValue
from kairos_async.state import read_copy

_T = TypeVar("_T")


class EventLevel(enum.StrEnum):
    """How much an event matters, in the words of logging."""

    INFO = "info"
    WARN = "warn"
    ERROR = "error"

    __hash__ = str.__hash__  # that of an enum is a function in Python, and takes 0.2 us


INFO: Final = EventLevel.INFO
"""For those who tell of events: to look up a member of an enum takes 0.1 us."""


Facts: TypeAlias = tuple[type[Any], str, int, int, str | None, EventLevel, Mapping[str, JSONValue]]
"""What an event is made of: its type, and its fields in order; its moment in nanoseconds since 1970."""


class _Kept:
    """Where an event has its fields: in one tuple.

    With a slot for each, and the moment as a datetime from the start, making an event took 1.0 us; it takes 0.3. And
    who writes many events, such as a log, goes by their facts, and needs no objects.
    """

    __slots__ = ("facts", "own")
    facts: Facts
    own: Mapping[str, JSONValue]


@dataclass(frozen=True, init=False)
class _Event(_Kept):
    """What every event has.

    `sequence` counts the events of one run from 1 without gaps. `timestamp` is in UTC. `step_id` is None for events
    of the run as a whole. Each type adds nothing but its `event_type`, as a class attribute: a dataclass of its own for
    each would cost a millisecond of every import.
    """

    __slots__ = ()

    run_id: str
    sequence: int
    timestamp: datetime
    step_id: str | None
    level: EventLevel
    data: Mapping[str, JSONValue]

    def __init__(
        self,
        run_id: str,
        sequence: int,
        timestamp: datetime,
        step_id: str | None,
        level: EventLevel,
        data: Mapping[str, JSONValue],
    ) -> None:
        moment = (timestamp - EPOCH) // timedelta(microseconds=1) * 1000
        self.facts = (type(self), run_id, sequence, moment, step_id, level, data)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.run_id, self.sequence, self.timestamp, self.step_id, self.level, self.data)


def _field(name: str, read: Callable[[Any], object]) -> property:
    """A field that can be read."""

    def refuse(event: _Event, *value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    return property(read, refuse, refuse)


def _timestamp(event: _Event) -> datetime:
    return EPOCH + timedelta(microseconds=event.facts[3] // 1000)


def _copied(event: _Event) -> Mapping[str, JSONValue]:
    """The data, as a copy that is made when it is first read. The facts are those of all hooks and logs of the run, of
    other events that say the same, and, of an output, what state has: who changes the data changes none of these."""
    try:
        return event.own
    except AttributeError:
        own = {key: [*value] if isinstance(value, tuple) else read_copy(value) for key, value in event.facts[6].items()}
        event.own = own
        return own


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

# Set here because a dataclass would take them for the defaults of its fields.
for _position, _name in enumerate(("run_id", "sequence", "timestamp", "step_id", "level", "data"), 1):
    _read = {"timestamp": _timestamp, "data": _copied}.get(
        _name, lambda event, position=_position: event.facts[position]
    )
    setattr(_Event, _name, _field(_name, _read))
# The fields refuse by themselves to be set. Without the dataclass's own refusal, which is asked for every attribute, an
# event is given its facts in a tenth of the time: it was a third of what making one takes.
del _Event.__setattr__, _Event.__delattr__

new_event: Callable[[type[Any]], Event] = object.__new__
"""Makes an event without its facts."""


def event_of(facts: Facts) -> Event:
    """The event that is made of these facts, in two thirds of the time that its type takes when it is called."""
    event = new_event(facts[0])
    event.facts = facts
    return event


class WorkflowStart(_Event):
    """The run begins. data: workflow, steps (number of them), inputs (names of the keys)."""

    __slots__ = ()
    event_type: ClassVar[Literal["workflow_start"]] = "workflow_start"


class StepStart(_Event):
    """A step begins. data: attempt (1), needs (names of steps); for a foreach also foreach (the key of the list) and
    items (their number; not there if what the key has is no list, for which the step fails)."""

    __slots__ = ()
    event_type: ClassVar[Literal["step_start"]] = "step_start"


class StepComplete(_Event):
    """A step is done and its output is stored. data: duration_ms, attempts (0 for a foreach, whose items have them),
    attempt_ms (of the last one), output."""

    __slots__ = ()
    event_type: ClassVar[Literal["step_complete"]] = "step_complete"


class StepFail(_Event):
    """A step failed for good. data: duration_ms, attempts, attempt_ms, error_type, error_message, action (that
    follows)."""

    __slots__ = ()
    event_type: ClassVar[Literal["step_fail"]] = "step_fail"


class StepRetry(_Event):
    """An attempt failed and another follows. data: attempt (that failed), duration_ms, delay_s, kind, error_type,
    error_message, retry_context (what the next attempt is told), and item (its index) in a foreach."""

    __slots__ = ()
    event_type: ClassVar[Literal["step_retry"]] = "step_retry"


class StepSkip(_Event):
    """A step is skipped. data: reason, needs (names of steps), and if it was tried, duration_ms, attempts, attempt_ms,
    error_type, error_message."""

    __slots__ = ()
    event_type: ClassVar[Literal["step_skip"]] = "step_skip"


class StepCancel(_Event):
    """A running step was ended by something else. data: reason, duration_ms, attempts, attempt_ms."""

    __slots__ = ()
    event_type: ClassVar[Literal["step_cancel"]] = "step_cancel"


class ItemComplete(_Event):
    """An item of a foreach is done. data: index, done (items ended so far), total, duration_ms, attempts,
    attempt_ms."""

    __slots__ = ()
    event_type: ClassVar[Literal["item_complete"]] = "item_complete"


class ItemFail(_Event):
    """An item of a foreach ended without an output. data: index, done, total, duration_ms, attempts, attempt_ms,
    status, error_type, error_message."""

    __slots__ = ()
    event_type: ClassVar[Literal["item_fail"]] = "item_fail"


class ValidationStart(_Event):
    """A contract is about to be checked. data: contract (its name), boundary ("input" or "output"), attempt."""

    __slots__ = ()
    event_type: ClassVar[Literal["validation_start"]] = "validation_start"


class ValidationComplete(_Event):
    """Data kept its contract. data: contract, boundary, attempt."""

    __slots__ = ()
    event_type: ClassVar[Literal["validation_complete"]] = "validation_complete"


class ValidationFail(_Event):
    """Data broke its contract. data: contract, boundary, attempt, errors (a list of field, rule, expected)."""

    __slots__ = ()
    event_type: ClassVar[Literal["validation_fail"]] = "validation_fail"


class LLMCall(_Event):
    """A model was called by an adapter. data: provider, model, attempt, item (in a foreach), outcome, latency_ms, and
    usage (input_tokens, output_tokens, total_tokens) as far as the provider said it."""

    __slots__ = ()
    event_type: ClassVar[Literal["llm_call"]] = "llm_call"


class LLMDelta(_Event):
    """A piece of a streamed answer. data: text, attempt, item (in a foreach). Pieces of an attempt that failed after
    all are void: a step_retry or step_fail for that attempt says so."""

    __slots__ = ()
    event_type: ClassVar[Literal["llm_delta"]] = "llm_delta"


class PlanReplaced(_Event):
    """The planner's steps replace the part that has not run. data: number, removed, added (names of steps)."""

    __slots__ = ()
    event_type: ClassVar[Literal["replan"]] = "replan"


class WorkflowComplete(_Event):
    """The final event, exactly one a run, however it ended. data: status, duration_ms, llm_calls, error_type,
    error_message."""

    __slots__ = ()
    event_type: ClassVar[Literal["workflow_complete"]] = "workflow_complete"


Event: TypeAlias = (
    WorkflowStart
    | StepStart
    | StepComplete
    | StepFail
    | StepRetry
    | StepSkip
    | StepCancel
    | ItemComplete
    | ItemFail
    | ValidationStart
    | ValidationComplete
    | ValidationFail
    | LLMCall
    | LLMDelta
    | PlanReplaced
    | WorkflowComplete
)

Hook: TypeAlias = Callable[[Event], object]
"""Called with each event, in order, on the event loop's thread: it must not block. What it returns is ignored.

A hook may have more than a call, each part by itself:

- `kinds` is a set of event types: it is called with no others. With `outputs` False, a `step_complete` may come without
  the output, which then costs nothing.
- `lifespan(run_id, workflow)` gives an async context manager that is entered before the first event of a run and left
  after the last one, before the result is made. It is left on a cancellation too: then it has to shield what it still
  awaits, and to bound it. What it raises, a SystemExit too, becomes one of the result's warnings, a group one for each
  of its parts; with `required = True` on the hook, or on the exception, the run has FAILED. What entering it gives may
  have a property `full` and an async `drain()`: as long as `full` is true, no further step starts, and no further item.
- `enter_attempt(ctx)` is called in the context variables of each attempt, before its action: what it sets there is seen
  by the action and by nothing else.
"""


def each_once(listeners: Iterable[_T]) -> list[_T]:
    """The hooks, or sinks, without those that are there before: who is given twice is not told everything twice. Two
    methods of the same object by the same name are the same, and of other things only the thing itself."""
    found: list[_T] = []
    for listener in listeners:
        is_method = isinstance(listener, (types.MethodType, types.BuiltinMethodType))
        if not any(listener is known or (is_method and listener == known) for known in found):
            found.append(listener)
    return found
