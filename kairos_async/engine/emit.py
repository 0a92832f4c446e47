"""Events: built, redacted and handed to the hooks, here and nowhere else; and the lifespans of hooks."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio
import structlog

from kairos_async._types import JSONValue
from kairos_async.context import StepContext
from kairos_async.engine.tasks import cancel_requested
from kairos_async.events import (
    EventLevel,
    Facts,
    Hook,
    ItemComplete,
    StepComplete,
    StepStart,
    ValidationComplete,
    ValidationStart,
    event_of,
)
from kairos_async.node import Node
from kairos_async.security import Redactor, sanitize_exception

Tell: TypeAlias = Callable[[str | None, EventLevel, dict[str, JSONValue]], object]
"""Makes an event of one kind, of a step, and gives it to the hooks. Neither the name of the step nor the data hold
anything that could be a secret."""


class Inbox:
    """The facts of events in the order in which they came. If what a hook's lifespan gives has one as `inbox`, those of
    the run are put there, and the hook is not called. Whoever wants an event makes it with `event_of`.

    Taking facts is a call of `list.append`, 0.03 us where a method would cost 0.2, as long as the reader is
    awake: only for the first ones after `rest()` is somebody told.

    Attributes:
        facts: those that are there.
        room: how many may be there before it is worth asking whether the inbox's owner, as a `Brake`, is full.
        take: puts facts in. It changes, so it has to be looked up each time.
    """

    __slots__ = ("_arrived", "facts", "room", "take")

    def __init__(self, arrived: Callable[[], object]) -> None:
        self.facts: list[Facts] = []
        self.room = 0
        self._arrived = arrived
        self.take: Callable[[Facts], object] = self._wake

    def _wake(self, facts: Facts) -> None:
        self.facts.append(facts)
        self.take = self.facts.append
        self._arrived()

    def rest(self) -> None:
        """Have `arrived` called with the next event. To be called on an empty inbox, by the event loop's thread."""
        self.take = self._wake

    def empty(self) -> list[Facts]:
        """Take out what is there. Others may put something in meanwhile, in any thread."""
        facts = self.facts[:]
        del self.facts[: len(facts)]
        return facts


_NO_ROOM: Final = Inbox(bool)


class Brake(Protocol):
    """What a lifespan may give: a way to hold back the run while its hook cannot keep up; see `Hook`."""

    @property
    def full(self) -> bool:
        """Whether no further step, or item, should start now."""

    async def drain(self) -> None:
        """Wait until one may start again."""


