"""What goes wrong before or beside a run, as one line for a person: no traceback, no secret, no directory."""

from __future__ import annotations

import enum
from typing import Final

from kairos_async.exceptions import KairosError
from kairos_async.security import Redactor, sanitize_exception, terminal_text

_LONGEST: Final = 1_000


class ExitCode(enum.IntEnum):
    """What the process ends with."""

    COMPLETE = 0
    FAILED = 1
    """The run failed, what was asked to be checked does not hold, or the result could not be written."""
    USAGE = 2
    """Nothing was run: wrong arguments, a target or an input that is refused or cannot be loaded."""
    INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot do what was asked. The text is one sentence that names the subject and the rule."""

    code = ExitCode.USAGE


class OutputError(CommandError):
    """What was asked was done, and its result cannot be written."""

    code = ExitCode.FAILED


class InterruptedLoading(CommandError):
    """The user pressed Ctrl-C before there was a run. Of a KeyboardInterrupt, typer makes an exit without a word."""

    code = ExitCode.INTERRUPTED


def one_line(text: str) -> str:
    """Return a text of unknown origin on one line, redacted, with nothing in it that a terminal would act on."""
    shown = terminal_text(" ".join(Redactor().text(text).split()))
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."


def quoted(text: str) -> str:
    """Return a word of the command line as messages show it: its last part, if it is a path, in quotes."""
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = one_line(last or text)
    return f"'{shown if len(shown) <= 80 else shown[:77] + '...'}'"


def reason(error: OSError | ValueError) -> str:
    """Return the operating system's words, without the path that Python adds to them."""
    said = error.strerror if isinstance(error, OSError) else None
    return (said or type(error).__name__).lower()


def explain(error: BaseException) -> str:
    """Return what an exception says, cleaned as everything that leaves a run.

    Messages of the library itself are made for people and are kept whole; their class names say nothing to a user.
    """
    kind, message = sanitize_exception(error)
    if isinstance(error, KairosError):
        return one_line(message)
    return one_line(f"{kind}: {message}" if message else kind)
