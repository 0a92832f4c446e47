"""Events: built, redacted and handed to the hooks, here and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import structlog

from kairos_async._types import JSONValue
from kairos_async.events import EventLevel, Hook
from kairos_async.security import Redactor, sanitize_exception


class Emitter:
    """The way out for the events of one run. `warnings` has one line for each hook that raised."""

    __slots__ = ("_broken", "_hooks", "_redactor", "_run_id", "_sequence", "warnings")

    def __init__(self, run_id: str, hooks: tuple[Hook, ...], redactor: Redactor) -> None:
        self._run_id = run_id
        self._hooks = hooks
        self._redactor = redactor
        self._sequence = 0
        self._broken: set[int] = set()
        self.warnings: list[str] = []

    def emit(self, kind: type[Any], step: str | None, level: EventLevel, data: dict[str, JSONValue]) -> None:
        """Build an event of the kind and give it to every hook, whatever the other hooks do with it."""
        self._sequence += 1
        event = kind(
            run_id=self._run_id,
            sequence=self._sequence,
            timestamp=datetime.now(UTC),
            step_id=step,
            level=level,
            data=cast(dict[str, JSONValue], self._redactor.redact(data)),
        )
        for position, hook in enumerate(self._hooks):
            try:
                hook(event)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                self._report(position, hook, error)

    def _report(self, position: int, hook: Hook, error: BaseException) -> None:
        """Say once that a hook is broken. It goes on getting events: the next one may not break it."""
        if position in self._broken:
            return
        self._broken.add(position)
        name = getattr(hook, "__qualname__", type(hook).__name__)
        error_type, message = sanitize_exception(error, self._redactor)
        self.warnings.append(f"hook {name} raised {error_type}: {message}")
        structlog.get_logger("kairos_async").warning(
            "hook_failed", run_id=self._run_id, hook=name, error_type=error_type, error_message=message
        )