class _Tells(dict[type[Any], Tell | None]):
    """What a function makes of each type of event, when it is first asked for: once lifespans are entered."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[type[Any]], Tell | None]) -> None:
        self._make = make

    def __missing__(self, kind: type[Any]) -> Tell | None:
        made = self[kind] = self._make(kind)
        return made


class Emitter:
    """The way out for the events of one run.

    Attributes:
        step_start, step_complete, item_complete, validation_start, validation_complete: what tells of such an event to
            the hooks that want it; None if none does. `say` does that for the others, which not every step has.
        validations: data of the events of a validation, by contract's name, boundary and attempt. All such events have
            them in common (who reads an event gets a copy): a step keeps an object less, and a log packs them once.
        numbers: of the events; each takes the next one, also if no hook wants it.
        gauge: the inbox that must have no room left before `is_full` is worth a call; one without room if it always is.
            None if no hook wants to hold back the run when it cannot keep up.
        outputs: whether a hook wants steps' outputs, which cost a redaction each, and who reads them a copy.
        warnings: one line for each hook that raised.
        broken: what a hook with `required = True` raised in its lifespan, as class name and message; None: nothing.
    """

    __slots__ = (
        *("_brakes", "_hooks", "_inboxes", "_redactor", "_reported", "_run_id", "_tell"),
        *("broken", "gauge", "item_complete", "numbers", "outputs", "step_complete", "step_start"),
        *("validation_complete", "validation_start", "validations", "warnings"),
    )

    def __init__(self, run_id: str, hooks: tuple[Hook, ...], redactor: Redactor) -> None:
        self._run_id = run_id
        self._hooks = hooks
        self._redactor = redactor
        self.numbers = itertools.count(1)
        self._reported: set[int] = set()
        self._inboxes: dict[int, Inbox] = {}
        self.validations: dict[tuple[str, str, int], dict[str, JSONValue]] = {}
        self._tell = _Tells(self._teller)
        self.step_start: Tell | None = None
        self.step_complete: Tell | None = None
        self.item_complete: Tell | None = None
        self.validation_start: Tell | None = None
        self.validation_complete: Tell | None = None
        self.outputs = any(getattr(hook, "outputs", True) for hook in hooks)
        self._brakes: list[tuple[Inbox | None, Brake]] = []
        self.gauge: Inbox | None = None
        self.warnings: list[str] = []
        self.broken: tuple[str, str] | None = None

    async def attach(self, stack: AsyncExitStack, workflow: str) -> None:
        """Enter the lifespans of the hooks; leaving the stack leaves them, whatever each of them does."""
        shown = self._redactor.name(workflow)
        for position, hook in enumerate(self._hooks):
            # To ask isinstance() with a protocol takes 10 us each: a tenth of a small run.
            if (lasting := getattr(hook, "lifespan", None)) is None:
                continue
            try:
                lifespan = lasting(self._run_id, shown)
                given = await lifespan.__aenter__()
            except BaseException as error:
                self._take_in(position, error)
            else:
                stack.push_async_exit(self._leaving(position, lifespan))
                inbox = getattr(given, "inbox", None)
                if isinstance(inbox, Inbox):
                    self._inboxes[position] = inbox
                else:
                    inbox = None
                if hasattr(given, "drain") and hasattr(given, "full"):
                    self.gauge = _NO_ROOM if inbox is None or self._brakes else inbox
                    self._brakes.append((inbox, cast(Brake, given)))
        self.step_start, self.step_complete = self._tell[StepStart], self._tell[StepComplete]
        self.item_complete = self._tell[ItemComplete]
        self.validation_start, self.validation_complete = self._tell[ValidationStart], self._tell[ValidationComplete]

    def _leaving(self, position: int, lifespan: AbstractAsyncContextManager[object]) -> Callable[..., Any]:
        async def leave(
            kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            try:
                await lifespan.__aexit__(kind, error, traceback)
            except BaseException as own:
                self._take_in(position, own)

        return leave

    def entering(self) -> tuple[Callable[[StepContext], object], ...]:
        """What the hooks do in the context variables of each attempt; see `Hook`."""
        return tuple(
            self._entering(position, prepare)
            for position, hook in enumerate(self._hooks)
            if (prepare := getattr(hook, "enter_attempt", None)) is not None
        )

    def _entering(self, position: int, prepare: Callable[[StepContext], object]) -> Callable[[StepContext], object]:
        def enter(ctx: StepContext) -> None:
            try:
                prepare(ctx)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._report(position, error)

        return enter

    def emit(self, kind: type[Any], step: str | None, level: EventLevel, data: dict[str, JSONValue]) -> None:
        """Redact the data, and tell of an event of this kind, if a hook wants it."""
        if self._tell[kind] is not None:
            data = cast(dict[str, JSONValue], self._redactor.redact(data))
        self.say(kind, step, level, data)

    def say(self, kind: type[Any], step: str | None, level: EventLevel, data: dict[str, JSONValue]) -> None:
        """The same for data that hold nothing that could be a secret."""
        if (tell := self._tell[kind]) is None:
            next(self.numbers)
        else:
            tell(None if step is None else self._redactor.name(step), level, data)

    def _teller(self, kind: type[Any]) -> Tell | None:
        """What gives events of this kind to every hook that wants them, whatever the other hooks do with them."""
        wanting = [
            (position, hook)
            for position, hook in enumerate(self._hooks)
            if (kinds := getattr(hook, "kinds", None)) is None or kind in kinds
        ]
        if not wanting:
            return None
        inboxes = tuple(self._inboxes[position] for position, _ in wanting if position in self._inboxes)
        hooks = tuple((position, hook) for position, hook in wanting if position not in self._inboxes)
        # A function of its own for each kind, with all that it needs at hand: half the time of a method.
        run_id, numbers, now = self._run_id, self.numbers, time.time_ns

        if len(inboxes) == len(wanting) == 1:
            inbox = inboxes[0]

            def put(step: str | None, level: EventLevel, data: dict[str, JSONValue]) -> None:
                # The same for one inbox alone, as of a logger or a stream: a sixth faster. `take` is looked up as the
                # attribute that it is: as a method it takes 0.03 us longer.
                take = inbox.take
                take((kind, run_id, next(numbers), now(), step, level, data))

            return put

        def tell(step: str | None, level: EventLevel, data: dict[str, JSONValue]) -> None:
            facts = (kind, run_id, next(numbers), now(), step, level, data)
            for inbox in inboxes:
                inbox.take(facts)
            for position, hook in hooks:
                try:
                    hook(event_of(facts))
                except KeyboardInterrupt:
                    raise
                except BaseException as error:
                    self._report(position, error)

        return tell

    def validation(self, contract: str, boundary: str, attempt: int) -> dict[str, JSONValue]:
        """What `validations` has, made at the first time."""
        data = self.validations.get((contract, boundary, attempt))
        if data is None:
            data = {"contract": self._redactor.text(contract), "boundary": boundary, "attempt": attempt}
            self.validations[contract, boundary, attempt] = data
        return data

    def name_of(self, node: Node) -> str:
        """How events name a step. Noted with the node, which saves looking for it in a table of all names: with many
        steps, 1 us of 17. It is the same for all runs of a graph, as they have the same patterns."""
        name = self._redactor.name(node.name)
        if name == node.name:
            node.shown = name
        return name

    def is_full(self) -> bool:
        """Whether a hook cannot keep up, and no further step should start."""
        for inbox, brake in self._brakes:  # noqa: SIM110 - a generator for any() takes 0.5 us
            if (inbox is None or len(inbox.facts) >= inbox.room) and brake.full:
                return True
        return False

    async def drain(self) -> None:
        """Wait for the hooks that cannot keep up."""
        for _, brake in self._brakes:
            if brake.full:
                await brake.drain()

    def _take_in(self, position: int, error: BaseException) -> None:
        """Report what a lifespan raised, unless it is an interrupt or the cancellation of the run, which go on."""
        if isinstance(error, (KeyboardInterrupt, GeneratorExit)):  # the latter comes from closing the run's coroutine
            raise error
        if isinstance(error, BaseExceptionGroup) and error.subgroup(KeyboardInterrupt) is not None:
            raise error
        if isinstance(error, anyio.get_cancelled_exc_class()) and cancel_requested():
            raise error
        self._report_lifespan(position, error)

    def _report_lifespan(self, position: int, error: BaseException) -> None:
        """Say what a lifespan raised: of a group, each part, which may know for itself whether the run fails for it."""
        required = getattr(self._hooks[position], "required", False)
        reported = position in self._reported
        for part in error.exceptions if isinstance(error, BaseExceptionGroup) else (error,):
            fails = getattr(part, "required", required) is True
            if fails or not reported:
                self._reported.discard(position)
                self._report(position, part, fails=fails)

    def _report(self, position: int, error: BaseException, *, fails: bool = False) -> None:
        """Say once that a hook is broken. It goes on getting events: the next one may not break it."""
        if position in self._reported:
            return
        self._reported.add(position)
        hook = self._hooks[position]
        name = self._redactor.text(getattr(hook, "__qualname__", type(hook).__name__))
        error_type, message = sanitize_exception(error, self._redactor)
        if fails:
            self.broken = self.broken or (error_type, f"The required hook {name} failed: {message}")
        self.warnings.append(f"hook {name} raised {error_type}: {message}")
        structlog.get_logger("kairos_async").warning(
            "hook_failed", run_id=self._run_id, hook=name, error_type=error_type, error_message=message
        )
