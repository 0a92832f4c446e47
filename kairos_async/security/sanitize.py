"""Exceptions as data, and the retry boundary: what of a failed attempt may reach the next one."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from typing import Final

from kairos_async._types import FieldError, JSONValue
from kairos_async.exceptions import ConfigError
from kairos_async.security.messages import clean_message
from kairos_async.security.plain import type_name
from kairos_async.security.redaction import Redactor

_BUILTIN_NAMES: Final = {
    kind: kind.__name__
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
_GUIDANCE: Final = {
    "execution": "The step raised an error. Review what it did and try again.",
    "timeout": "The step was not done in its time. Try again with less work.",
    "validation": "The output broke its contract. Return output in which each of these fields keeps its rule.",
}
_MOST_ERRORS: Final = 20


def sanitize_exception(error: BaseException, redactor: Redactor | None = None) -> tuple[str, str]:
    """Return (class name, cleaned message of at most 500 characters) for an exception. Never raises.

    The message has no credentials, no directories, no traceback and no control characters; notes, causes and the
    members of groups are told of in the same line. Nothing of the exception itself is kept.

    Args:
        error: any exception, also one whose `__str__` raises.
        redactor: of the run, which knows the run's secrets; None for one that knows none.
    """
    cleaner = Redactor() if redactor is None else redactor
    return cleaner.text(type_name(error)), clean_message(error, cleaner)


def nearest_builtin_exception_name(error: BaseException) -> str:
    """Return the name of the nearest built-in class of an exception, such as `"ValueError"`."""
    for kind in type.__dict__["__mro__"].__get__(type(error)):
        if kind in _BUILTIN_NAMES:
            return _BUILTIN_NAMES[kind]
    return "BaseException"


def sanitize_retry_context(
    attempt: int,
    kind: str,
    errors: Iterable[FieldError] = (),
    exception: BaseException | None = None,
) -> dict[str, JSONValue]:
    """Return what the next attempt may know of a failed one: nothing that its output or its error could choose.

    It is built from the contract alone, as an allow-list: each broken rule as the contract declares it, once, in one
    order. Two outputs that break the same rules give equal contexts, byte for byte.

    Args:
        attempt: the number of the attempt that comes, from 1.
        kind: "execution", "timeout" or "validation".
        errors: the broken rules. Only `declared`, `rule` and `expected` of each are read.
        exception: what the attempt raised. Only its nearest built-in class is named.

    Raises:
        ConfigError: `kind` is none of the three.
    """
    if kind not in _GUIDANCE:
        raise ConfigError(f"A retry context of kind {kind!r} is not possible; use one of {sorted(_GUIDANCE)}.")
    broken = sorted({(error.declared, error.rule, error.expected) for error in errors})[:_MOST_ERRORS]
    context: dict[str, JSONValue] = {"attempt": int(attempt), "error_type": str(kind), "guidance": _GUIDANCE[kind]}
    if exception is not None:
        context["error_class"] = nearest_builtin_exception_name(exception)
    if broken:
        fields: list[JSONValue] = [*dict.fromkeys(declared for declared, _, _ in broken)]
        context["failed_fields"] = fields
        context["errors"] = [
            {"field": declared, "rule": rule, "expected": expected} for declared, rule, expected in broken
        ]
    return context
