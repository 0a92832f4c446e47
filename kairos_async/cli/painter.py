"""Lines that stay in place on a terminal while they change.

Nothing is erased before it is written anew, so nothing flickers: lines that did not change are passed over, others are
overwritten and only their rest is cleared, and all of it reaches the terminal in one write. What else is printed
meanwhile goes above. The lines never fill the last column, so the terminal wraps none; one that is made narrower does,
and then they are cleared by the room that they take now.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, TextIO

from rich.console import Console
from rich.text import Text

_INTERVAL: Final = 0.1
"""Seconds between two looks at what has changed."""
_BEGIN: Final = "\x1b[?2026h\x1b[?25l"
"""Synchronised output, for terminals that know it: they show a frame when it is whole. And no cursor."""
_END: Final = "\x1b[?2026l"
_SHOW_CURSOR: Final = "\x1b[?25h"
_CONTINUED: Final = getattr(signal, "SIGCONT", None)
_LAST_WORDS: Final = 1.0
"""Seconds in which printed lines come to an end. A program that a step left behind may go on printing."""

Frame = Callable[[int, int], Sequence[Text]]
"""Gives the lines for this many columns and rows."""


class Painter:
    """Paints a frame on a terminal ten times a second, from a thread of its own, until the block ends.

    The thread goes on when the event loop is held up, and a terminal that is stopped (Ctrl-S) never stops the loop.

    Args:
        stream: the terminal.
        frame: gives the lines. Called on the painter's thread.
    """

    def __init__(self, stream: TextIO, frame: Frame) -> None:
        self._stream = os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors=stream.errors)
        self._frame = frame
        self._console = Console(file=self._stream, force_terminal=True, highlight=False)
        self._lock = threading.RLock()
        self._done = threading.Event()
        self._drawn: list[tuple[str, int]] = []
        self._size = os.terminal_size((0, 0))
        self._thread = threading.Thread(target=self._work, name="kairos display", daemon=True)
        self._printed = _Printed(self.print_above)
        self._moved = False
        self._resume: Any = None

    def __enter__(self) -> Painter:
        if _CONTINUED is not None:
            self._resume = signal.signal(_CONTINUED, self._continue)
        self._printed.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self._printed.__exit__()
        with self._lock:
            self._paint()
            self._drawn = []  # what a program that was left behind prints from here on comes below
        self._write(_SHOW_CURSOR)
        if _CONTINUED is not None:
            signal.signal(_CONTINUED, self._resume)

    def restore(self) -> None:
        """Give the cursor back, for a process that is about to end at once."""
        self._done.set()
        self._write(_SHOW_CURSOR)

    def print_above(self, text: str) -> None:
        """Write whole lines above the painted ones."""
        with self._lock:
            self._find_place()
            again = "".join(f"{line}\n" for line, _ in self._drawn)
            self._write(f"{_BEGIN}{self._to_top(self._terminal_size())}\x1b[J{text}{again}{_END}")

    def _work(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._paint()

    def _paint(self) -> None:
        with self._lock:
            self._find_place()
            size = self._terminal_size()
            width = max(1, size.columns - 1)
            lines = [self._rendered(line) for line in self._frame(width, max(1, size.lines - 1))]
            if lines == self._drawn and size == self._size:
                return
            resized = size.columns != self._size.columns
            out = [_BEGIN, self._to_top(size), "\x1b[J" if resized else ""]
            for position, line in enumerate(lines):
                known = self._drawn[position] if position < len(self._drawn) and not resized else None
                out.append("\n" if line == known else f"{line[0]}\x1b[K\n")
            out += ["\x1b[J" if len(lines) < len(self._drawn) else "", _END]
            self._write("".join(out))
            self._drawn, self._size = lines, size

    def _continue(self, *_: object) -> None:
        """The process was stopped, by Ctrl-Z say, and goes on: the shell has written below the lines meanwhile."""
        self._moved = True

    def _find_place(self) -> None:
        """Begin anew where the cursor is now, if others have moved it."""
        if self._moved:
            self._moved, self._drawn = False, []

    def _to_top(self, size: os.terminal_size) -> str:
        """Return what moves the cursor from below the painted lines to their beginning."""
        rows = len(self._drawn)
        if size.columns < self._size.columns:
            rows = sum(max(1, -(-width // size.columns)) for _, width in self._drawn)
        return f"\r\x1b[{min(rows, size.lines)}A" if rows else "\r"

    def _rendered(self, line: Text) -> tuple[str, int]:
        with self._console.capture() as captured:
            self._console.print(line, end="", soft_wrap=True)
        return captured.get(), line.cell_len

    def _terminal_size(self) -> os.terminal_size:
        try:
            columns, lines = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            columns = lines = 0
        return os.terminal_size((columns or 80, lines or 24))  # some terminals, as a container's, say 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._done.set()  # the terminal is gone; the run goes on


class _Printed:
    """What is written to standard output and error inside the block, as whole lines; the rest of a line at the end.

    The descriptors themselves are replaced, by a pipe that a thread reads: programs that a step starts, C code and
    `sys.stdout.buffer` write there too, and would else write across the painted lines, or find no such attribute.

    Args:
        take: gets the lines. Called on the thread.
    """

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take = take
        self._kept: list[tuple[int, int]] = []
        self._end = -1
        self._thread = threading.Thread(target=self._work, name="kairos printed lines", daemon=True)

    def __enter__(self) -> None:
        _flush_all()
        self._end, begin = os.pipe()
        for descriptor in (1, 2):
            self._kept.append((descriptor, os.dup(descriptor)))
            os.dup2(begin, descriptor)
        os.close(begin)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        _flush_all()
        for descriptor, kept in self._kept:
            os.dup2(kept, descriptor)
            os.close(kept)
        self._thread.join(_LAST_WORDS)

    def _work(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while data := os.read(self._end, 1 << 16):
            whole, line_feed, rest = f"{rest}{decoder.decode(data)}".rpartition("\n")
            if line_feed:
                self._take(whole + line_feed)
        rest += decoder.decode(b"", True)
        if rest:
            self._take(f"{rest}\n")


def _flush_all() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # a step may have closed it, or taken it away
            stream.flush()
