"""Sinks that write no files: the terminal, a function, and the service's own structlog."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TextIO

import structlog

from kairos_async.events import (
    Event,
    EventLevel,
    Facts,
    ValidationComplete,
    ValidationStart,
    WorkflowComplete,
    WorkflowStart,
)
from kairos_async.exceptions import ConfigError
from kairos_async.observe.piles import Rendered
from kairos_async.observe.wording import SHOWN
from kairos_async.security import terminal_text

_RESET: Final = "\x1b[0m"
_COLORS: Final = {
    **dict.fromkeys(("FAIL", "invalid"), "\x1b[1;31m"),
    **dict.fromkeys(("retry", "skip", "cancel", "replan"), "\x1b[33m"),
    **dict.fromkeys(("done", "valid"), "\x1b[32m"),
    **dict.fromkeys(("run", "end"), "\x1b[1m"),
    **dict.fromkeys(("start", "check", "item", "text"), "\x1b[2m"),
    "model": "\x1b[36m",
}
"""What a terminal is told before each word."""
_IN_COMMON: Final = (ValidationStart, ValidationComplete)
"""Of these, all steps with the same contract have the same data."""
_PLAIN: Final = {kind: (f"{shown.word:<7} ", shown.say, kind in _IN_COMMON) for kind, shown in SHOWN.items()}
_COLORED: Final = {
    kind: (f"{_COLORS[SHOWN[kind].word]}{word}", say, in_common) for kind, (word, say, in_common) in _PLAIN.items()
}
_MILLISECOND: Final = 1_000_000
_CONTROLS: Final = bytes([*range(32), 127])


class ConsoleSink:
    """Writes each event as a line that people read.

        09:23:39.123  start   greet
        09:23:39.127  done    greet  4.1 ms

    Times are local. While more than one run is under way, each line begins with the first digits of its run's id. Data
    cannot move, colour or title the terminal: control characters are shown as escapes.

    Args:
        stream: a text stream; None: standard error, as it is when a line is written.
        color: None: only if the stream is a terminal and neither `NO_COLOR` nor `TERM=dumb` is in the environment.
        required: whether a run fails that cannot be shown.
    """

    def __init__(self, stream: TextIO | None = None, *, color: bool | None = None, required: bool = False) -> None:
        self.required = required
        self._stream = stream
        self._color = color
        self._runs: set[str] = set()

    def __repr__(self) -> str:
        return "ConsoleSink()"

    def emit(self, event: Event) -> None:
        """Write a line."""
        self.emit_many([event])

    def emit_many(self, events: Sequence[Event], dropped: int = 0) -> None:
        """Write a line for each event of a run, and one for those that were dropped before them."""
        self.emit_rendered([self.render([event.facts for event in events])], dropped)

    def render(self, found: Sequence[Facts]) -> Rendered[str]:
        """Make the lines of events of one run, by their facts. Any thread may call this."""
        stream = self._stream or sys.stderr
        color = wants_color(stream) if self._color is None else self._color
        kind, run_id, *_ = found[0]
        if kind is WorkflowStart:
            self._runs.add(run_id)
        prefix = f"{run_id[:8]}  " if len(self._runs) > 1 else ""
        text = _lines(found, prefix, color)
        controls = (3 if color else 1) * len(found)
        if not text.isascii() or len(text) - len(text.encode().translate(None, _CONTROLS)) != controls:
            # Some data has more than plain text: rarely, so events need not be looked at one by one.
            encoding = getattr(stream, "encoding", None) or "utf-8"
            text = _lines(found, prefix, color, terminal_text)
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        if found[-1][0] is WorkflowComplete:
            self._runs.discard(run_id)
        return Rendered.of(found, text)

    def emit_rendered(self, pieces: Sequence[Rendered[str]], dropped: int = 0) -> None:
        """Write such lines, and one for those that were dropped before them."""
        stream = self._stream or sys.stderr
        lost = f"... {dropped} events were dropped\n" if dropped else ""
        stream.write(lost + "".join([piece.content for piece in pieces]))
        stream.flush()

    def flush(self) -> None:
        """Do nothing: each call writes through."""

    def close(self) -> None:
        """Forget runs whose end was not told. The stream belongs to others."""
        self._runs.clear()


def _lines(found: Sequence[Facts], prefix: str, color: bool, clean: Callable[[str], str] | None = None) -> str:
    lines = []
    words, after = (_COLORED, _RESET) if color else (_PLAIN, "")
    clock, until = "", 0
    texts: dict[int, str] = {}  # by data in common: a tenth of the time of all lines
    for kind, _, _, moment, step, _, data in found:
        if moment >= until or moment < until - _MILLISECOND:
            until = moment - moment % _MILLISECOND + _MILLISECOND
            second, milli = divmod(moment // _MILLISECOND, 1_000)
            clock = f"{prefix}{_time_of_day(second)}.{milli:03d}  "
        word, say, in_common = words[kind]
        if in_common and id(data) in texts:
            subject, text = step or "", texts[id(data)]
        else:
            subject, text = say(step or "", data)
            if in_common:
                texts[id(data)] = text
        if clean is not None:
            subject, text = clean(subject), clean(text)
        lines.append(f"{clock}{word}{subject}{after}  {text}\n" if text else f"{clock}{word}{subject}{after}\n")
    return "".join(lines)


@functools.lru_cache(maxsize=8)
def _time_of_day(second: int) -> str:
    """The local time. Working it out costs as much as a line."""
    return datetime.fromtimestamp(second).strftime("%H:%M:%S")


def wants_color(stream: TextIO) -> bool:
    """Whether a stream is a terminal, and nothing in the environment says that colours are not wanted."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


