"""Standard output for the result alone: what a target prints, or what programs that it starts print, goes to stderr."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def result_stream() -> Iterator[TextIO]:
    """Yield the process's standard output, which nothing else can write to inside the block.

    The file descriptor itself is replaced: Python's `sys.stdout`, C code and child processes all keep the number 1.
    When the reader of a pipe has gone, the block ends and nothing is raised: there is nobody to tell.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    stream = os.fdopen(os.dup(kept), "w", encoding="utf-8")
    try:
        with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(BrokenPipeError):
            yield stream
            stream.flush()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def is_terminal(stream: TextIO) -> bool:
    """Whether the stream is a terminal on which lines can be painted over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
