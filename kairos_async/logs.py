"""The logger that steps get: the host's structlog, with every line redacted. Nothing is configured for the host."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import structlog

from kairos_async.security import Redactor, sanitize_exception


def bound_logger(facts: dict[str, Any], redactor: Redactor) -> Any:
    """The host's own structlog configuration, bound with the facts, and with redaction put in twice.

    First, before anything of the host's sees the line; and again before its last processor, which renders, because
    others add to the line: context variables that a step has bound, or the exception that is being handled.
    """
    config = structlog.get_config()

    def redact(logger: object, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if not isinstance(event, Mapping):
            return event  # rendered before the last processor, out of what was redacted
        plain = {**event, **facts}
        plain.pop("stack_info", None)
        error = _logged_exception(plain.pop("exc_info", None))
        if error is not None:
            plain["exception"] = ": ".join(sanitize_exception(error, redactor))
        return redacted_event(plain, redactor)

    *before, last = config["processors"] or [redact]
    logger = structlog.wrap_logger(
        config["logger_factory"]("kairos_async"),
        processors=[redact, *before, redact, last],
        wrapper_class=config["wrapper_class"],
        context_class=config["context_class"],
    )
    return logger.bind(**facts)


def redacted_event(event: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    """The event redacted; the same object if there was nothing to redact.

    Arguments that are still to be put into its text stay the tuple that `%` takes for several of them.
    """
    redacted = cast(dict[str, Any], redactor.redact(event))
    arguments = redacted.get("positional_args")
    return {**redacted, "positional_args": tuple(arguments)} if isinstance(arguments, list) else redacted


def _logged_exception(exc_info: object) -> BaseException | None:
    """The exception that a log call means by `exc_info`: an exception, a triple, or True for the one being handled."""
    if isinstance(exc_info, tuple) and len(exc_info) == 3:
        exc_info = exc_info[1]
    found = exc_info if isinstance(exc_info, BaseException) or not exc_info else sys.exc_info()[1]
    return found if isinstance(found, BaseException) else None
