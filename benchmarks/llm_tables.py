"""The tables of the fan-out benchmark, for a terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from benchmarks.llm_clients import CLIENTS
from benchmarks.report import Spread

COLUMNS: Final = (
    "client",
    "prompts/s",
    "of by hand",
    "time over ideal",
    "p50 ms",
    "p99 ms",
    "CPU ms a call",
    "KB a call under way",
)


class Table(NamedTuple):
    """A title, columns, and rows of text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Yield a table for each load, one for the local model and one for the plan, as far as they were measured."""
    clients: dict[str, Any] = results["clients"]
    for number, load in enumerate(next(iter(clients.values()))["loads"]):
        if load is None:
            continue
        title = f"{load['name']}, {load['limit']} at once; ideal {load['ideal_s']:.1f} s"
        yield Table(title, COLUMNS, [_by_hand(load), *(_row(name, whole, number) for name, whole in clients.items())])
    if local := results.get("local"):
        rows = [
            [
                str(each["parallel"]),
                f"{each['ours']:.2f}",
                f"{each['by_hand']:.2f}",
                Spread(**each["share"]).show(),
            ]
            for each in local
        ]
        columns = ("a real model, answers in parallel", "prompts/s", "by hand", "of by hand")
        yield Table("A model of 135 million parameters on this machine", columns, rows)
    if movie := results.get("movie"):
        rows = [[each["how"], f"{each['seconds']:.2f}", f"{each['reported'] or '-'}"] for each in movie]
        yield Table("A movie recommendation's calls, in virtual time", ("plan", "seconds", "reported"), rows)


def _by_hand(load: Mapping[str, Any]) -> list[str]:
    """The side by hand, as it was beside our own."""
    return ["by hand, a client a slot", *_cells(load["by_hand"], "1", whole=bool(load["by_hand"]["whole"])), "-"]


def _row(name: str, client: Mapping[str, Any], number: int) -> list[str]:
    result, memory = client["loads"][number], client["memory"]
    if result is None:
        return [CLIENTS[name].title, "not through", *["-"] * (len(COLUMNS) - 2)]
    version = "" if name.startswith(("kairos", "httpx")) else f" {next(iter(client['versions'].values()))}"
    share = Spread(**result["share"])
    shown = share.show() if result["rounds"] > 1 else f"{share.median:.2f}"
    kilobytes = "-" if memory is None else f"{memory['bytes_a_call'] / 1e3:,.0f}"
    return [CLIENTS[name].title + version, *_cells(result["library"], shown, whole=result["whole"]), kilobytes]


def _cells(went: Mapping[str, float], share: str, *, whole: bool) -> list[str]:
    return [
        f"{went['throughput']:,.0f}",
        share,
        f"{went['over_ideal']:.2f}" if whole else "cut off",
        f"{went['p50_ms']:,.0f}",
        f"{went['p99_ms']:,.0f}",
        f"{went['cpu_us'] / 1e3:.2f}",
    ]