class CallbackSink:
    """Calls a function with each event.

    Args:
        function: sync or async.
        on_loop: call a sync function on the event loop, where it must not block, instead of in a worker thread: for
            functions that may only be called there, such as `asyncio.Queue.put_nowait`.
        required: whether a run fails of which the function raised for an event.

    Raises:
        ConfigError: the function is not callable.
    """

    def __init__(self, function: Callable[[Event], object], *, on_loop: bool = False, required: bool = False) -> None:
        if not callable(function):
            raise ConfigError(f"CallbackSink needs a function, not {function!r}.")
        self.emit = function
        self.on_loop = on_loop
        self.required = required

    def __repr__(self) -> str:
        name = getattr(self.emit, "__qualname__", type(self.emit).__name__)
        return f"CallbackSink({name})"

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class StructlogSink:
    """Logs each event with structlog, so that a service's own processors and renderers apply.

    The line's event is the `event_type`; `run_id`, `workflow`, `step` and `sequence` are keys, and so is each of the
    event's data. Levels are those of the events. Context variables that were bound where the run was started, such
    as a request's id, are in the lines if `merge_contextvars` is among the processors.

    Args:
        logger: a structlog logger; None: `structlog.get_logger("kairos_async")`.
        required: whether a run fails that cannot be logged.
    """

    def __init__(self, logger: Any = None, *, required: bool = False) -> None:
        self._logger = structlog.get_logger("kairos_async") if logger is None else logger
        self.required = required
        self._workflows: dict[str, str] = {}

    def __repr__(self) -> str:
        return "StructlogSink()"

    def begin(self, run_id: str, workflow: str) -> None:
        """Remember the workflow's name."""
        self._workflows[run_id] = workflow

    def emit(self, event: Event) -> None:
        """Log an event."""
        bound: dict[str, Any] = {"run_id": event.run_id, "workflow": self._workflows.get(event.run_id)}
        if event.step_id is not None:
            bound["step"] = event.step_id
        data = {f"{key}_" if key in _RESERVED else key: value for key, value in event.data.items()}
        if type(event) is WorkflowComplete:
            self._workflows.pop(event.run_id, None)
        getattr(self._logger, _METHODS[event.level])(event.event_type, **{**data, **bound, "sequence": event.sequence})

    def flush(self) -> None:
        """Do nothing: structlog writes at once."""

    def close(self) -> None:
        """Forget runs whose end was not told."""
        self._workflows.clear()


_METHODS: Final = {EventLevel.INFO: "info", EventLevel.WARN: "warning", EventLevel.ERROR: "error"}
_RESERVED: Final = frozenset({"event", "level", "timestamp", "logger", "exc_info", "stack_info", "positional_args"})
"""Keys that mean something else to structlog's processors."""
