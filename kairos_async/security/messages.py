"""What an exception says, without what it must not say: credentials, directories, tracebacks, control characters."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, cast

from kairos_async._types import JSONValue
from kairos_async.security.late import Late
from kairos_async.security.plain import type_name

LONGEST_MESSAGE: Final = 500
"""Characters."""
_LONGEST_READ: Final = 16_384
"""Characters of all messages of a chain that are looked at. What is cut off here is far beyond what is kept."""
_MOST_LINKED: Final = 8
"""Exceptions of a chain or group, after the first, that are told of."""

_TRACEBACK: Final = Late(
    r"Traceback \(most recent call last\):?"
    r"|\bFile \"[^\"\n]{0,500}\", line \d{1,9}(?:, in [\w<>.]{1,200})?(?:\n[ \t+|]{4,60}[^\n]{0,500}){0,3}"
)
"""The heading, and each frame with the lines of source that follow it."""
_PYDANTIC_INPUT: Final = Late(r"(\[type=\w{1,100})[^\n]{0,200}?(?=, input_type=\w{1,100}\])")
"""Pydantic quotes what it refuses, shortened: `[type=int_type, input_value='...', input_type=str]`."""
_FILE_URL: Final = Late(r"\bfile://[^\s'\"<>]{0,1000}")
_QUOTED_PATH: Final = Late(r"(?<=['\"])(?:~?/|[A-Za-z]:\\{1,2}|\\\\)[^'\"\n]{1,1000}+(?=['\"])")
_WINDOWS_PATH: Final = Late(
    r"(?<![A-Za-z0-9])(?:[A-Za-z]:|\\\\[\w.$-]{1,100})\\{1,2}(?:[^\\/:*?\"<>|\r\n\t']{1,200}+\\{1,2}){0,60}"
)
_POSIX_PATH: Final = Late(
    r"(?<![\w/.:~])(?:~[\w.-]{0,60}+|\.{1,2})?/{1,2}(?:[^\s/'\":,;<>|()\[\]{}]{1,200}+/){1,60}+(?=[^\s/'\"])"
)
_RELATIVE_PATH: Final = Late(r"(?<![\w/.:@~=?&%-])(?:[\w.-]{1,100}+/){1,60}+(?=[\w-]{1,100}\.[A-Za-z]\w{0,4}\b)")
_CONTROL: Final = Late(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_SPACES: Final = Late(r" {2,}")


_CANCELLATIONS: Final = ("CancelledError", "Cancelled")
"""Of asyncio and of trio, told by their names: neither needs to be there."""
_UNREADABLE: Final = "(a message that cannot be read)"


class Cleaner(Protocol):
    """What a `Redactor` does to a text and to data."""

    def text(self, text: str) -> str:
        """Return the text without secrets."""

    def redact(self, data: object) -> JSONValue:
        """Return the data as JSON data without secrets."""


direct_members: Callable[[BaseExceptionGroup[BaseException]], tuple[BaseException, ...]]
direct_members = BaseExceptionGroup.__dict__["exceptions"].__get__
_cause: Callable[[BaseException], BaseException | None] = BaseException.__dict__["__cause__"].__get__
_context: Callable[[BaseException], BaseException | None] = BaseException.__dict__["__context__"].__get__
_is_suppressed: Callable[[BaseException], bool] = BaseException.__dict__["__suppress_context__"].__get__


def clean_message(error: BaseException, cleaner: Cleaner) -> str:
    """Return what the exception says, with its notes, causes and group members; at most 500 characters. Never raises.

    Secrets go first, cutting comes last: half a secret is one that no rule knows.
    """
    try:
        said = _spoken(error, cleaner)
        for kind, linked in _linked(error):
            text = _spoken(linked, cleaner)
            said += ("; " if said else "") + f"{kind} {type_name(linked)}" + (f": {text}" if text else "")
            if len(said) > _LONGEST_READ:
                break
        return clean_text(said, cleaner)
    except RecursionError:  # the caller is itself near the limit of the stack
        return _UNREADABLE


def clean_text(text: str, cleaner: Cleaner, limit: int = LONGEST_MESSAGE) -> str:
    """Return a text of unknown origin on one line, without secrets and directories, cut to `limit` characters."""
    if len(text) > _LONGEST_READ:
        text = text[:_LONGEST_READ]
        kept, space, _ = text.rpartition(" ")
        text = f"{kept} ..." if space else "..."
    text = cleaner.text(text)
    text = _PYDANTIC_INPUT.pattern.sub(r"\1", text)
    text = _without_directories(_TRACEBACK.pattern.sub(" ", text))
    text = _SPACES.pattern.sub(" ", _CONTROL.pattern.sub(" ", text)).strip()
    text = cleaner.text(text)  # what stood on several lines now stands on one
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def _without_directories(text: str) -> str:
    """Return the text with paths cut to their last part."""
    if "/" in text:
        text = _FILE_URL.pattern.sub(_last_part, text)
    if "/" in text or "\\" in text:
        text = _QUOTED_PATH.pattern.sub(_last_part, text)
        text = _WINDOWS_PATH.pattern.sub("", text)
        text = _POSIX_PATH.pattern.sub("", text)
        text = _RELATIVE_PATH.pattern.sub("", text)
    return text


def _last_part(path: re.Match[str]) -> str:
    return re.split(r"[/\\]", path[0].rstrip("/\\"))[-1]


def _spoken(error: BaseException, cleaner: Cleaner) -> str:
    """Return the exception's message and notes, its arguments redacted as data where they are data."""
    try:
        args = error.args
        if type(error).__str__ is BaseException.__str__ and any(type(arg) is not str for arg in args):
            text = ", ".join(str(cleaner.redact(arg)) for arg in args)
        else:
            text = str.__str__(str(error))
        notes = getattr(error, "__notes__", None) or ()
        return " / ".join([text, *(str.__str__(note) for note in notes if isinstance(note, str))])
    except KeyboardInterrupt:
        raise
    except BaseException:
        return _UNREADABLE


def _linked(error: BaseException) -> list[tuple[str, BaseException]]:
    """Return the exceptions that this one was raised from, during, or together with, and theirs; at most 8.

    A cancellation is none of them.
    """
    found: list[tuple[str, BaseException]] = []
    seen = {id(error)}
    waiting = deque([error])
    while waiting and len(found) < _MOST_LINKED:
        for kind, linked in _direct_links(waiting.popleft()):
            if id(linked) not in seen and len(found) < _MOST_LINKED:
                seen.add(id(linked))
                waiting.append(linked)
                if not _is_cancellation(linked):
                    found.append((kind, linked))
    return found


def _is_cancellation(error: BaseException) -> bool:
    """Whether the exception is how an event loop ends a task, as it does for a timeout: what it says is where in memory
    a scope and its tasks are."""
    return not issubclass(type(error), Exception) and type_name(error) in _CANCELLATIONS


def _direct_links(error: BaseException) -> list[tuple[str, BaseException]]:
    # Read with the base's own descriptors: a class can put anything in the place of these attributes.
    links: list[tuple[str, BaseException]] = []
    if issubclass(type(error), BaseExceptionGroup):
        links.extend(
            ("with", member) for member in direct_members(cast(BaseExceptionGroup[BaseException], error))[:_MOST_LINKED]
        )
    if (cause := _cause(error)) is not None:
        links.append(("caused by", cause))
    elif (context := _context(error)) is not None and not _is_suppressed(error):
        links.append(("after", context))
    return links
