"""Events: built, redacted and handed to the hooks, here and nowhere else; and the lifespans of hooks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Protocol, cast, runtime_checkable

import structlog

from kairos_async._types import JSONValue
from kairos_async.context import StepContext
from kairos_async.events import EventLevel, Hook
from kairos_async.security import Redactor, sanitize_exception

_now: Final = datetime.now


@runtime_checkable
class Lasting(Protocol):
    """A hook with a lifespan; see `Hook`."""

    def lifespan(self, run_id: str, workflow: str) -> AbstractAsyncContextManager[object]:
        """Entered before the first event of the run, left after its last one."""


@runtime_checkable
class Entering(Protocol):
    """A hook that prepares the context variables of attempts; see `Hook`."""

    def enter_attempt(self, ctx: StepContext) -> object:
        """Set context variables for one attempt."""


@runtime_checkable
class Brake(Protocol):
    """What a lifespan may give: a way to hold back the run while its hook cannot keep up; see `Hook`."""

    @property
    def full(self) -> bool:
        """Whether no further step, or item, should start now."""

    async def drain(self) -> None:
        """Wait until one may start again."""


class Emitter:
    """The way out for the events of one run.

    Attributes:
        brakes: of the hooks that want to hold back the run when they cannot keep up.
        outputs: whether a hook wants steps' outputs, which cost a copy and a redaction each.
        warnings: one line for each hook that raised.
        broken: what a hook with `required = True` raised in its lifespan, as class name and message; None: nothing.
    """

    __slots__ = (
        *("_hooks", "_labels", "_listeners", "_redactor", "_reported", "_run_id", "_sequence"),
        *("brakes", "broken", "outputs", "warnings"),
    )

    def __init__(self, run_id: str, hooks: tuple[Hook, ...], redactor: Redactor) -> None:
        self._run_id = run_id
        self._hooks = hooks
        self._redactor = redactor
        self._sequence = 0
        self._reported: set[int] = set()
        self._listeners: dict[type[Any], tuple[tuple[int, Hook], ...]] = {}
        self._labels: dict[str, str] = {}
        self.outputs = any(getattr(hook, "outputs", True) for hook in hooks)
        self.brakes: list[Brake] = []
        self.warnings: list[str] = []
        self.broken: tuple[str, str] | None = None

    async def attach(self, stack: AsyncExitStack, workflow: str) -> None:
        """Enter the lifespans of the hooks; leaving the stack leaves them, whatever each of them does."""
        for position, hook in enumerate(self._hooks):
            if not isinstance(hook, Lasting):
                continue
            try:
                lifespan = hook.lifespan(self._run_id, workflow)
                given = await lifespan.__aenter__()
            except Exception as error:
                self._report_lifespan(position, error)
            else:
                stack.push_async_exit(self._leaving(position, lifespan))
                if isinstance(given, Brake):
                    self.brakes.append(given)

    def _leaving(self, position: int, lifespan: AbstractAsyncContextManager[object]) -> Callable[..., Any]:
        async def leave(
            kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            try:
                await lifespan.__aexit__(kind, error, traceback)
            except Exception as own:
                self._report_lifespan(position, own)

        return leave

    def entering(self) -> tuple[Callable[[StepContext], object], ...]:
        """What the hooks do in the context variables of each attempt; see `Hook`."""
        return tuple(
            self._entering(position, cast(Entering, hook).enter_attempt)
            for position, hook in enumerate(self._hooks)
            if isinstance(hook, Entering)
        )

    def _entering(self, position: int, prepare: Callable[[StepContext], object]) -> Callable[[StepContext], object]:
        def enter(ctx: StepContext) -> None:
            try:
                prepare(ctx)
            except Exception as error:
                self._report(position, error)

        return enter

    def emit(
        self, kind: type[Any], step: str | None, level: EventLevel, data: dict[str, JSONValue], *, clean: bool = False
    ) -> None:
        """Build an event of the kind and give it to every hook that wants it, whatever the other hooks do with it.

        `clean` says that the data are numbers and words of the library's own: then there is nothing to redact.
        """
        self._sequence += 1
        listeners = self._listeners.get(kind)
        if listeners is None:
            listeners = self._listen(kind)
        if not listeners:
            return
        event = kind(
            self._run_id,
            self._sequence,
            _now(UTC),
            None if step is None else self._redactor.name(step),
            level,
            data if clean else cast(dict[str, JSONValue], self._redactor.redact(data)),
        )
        for position, hook in listeners:
            try:
                hook(event)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                self._report(position, error)

    def _listen(self, kind: type[Any]) -> tuple[tuple[int, Hook], ...]:
        """Find out once which hooks want events of a kind."""
        listeners = self._listeners[kind] = tuple(
            (position, hook)
            for position, hook in enumerate(self._hooks)
            if (kinds := getattr(hook, "kinds", None)) is None or kind in kinds
        )
        return listeners

    def label(self, text: str) -> str:
        """A name from the user's code, such as a contract's, redacted: once a run."""
        found = self._labels.get(text)
        if found is None:
            found = self._labels[text] = self._redactor.text(text)
        return found

    async def held_back(self) -> bool:
        """Wait for the hooks that cannot keep up. False at once if there is none."""
        waited = False
        for brake in self.brakes:
            if brake.full:
                await brake.drain()
                waited = True
        return waited

    def _report_lifespan(self, position: int, error: Exception) -> None:
        """Say what a lifespan raised: of a group, each part, which may know for itself whether the run fails for it."""
        required = getattr(self._hooks[position], "required", False)
        reported = position in self._reported
        for part in error.exceptions if isinstance(error, ExceptionGroup) else (error,):
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
