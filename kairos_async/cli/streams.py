"""Standard output for the result alone: what a target prints, or what programs that it starts print, goes to stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from typing_extensions import Buffer

from kairos_async.cli.errors import OutputError, reason


@contextlib.contextmanager
def result_stream() -> Iterator[TextIO]:
    """Yield the process's standard output, which nothing else can write to inside the block.

    The file descriptor itself is replaced: Python's `sys.stdout`, C code and child processes all keep the number 1.
    When the reader of a pipe has gone, nothing is raised: there is nobody to tell.

    Raises:
        OutputError: not all could be written, because the disk is full, say.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    output = _Output(kept, "w", closefd=False)
    printed = _stream(2, "w")  # an object of its own: a target that wraps or closes it does not close `sys.stderr`
    try:
        with (
            contextlib.redirect_stdout(printed),
            io.TextIOWrapper(io.BufferedWriter(output), encoding="utf-8", errors="backslashreplace") as stream,
        ):
            yield stream
    finally:
        with contextlib.suppress(OSError, ValueError):
            printed.flush()
        os.dup2(kept, 1)
        os.close(kept)
    if output.error is not None and not isinstance(output.error, BrokenPipeError):
        raise OutputError(f"the result cannot be written to standard output: {reason(output.error)}.")


class _Output(io.FileIO):
    """Keeps what was in the way of writing, and takes no more: whoever writes here need not handle it."""

    error: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        """Write the data, as long as that can be done."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def open_standard_streams() -> None:
    """Give the process those of the three standard streams that it was started without, or that a target has closed.

    A file that is opened later would else get the number of one of them, and all that is printed.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        if (stream := getattr(sys, name)) is None or getattr(stream, "closed", False):
            setattr(sys, name, _stream(descriptor, mode))


def _stream(descriptor: int, mode: str) -> Any:
    return os.fdopen(descriptor, mode, 1, encoding="utf-8", errors="backslashreplace", closefd=False)


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which lines can be painted over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
