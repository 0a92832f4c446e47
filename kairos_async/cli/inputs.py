"""A run's inputs from the command line: strict JSON, and nothing that is evaluated, expanded or looked up."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from kairos_async._types import JSONValue
from kairos_async.cli.errors import CommandError, quoted
from kairos_async.cli.files import read_file

MOST_BYTES: Final = 16 * 1024 * 1024
MOST_LEVELS: Final = 100
"""As deep as state holds values."""
_MOST_DIGITS: Final = 4_000
_STRUCTURE: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|([\[{])|([\]}])', re.DOTALL)
"""Strings, also one that never ends, so that the time is linear; and what opens and closes objects and arrays."""


class _Refused(Exception):
    """JSON, but not such as is taken; the message says why."""


def parse_json(text: str, what: str) -> JSONValue:
    """Return the value of a JSON text.

    Python's own reader takes more than JSON and less than all of it: NaN, the last of duplicate keys, and a stack
    overflow for deep nesting. All of these are errors here.

    Args:
        text: the text.
        what: how messages name it.

    Raises:
        CommandError: it is no JSON, nested over 100 levels, has a key twice in one object, a number that is not
            finite or has over 4,000 digits, or half of a surrogate pair. The message holds nothing of the text.
    """
    try:
        _check_depth(text)
        value: JSONValue = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_number
        )
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise CommandError(f"{what} is no JSON: line {error.lineno}, column {error.colno}.") from None
    except UnicodeEncodeError:
        raise CommandError(f"{what} has half of a surrogate pair in a string.") from None
    except _Refused as refused:
        raise CommandError(f"{what} {refused}.") from None
    return value


def collect_inputs(given: str | None, file: str | None, settings: Sequence[str]) -> dict[str, JSONValue]:
    """Return the inputs of a run: an object from `--input` or `--input-file`, and above it what `--set` says.

    Raises:
        CommandError: one of them is not what it has to be.
    """
    if given is not None and file is not None:
        raise CommandError("--input and --input-file exclude each other; --set adds to either.")
    inputs: dict[str, JSONValue] = {}
    if given is not None:
        if len(given) > MOST_BYTES:
            raise CommandError(f"--input has {len(given):,} characters; the limit is {MOST_BYTES:,}.")
        inputs = _mapping(given, "--input")
    elif file is not None:
        what = f"input file {quoted(file)}"
        try:
            text = read_file(file, MOST_BYTES, "input file").decode("utf-8")
        except UnicodeDecodeError as error:
            raise CommandError(f"{what} is not UTF-8: byte {error.start + 1}.") from None
        inputs = _mapping(text, what)
    return {**inputs, **_settings(settings)}


def _mapping(text: str, what: str) -> dict[str, JSONValue]:
    value = parse_json(text, what)
    if not isinstance(value, dict):
        raise CommandError(f'{what} is no JSON object, such as {{"name": "value"}}.')
    return value


def _settings(settings: Sequence[str]) -> dict[str, JSONValue]:
    """Return `key=value` pairs. A value that is JSON is that value, any other is text."""
    found: dict[str, JSONValue] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise CommandError(f"--set {quoted(key)} is not KEY=VALUE.")
        if key in found:
            raise CommandError(f"--set gives the key {quoted(key)} twice.")
        if not _is_encodable(setting):
            raise CommandError(f"--set {quoted(key)} is not UTF-8.")
        found[key] = _value(text, f"the value of --set {quoted(key)}")
    return found


def _value(text: str, what: str) -> JSONValue:
    try:
        _check_depth(text)
        json.loads(text, parse_constant=_constant, parse_int=str, parse_float=str)
    except (json.JSONDecodeError, _Refused):
        if text.lstrip()[:1] not in ("{", "["):
            return text
    return parse_json(text, what)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_depth(text: str) -> None:
    depth = 0
    for found in _STRUCTURE.finditer(text):
        if found[1]:
            depth += 1
            if depth > MOST_LEVELS:
                raise _Refused(f"is nested over {MOST_LEVELS} levels")
        elif found[2]:
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Refused("has an object with the same key twice")
    return found


def _constant(_: str) -> NoReturn:
    raise _Refused("has a number that is NaN or infinite")


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise _Refused(f"has an integer of over {_MOST_DIGITS:,} digits")
    return int(digits)


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Refused("has a number that is too large for a float")
    return value
