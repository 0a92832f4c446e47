"""A headless Chromium, driven through its debugging pipe: a process, two file descriptors, and JSON between NULs.

The protocol is Chrome's own (https://chromedevtools.github.io/devtools-protocol/); a driver or a package for it would
be a further thing to install and to keep in step with the browser's version.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import dev

TRAMPOLINE: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""The browser wants its pipe at the descriptors 3 and 4."""
PATIENCE: Final = 60.0
"""Seconds for one answer of the browser."""
SWITCHES: Final = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--no-proxy-server"),
    *("--disable-extensions", "--disable-default-apps", "--disable-sync", "--remote-debugging-pipe"),
]


def _moved_up(descriptor: int) -> int:
    """Return the same file at a descriptor that is not one of the first."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class Browser:
    """One page in a browser of its own."""

    def __init__(self, program: dev.Program, profile: str) -> None:
        commands, self._commands = map(_moved_up, os.pipe())
        self._answers, answers = map(_moved_up, os.pipe())
        begin = [sys.executable, "-c", TRAMPOLINE, str(commands), str(answers)]
        self.process = subprocess.Popen(
            [*begin, program.path, *SWITCHES, f"--user-data-dir={profile}"],
            pass_fds=(commands, answers),
            env={**os.environ, **program.environment, "HOME": profile},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self._read = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def attach(self) -> None:
        """Open a page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            chunk = os.read(self._answers, 1 << 20)
            assert chunk, "the browser has ended"
            self._read += chunk
        message, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def wait_for(self, method: str) -> dict[str, Any]:
        """Wait for an event and return what it says."""
        while True:
            for position, event in enumerate(self.events):
                if event.get("method") == method:
                    found: dict[str, Any] = self.events.pop(position)["params"]
                    return found
            self.events.append(self._next())

    def open(self, path: Path, width: int = 1280, *, dark: bool = False) -> None:
        """Show a file in a window of this width."""
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key: "Tab" or "Enter"."""
        facts = {"Tab": (9, ""), "Enter": (13, "\r")}[key]
        parameters: dict[str, object] = {"key": key, "code": key, "windowsVirtualKeyCode": facts[0]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=facts[1], **parameters)
        self.call("Input.dispatchKeyEvent", type="keyUp", **parameters)

    def screenshot(self, path: Path) -> None:
        """Save a picture of the whole page."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._session = None
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self._commands)
        os.close(self._answers)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser for the time of the block."""
    program = dev.find_browser()
    assert program is not None, dev.NO_BROWSER
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(program, profile)
        try:
            opened.attach()
            yield opened
        finally:
            opened.close()
