"""No input makes a regular expression of the package, or what is built on them, take more than linear time."""

from __future__ import annotations

import fractions
import functools
import importlib
import pkgutil
import random
import re
import string
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import kairos_async.security
import kairos_async.security.keys
from kairos_async.security import (
    DEFAULT_SENSITIVE_PATTERNS,
    KnownSecrets,
    Redactor,
    Template,
    csv_cell,
    json_line,
    sanitize_exception,
    terminal_text,
    untrusted,
)
from kairos_async.security.engine import as_json, matcher
from kairos_async.security.keys import KeyMatcher
from kairos_async.security.secret_formats import SECRET_FORMATS
from kairos_async.security.shapes import Shape, compile_template, match_shape
from tests.security.test_recall import filled

MEGABYTE = 1 << 20
SMALL = MEGABYTE >> 9
"""On texts of this size the slowest unit is looked for."""
ALLOWED_GROWTH = 64
"""From a sixteenth of a text to all of it linear time grows 16 times, quadratic time 256 times."""
SLACK = 0.02
"""Seconds, for the clock's grain."""
UNITS = [
    *("a", "A1", "aB3", " ", "\n", "-", "=", "/", ".", "x=", "a:", "\\", '"', "'", "<", "%3D", "{", "}", "~"),
    *("^", "é", "password=", 'password="', "password: no ", "token='optional[", "cookie:", "Cookie: a=b; "),
    *("api_key:=", "--token ", "<token>", "<token>a</", "bearer ", "Basic aaaa", "://", "://a:b@", "://a:"),
    *("://aaaaaaaaaaaaaaaa1", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----\n", "eyJaaaaaaaaaaaa."),
    *("-eyJaaaaaaaaaaa", "sk-", "AKIA", "aaaaaaaaaaaaaaaaa1 ", "key ", 'File "a", line 1, in f\n', 'File "'),
    *("Traceback (most recent call last):", "[type=a", "/a", "/a/", "../", "C:\\a\\", "ignore ", "ignore'''a"),
    *("you ", "from now on ", "system", "\n > ", "<|a", "[inst", '"role" : "', "忽略", "a.b/c.d/", "'/a"),
    *("file://", "x-y_z.", "\u202e", "1//0", "+", "=1", "ghp_", "****", "key=key:key "),
]  # fmt: skip
"""What inputs are made of by repetition: the beginnings that rules look for, and what their repetitions swallow."""


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """Yield every compiled pattern of the security modules, those inside of tables too."""
    for module in pkgutil.iter_modules(kairos_async.security.__path__):
        space = vars(importlib.import_module(f"kairos_async.security.{module.name}"))
        for name, value in space.items():
            parts = value if isinstance(value, tuple) else (value,)
            for part in parts:
                pattern = getattr(part, "pattern", None)
                found = pattern if isinstance(pattern, re.Pattern) else part
                if isinstance(found, re.Pattern):
                    yield f"{module.name}.{name}", found


def seconds(work: Callable[[Any], object], text: object) -> float:
    """Return the processor time of the work on the text, that of this thread."""
    start = time.thread_time()
    work(text)
    return time.thread_time() - start


def repeated(unit: str, length: int) -> str:
    """Return the unit repeated to a length, with an ending that lets the last match fail."""
    return (unit * (length // len(unit) + 1))[: length - 1] + "!"


def assert_linear(name: str, work: Callable[[Any], object], made: Callable[[int], Any], length: int = MEGABYTE) -> None:
    """Fail unless the time for a text is at most a small multiple of 16 times that for a sixteenth of it.

    In one of three tries: processor time too depends on what else the machine does.
    """
    for _ in range(3):
        small = seconds(work, made(length >> 4))
        large = seconds(work, made(length))
        if large <= ALLOWED_GROWTH * small + SLACK:
            return
    pytest.fail(f"{name}: {small:.4f} s for 1/16, {large:.4f} s for all")


def whole_units(unit: str, length: int) -> str:
    """Return the unit repeated to about a length."""
    return unit * (length // len(unit))


def of_length(unit: str) -> Callable[[int], str]:
    """Return what makes texts of a unit, by their length."""
    return lambda length: repeated(unit, length)


def scan(pattern: re.Pattern[Any]) -> Callable[[Any], object]:
    """Return work that finds all matches of a pattern in a text, as text or bytes."""
    if isinstance(pattern.pattern, bytes):
        return lambda text: pattern.sub(b"", text.encode("ascii", "replace"))
    return functools.partial(pattern.sub, "")


def find_shape(shape: Shape, text: str) -> None:
    """Find all places of a shape, as redaction does when one of its words is there."""
    match_shape(text.encode(), shape, [])


def test_every_pattern_is_linear_on_its_worst_input() -> None:
    """Each pattern gets 1 MB of the unit on which it is slowest."""
    found = {pattern: name for name, pattern in patterns()}
    assert len(found) > 60
    for pattern, name in found.items():
        work = scan(pattern)
        slowest = max(UNITS, key=lambda unit: seconds(work, repeated(unit, SMALL)))
        assert_linear(f"{name}, {slowest!r}", work, of_length(slowest))


def kind_of(template: str) -> tuple[object, ...]:
    """Return what the time to search for a template depends on, besides its lengths."""
    parts = re.findall(r"\{(\w+):\d+(-?)(\d*)\}", template)
    return compile_template(template).head, template[0] == "^", *((name, *map(bool, bounds)) for name, *bounds in parts)


def test_every_format_is_linear_on_its_own_beginning() -> None:
    """1 MB of a template without its last character, for each kind of template the longest, and 1 MB of all in turn."""
    rng = random.Random(5)
    templates = [template for secret_format in SECRET_FORMATS for template in secret_format.templates]
    almost = {template: filled(template, rng)[:-1] + " " for template in templates}
    longest = {kind_of(template): template for template in sorted(almost, key=lambda template: len(almost[template]))}
    for template in longest.values():
        shape = compile_template(template)
        assert_linear(template, functools.partial(find_shape, shape), of_length(almost[template]))
    assert_linear("all", Redactor().text, lambda length: repeated("".join(almost.values()), length))


@pytest.mark.parametrize(
    "work",
    [
        Redactor().text,
        lambda text: untrusted(text, limit=MEGABYTE),
        lambda text: sanitize_exception(ValueError(text)),
        terminal_text,
        json_line,
        csv_cell,
        lambda text: Redactor(["*a*b*c*d*e*"]).is_sensitive(text),
    ],
    ids=["redactor", "untrusted", "exception", "terminal", "json", "csv", "glob"],
)
def test_public_functions_are_linear_on_their_worst_input(work: Callable[[Any], object]) -> None:
    """The whole of each function, with all its rules, on the unit that is slowest for it."""
    slowest = max(UNITS, key=lambda unit: seconds(work, repeated(unit, SMALL)))
    assert_linear(repr(slowest), work, of_length(slowest))


def test_templates_are_linear() -> None:
    """A template of a megabyte of placeholders or doubled braces."""
    for unit in ("{a}", "{{", "}}", "x"):
        assert_linear(unit, Template, functools.partial(whole_units, unit))


def test_the_search_for_known_values_is_linear() -> None:
    """In the length of the text, for a few values and for many, found everywhere and nowhere."""
    for count, length in ((3, MEGABYTE), (300, MEGABYTE >> 4)):
        known = KnownSecrets()
        for number in range(count):
            known.add(f"abcabc{number:06d}")
        for unit in ("abcabc", "abcabc000001", "YWJjYWJj", "x"):
            assert_linear(f"{count} values, {unit}", known.spans, of_length(unit), length)


def test_many_keys_that_become_equal_take_linear_time() -> None:
    """Each gets a number of its own."""
    assert_linear("keys", Redactor().redact, lambda count: {f"password=hunter{n}": None for n in range(count)}, 1 << 12)


def test_the_first_look_reads_as_fast_after_a_megabyte_of_different_texts() -> None:
    """An automaton of too many states is built again and again, or given up: 50 to 4,000 ns for each character."""
    files = sorted(Path(fractions.__file__).parent.rglob("*.py"))[::25]
    code = "".join(file.read_text(errors="replace") for file in files)[:MEGABYTE]
    code += "".join(random.Random(1).choices(f"{string.ascii_letters}{string.digits}_- =:", k=MEGABYTE >> 2))
    pieces = [as_json(code[start : start + 1000]) for start in range(0, len(code), 1000)]
    look, any_other = KeyMatcher(DEFAULT_SENSITIVE_PATTERNS).may_need_look, matcher("[a-z]{40}[0-9]")
    for piece in pieces:
        look(piece)
    some = pieces[::10]

    def least(see: Callable[[bytes], bool]) -> float:
        return min(seconds(lambda some: list(map(see, some)), some) for _ in range(4))

    ours, other = least(look), least(any_other)
    assert ours < 15 * other, f"{ours / len(some):.6f} s for 1 KB, and {other / len(some):.6f} s"
