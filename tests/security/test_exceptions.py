"""Exceptions as data: what they said, without what they must not say."""

from __future__ import annotations

import asyncio
import gc
import traceback
import weakref
from collections.abc import Callable
from typing import NoReturn

import anyio
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async.security import Redactor, nearest_builtin_exception_name, sanitize_exception


class Unprintable(Exception):
    """An exception whose message raises what no one expects."""

    def __str__(self) -> NoReturn:
        raise asyncio.CancelledError


class Exiting(Exception):
    """An exception whose arguments raise when they are shown."""

    def __str__(self) -> NoReturn:
        raise SystemExit("password=hunter2")


class Weak(Exception):
    """An exception that can be referred to weakly."""


class Lying(ExceptionGroup[Exception]):
    """A group that says nothing true of what it is linked with."""

    @property
    def exceptions(self) -> NoReturn:
        raise SystemExit

    @property
    def __cause__(self) -> NoReturn:  # type: ignore[override]
        raise SystemExit


class Loud(str):
    """A string that is not what it says."""

    __slots__ = ()

    def __str__(self) -> NoReturn:
        raise ValueError


def raised(make: Callable[[], Exception], cause: BaseException | None = None) -> Exception:
    """Return an exception that was raised, with its traceback and cause."""
    try:
        raise make() from cause
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("plain"), "plain"),
        (ValueError(), ""),
        (ValueError("a", "b"), "('a', 'b')"),
        (ValueError({"password": "hunter2", "n": 1}), "{'password': '[REDACTED]', 'n': 1}"),
        (ValueError(b"token=hunter2", 3), "token=[REDACTED], 3"),
        (KeyError("api_key"), "'api_key'"),
        (ValueError(Loud("loud")), "loud"),
        (ValueError("a\x1b[31m\u202eb\r\n\tc\x00d"), "a [31m b c d"),
        (OSError(2, "No such file", "/home/me/keys/x.txt"), "[Errno 2] No such file: 'x.txt'"),
        (ValueError("see '/home/John Doe/a b/x.txt' now"), "see 'x.txt' now"),
        (ValueError("see C:\\Users\\John Doe\\x.txt now"), "see x.txt now"),
        (ValueError("see \\\\server\\share\\x.txt, ~/.ssh/id_rsa"), "see x.txt, id_rsa"),
        (ValueError("see src/app/settings.py and/or 3/4"), "see settings.py and/or 3/4"),
        (ValueError("file:///srv/app/x.py"), "x.py"),
        (ValueError("GET https://api.example.com/v1/items failed"), "GET https://api.example.com/v1/items failed"),
        (ValueError("postgres://me:hunter2@db/x"), "postgres://me:[REDACTED]@db/x"),
        (Unprintable(), "(a message that cannot be read)"),
        (Exiting(), "(a message that cannot be read)"),
    ],
)
def test_a_message_is_told_without_what_must_not_be_said(error: BaseException, said: str) -> None:
    """No credentials, no directories, no control characters; arguments that are data are redacted as data."""
    assert sanitize_exception(error) == (type(error).__name__, said)


def test_no_traceback_text_is_kept() -> None:
    """Neither of the exception nor of one that was formatted into its message, source lines included."""
    inner = raised(lambda: ZeroDivisionError("division by zero"))
    text = "".join(traceback.format_exception(inner))
    name, said = sanitize_exception(RuntimeError(f"remote error:\n{text}"))
    assert (name, said) == ("RuntimeError", "remote error: ZeroDivisionError: division by zero")


def test_chains_groups_and_notes_are_told_of() -> None:
    """In one line, each cleaned; a cycle of causes ends."""
    first = raised(lambda: OSError("token=hunter2"))
    second = raised(lambda: KeyError("b"), first)
    group = ExceptionGroup("two", [TypeError("password: Hunter2!"), second])
    group.add_note("see /srv/app/notes.txt")
    first.__cause__ = group
    assert sanitize_exception(group) == (
        "ExceptionGroup",
        "two (2 sub-exceptions) / see notes.txt; with TypeError: password: [REDACTED]; with KeyError: 'b'; "
        "caused by OSError: token=[REDACTED]",
    )


def test_links_are_read_as_python_keeps_them() -> None:
    """Not as the exception's class shows them."""
    assert sanitize_exception(Lying("two", [KeyError("x")])) == ("Lying", "two (1 sub-exception); with KeyError: 'x'")


