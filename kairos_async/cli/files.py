"""Files that the command reads and writes: regular ones, of a bounded size, and private when they are new."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from kairos_async.cli.errors import CommandError, OutputError, quoted, reason

_FLAGS: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""Without O_NONBLOCK, opening a FIFO would wait for somebody to write."""


def read_file(path: str | Path, limit: int, what: str) -> bytes:
    """Return the content of a regular file.

    Args:
        path: as the user gave it; links are followed.
        limit: bytes. A larger file is not read.
        what: how messages name the file, such as "input file".

    Raises:
        CommandError: the file is not there, is no regular file, is too large, or cannot be read.
    """
    name = f"{what} {quoted(str(path))}"
    if "\0" in str(path):
        raise CommandError(f"{name} has a NUL in its name.")
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except (OSError, ValueError) as error:
        raise CommandError(f"{name} cannot be read: {reason(error)}.") from None
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CommandError(f"{name} is no regular file.")
        if found.st_size > limit:
            raise CommandError(f"{name} has {found.st_size:,} bytes; the limit is {limit:,}.")
        try:
            data = file.read(limit + 1)
        except OSError as error:
            raise CommandError(f"{name} cannot be read: {reason(error)}.") from None
    if len(data) > limit:
        raise CommandError(f"{name} has more than the limit of {limit:,} bytes.")
    return data


class Draft:
    """A new file beside the one that it becomes: made before the work begins, put in place when it is done.

    Until `keep` the old file, if there is one, stays as it was; what is written is readable by its owner alone. A
    symbolic link in the place of the file is replaced and not followed.

    Raises:
        CommandError: there is no such directory, something that is no regular file is in the place, or nothing can be
            written there.
    """

    def __init__(self, path: str, what: str) -> None:
        self._name = f"{what} {quoted(path)}"
        if not path or "\0" in path:
            raise CommandError(f"{self._name} is no file name.")
        self.path = Path(path)
        try:
            if os.path.lexists(path) and not stat.S_ISREG(os.stat(path).st_mode):
                raise CommandError(f"{self._name} is there and is no regular file.")
            self._draft = self.path.with_name(f".{self.path.name[:100]}.{secrets.token_hex(4)}")
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
            os.close(os.open(self._draft, flags, 0o600))
        except (OSError, ValueError) as error:
            raise CommandError(f"{self._name} cannot be written: {reason(error)}.") from None

    def keep(self, content: str) -> None:
        """Write the content and put the file in its place.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._draft.write_text(content, "utf-8")
            os.replace(self._draft, self.path)
        except OSError as error:
            self.drop()
            raise OutputError(f"{self._name} cannot be written: {reason(error)}.") from None

    def drop(self) -> None:
        """Remove the draft, if it is still there."""
        self._draft.unlink(missing_ok=True)
