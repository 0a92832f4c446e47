"""structlog processors for a service's own logging configuration.

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        redact_processor(["customer_number"]),
        structlog.processors.JSONRenderer(),
    ]
)
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

import structlog

from kairos_async.context import StepContext, current_step, log_facts
from kairos_async.events import Event
from kairos_async.logs import redacted_event
from kairos_async.security import Redactor, sanitize_exception

EventDict: TypeAlias = MutableMapping[str, Any]
_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
_STRUCTLOG_OWN: Final = ("_record", "_from_structlog", "_logger", "_name")
"""What structlog's bridge to the standard library passes along in an event; no renderer shows it."""


class RedactProcessor:
    """A structlog processor that redacts events. See `redact_processor`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, logger: object, method: str, event: EventDict) -> EventDict:
        """Return the event redacted; the same object if there was nothing to redact."""
        if event.get("exc_info"):
            event = _with_clean_exception(event, self._redactor)
        own = {key: event[key] for key in _STRUCTLOG_OWN if key in event}
        shown = {key: value for key, value in event.items() if key not in own} if own else event
        redacted = redacted_event(shown, self._redactor)
        return event if redacted is shown else {**redacted, **own}


def redact_processor(patterns: Sequence[str] = (), *, redactor: Redactor | None = None) -> RedactProcessor:
    """Return a structlog processor that replaces secrets in log events by `[REDACTED]`.

    Put it before the renderer and before anything that writes. It redacts by key and by the look of strings; what only
    a run knows to be secret is redacted in the run's own logger, `ctx.log`. An exception (`exc_info`) becomes the text
    `exception`, "ValueError: what it said", cleaned and without traceback, because tracebacks show source lines and
    directories. An event without anything to redact passes as the same object, after about 3 us, and 3 us more for each
    KB of text in it.

    Args:
        patterns: words or globs for keys, beside the default ones.
        redactor: one to use instead, with the values that it knows; `patterns` are its own then.

    Raises:
        ConfigError: a pattern is no word and no glob.
    """
    return RedactProcessor(Redactor(patterns) if redactor is None else redactor)


def add_step_context(logger: object, method: str, event: EventDict) -> EventDict:
    """A structlog processor: say in each line that is written inside a step which one it is.

    Adds run_id, workflow, step, attempt, and item in a foreach, to the lines of every logger that an action uses, in
    threads and tasks that it starts too; other lines pass as they are. Nothing is bound for it: a run costs the same
    with it as without. What the line says itself is kept.
    """
    step = current_step()
    if step is not None:
        for key, value in log_facts(step).items():
            event.setdefault(key, value)
    return event


class LogContext:
    """A hook that binds run_id, workflow, step, attempt and item as structlog's own context variables in each attempt.

    For services whose processors have `structlog.contextvars.merge_contextvars` and are not to be changed; with
    `add_step_context` among them it is not needed. Costs some microseconds an attempt.
    """

    kinds: Final[frozenset[type[Any]]] = frozenset()

    def __call__(self, event: Event) -> None:
        """Take no events."""

    def enter_attempt(self, ctx: StepContext) -> None:
        """Bind them, in the attempt's own context variables."""
        structlog.contextvars.bind_contextvars(**log_facts(ctx))


@contextlib.contextmanager
def bind_run_context(ctx: StepContext) -> Iterator[None]:
    """Bind run, workflow, step, attempt and item of a context to every structlog line that is written in the block.

    The same as `LogContext`, for one piece of code:

        async def fetch(ctx):
            with bind_run_context(ctx):
                return await client.fetch(ctx.inputs["url"])  # the client's lines tell run_id, step and attempt

    Raises:
        StateError: the attempt has ended.
    """
    with structlog.contextvars.bound_contextvars(**log_facts(ctx)):
        yield


def _with_clean_exception(event: EventDict, redactor: Redactor) -> EventDict:
    """Return the event with the text `exception` in place of `exc_info`, as structlog's own formatter would put it."""
    error = _error_of(event["exc_info"])
    cleaned = {key: value for key, value in event.items() if key != "exc_info"}
    if error is not None:
        cleaned["exception"] = ": ".join(sanitize_exception(error, redactor))
    return cleaned


def _error_of(exc_info: object) -> BaseException | None:
    """Return the exception that structlog was given: itself, as a tuple of three, or True for the current one."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return cast(_ExcInfo, exc_info)[1]
    return sys.exc_info()[1]
