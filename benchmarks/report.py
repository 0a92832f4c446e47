"""What the benchmarks share: medians of several rounds, tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple


class Spread(NamedTuple):
    """The middle and the ends of what several rounds gave."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def show(self, digits: int = 2) -> str:
        """The median, and the ends behind it."""
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} - {self.most:.{digits}f})"


def environment() -> dict[str, str | int | None]:
    """Where the figures were taken: without it they say little."""
    packages = {name: metadata.version(name) for name in ("anyio", "pydantic")}
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **packages,
    }


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text: the first column to the left, figures to the right."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        return "  ".join(padded).rstrip()

    return "\n".join([title, "", line(columns), line(["-" * width for width in widths]), *map(line, rows)])


def write_json(path: str | None, name: str, results: object) -> None:
    """Write the results with their environment to a file (`-`: to standard output); None: nowhere."""
    if path is None:
        return
    whole: dict[str, Any] = {"benchmark": name, "environment": environment(), "results": results}
    text = json.dumps(whole, indent=1) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")
