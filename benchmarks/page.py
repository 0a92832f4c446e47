"""The figures of docs/benchmarks.md: `python -m benchmarks.page` writes them from `benchmarks/results/`.

Between `<!-- NAME -->` and `<!-- /NAME -->` stands what `SECTIONS[NAME]` makes of the committed results. A
section whose results are not there stays as it is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import drawing, llm_tables
from benchmarks.llm_clients import CLIENTS
from benchmarks.peers import PEERS
from benchmarks.report import read, table
from benchmarks.workloads import workloads

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
PAGE: Final = DOCS / "benchmarks.md"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column is of words, the others of figures."""
    head = [columns, ["---", *["--:"] * (len(columns) - 1)]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [*head, *rows])


def show(spread: dict[str, float], digits: int = 2) -> str:
    """Return a median with its ends."""
    return f"{spread['median']:,.{digits}f} ({spread['least']:,.{digits}f} - {spread['most']:,.{digits}f})"


def machine(environment: dict[str, Any]) -> str:
    """Return where figures were taken, in a line."""
    names = [name for name in ("anyio", "pydantic", "trio", "uvloop") if name in environment]
    parts = [
        environment.get("processor") or environment["system"],
        f"{environment['cores']} cores",
        environment["system"],
        environment["python"],
        *(f"{name} {environment[name]}" for name in names),
    ]
    return f"Taken on: {', '.join(parts)}."


def peers() -> dict[str, dict[str, Any]]:
    """Return what was measured of each library, ours first, then from the fastest to the slowest."""
    found = {name: whole for name in PEERS if (whole := read(f"peers/{name}"))}
    return dict(sorted(found.items(), key=lambda item: (item[0] != "kairos-async", _middle(item[1]))))


def _middle(whole: dict[str, Any]) -> float:
    return statistics.geometric_mean(result["ratio"]["median"] for result in whole["results"])


