"""What comes out of a run: the result, each step's, each attempt's, and each item's of a foreach."""

from __future__ import annotations

import enum
import functools
import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, cast, overload

from pydantic import Field, GetCoreSchemaHandler, InstanceOf, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from kairos_async._types import JSONValue
from kairos_async.budget import NO_USAGE, Usage
from kairos_async.exceptions import ConfigError, ExecutionError
from kairos_async.security import Redactor
from kairos_async.state import read_copy

SCHEMA_VERSION: Final = 1
"""Of `WorkflowResult.to_dict()`; grows when a reader of the old form would misread the new one."""


class WorkflowStatus(enum.StrEnum):
    """The state of a run."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    """Only in the final event: a caller that cancels a run gets its own exception, not a result."""


class StepStatus(enum.StrEnum):
    """The state of a step, or of one item of a foreach."""

    COMPLETED = "completed"
    FAILED_FINAL = "failed_final"
    """Failed, after all retries that its policy allows."""
    SKIPPED = "skipped"
    """Did not run, returned `SKIP`, or failed under a policy that skips."""
    CANCELLED = "cancelled"
    """Was running when the run, or its foreach, was ended."""


class AttemptStatus(enum.StrEnum):
    """How one call of an action ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call of a step's action. `attempt_number` counts from 1; the error's texts are sanitised.

    `started_ms` counts from the start of the run; what lies between two attempts is waiting.
    """

    attempt_number: int
    status: AttemptStatus
    duration_ms: float
    error_type: str | None = None
    error_message: str | None = None
    started_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """How one item of a foreach ended. `output` is None unless it COMPLETED.

    `started_ms` counts from the start of the run; it is None for an item that never started.
    """

    index: int
    status: StepStatus
    duration_ms: float
    output: JSONValue = field(default=None, repr=False)
    attempts: tuple[Attempt, ...] = ()
    error_type: str | None = None
    error_message: str | None = None
    started_ms: float | None = None


class ItemOutcomes(Sequence[ItemOutcome]):
    """The outcomes of all items of a foreach, in the order of the items.

    An item that completed at its first attempt, which is nearly every item of a healthy run, is kept as two numbers
    and made into an `ItemOutcome` when it is read; a foreach over a million items would hold a million objects else.
    Both are NaN for an item that never started.
    """

    __slots__ = ("_durations", "_exceptional", "_outputs", "_starts")

    def __init__(
        self,
        outputs: Sequence[JSONValue],
        starts_ms: Sequence[float],
        durations_ms: Sequence[float],
        exceptional: Mapping[int, ItemOutcome],
    ) -> None:
        self._outputs = outputs
        self._starts = array("d", starts_ms)
        self._durations = array("d", durations_ms)
        self._exceptional = dict(exceptional)

    def __len__(self) -> int:
        return len(self._durations)

    @overload
    def __getitem__(self, index: int) -> ItemOutcome: ...
    @overload
    def __getitem__(self, index: slice) -> list[ItemOutcome]: ...
    def __getitem__(self, index: int | slice) -> ItemOutcome | list[ItemOutcome]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        if (kept := self._exceptional.get(position)) is not None:
            return replace(kept, output=read_copy(kept.output))
        started, duration = self._starts[position], self._durations[position]
        if math.isnan(duration):
            return ItemOutcome(position, StepStatus.SKIPPED, 0.0)
        attempts = (Attempt(1, AttemptStatus.SUCCESS, duration, started_ms=started),)
        output = read_copy(self._outputs[position])
        return ItemOutcome(position, StepStatus.COMPLETED, duration, output, attempts, started_ms=started)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ItemOutcomes) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<ItemOutcomes: {len(self)} items, {len(self._exceptional)} not completed at the first attempt>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls.from_items,
            handler(list[ItemOutcome]),
            serialization=core_schema.plain_serializer_function_ser_schema(
                list, return_schema=handler(list[ItemOutcome])
            ),
        )

    @classmethod
    def from_items(cls, items: Sequence[ItemOutcome]) -> ItemOutcomes:
        """The same outcomes, from objects, in the order of their indices."""
        nothing_clean = [math.nan] * len(items)  # each is kept as the object that it is
        return cls(nothing_clean, nothing_clean, nothing_clean, dict(enumerate(items)))

    @property
    def exceptional(self) -> tuple[ItemOutcome, ...]:
        """The started items that did not complete at their first attempt, by index.

        Reading it costs nothing per other item.
        """
        return tuple(self._exceptional[i] for i in sorted(self._exceptional))


@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step ended.

    `output` is the validated JSON value, None unless the step COMPLETED. `attempts` is empty for a step that never
    ran and for a foreach, whose `items` have them. `started_ms` counts from the start of the run, None if the step
    never ran; `duration_ms` includes waiting for retries. `reason` says why a step is SKIPPED or CANCELLED. `needs` are
    the steps that had to end before this one.
    """

    name: str
    status: StepStatus
    output: JSONValue = field(default=None, repr=False)
    attempts: tuple[Attempt, ...] = ()
    items: ItemOutcomes | None = None
    started_ms: float | None = None
    duration_ms: float = 0.0
    error_type: str | None = None
    error_message: str | None = None
    reason: str | None = None
    needs: tuple[str, ...] = ()


