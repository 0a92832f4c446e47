"""structlog processors for a service's own logging."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import structlog

from kairos_async.exceptions import ConfigError
from kairos_async.observe import redact_processor
from kairos_async.security import Redactor


def logged(*processors: Any) -> tuple[Any, io.StringIO]:
    """Return a logger that writes JSON lines after these processors, and where it writes."""
    written = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(written),
        processors=[*processors, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
    )
    return logger, written


def test_events_are_redacted_by_key_and_by_look() -> None:
    """Also what was bound, and keys that only the service knows to be sensitive, numbers included."""
    logger, written = logged(redact_processor(["customer_number"]))
    logger.bind(api_key="abc").info("got password=hunter2", customer_number=42, n=1, nested={"token": "x"})
    assert json.loads(written.getvalue()) == {
        "event": "got password=[REDACTED]",
        "api_key": "[REDACTED]",
        "customer_number": "[REDACTED]",
        "n": 1,
        "nested": {"token": "[REDACTED]"},
    }


def test_an_event_without_a_secret_passes_as_it_is() -> None:
    """The same object, so that it costs next to nothing."""
    event: dict[str, Any] = {"event": "hello", "n": 1, "_record": object()}
    assert redact_processor()(None, "info", event) is event


def test_exceptions_lose_traceback_directories_and_secrets() -> None:
    """Given as True, as an exception or as a tuple."""
    logger, written = logged(redact_processor())
    try:
        raise ValueError("token=hunter2 in /srv/app/x.py")
    except ValueError as error:
        logger.error("failed", exc_info=True)
        logger.error("failed", exc_info=error)
        logger.error("failed", exc_info=(ValueError, error, error.__traceback__))
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert lines == [{"event": "failed", "exception": "ValueError: token=[REDACTED] in x.py"}] * 3


def test_values_that_a_redactor_knows_are_scrubbed() -> None:
    """With the run's own redactor in place of patterns."""
    redactor = Redactor()
    redactor.register("tangerine")
    assert redact_processor(redactor=redactor)(None, "info", {"event": "a tangerine"}) == {"event": "a [REDACTED]"}


def test_what_structlog_passes_along_stays() -> None:
    """Its bridge to the standard library needs its own entries."""
    record = object()
    event = redact_processor()(None, "info", {"event": "x", "password": "abc", "_record": record})
    assert event == {"event": "x", "password": "[REDACTED]", "_record": record}


def test_arguments_of_a_text_are_put_in_after_redaction() -> None:
    """structlog's logger for the standard library leaves them to a processor, which wants the tuple they came in."""
    logger, written = logged(redact_processor(), structlog.stdlib.PositionalArgumentsFormatter())
    logger = logger.bind(positional_args=("eve", "ghp_" + "aB3dE5gH7jK9mN1pQ3" * 2))
    logger.info("%s has %s")
    assert json.loads(written.getvalue()) == {"event": "eve has [REDACTED]"}


def test_a_pattern_that_is_none_is_refused_at_once() -> None:
    """When the processor is made, not at the first line."""
    with pytest.raises(ConfigError):
        redact_processor(["a[b"])
