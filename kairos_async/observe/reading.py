"""Reading the files back that sinks wrote."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import pydantic_core

from kairos_async.events import Event
from kairos_async.exceptions import ConfigError
from kairos_async.observe.lines import SCHEMA_VERSION, decode
from kairos_async.observe.runlog import RunLog, log_of


def read_log(path: str | os.PathLike[str], run_id: str | None = None) -> RunLog:
    """The log of a run from a file that a `JSONLinesSink` or `FileSink` wrote. Blocks while it reads.

    A file that ends in the middle of a run, because its process was killed or is still at work, gives what is there,
    `interrupted`.

    Args:
        path: of the file.
        run_id: whose log, if the file has several; None: of the run that began last.

    Raises:
        ConfigError: there is no such file, no such run in it, or not a single event.
    """
    logs = read_logs(path)
    if run_id is None:
        return logs[-1]
    found = next((log for log in logs if log.run_id == run_id), None)
    if found is None:
        known = [log.run_id for log in logs]
        raise ConfigError(f"{Path(path).name} has no run {run_id!r}. It has {known}.")
    return found


def read_logs(path: str | os.PathLike[str]) -> list[RunLog]:
    """The logs of all runs in a file, in the order in which they began. Blocks while it reads.

    Raises:
        ConfigError: there is no such file, or not a single event in it.
    """
    content = _content(Path(path))
    logs = _from_document(content) or _from_lines(content.split(b"\n"))
    if not logs:
        raise ConfigError(
            f"{Path(path).name} is no run log: it has not one event of schema version {SCHEMA_VERSION}. "
            "JSONLinesSink and FileSink write such files."
        )
    return logs


def _content(path: Path) -> bytes:
    """The bytes of a regular file. Anything else could block forever, or have no end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path.name or path} is no regular file; a run log is one.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigError(f"Cannot read the run log {path.name}: {type(error).__name__}.") from None


def _from_lines(lines: Iterable[bytes]) -> list[RunLog]:
    events: dict[str, list[Event]] = {}
    dropped: dict[str, int] = {}
    unread = 0
    for line in lines:
        if not line.strip():
            continue
        read = decode(line)
        if read is None:
            unread += 1
            continue
        run_id = read.event.run_id
        events.setdefault(run_id, []).append(read.event)
        dropped[run_id] = dropped.get(run_id, 0) + read.dropped
    return [log_of(run_id, found, dropped=dropped[run_id], unread=unread) for run_id, found in events.items()]


def _from_document(content: bytes) -> list[RunLog]:
    """The log of a `FileSink`: one JSON document."""
    try:
        document = pydantic_core.from_json(content)
    except ValueError:
        return []
    if not isinstance(document, dict) or not isinstance(document.get("events"), list):
        return []
    dropped = document.get("dropped")
    return [
        dataclasses.replace(log, dropped=dropped if type(dropped) is int else 0)
        for log in _from_lines(pydantic_core.to_json(event) for event in document["events"])
    ]