class StepResults(Mapping[str, StepResult]):
    """The results of a run's steps by name, in the order of declaration.

    A step that completed at its first attempt is kept as an output and two times, in lists, and made into a
    `StepResult` when it is read: making the object costs as much time as everything else that ends a step. Even a tuple
    for each would be an object more for Python's garbage collector, which goes over all of them when there are a
    quarter more: 2 us a step of 100,000. Outputs are copied at the first reading, so that changing one changes neither
    the run's state nor its exports.
    """

    __slots__ = ("_kept", "_needs", "_outputs", "_read", "_started", "_times")

    def __init__(self, results: Mapping[str, StepResult] | None = None, *, started: float = 0.0) -> None:
        self._kept: dict[str, StepResult | int] = dict(results or {})
        self._started = started
        self._outputs: list[JSONValue] = []
        self._times = array("d")
        self._needs: Mapping[str, tuple[str, ...]] = {}
        self._read: dict[str, StepResult] = {}

    def __getitem__(self, name: str) -> StepResult:
        if (read := self._read.get(name)) is not None:
            return read
        kept = self._kept[name]
        if isinstance(kept, int):
            output, started, ended = self._outputs[kept], self._times[2 * kept], self._times[2 * kept + 1]
            started_ms, duration_ms = (started - self._started) * 1000, (ended - started) * 1000
            attempts = (Attempt(1, AttemptStatus.SUCCESS, duration_ms, started_ms=started_ms),)
            read = StepResult(name, StepStatus.COMPLETED, read_copy(output), attempts, None, started_ms, duration_ms)
        else:
            read = replace(kept, output=read_copy(kept.output))
        if needs := self._needs.get(name):
            read = replace(read, needs=needs)
        self._read[name] = read
        return read

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, name: object) -> bool:
        return name in self._kept

    def __repr__(self) -> str:
        return f"<StepResults: {', '.join(f'{name} {result.status}' for name, result in self.items())}>"

    def tally(self) -> Counter[StepStatus]:
        """How many steps ended in which way, without making their results."""
        return Counter(StepStatus.COMPLETED if isinstance(kept, int) else kept.status for kept in self._kept.values())

    def record(self, result: StepResult) -> None:
        """Keep a result."""
        self._kept[result.name] = result

    def record_first_success(self, name: str, output: JSONValue, started: float, ended: float) -> None:
        """Keep the result of a step that completed at its first attempt, with seconds on the clock of the run."""
        self._kept[name] = len(self._outputs)
        self._outputs.append(output)
        self._times.append(started)
        self._times.append(ended)

    def output_of(self, name: str) -> JSONValue:
        """The output of the step of this name, None if it has none, without making its result."""
        kept = self._kept.get(name)
        output = self._outputs[kept] if isinstance(kept, int) else kept and kept.output
        return None if output is None else read_copy(output)

    def arrange(self, needs: Mapping[str, tuple[str, ...]]) -> None:
        """Keep the results of the steps that the mapping has, in its order, each with its needs."""
        self._kept = {name: self._kept[name] for name in needs}
        self._needs = needs

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        plain = handler(dict[str, StepResult])
        return core_schema.no_info_after_validator_function(
            cls, plain, serialization=core_schema.plain_serializer_function_ser_schema(dict, return_schema=plain)
        )


