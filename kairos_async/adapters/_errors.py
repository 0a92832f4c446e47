"""What went wrong with a call to a model, as one of our errors: the one mapping of statuses, bodies and exceptions.

Of what the provider says, only words from closed lists are looked at, and nothing is passed on. The errors are made and
raised outside of any `except` block, so that none carries another exception with it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from pydantic_core import from_json

from kairos_async._types import TokenUsage
from kairos_async.exceptions import (
    ModelAuthError,
    ModelError,
    ModelFilterError,
    ModelLengthError,
    ModelQuotaError,
    ModelRateLimitError,
    ModelRefusalError,
    ModelRequestError,
    ModelResponseError,
    ModelTimeoutError,
    ModelTruncatedError,
    ModelUnavailableError,
)

LONGEST_PAUSE: Final = 120.0
"""Seconds. Who asks for a longer pause is not asked again: the error then says that no retry can help."""

_LONGEST_HEADER: Final = 100
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_DURATION: Final = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,9})?)s")

QUOTA_WORDS: Final = frozenset({"insufficient_quota", "billing_error", "billing_hard_limit_reached", "quota_exceeded"})
KEY_WORDS: Final = frozenset({"API_KEY_INVALID", "invalid_api_key", "authentication_error", "UNAUTHENTICATED"})
LENGTH_WORDS: Final = frozenset({"context_length_exceeded", "string_above_max_length", "request_too_large"})
_STATUS_OF: Final[Mapping[int, frozenset[str]]] = {
    401: KEY_WORDS,
    429: frozenset({"rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED"}),
    504: frozenset({"timeout_error", "DEADLINE_EXCEEDED"}),
    529: frozenset({"overloaded_error", "UNAVAILABLE"}),
}
"""For words of errors inside of streams: the status that the same error has as an answer."""

_REFUSED: Final[Mapping[int, str]] = {
    300: "the provider redirects elsewhere, where a key is never sent: check base_url",
    400: "the provider refuses the request as not valid: check model, options and contract",
    404: "the provider does not know this model, or has no such API at its base_url",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose errors these are, and the variables that its key is read from."""

    provider: str
    model: str
    variables: tuple[str, ...] = ()

    def error(self, kind: type[ModelError], problem: str, **facts: Any) -> ModelError:
        """An error of this origin."""
        return kind(self.provider, self.model, problem, **facts)


def of_status(origin: Origin, status: int, headers: Mapping[str, str], body: bytes) -> ModelError:
    """The error that an answer with this status means."""
    words = frozenset(_words(body))
    kind, problem = _meaning(origin, status, words)
    asked = retry_after(headers, body)
    error = origin.error(kind, problem, status=status, retry_after=asked, request_id=request_id(headers))
    if kind in (ModelRateLimitError, ModelUnavailableError, ModelTimeoutError):
        verdict = headers.get("x-should-retry")
        error.retryable = verdict != "false" and (asked is None or asked <= LONGEST_PAUSE)
    return error


def of_event(origin: Origin, body: bytes, usage: TokenUsage | None) -> ModelError:
    """The error that a provider reports in the middle of a stream, after it had said 200: told by its words alone."""
    words = frozenset(_words(body))
    status = next((status for status, meaning in _STATUS_OF.items() if words & meaning), 500)
    kind, problem = _meaning(origin, status, words)
    return origin.error(kind, problem, usage=usage, retry_after=retry_after({}, body))


def _meaning(origin: Origin, status: int, words: frozenset[str]) -> tuple[type[ModelError], str]:
    """What a status means; only quotas, keys and lengths are told by words, where providers use one status for all."""
    if status == 402 or words & QUOTA_WORDS:
        return ModelQuotaError, "the account has no quota or money left"
    if status in (401, 403) or (status == 400 and words & KEY_WORDS):
        where = f": check {' or '.join(origin.variables)}" if origin.variables else ""
        return ModelAuthError, f"the provider refuses the key, or what it may use{where}"
    if status == 413 or (status == 400 and words & LENGTH_WORDS):
        return ModelRequestError, "the prompt is longer than the model takes"
    if status == 429:
        return ModelRateLimitError, "too many requests or tokens a minute"
    if status in (408, 504):
        return ModelTimeoutError, "the provider was too slow, as it says itself"
    if status in (503, 529):
        return ModelUnavailableError, "the provider is overloaded"
    if status in (409, 425) or status >= 500:
        return ModelUnavailableError, "the provider is in trouble"
    return ModelRequestError, _REFUSED.get(status, _REFUSED[300 if status < 400 else 400])


