"""Sinks that write files: a line for each event as it happens, or the whole log at the end."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pydantic_core

from kairos_async.events import Event, Facts, WorkflowComplete
from kairos_async.exceptions import ConfigError
from kairos_async.observe.files import Existing, LogPath, LogWriteError, write
from kairos_async.observe.lines import lines_of, with_dropped
from kairos_async.observe.piles import Rendered
from kairos_async.observe.runlog import log_of


class _Lines:
    """One run's way into the file. `lost` counts events that could not be written; the next line tells of them."""

    __slots__ = ("descriptor", "lost", "torn")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.lost = 0
        # A file that is gone on with may end in the middle of a line, if its last process was killed.
        self.torn = os.fstat(descriptor).st_size > 0

    def write(self, lines: Sequence[bytes], events: int, dropped: int) -> None:
        """Write lines of so many events in one go; the first tells of those that were lost and dropped before."""
        content = [with_dropped(lines[0], self.lost + dropped), *lines[1:]]
        if self.torn:
            content.insert(0, b"\n")
        count, error = write(self.descriptor, content)
        if error is None:
            self.lost, self.torn = 0, False
            return
        written = b"".join(content)[:count]
        whole = written.count(b"\n", self.torn)
        self.torn = self.torn or not written.endswith(b"\n")
        self.lost = (0 if whole else self.lost + dropped) + events - whole
        raise LogWriteError(error, events - whole)


class JSONLinesSink:
    """Writes each event as a line of JSON, as it happens. `read_log` reads the file back.

    The file is new, has mode 0600 and is never a symbolic link; directories are made. It is valid after a crash: of the
    run that was killed, the last line may be torn, and what happened in the last fraction of a second is not there.
    Runs of one process may share the file; each line names its run.

    Args:
        path: of the file; `{run_id}` in it gives each run a file of its own. A relative path begins in the directory
            that is the current one when the first run begins.
        existing: what to do when somebody else made the file already: "error" (nothing is written, and the result's
            warnings say so), "append", or "replace".
        required: whether a run fails that cannot be logged here.

    Raises:
        SecurityError: the path has a `..` or a control character.
        ConfigError: the path is empty, or `existing` is none of its values.
    """

    def __init__(self, path: str | os.PathLike[str], *, existing: Existing = "error", required: bool = False) -> None:
        self.required = required
        self._path = LogPath(path, existing)
        self._runs: dict[str, _Lines] = {}

    def __repr__(self) -> str:
        return f"JSONLinesSink({str(self._path)!r})"

    def begin(self, run_id: str, workflow: str) -> None:
        """Make the file. Of a `required` sink it is known before the first step whether that can be done."""
        self._lines(run_id)

    def emit(self, event: Event) -> None:
        """Write one event."""
        self.emit_many([event])

    def emit_many(self, events: Sequence[Event], dropped: int = 0) -> None:
        """Write events of one run, which `dropped` others came before that nobody will see."""
        self.emit_rendered([self.render([event.facts for event in events])], dropped)

    def render(self, found: Sequence[Facts]) -> Rendered[bytes]:
        """Make the lines of events of one run, by their facts. Any thread may call this."""
        return Rendered.of(found, lines_of(found).encode())

    def emit_rendered(self, pieces: Sequence[Rendered[bytes]], dropped: int = 0) -> None:
        """Write such lines."""
        run_id = pieces[0].run_id
        lines = [piece.content for piece in pieces]
        try:
            self._lines(run_id).write(lines, sum(piece.count for piece in pieces), dropped)
        finally:
            if pieces[-1].final and run_id in self._runs:
                os.close(self._runs.pop(run_id).descriptor)

    def flush(self) -> None:
        """Do nothing: every event that was taken is with the operating system."""

    def close(self) -> None:
        """Close the files."""
        for lines in self._runs.values():
            os.close(lines.descriptor)
        self._runs.clear()

    def _lines(self, run_id: str) -> _Lines:
        lines = self._runs.get(run_id)
        if lines is None:
            lines = self._runs[run_id] = _Lines(self._path.open(run_id))
        return lines


class FileSink:
    """Writes the whole log of a run as one JSON document, when the run has ended. `read_log` reads it back.

    The file is made when the run begins, and replaced as a whole when it ends; the events are held in memory until
    then. Mode, links, directories and arguments are as for `JSONLinesSink`, without "append". Without
    `{run_id}` in the path the file is that of the run that ended last.
    """

    def __init__(self, path: str | os.PathLike[str], *, existing: Existing = "error", required: bool = False) -> None:
        if existing == "append":
            raise ConfigError("FileSink writes one document; existing='append' is for JSONLinesSink.")
        self.required = required
        self._path = LogPath(path, existing)
        self._runs: dict[str, list[Event]] = {}
        self._dropped: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"FileSink({str(self._path)!r})"

    def begin(self, run_id: str, workflow: str) -> None:
        """Make the file, empty."""
        os.close(self._path.open(run_id))
        self._runs[run_id] = []
        self._dropped[run_id] = 0

    def emit(self, event: Event) -> None:
        """Keep one event."""
        self.emit_many([event])

    def emit_many(self, events: Sequence[Event], dropped: int = 0) -> None:
        """Keep events of one run; with its final event, write them all."""
        run_id = events[0].run_id
        if run_id not in self._runs:
            self.begin(run_id, "")
        self._runs[run_id].extend(events)
        self._dropped[run_id] += dropped
        if isinstance(events[-1], WorkflowComplete):
            self._write(run_id)

    def flush(self) -> None:
        """Do nothing: what has not ended is not written."""

    def close(self) -> None:
        """Write the runs that have no final event."""
        for run_id in list(self._runs):
            self._write(run_id)

    def _write(self, run_id: str) -> None:
        events, dropped = self._runs.pop(run_id), self._dropped.pop(run_id)
        log = log_of(run_id, events, dropped=dropped).to_dict()
        del log["events"]
        head = pydantic_core.to_json(log, inf_nan_mode="strings")
        lines = b",\n".join(lines_of([event.facts for event in events]).encode().splitlines())
        self._path.replace(run_id, head[:-1] + b',"events":[\n' + lines + b"\n]}\n")
