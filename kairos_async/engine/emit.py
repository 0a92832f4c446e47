"""Events: built, redacted and handed to the hooks, here and nowhere else; and the lifespans of hooks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, cast, runtime_checkable

import structlog

from kairos_async._types import JSONValue
from kairos_async.context import StepContext
from kairos_async.events import EventLevel, Hook
from kairos_async.security import Redactor, sanitize_exception


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


class Emitter:
    """The way out for the events of one run.

    Attributes:
        warnings: one line for each hook that raised.
        broken: what a hook with `required = True` raised in its lifespan, as class name and message; None: nothing.
    """

    __slots__ = ("_hooks", "_redactor", "_reported", "_run_id", "_sequence", "broken", "warnings")

    def __init__(self, run_id: str, hooks: tuple[Hook, ...], redactor: Redactor) -> None:
        self._run_id = run_id
        self._hooks = hooks
        self._redactor = redactor
        self._sequence = 0
        self._reported: set[int] = set()
        self.warnings: list[str] = []
        self.broken: tuple[str, str] | None = None

    async def attach(self, stack: AsyncExitStack, workflow: str) -> None:
        """Enter the lifespans of the hooks; leaving the stack leaves them, whatever each of them does."""
        for position, hook in enumerate(self._hooks):
            if not isinstance(hook, Lasting):
                continue
            try:
                lifespan = hook.lifespan(self._run_id, workflow)
                await lifespan.__aenter__()
            except Exception as error:
                self._report(position, error, lifespan=True)
            else:
                stack.push_async_exit(self._leaving(position, lifespan))

    def _leaving(self, position: int, lifespan: AbstractAsyncContextManager[object]) -> Callable[..., Any]:
        async def leave(
            kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
        ) -> None:
            try:
                await lifespan.__aexit__(kind, error, traceback)
            except Exception as own:
                self._report(position, own, lifespan=True)

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
        self,
        kind: type[Any],
        step: str | None,
        level: EventLevel,
        data: dict[str, JSONValue],
        *,
        is_clean: bool = False,
    ) -> None:
        """Build an event of the kind and give it to every hook, whatever the other hooks do with it.

        `is_clean` says that the data is redacted already, or has nothing in it but numbers of the engine's own.
        """
        self._sequence += 1
        event = kind(
            run_id=self._run_id,
            sequence=self._sequence,
            timestamp=datetime.now(UTC),
            step_id=None if step is None else self._redactor.name(step),
            level=level,
            data=data if is_clean else cast(dict[str, JSONValue], self._redactor.redact(data)),
        )
        for position, hook in enumerate(self._hooks):
            try:
                hook(event)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                self._report(position, error)

    def _report(self, position: int, error: BaseException, *, lifespan: bool = False) -> None:
        """Say once that a hook is broken. It goes on getting events: the next one may not break it."""
        hook = self._hooks[position]
        required = lifespan and getattr(hook, "required", False) is True
        if position in self._reported and not required:
            return
        self._reported.add(position)
        name = getattr(hook, "__qualname__", type(hook).__name__)
        error_type, message = sanitize_exception(error, self._redactor)
        if required:
            self.broken = self.broken or (error_type, f"The required hook {name} failed: {message}")
        self.warnings.append(f"hook {name} raised {error_type}: {message}")
        structlog.get_logger("kairos_async").warning(
            "hook_failed", run_id=self._run_id, hook=name, error_type=error_type, error_message=message
        )
