"""The benchmarks measure what they say: each body runs, limits hold, and the page shows the committed figures."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks import llm_server, observe, ours, page, timing
from benchmarks.count import report, sides
from benchmarks.llm_clients import CLIENTS, by_hand, measure, ours_text
from benchmarks.llm_clients import ours as ours_contract
from benchmarks.llm_server import Behaviour
from benchmarks.peers import PEERS
from benchmarks.reference import run_graph
from benchmarks.report import read
from benchmarks.workloads import Library, Side, Workload, async_body, chain, independent, workloads

SMALL = [workload for workload in workloads(100) if workload.ideal is None]


@pytest.mark.real_time
@pytest.mark.parametrize("workload", SMALL, ids=lambda workload: cast(Workload, workload).name)
def test_our_side_of_each_workload_runs_every_body(workload: Workload) -> None:
    """Else a figure would be about something else."""
    asyncio.run(timing.check(workload, ours))


def lazy(share: int) -> Library:
    """Return a library that runs every `share`th step only, and knows no limit."""

    def graph(graph: Any, body: Callable[[Any], Any], limit: int) -> Side:
        del limit
        return lambda: run_graph(graph[::share], body, len(graph))

    def foreach(items: Sequence[int], body: Callable[[Any], Any], limit: int) -> Side:
        return graph(independent(len(items)), body, limit)

    return cast(Library, SimpleNamespace(BODY=async_body, graph=graph, foreach=foreach))


@pytest.mark.real_time
def test_a_library_that_leaves_steps_out_is_not_timed() -> None:
    """It would look fast."""
    with pytest.raises(RuntimeError, match="5 of 10 bodies ran"):
        asyncio.run(timing.check(Workload("half", 1.0, independent(10)), lazy(2)))


@pytest.mark.real_time
def test_a_library_that_goes_over_the_limit_is_not_timed() -> None:
    """It would look fast too."""
    with pytest.raises(RuntimeError, match="10 at once"):
        asyncio.run(timing.check(Workload("unlimited", 1.0, independent(10), limit=3), lazy(1)))


@pytest.mark.real_time
def test_a_measurement_has_both_sides_of_every_round() -> None:
    """The ratio is that of times taken in turn."""
    found = timing.measure_alone(Workload("tiny", 1.0, chain(3)), ours, rounds=3)
    assert found["rounds"] == 3
    assert found["ratio"]["least"] <= found["ratio"]["median"] <= found["ratio"]["most"]


def test_a_workload_is_timed_on_the_event_loop_that_it_names() -> None:
    """Both sides, the check before them and the loop alone."""
    made: list[asyncio.AbstractEventLoop] = []

    def new_loop() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    timing.measure_alone(Workload("tiny", 1.0, chain(3), new_loop=new_loop), ours, rounds=3)
    assert [loop.is_closed() for loop in made] == [True]


def test_instruction_counts_are_of_two_sides_in_two_sizes() -> None:
    """The process that is counted and the one that reads the counts go by the same list."""
    assert len(list(sides(["chain"]))) == 4
    assert len(list(sides([]))) == 4 * 5


def test_a_count_stands_beside_the_committed_one() -> None:
    """A tenth more is shown as such; a workload that was never counted has nothing beside it."""
    found = [{"name": "chain", "ours": 110, "by_hand": 100}, {"name": "new", "ours": 1, "by_hand": 1}]
    chained, new = report(found, {"chain": {"ours": 100}}).splitlines()[-2:]
    assert chained.split() == ["chain", "110", "100", "1.10", "100", "+10.0%"]
    assert new.split() == ["new", "1", "1", "1.00"]


def test_every_peer_is_pinned() -> None:
    """A figure is about a version."""
    requirements = [
        *(requirement for peer in PEERS.values() for requirement in peer.requirements),
        *(requirement for client in CLIENTS.values() for requirement in client.requirements),
    ]
    assert all("==" in requirement for requirement in requirements)


def test_the_page_shows_the_committed_figures() -> None:
    """`python -m benchmarks.page` writes what is committed already."""
    text = page.PAGE.read_text("utf-8")
    assert page.render(text) == text


def test_every_section_has_its_place_on_the_page() -> None:
    """A section without a place would be shown nowhere."""
    text = page.PAGE.read_text("utf-8")
    for name in page.SECTIONS:
        assert text.count(f"<!-- {name} -->") == text.count(f"<!-- /{name} -->") == 1


@pytest.mark.parametrize("name", page.PLOTS)
def test_the_pictures_are_those_of_the_committed_figures(name: str) -> None:
    """They are XML that a browser takes, and nothing in them is outside."""
    needed, draw = page.PLOTS[name]
    assert read(needed) is not None
    drawn = draw()
    assert (page.DOCS / name).read_text("utf-8") == drawn
    root = ElementTree.fromstring(drawn)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for shape in root:
        assert 0 <= float(shape.get("cx", 0)) <= width
        assert 0 <= float(shape.get("y", 0)) <= height


def test_the_ideal_of_a_fan_out_is_that_of_slots_that_never_idle() -> None:
    """Without faults and spread: as many rounds as the prompts take; a pause that a refusal asks for is kept."""
    plain = Behaviour(10, median=2.0, sigma=0.0, refused=0.0, failed=0.0)
    assert [plain.ideal(limit) for limit in (1, 4, 10)] == [20.0, 6.0, 2.0]
    refused = Behaviour(1, median=2.0, sigma=0.0, refused=1.0, failed=0.0, retry_after=7)
    assert 9.0 < refused.ideal(1) < 9.1


@pytest.mark.real_time
@pytest.mark.parametrize("client", [by_hand, ours_contract, ours_text], ids=lambda client: client.__name__)
def test_clients_of_the_fan_out_answer_all_prompts(client: Any) -> None:
    """Faults included, and never more under way than they may; else their figures would be about something else."""
    behaviour = Behaviour(30, median=0.01, refused=0.0, failed=0.2)
    with llm_server.running() as url:
        went = asyncio.run(measure.go(client, url, behaviour, 5, patience=30.0))
    assert went["whole"]
    assert went["too_soon"] == 0


@pytest.mark.real_time
def test_a_client_that_asks_too_many_at_once_is_not_timed() -> None:
    """It would look fast."""
    greedy = SimpleNamespace(NOTE="greedy", opened=lambda url, limit, times: by_hand.opened(url, 4 * limit, times))
    with llm_server.running() as url, pytest.raises(RuntimeError, match="greedy"):
        asyncio.run(measure.go(cast(Any, greedy), url, Behaviour(30, median=0.1), 5, patience=30.0))


@pytest.mark.real_time
def test_a_watched_run_is_compared_with_the_same_run_unwatched(tmp_path: Path) -> None:
    """Each way of watching sees the run to its end."""
    with (tmp_path / "console.txt").open("w+", encoding="utf-8") as console:
        ways = (observe.UNWATCHED, *observe.WAYS)
        sides = {way: observe.watched(way, ours.to_workflow(chain(20)), {}, tmp_path, console) for way in ways}
        found = observe.ratios(asyncio.run(observe.measure(sides, 1)))
        console.seek(0)
        lines = console.read().splitlines()
    assert found.keys() == observe.TARGETS.keys()
    logs = [path.read_bytes().splitlines() for path in tmp_path.glob("*.jsonl")]
    assert [len(log) for log in logs] == [3 * 20 + 2] * 4  # two rounds of two ways
    assert len(lines) == 2 * (3 * 20 + 2)