@dataclass(frozen=True, slots=True)
class Replan:
    """One re-plan of a run: the step whose failure caused it, and the names of the steps taken out and put in."""

    number: int
    failed: StepResult
    removed: tuple[str, ...]
    added: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WorkflowResult:
    """How a run ended.

    `output` and the outputs in `step_results` are the real values; `final_state`, `to_dict()` and `repr()` are
    redacted. `step_results` has every step of the final plan, in the order of declaration. `error_type` and
    `error_message` say what ended a FAILED run. `usage` is what its model calls used. `warnings` has one line for each
    hook that raised.
    """

    run_id: str
    workflow: str
    status: WorkflowStatus
    output: JSONValue = None
    step_results: StepResults = field(default_factory=StepResults)
    duration_ms: float = 0.0
    usage: Usage = NO_USAGE
    error_type: str | None = None
    error_message: str | None = None
    replans: tuple[Replan, ...] = ()
    warnings: tuple[str, ...] = ()
    _state: Annotated[dict[str, JSONValue], Field(exclude=True)] = field(default_factory=dict)
    _output_step: Annotated[str | None, Field(exclude=True)] = None
    _ended_by: Annotated[str, Field(exclude=True)] = ""  # the step whose failure ended the run, if it was a step's
    _redactor: Annotated[InstanceOf[Redactor], Field(exclude=True)] = field(default_factory=Redactor, compare=False)

    def __repr__(self) -> str:
        tally = self.step_results.tally()
        counts = ", ".join(f"{tally[status]} {status}" for status in StepStatus if tally[status])
        name = self._redactor.text(self.workflow)
        return f"<WorkflowResult of {name!r}: {self.status} in {self.duration_ms:.0f} ms; {counts}>"

    @property
    def llm_calls(self) -> int:
        """How many model calls the run made."""
        return self.usage.llm_calls

    @property
    def final_state(self) -> dict[str, JSONValue]:
        """Every key of the run's state with its newest value, redacted: inputs, outputs, and what steps wrote."""
        return cast(dict[str, JSONValue], self._redactor.redact(read_copy(self._state)))

    def raise_for_status(self) -> WorkflowResult:
        """Return the result itself if the run is COMPLETE.

        Raises:
            ExecutionError: the run FAILED; the message names the workflow, the step that ended it if one did (the
                timeout of a run is no step's), and the failure, as `error_type` and `error_message` do.
        """
        if self.status is WorkflowStatus.COMPLETE:
            return self
        where = f" at step {self._redactor.name(self._ended_by)!r}" if self._ended_by else ""
        raise ExecutionError(
            f"Workflow {self.workflow!r} {self.status}{where}: {self.error_type}: {self.error_message}"
        )

    def to_dict(self) -> dict[str, JSONValue]:
        """The whole result as JSON data, redacted, with a `schema_version`."""
        redact = self._redactor.redact
        exported = _adapter().dump_python(self, warnings=False)
        records, replans = exported.pop("step_results"), exported.pop("replans")
        whole = {"schema_version": SCHEMA_VERSION, **exported, "final_state": read_copy(self._state)}
        redacted = cast(dict[str, JSONValue], redact(whole))
        if self._output_step is not None:
            redacted["output"] = self._redactor.under(self._output_step, exported["output"])
        # The names of steps are no keys of data: a step called "login_token" has a result that is no secret as a whole.
        names = cast(dict[str, JSONValue], redact(dict.fromkeys(records)))
        redacted["step_results"] = {
            shown: self._shown_step(name, record) for shown, (name, record) in zip(names, records.items(), strict=True)
        }
        redacted["replans"] = [self._shown_replan(record) for record in replans]
        return redacted

    def _shown_replan(self, record: dict[str, Any]) -> JSONValue:
        """The record of a re-plan, redacted. Two names in a list are no header with its value."""
        name = self._redactor.name
        return {
            "number": record["number"],
            "failed": self._shown_step(record["failed"]["name"], record["failed"]),
            "removed": [name(step) for step in record["removed"]],
            "added": [name(step) for step in record["added"]],
        }

    def _shown_step(self, name: str, record: dict[str, Any]) -> JSONValue:
        """The record of a step, redacted; what the step returned as under a key of its name."""
        redactor = self._redactor
        items = record["items"] and [
            {**item, "output": redactor.under(name, item["output"])} for item in record["items"]
        ]
        needs: list[JSONValue] = [redactor.name(need) for need in record["needs"]]
        output = redactor.under(name, record["output"])
        return {
            **cast(dict[str, JSONValue], redactor.redact({**record, "output": output, "items": items})),
            "needs": needs,
        }

    def to_html(self) -> str:
        """A page that shows the run: the graph with the steps' statuses, and a timeline of their attempts and waiting.

        One file without scripts, for any browser and without a network; redacted.
        """
        return self._drawn(framed=False)

    def _repr_html_(self) -> str:
        """What a notebook shows: the page of `to_html`, in a frame."""
        return self._drawn(framed=True)

    def _drawn(self, *, framed: bool) -> str:
        # Few processes draw a run, and what draws is a fourteenth of what it takes to import the package.
        from kairos_async import pictures

        portrait = pictures.portrait_of(self, self._redactor.text)
        return pictures.framed(portrait) if framed else pictures.page(portrait)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> WorkflowResult:
        """The result from what `to_dict` gave. Its values are the redacted ones.

        Raises:
            ConfigError: the data is not such a result, or one of another schema version.
        """
        parts = dict(data)
        if (version := parts.pop("schema_version", None)) != SCHEMA_VERSION:
            raise ConfigError(f"A result of schema version {version!r} cannot be read; this library reads 1.")
        parts["_state"] = parts.pop("final_state", {})
        try:
            return _adapter().validate_python(parts)
        except ValueError as error:
            kind = type(error).__name__
        # Not inside of the except block: the error that Pydantic raised, which quotes the data, would be its context.
        raise ConfigError(f"This is no WorkflowResult.to_dict(): {kind}.")


@functools.cache
def _adapter() -> TypeAdapter[WorkflowResult]:
    """Made on first use: building it takes longer than all the rest of this module's import."""
    return TypeAdapter(WorkflowResult)
