"""The audit's findings: put together as JSON data, and shown as tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from packaging.utils import canonicalize_name
from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from auditing.families import Family, count

SHOWN = 8
"""Rows of a list in the tables; the JSON report has them all."""


def first_of_each_name(packages: Iterable[Mapping[str, Any] | None]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the packages under their normalised names, and those that an earlier one of the same name hides.

    The first one counts, as for `import`. None stands for a distribution whose metadata could not be used.
    """
    kept: dict[str, dict[str, Any]] = {}
    hidden = []
    for package in packages:
        if package is not None:
            name = canonicalize_name(package["name"])
            if name in kept:
                hidden.append(f"{name} {package['version']}")
            else:
                kept[name] = {**package, "name": name}
    return list(kept.values()), hidden


def join(
    packages: Iterable[Mapping[str, Any]],
    licences: Iterable[Mapping[str, Any]],
    requires: Iterable[list[str]],
    brings_along: Iterable[int],
) -> dict[str, Any]:
    """Return what was found about the packages, each and together; the four have the packages in the same order."""
    rows = [
        {
            "name": package["name"],
            "version": package["version"],
            **licence,
            "requires": required,
            "brings_along": number,
        }
        for package, licence, required, number in zip(packages, licences, requires, brings_along, strict=True)
    ]
    return {
        "families": count([Family(row["family"]) for row in rows]),
        "undeclared": [row["name"] for row in rows if row["declared"] is None],
        "unrecognised": [
            {"name": row["name"], "declared": row["declared"]}
            for row in rows
            if row["family"] == Family.UNKNOWN and row["declared"] is not None
        ],
        "packages": rows,
    }


def show(console: Console, report: Mapping[str, Any]) -> None:
    """Print the report."""
    total = len(report["packages"])
    packages = "1 package" if total == 1 else f"{total} packages"
    console.print(f"\n[bold]{packages}[/bold] audited in {report['seconds']:.2f} s")
    console.print(f"{report['where']}\n", markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
    console.print(_families(report))
    _list(console, "No licence declared", report["undeclared"])
    _list(console, "Licence not recognised", (f"{p['name']}: {p['declared']}" for p in report["unrecognised"]))
    _list(console, "Requirement cycles", (", ".join(cycle) for cycle in report["cycles"]))
    _list(console, "Required but not here", (f"{name} needs {needed}" for name, needed in report["missing"]))
    _list(console, "Requirements that do not parse", (f"{name}: {line}" for name, line in report["invalid"]))
    _list(console, "Hidden by another of the same name", report["hidden"])
    _list(console, "Dirty metadata, left out", (f"{d['file']}: {d['problem']}" for d in report["dirty"]))
    console.print(Columns([_heaviest(report), _slowest(report)], padding=(1, 4)))


def _families(report: Mapping[str, Any]) -> Table:
    table = Table(title="Licence families", title_justify="left", expand=True)
    table.add_column("family", no_wrap=True)
    table.add_column("packages", justify="right")
    table.add_column("for example", ratio=1, no_wrap=True, overflow="ellipsis")
    for family, number in report["families"].items():
        names = sorted(p["name"] for p in report["packages"] if p["family"] == family)
        table.add_row(family, str(number), ", ".join(names[:20]))
    return table


def _heaviest(report: Mapping[str, Any]) -> Table:
    table = Table(title="Bringing along the most", title_justify="left")
    table.add_column("package", max_width=30, no_wrap=True, overflow="ellipsis")
    table.add_column("direct", justify="right")
    table.add_column("in all", justify="right")
    for row in sorted(report["packages"], key=lambda row: -row["brings_along"])[:SHOWN]:
        table.add_row(row["name"], str(len(row["requires"])), str(row["brings_along"]))
    return table


def _list(console: Console, title: str, lines: Iterable[str]) -> None:
    found = list(lines)
    console.print(f"[bold]{title}:[/bold] {len(found) or 'none'}")
    for line in found[:SHOWN]:
        console.print(f"  {line}", markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
    if len(found) > SHOWN:
        console.print(f"  and {len(found) - SHOWN} more (--json has them all)")


def _slowest(report: Mapping[str, Any]) -> Table:
    table = Table(title="Slowest steps", title_justify="left")
    table.add_column("step", no_wrap=True)
    table.add_column("ms", justify="right")
    for step in report["slowest"]:
        table.add_row(step["step"], f"{step['ms']:.1f}")
    return table
