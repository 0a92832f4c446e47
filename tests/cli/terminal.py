"""A terminal in a few lines: what is on its screen after a program wrote to it, and what it did on the way there."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

from tests.cli.commands import KAIROS, PLAIN

TOKEN = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)|(\x1b)")

PART = re.compile(r"\x1b(?:\[[?\d;]*)?\Z")
"""The beginning of an escape sequence whose end has not been read yet."""


class Screen:
    """Rows of characters and a cursor. It knows what the display uses; anything else is an error.

    Attributes:
        rows: the lines on the screen.
        blanked: how often a line that had text was cleared before it was written anew: what the eye sees as flicker.
        wrapped: how often a line was too long for its row.
    """

    def __init__(self, columns: int, lines: int) -> None:
        self.columns = columns
        self.rows = [""] * lines
        self.x = self.y = 0
        self.blanked = self.wrapped = 0
        self.cursor = True
        self._part = ""

    def feed(self, text: str) -> None:
        """Take what a program writes."""
        whole = PART.sub("", self._part + text)
        self._part = (self._part + text)[len(whole) :]
        for private, numbers, command, control, plain, bare in TOKEN.findall(whole):
            assert not bare, "an escape sequence that this terminal does not know"
            if control == "\n":
                self._line_feed()
            elif control == "\r":
                self.x = 0
            elif plain:
                self._write(plain)
            elif private:
                self.cursor = {"25h": True, "25l": False}.get(f"{numbers}{command}", self.cursor)
            else:
                self._act(command, int(numbers.split(";")[0] or 0))

    def _act(self, command: str, number: int) -> None:
        if command == "A":
            self.y = max(0, self.y - number)
        elif command == "K":
            assert number == 0, "only the rest of a line is cleared"
            self.rows[self.y] = self.rows[self.y][: self.x]
        elif command == "J":
            assert number == 0, "only what is below is cleared"
            self.blanked += sum(bool(row) for row in self.rows[self.y :])
            self.rows[self.y] = self.rows[self.y][: self.x]
            self.rows[self.y + 1 :] = [""] * (len(self.rows) - self.y - 1)
        else:
            assert command == "m", f"an unknown command {command!r}"

    def _write(self, text: str) -> None:
        row = self.rows[self.y]
        self.rows[self.y] = row[: self.x].ljust(self.x) + text + row[self.x + len(text) :]
        self.x += len(text)
        self.wrapped += self.x > self.columns

    def _line_feed(self) -> None:
        self.y += 1
        self.x = 0
        if self.y == len(self.rows):
            self.rows = [*self.rows[1:], ""]
            self.y -= 1

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self.rows).rstrip()


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, *arguments: str, cwd: Path, columns: int = 80, lines: int = 24) -> None:
        self._ours, theirs = os.openpty()
        self.screen = Screen(columns, lines)
        self.resize(columns, lines)
        self.process = subprocess.Popen(
            [KAIROS, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=cwd,
            env={**PLAIN, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(theirs)

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size, and an empty screen."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        blanked, wrapped = self.screen.blanked, self.screen.wrapped
        self.screen = Screen(columns, lines)
        self.screen.blanked, self.screen.wrapped = blanked, wrapped

    def wait_for(self, word: str, seconds: float = 60.0) -> str:
        """Read until the word is on the screen; return the screen."""
        deadline = time.monotonic() + seconds
        while word not in self.screen.text:
            assert time.monotonic() < deadline, f"no {word!r} on the screen:\n{self.screen.text}"
            assert self._read(), f"the command ended without {word!r} on the screen:\n{self.screen.text}"
        return self.screen.text

    def finish(self, seconds: float = 60.0) -> int:
        """Read until the command ends; return its exit code."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline
        os.close(self._ours)
        return self.process.wait(seconds)

    def stop_and_go_on(self, text: str) -> None:
        """Stop the command as Ctrl-Z does, have a shell write the text, and let the command go on."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        while select.select([self._ours], [], [], 0)[0]:
            self._read()
        self.screen.feed(text)
        self.process.send_signal(signal.SIGCONT)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 1.0)
        if not ready:
            return True
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError:  # what Linux says when the other side is closed
            return False
        self.screen.feed(data.decode("utf-8", "replace").replace("\r\n", "\n"))
        return bool(data)
