"""Logging for scripts and the command line. A service configures its own; the library never does it by itself."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any, Final, TextIO

import structlog

from kairos_async.exceptions import ConfigError
from kairos_async.observe.processors import EventDict, add_step_context, redact_processor
from kairos_async.observe.sinks import wants_color
from kairos_async.security import terminal_text

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, which a second call finds and replaces."""


def configure_logging(
    level: str = "info",
    *,
    json: bool | None = None,
    stream: TextIO | None = None,
    sensitive_keys: Sequence[str] = (),
) -> None:
    """Configure structlog and the standard library's logging for a program of one's own.

    Lines of both go to one stream, redacted, with the time in UTC, and say which run, workflow, step, attempt and item
    they come from. On a terminal they are for people, without control characters from data; else they are JSON. Call
    it once, first; another call replaces what the one before did.

    Args:
        level: "debug", "info", "warning", "error" or "critical": what is less is not written.
        json: None: unless the stream is a terminal.
        stream: None: standard error.
        sensitive_keys: words or globs for keys that are redacted, beside the defaults.

    Raises:
        ConfigError: an argument is not valid.
    """
    if level not in _LEVELS:
        raise ConfigError(f"level={level!r} is none of {list(_LEVELS)}.")
    number = logging.getLevelNamesMapping()[level.upper()]
    out = sys.stderr if stream is None else stream
    as_json = not out.isatty() if json is None else json
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_step_context,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact_processor(sensitive_keys),
    ]
    renderers: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if as_json:
        renderers.append(structlog.processors.JSONRenderer())
    else:
        renderers += [_printable, structlog.dev.ConsoleRenderer(colors=wants_color(out))]
    handler = _Handler(out)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=renderers, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler, *(each for each in root.handlers if not isinstance(each, _Handler))]
    root.setLevel(number)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
    )


def _printable(logger: object, method: str, event: EventDict) -> EventDict:
    """A structlog processor: show control characters as escapes, so that none acts on the terminal."""
    return {terminal_text(key): _shown(value) for key, value in event.items()}


def _shown(value: Any) -> Any:
    return terminal_text(value) if isinstance(value, str) else value
