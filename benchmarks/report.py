"""What the benchmarks share: medians of several rounds, tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

RESULTS: Final = Path(__file__).parent / "results"
"""Figures that are committed, and from which docs/benchmarks.md is made."""


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


def environment() -> dict[str, Any]:
    """Where the figures were taken: without it they say little."""
    there = {distribution.metadata["Name"] for distribution in metadata.distributions()}
    names = [name for name in ("anyio", "pydantic", "trio", "uvloop") if name in there]
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        **{name: metadata.version(name) for name in names},
    }


def _processor() -> str:
    """The processor's name as Linux tells it, or what Python knows."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in plain text: the first column to the left, figures to the right."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = cells
        padded = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        return "  ".join(padded).rstrip()

    return "\n".join([title, "", line(columns), line(["-" * width for width in widths]), *map(line, rows)])


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where figures go."""
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE (-: standard output)")
    parser.add_argument("--save", action="store_true", help="write them to benchmarks/results/, to be committed")


def read(name: str) -> Any:
    """Return committed figures; None if there are none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def keep(options: argparse.Namespace, name: str, results: Any) -> None:
    """Write the figures to where the options say; what was not measured this time (`--only`) is kept as it was."""
    write_json(options.json, name, results)
    if options.save:
        known = (read(name) or {"results": type(results)()})["results"]
        if isinstance(results, dict):
            results = {**known, **results}
        elif getattr(options, "only", None):
            fresh = {figures["name"]: figures for figures in results}
            results = [fresh.pop(figures["name"], figures) for figures in known] + list(fresh.values())
        write_json(str(RESULTS / f"{name}.json"), name, results)


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
