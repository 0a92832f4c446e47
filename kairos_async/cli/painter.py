"""Lines that stay in place on a terminal while they change.

Nothing is erased before it is written anew, so nothing flickers: lines that did not change are passed over, others are
overwritten and only their rest is cleared, and all of it reaches the terminal in one write. What else is printed
meanwhile goes above. The lines never fill the last column, so the terminal wraps none; one that is made narrower does,
and then they are cleared by the room that they take now.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

_INTERVAL: Final = 0.1
"""Seconds between two looks at what has changed."""
_BEGIN: Final = "\x1b[?2026h\x1b[?25l"
"""Synchronised output, for terminals that know it: they show a frame when it is whole. And no cursor."""
_END: Final = "\x1b[?2026l"
_SHOW_CURSOR: Final = "\x1b[?25h"

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
        self._stream = stream
        self._frame = frame
        self._console = Console(file=stream, force_terminal=True, highlight=False)
        self._lock = threading.RLock()
        self._done = threading.Event()
        self._drawn: list[tuple[str, int]] = []
        self._size = os.terminal_size((0, 0))
        self._thread = threading.Thread(target=self._work, name="kairos display", daemon=True)
        self._kept: tuple[TextIO, TextIO] | None = None

    def __enter__(self) -> Painter:
        self._kept = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = _Above(self)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if self._kept is not None:
            sys.stdout, sys.stderr = self._kept
        self._paint()
        self._write(_SHOW_CURSOR)

    def restore(self) -> None:
        """Give the cursor back, for a process that is about to end at once."""
        self._done.set()
        self._write(_SHOW_CURSOR)

    def print_above(self, text: str) -> None:
        """Write whole lines above the painted ones."""
        with self._lock:
            again = "".join(f"{line}\n" for line, _ in self._drawn)
            self._write(f"{_BEGIN}{self._to_top(self._terminal_size())}\x1b[J{text}{again}{_END}")

    def _work(self) -> None:
        while not self._done.wait(_INTERVAL):
            self._paint()

    def _paint(self) -> None:
        with self._lock:
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
            return os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return os.terminal_size((80, 24))

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self._done.set()  # the terminal is gone; the run goes on


class _Above(io.TextIOBase):
    """A stream whose lines go above the painted ones; what is not a whole line yet waits until the end."""

    encoding = "utf-8"

    def __init__(self, painter: Painter) -> None:
        self._painter = painter
        self._rest = ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            whole, line_feed, self._rest = f"{self._rest}{text}".rpartition("\n")
            if line_feed:
                self._painter.print_above(whole + line_feed)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            if self._painter._done.is_set() and self._rest:
                rest, self._rest = self._rest, ""
                self._painter.print_above(f"{rest}\n")
