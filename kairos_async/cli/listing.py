"""`kairos runs`: the runs whose logs are in a directory."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kairos_async.cli.board import COLORS
from kairos_async.cli.errors import CommandError, ExitCode, quoted
from kairos_async.cli.from_log import INTERRUPTED
from kairos_async.cli.streams import result_stream
from kairos_async.exceptions import ConfigError
from kairos_async.observe import RunLog, read_logs
from kairos_async.pictures.portrait import duration_text
from kairos_async.pictures.style import sign
from kairos_async.security import terminal_text

_ENDINGS = (".jsonl", ".json")
_MOST_FILES = 1_000
_MOST_BYTES = 512 * 1024 * 1024
_WIDE = 1_000


def list_runs(directory: str) -> ExitCode:
    """Print a table of the runs, the newest first.

    Raises:
        CommandError: there is no such directory, or no way to write the table.
    """
    names, left_out = _logs_in(directory)
    found, passed_over = _runs_in(directory, names)
    found.sort(key=lambda entry: entry[1].events[0].timestamp, reverse=True)
    several = len({name for name, _ in found}) < len(found)
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("began", no_wrap=True, min_width=16)
    table.add_column("workflow", no_wrap=True, overflow="ellipsis")
    table.add_column("status", no_wrap=True, min_width=13)
    table.add_column("took", no_wrap=True, min_width=7, justify="right")
    table.add_column("steps", no_wrap=True, min_width=7, justify="right")
    table.add_column("file", no_wrap=True, overflow="ellipsis")
    if several:
        table.add_column("run", no_wrap=True, min_width=8)
    for name, log in found:
        status = INTERRUPTED if log.interrupted else log.status.value
        took = (log.events[-1].timestamp - log.events[0].timestamp).total_seconds() * 1000
        table.add_row(
            log.events[0].timestamp.astimezone().strftime("%Y-%m-%d %H:%M"),
            Text(terminal_text(log.workflow_name)),
            Text(f"{sign(status)} {status}", COLORS.get(status, "")),
            duration_text(log.summary.duration_ms or took),
            f"{log.summary.steps_completed}/{log.summary.steps}",
            Text(terminal_text(name)),
            *([Text(terminal_text(log.run_id[:8]))] if several else []),
        )
    if found:
        with result_stream() as stream:
            # For a program nothing is cut.
            Console(file=stream, highlight=False, width=None if stream.isatty() else _WIDE).print(table)
    else:
        sys.stderr.write("kairos: there is no run log in this directory\n")
    if passed_over:
        sys.stderr.write(f"kairos: passed over {passed_over} files that are no run logs\n")
    if left_out:
        sys.stderr.write(f"kairos: left out {left_out:,} files: older ones than {_MOST_FILES:,} others, or too large\n")
    return ExitCode.COMPLETE


def _logs_in(directory: str) -> tuple[list[str], int]:
    """Return the names of the newest files that may be logs, and how many others there are."""
    changed: dict[str, float] = {}
    others = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                    if entry.name.endswith(_ENDINGS) and entry.is_file():
                        found = entry.stat()
                        if found.st_size <= _MOST_BYTES:
                            changed[entry.name] = found.st_mtime
                        else:
                            others += 1
    except (OSError, ValueError):
        raise CommandError(f"directory {quoted(directory)} cannot be read.") from None
    names = sorted(sorted(changed), key=changed.__getitem__, reverse=True)
    return names[:_MOST_FILES], others + len(names[_MOST_FILES:])


def _runs_in(directory: str, names: Sequence[str]) -> tuple[list[tuple[str, RunLog]], int]:
    """Return the logs by file name, and how many files are none."""
    found: list[tuple[str, RunLog]] = []
    passed_over = 0
    for name in names:
        try:
            found += [(name, log) for log in read_logs(Path(directory) / name)]
        except ConfigError:
            passed_over += 1
    return found, passed_over