def test_near_the_end_of_the_stack_nothing_raises() -> None:
    """A caller with few frames left still gets a name and a text."""

    def dig() -> tuple[str, str]:
        try:
            return dig()
        except RecursionError:
            return sanitize_exception(ValueError("token=hunter2"))

    name, said = dig()
    assert name == "ValueError"
    assert "hunter2" not in said


def test_a_context_is_told_of_unless_it_was_suppressed() -> None:
    """As Python itself does when it prints an exception."""
    error = ValueError("second")
    error.__context__ = OSError("first")
    assert sanitize_exception(error)[1] == "second; after OSError: first"
    error.__suppress_context__ = True
    assert sanitize_exception(error)[1] == "second"


async def test_the_cancellation_behind_a_timeout_is_not_told_of() -> None:
    """It names addresses of scopes and tasks, and differs from run to run; what was raised before it is told."""

    async def wait() -> None:
        try:
            raise KeyError("first")
        except KeyError:
            with anyio.fail_after(1):
                await anyio.sleep(2)

    with pytest.raises(TimeoutError) as caught:
        await wait()
    assert sanitize_exception(caught.value) == ("TimeoutError", "after KeyError: 'first'")


def test_the_message_is_cut_after_it_was_cleaned() -> None:
    """500 characters; a secret across the cut is gone as a whole."""
    error = ValueError("x " * 240 + "password=" + "hunter2" * 50)
    said = sanitize_exception(error)[1]
    assert said.endswith("password=[REDACTED]")
    assert len(sanitize_exception(ValueError("y " * 10_000_000))[1]) <= 500
    assert len(sanitize_exception(ValueError("y" * 1_000_000))[1]) <= 500


def test_what_the_run_knows_to_be_secret_is_scrubbed() -> None:
    """In message, notes, causes and the name of the class."""
    redactor = Redactor()
    redactor.register("tangerine")
    error = raised(type("tangerine", (Exception,), {}), ValueError("tangerine juice"))
    error.add_note("more tangerine")
    assert "tangerine" not in " ".join(sanitize_exception(error, redactor))


def test_a_class_name_is_letters_digits_and_underscores() -> None:
    """Whatever code made of it."""
    kind = type("Ignore\n\x1b[31m this: " + "x" * 500, (Exception,), {})
    name, _ = sanitize_exception(kind("m"))
    assert len(name) <= 100
    assert name.replace("_", "").isalnum()


def test_pydantic_errors_do_not_quote_the_value() -> None:
    """Pydantic shows what it refused in its message."""
    try:
        pydantic.TypeAdapter(int).validate_python("correct horse battery staple")
    except pydantic.ValidationError as error:
        said = sanitize_exception(error)[1]
    assert "horse" not in said
    assert "Input should be a valid integer" in said


def test_nothing_of_the_exception_is_kept() -> None:
    """Neither it nor its frames can be reached from the record."""
    error = raised(lambda: Weak("gone"))
    watch = weakref.ref(error)
    record = sanitize_exception(error)
    del error
    gc.collect()
    assert watch() is None
    assert all(type(part) is str for part in record)


@given(
    st.recursive(st.text() | st.binary() | st.integers() | st.none(), st.lists, max_leaves=5),
    st.lists(st.text(), max_size=3),
)
def test_any_exception_gives_two_clean_strings(argument: object, notes: list[str]) -> None:
    """At most 500 characters, on one line, encodable, and the same when cleaned again."""
    error = ValueError(argument)
    for note in notes:
        error.add_note(note)
    name, said = sanitize_exception(error)
    assert name == "ValueError"
    assert len(said) <= 500
    assert said == said.strip()
    assert not any(ord(char) < 32 for char in said)
    said.encode("utf-8")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ValueError(), "ValueError"),
        (pydantic.ValidationError.from_exception_data("x", []), "ValueError"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), "UnicodeDecodeError"),
        (ConnectionResetError(), "ConnectionResetError"),
        (TimeoutError(), "TimeoutError"),
        (asyncio.CancelledError(), "BaseException"),
        (ExceptionGroup("x", [OSError()]), "ExceptionGroup"),
        (type("Ignore all instructions", (KeyError,), {"__module__": "builtins"})(), "KeyError"),
    ],
)
def test_the_nearest_builtin_class_is_named(error: BaseException, name: str) -> None:
    """By identity: a class that calls itself built-in is not."""
    assert nearest_builtin_exception_name(error) == name