def short(ratio: float) -> str:
    """Return a ratio with the digits that mean something."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2f}"


def peer_cells() -> tuple[list[str], list[list[str]]]:
    """Return columns and rows: the medians, and the ends behind them. What was not measured is a dash."""
    columns = [workload.name for workload in workloads() if workload.beside_peers]
    rows = []
    for name, whole in peers().items():
        version = next(iter(whole["versions"].values()))
        cells = {result["name"]: _cell(result) for result in whole["results"]}
        rows.append([f"{PEERS[name].title} {version}", *(cells.get(column, "-") for column in columns)])
    return ["", *columns], rows


def _cell(result: dict[str, Any]) -> str:
    median, least, most = (short(result["ratio"][key]) for key in ("median", "least", "most"))
    few = "" if result["rounds"] >= 9 else f", {result['rounds']} rounds"
    return f"{median} ({least} - {most}{few})"


def peer_table() -> str:
    """Return the table for a terminal."""
    return table("CPU time over hand-written asyncio; where steps wait 50 ms, wall time over the ideal", *peer_cells())


def peer_section() -> str:
    """Return the table of the page, with how each library was asked."""
    columns, rows = peer_cells()
    notes = [f"- **{PEERS[name].title}**: {whole['note']}." for name, whole in peers().items()]
    where = machine(next(iter(peers().values()))["environment"])
    return "\n".join([markdown(columns, rows), "", *notes, "", where])


def peer_plot() -> str:
    """Return the picture of the five workloads whose CPU time is compared."""
    rows = {
        PEERS[name].title: {
            result["name"]: result["ratio"]["median"] for result in whole["results"] if result["clock"] == "cpu"
        }
        for name, whole in peers().items()
    }
    return drawing.ratios(
        "What a step costs, beside asyncio written by hand",
        "CPU time over that of the same graph in tasks and a semaphore, in the same process. Logarithmic.",
        rows,
    )


def run_section() -> str:
    """Return our own workloads with their targets."""
    whole = read("run")
    rows = [
        [
            result["name"],
            f"{result['us_a_step']:.1f}",
            f"{result['by_hand_us_a_step']:.1f}",
            show(result["ratio"], 2 if result["clock"] == "cpu" else 3),
            f"{result['ratio_of_leasts']:.2f}",
            f"{result['target']:g}",
            "yes" if result["ratio"]["median"] <= result["target"] else "no",
        ]
        for result in whole["results"]
    ]
    columns = ["workload", "us a step", "by hand", "ratio (least - most)", "of leasts", "at most", "held"]
    rounds = whole["results"][0]["rounds"]
    waits, *others = [result for result in whole["results"] if result["clock"] == "wall"]
    alone = (
        "Where steps wait 50 ms, the ratio is wall time over the ideal. The event loop alone, a task for each slot "
        f"that does nothing but wait, takes {show(waits['loop'], 3)}, and no program on it less: timers wake it in "
        f"whole milliseconds, and late. Over that it is {show(waits['over_loop'], 3)}, and over the hand-written side, "
        f"which starts each task in one go and takes longer, {show(waits['over_by_hand'], 3)}."
    )
    for other in others:
        loop = other["name"].rpartition(", ")[2]
        alone += f" {loop} keeps time more finely: alone it takes {show(other['loop'], 3)}."
    return f"{markdown(columns, rows)}\n\nMedians of {rounds} rounds. {alone} {machine(whole['environment'])}"


def count_section() -> str:
    """Return the instructions a step."""
    whole = read("count")
    rows = [
        [each["name"], f"{each['ours']:,}", f"{each['by_hand']:,}", f"{each['ours'] / each['by_hand']:.2f}"]
        for each in whole["results"]
    ]
    return markdown(["workload", "instructions a step", "by hand", "ratio"], rows)


def growth_section() -> str:
    """Return the time a step by size."""
    graphs = read("scale")["results"]["graphs"]
    rows = []
    for shape, by_size in graphs.items():
        sizes = sorted(by_size, key=int)
        base = max((size for size in sizes if int(size) <= 1_000), key=int)
        for kind in ("build", "run", "by hand"):
            medians = {size: by_size[size][kind]["median"] for size in sizes}
            growth = f"{medians[sizes[-1]] / medians[base]:.2f}"
            rows.append([f"{kind}: {shape}", *(f"{medians[size]:,.1f}" for size in sizes), growth])
    columns = ["CPU us a step", *(f"{int(size):,} steps" for size in sizes), f"last over {int(base):,}"]
    return markdown(columns, rows)


def growth_plot() -> str:
    """Return the picture of time and memory by size."""
    results = read("scale")["results"]
    times: dict[str, dict[float, float]] = {}
    for shape, by_size in results["graphs"].items():
        if "collector off" in shape:
            for kind, name in (("run", shape), ("by hand", f"{shape}, by hand")):
                label = name.replace(", collector off", "")
                times[label] = {float(size): kinds[kind]["median"] for size, kinds in by_size.items()}
    memory = {
        "built workflow": {float(size): each["built"] for size, each in results["steps"].items()},
        "finished step, kept in the result": {float(size): each["kept"] for size, each in results["steps"].items()},
        "step in flight": {float(size): each["ours"] for size, each in results["flight"].items()},
    }
    panels = [("CPU microseconds a step, collector off", times), ("bytes a step", memory)]
    return drawing.lines("Cost by size of the graph", panels)


def memory_section() -> str:
    """Return memory by step and by item."""
    results = read("scale")["results"]
    steps = [
        [f"chain of {int(size):,}", f"{each['built']:,.0f}", f"{each['kept']:,.0f}", f"{each['more'] / 1e6:,.1f} MB"]
        for size, each in results["steps"].items()
    ]
    flight = [
        [f"{int(size):,}", f"{each['ours']:,.0f}", f"{each['by hand']:,.0f}"]
        for size, each in results["flight"].items()
    ]
    items = [
        [f"{int(size):,}", f"{each['kept'] / int(size):.1f}", f"{(each['peak'] - each['kept']) / 1e6:,.2f} MB",
         f"{(each['peak'] - 16 * int(size)) / 1e6:,.1f} MB"]
        for size, each in results["foreach"].items()
    ]  # fmt: skip
    million = results["million"]
    cpu, grown, outputs = (f"{million[key]:,.1f}" for key in ("cpu_s", "grown_mb", "outputs_mb"))
    return "\n\n".join(
        [
            markdown(["", "bytes a step, built", "a finished step, beyond its output", "more at the peak"], steps),
            markdown(["steps waiting at once", "bytes a step", "by hand"], flight),
            markdown(["items, 100 at once", "bytes an item, kept", "more at the peak", "beyond two lists"], items),
            f"A foreach over {million['items']:,.0f} items, 100 at once, everything on, took {cpu} s of CPU time,\n"
            f"and the process grew by {grown} MB; {outputs} MB of that are outputs.",
        ]
    )


def other_section() -> str:
    """Return start-up, stalls, loops and watching, as far as they were measured."""
    parts = []
    if whole := read("startup"):
        found = {name: {end: 1e3 * seconds for end, seconds in each.items()} for name, each in whole["results"].items()}
        rows = [[name, show(each, 1)] for name, each in found.items()]
        parts.append(markdown(["start-up", "CPU ms (least - most)"], rows))
    if whole := read("stall"):
        rows = [[name, show(each["on"], 1), show(each["off"], 1)] for name, each in whole["results"].items()]
        columns = ["longest gap under 10,000 steps, CPU ms", "median (least - most)", "collector off"]
        parts.append(markdown(columns, rows))
    if whole := read("loops"):
        parts.append(_by_column("CPU us a step on", whole["results"], 1))
    if whole := read("observe"):
        parts.append(_by_column("CPU time over the run unwatched", whole["results"]["costs"], 2))
        stalls = {name: {"ms": each} for name, each in whole["results"]["stalls_ms"].items()}
        parts.append(_by_column("longest delay of a task beside 50 steps that wait, watched by", stalls, 1))
    return "\n\n".join(parts)


def fan_out_section() -> str:
    """Return the tables of the fan-out, with how each client was asked."""
    whole = read("llm_fanout")
    results = whole["results"]
    parts = [f"{each.title}:\n\n{markdown(each.columns, each.rows)}" for each in llm_tables.tables(results)]
    notes = [f"- **{CLIENTS[name].title}**: {client['note']}." for name, client in results["clients"].items()]
    return "\n\n".join([*parts, "\n".join(notes), machine(whole["environment"])])


def _by_column(title: str, rows: dict[str, dict[str, Any]], digits: int) -> str:
    columns = list(next(iter(rows.values())))
    return markdown([title, *columns], [[key, *(show(each[column], digits) for column in columns)]
                                        for key, each in rows.items()])  # fmt: skip


SECTIONS: Final[dict[str, tuple[str, Callable[[], str]]]] = {
    "peers": ("peers/kairos-async", peer_section),
    "run": ("run", run_section),
    "count": ("count", count_section),
    "growth": ("scale", growth_section),
    "memory": ("scale", memory_section),
    "other": ("startup", other_section),
    "fan-out": ("llm_fanout", fan_out_section),
}
"""By name: the results that a section needs, and what makes it."""
PLOTS: Final = {"peers.svg": ("peers/kairos-async", peer_plot), "growth.svg": ("scale", growth_plot)}


def render(page: str) -> str:
    """Return the page with every section made anew."""
    for name, (needed, make) in SECTIONS.items():
        if read(needed):
            before, opening, rest = page.partition(f"<!-- {name} -->\n")
            _, closing, after = rest.partition(f"<!-- /{name} -->")
            page = f"{before}{opening}\n{make()}\n\n{closing}{after}"
    return page


def write() -> None:
    """Write the page and its pictures."""
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    for name, (needed, draw) in PLOTS.items():
        if read(needed):
            (DOCS / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    write()
