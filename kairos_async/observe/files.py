"""The files that logs go to: new, readable by their owner alone, and never what a link points to."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from kairos_async.exceptions import ConfigError, SecurityError
from kairos_async.security.paths import path_inside

Existing: TypeAlias = Literal["error", "append", "replace"]
"""What to do when the file is there already: refuse to write, go on at its end, or begin anew."""

_MODE: Final = 0o600
_MOST_REMEMBERED: Final = 1_000
"""Files; more than runs are under way at once."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_RUN_ID: Final = "{run_id}"
_SAFE_RUN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FLAGS: Final = os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class LogPath:
    """Where a sink writes. `{run_id}` in the name gives each run a file of its own.

    A file that this object made is its own: further runs go on in it, or replace it, whatever `existing` says.

    Raises:
        SecurityError: the path has a `..` or a control character.
        ConfigError: the path is empty, or `existing` is none of its values.
    """

    __slots__ = ("_base", "_made", "_text", "existing")

    def __init__(self, path: str | os.PathLike[str], existing: Existing) -> None:
        text = os.fspath(path)
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"A log needs the path of a file, not {path!r}.")
        if _CONTROL.search(text) or ".." in Path(text).parts or ".." in text.replace("\\", "/").split("/"):
            raise SecurityError(f"Log path {text[:200]!r} has a '..' or a control character. Name the place itself.")
        if existing not in get_args(Existing):
            raise ConfigError(f"existing={existing!r} is none of {list(get_args(Existing))}.")
        self._text = text
        self._base: Path | None = None  # of a relative path: where the process is when the sink is first used
        self._made: dict[Path, tuple[int, int]] = {}
        self.existing: Existing = existing

    def __str__(self) -> str:
        return Path(self._text).name

    def of(self, run_id: str) -> Path:
        """The absolute path of a run's file.

        Raises:
            SecurityError: a link leads out of the directory in which a relative path begins.
        """
        text = self._text
        if _RUN_ID in text:
            if not _SAFE_RUN_ID.fullmatch(run_id):
                raise SecurityError(f"Run id {run_id[:80]!r} is no part of a file's name.")
            text = text.replace(_RUN_ID, run_id)
        if Path(text).is_absolute():
            return Path(text)
        self._base = self._base or Path.cwd()
        return path_inside(text, self._base)

    def open(self, run_id: str) -> int:
        """Open a run's file for writing at its end; make it and its directories first. Returns the descriptor.

        Raises:
            SecurityError: what is there is no regular file of this user's, or has a second name elsewhere.
            OSError: as of `os.open`: the file is there, the directory cannot be written.
        """
        path = self.of(run_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = self._made.get(path)
        if self.existing == "replace" and ours is None:
            path.unlink(missing_ok=True)
        descriptor = -1
        try:
            descriptor = os.open(path, _FLAGS | os.O_APPEND | os.O_CREAT | os.O_EXCL, _MODE)
        except FileExistsError:
            if ours is None and self.existing != "append":
                raise FileExistsError(
                    f"{path.name} is there already; put {_RUN_ID} into the path, or say existing='append'"
                ) from None
        if descriptor < 0:
            # Whoever appends to what others made also does once one of them has rotated the logs.
            descriptor = _open_again(path, None if self.existing == "append" else ours)
        self._note(path, os.fstat(descriptor))
        return descriptor

    def _note(self, path: Path, found: os.stat_result) -> None:
        """Remember that this object made the file. The oldest are forgotten: with one for each run there is no end."""
        self._made[path] = found.st_dev, found.st_ino
        if len(self._made) > _MOST_REMEMBERED:
            del self._made[next(iter(self._made))]

    def replace(self, run_id: str, content: bytes) -> None:
        """Write a run's file as a whole: whoever reads it sees the old content or the new one, never a part.

        Raises:
            OSError: as of `os.open` and `os.write`.
        """
        path = self.of(run_id)
        temporary = path.with_name(f".{secrets.token_hex(8)}.part")
        descriptor = os.open(temporary, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
        try:
            try:
                _, error = write(descriptor, [content])
                if error is not None:
                    raise error
            finally:
                os.close(descriptor)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._note(path, path.stat(follow_symlinks=False))


def _open_again(path: Path, ours: tuple[int, int] | None) -> int:
    """Open a file that is there, if it is a plain file of this user's; `ours` is the one that it has to be."""
    descriptor = os.open(path, _FLAGS | os.O_APPEND | getattr(os, "O_NONBLOCK", 0))
    found = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(found.st_mode):
        problem = "is no regular file"
    elif found.st_nlink != 1:
        problem = "has a second name elsewhere"
    elif hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        problem = "belongs to another user"
    elif ours is not None and ours != (found.st_dev, found.st_ino):
        problem = "is another file than the one that was made here"
    if problem:
        os.close(descriptor)
        raise SecurityError(f"{path.name} {problem}; nothing is written to it.")
    return descriptor


class LogWriteError(OSError):
    """Not all of a log could be written. `missing` counts the events that are not in it."""

    def __init__(self, cause: OSError, missing: int) -> None:
        self.missing = missing
        super().__init__(cause.errno, cause.strerror)


def write(descriptor: int, pieces: Sequence[bytes]) -> tuple[int, OSError | None]:
    """Write as much as can be written, in one go. Returns the number of bytes, and what was in the way of the rest."""
    count = 0
    try:
        if _CAN_GATHER and len(pieces) <= _MOST_PIECES:
            # The system gathers them: to join them here first takes 1 ms for 2 MB of log, which nobody looks at again.
            count = os.writev(descriptor, pieces)
            if count == sum(map(len, pieces)):
                return count, None
        rest = memoryview(b"".join(pieces))[count:]
        while rest:
            written = os.write(descriptor, rest)
            count, rest = count + written, rest[written:]
    except OSError as error:
        return count, error
    return count, None


_CAN_GATHER: Final = hasattr(os, "writev")  # not on Windows
_MOST_PIECES: Final = 1_000
"""That one call may write; POSIX lets a system refuse more than 16, and those that people use take 1,024."""