def _words(body: bytes) -> Iterator[str]:
    """The short strings of an error body under the keys that say what kind of error it is."""
    error = _error_in(body)
    details = error.get("details")
    entries = [error, *(details if isinstance(details, list) else [details])]
    for entry in entries[:20]:
        for key in ("type", "code", "status", "reason", "error_code"):
            word = entry.get(key) if isinstance(entry, dict) else None
            if isinstance(word, str):
                yield word


def _error_in(body: bytes) -> dict[str, Any]:
    """What an error body says of the error; empty if it is none."""
    try:
        found: object = from_json(body)
    except ValueError:
        return {}
    if isinstance(found, list) and found:  # Gemini wraps the errors of a stream
        found = found[0]
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {}


def retry_after(headers: Mapping[str, str], body: bytes = b"") -> float | None:
    """Seconds that the provider asks to wait: from `retry-after-ms`, a Gemini RetryInfo, or `retry-after` as seconds
    or as a date; None if it says nothing that can be understood."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    told = _retry_info(body)
    if told is None:
        told = _number(headers.get("retry-after"))
    if told is None:
        told = _until(headers.get("retry-after"), headers.get("date"))
    return told


def _number(text: str | None) -> float | None:
    if text is None or len(text) > _LONGEST_HEADER:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(text: str | None, now: str | None) -> float | None:
    """Seconds until an HTTP date, by the server's own clock if it told it."""
    at, current = _date(text), _date(now) or datetime.now(UTC)
    return None if at is None else max(0.0, (at - current).total_seconds())


def _date(text: str | None) -> datetime | None:
    if text is None or len(text) > _LONGEST_HEADER:
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _retry_info(body: bytes) -> float | None:
    """`retryDelay` of the google.rpc.RetryInfo among an error's details, such as "30s"."""
    if b"RetryInfo" not in body:
        return None
    details = _error_in(body).get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("google.rpc.RetryInfo"):
            match = _DURATION.fullmatch(str(detail.get("retryDelay", "")))
            if match:
                return float(match[1])
    return None


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's own name for the exchange, if it looks like one."""
    found = headers.get("request-id") or headers.get("x-request-id") or ""
    return found if _REQUEST_ID.fullmatch(found) else None


def of_exception(origin: Origin, error: Exception, *, started: bool) -> ModelError:
    """The error that an exception of an HTTP client means. `started`: the answer had begun.

    Told by the names of its classes, so that httpx, httpx2 and whatever a user's own client raises are all understood.
    Nothing of the exception is kept: its text may hold a header, and with it a key.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    if "ConnectTimeout" in names:
        return origin.error(ModelTimeoutError, "no connection in time")
    if "PoolTimeout" in names:
        return origin.error(ModelTimeoutError, "no free connection in time")
    if names & {"TimeoutException", "TimeoutError"}:
        return origin.error(ModelTimeoutError, "the answer did not go on in time" if started else "no answer in time")
    if names & {"LocalProtocolError", "InvalidURL", "UnsupportedProtocol"}:
        return origin.error(ModelRequestError, "the request cannot be sent: check key and base_url")
    if "DecodingError" in names:
        return origin.error(ModelResponseError, "the answer is compressed in a way that cannot be read")
    if started:
        return origin.error(ModelTruncatedError, "the connection ended before the answer")
    if names & {"ConnectError"}:
        return origin.error(ModelUnavailableError, "no connection: check base_url and network")
    if names & {"TransportError", "OSError"}:
        return origin.error(ModelUnavailableError, "the connection ended without an answer")
    return origin.error(ModelUnavailableError, "its HTTP client failed")


def too_large(origin: Origin, limit: int, usage: TokenUsage | None = None) -> ModelError:
    """The answer is longer than what is read of one."""
    return origin.error(
        ModelResponseError, f"the answer is longer than the {limit} bytes that are read of one", usage=usage
    )


def too_late(origin: Origin, seconds: float, usage: TokenUsage | None = None) -> ModelError:
    """The answer was not there in the time for a whole call."""
    return origin.error(ModelTimeoutError, f"the answer was not complete within {seconds:g} s", usage=usage)


def not_in_format(origin: Origin, usage: TokenUsage | None = None, request: str | None = None) -> ModelError:
    """The answer is no JSON, or not what the provider's format says."""
    return origin.error(
        ModelResponseError, "the answer is not in the provider's format", usage=usage, request_id=request
    )


STOPS: Final[Mapping[str, tuple[type[ModelError], str]]] = {
    "refusal": (ModelRefusalError, "it refuses to answer"),
    "filter": (ModelFilterError, "the provider's filter held back the prompt or the answer"),
    "length": (ModelLengthError, "its answer reached the greatest length before its end: raise max_tokens"),
}
"""For each `StopReason` that is no answer, the error that it is."""
