"""The graph: its edges and orders, over random graphs against the plainest algorithms."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async import PlanError, Step, TaskGraph, Workflow
from tests.engine.tools import returns

OK = returns(None)
Edges = list[tuple[int, int]]


@st.composite
def edges(draw: st.DrawFn) -> tuple[int, Edges]:
    """Draw a number of steps and edges among them, cycles allowed."""
    count = draw(st.integers(1, 9))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] != pair[1])
    return count, draw(st.lists(pairs, max_size=14, unique=True))


def closure(count: int, pairs: Edges) -> set[tuple[int, int]]:
    """Return who reaches whom, by Warshall's algorithm."""
    reach = set(pairs)
    for middle, start, end in itertools.product(range(count), repeat=3):
        if (start, middle) in reach and (middle, end) in reach:
            reach.add((start, end))
    return reach


def built(count: int, pairs: Edges, writers: set[int] | None = None) -> TaskGraph:
    """Return the graph; some of its steps declare to write the key "k"."""
    return TaskGraph(
        Step(
            f"s{number}",
            OK,
            depends_on=[f"s{start}" for start, end in pairs if end == number],
            write_keys=["k"] if writers and number in writers else [],
        )
        for number in range(count)
    )


@given(edges())
def test_a_graph_is_refused_exactly_if_it_has_a_cycle_and_the_path_shown_is_one(drawn: tuple[int, Edges]) -> None:
    """The path shown is one of the graph's own."""
    count, pairs = drawn
    reach = closure(count, pairs)
    if not any((number, number) in reach for number in range(count)):
        built(count, pairs)
        return
    with pytest.raises(PlanError) as caught:
        built(count, pairs)
    path = [int(name[1:]) for name in caught.value.problems[0].split("cycle: ")[1].rstrip(".").split(" -> ")]
    assert path[0] == path[-1]
    assert len(set(path)) == len(path) - 1
    assert set(itertools.pairwise(path)) <= set(pairs)


@given(edges())
def test_reaches_and_order_agree_with_the_edges(drawn: tuple[int, Edges]) -> None:
    """For every pair of steps."""
    count, pairs = drawn
    pairs = [(min(pair), max(pair)) for pair in pairs]
    graph, reach = built(count, pairs), closure(count, pairs)
    for start, end in itertools.product(range(count), repeat=2):
        assert graph.reaches(start, end) == ((start, end) in reach)
        assert graph.nodes[end].upstream(f"s{start}") == ((start, end) in reach)
    assert sorted(graph.order) == list(range(count))
    place = {number: position for position, number in enumerate(graph.order)}
    assert all(place[start] < place[end] for start, end in pairs)
    for number in range(count):
        assert set(graph.needs(f"s{number}")) == {f"s{start}" for start, end in pairs if end == number}


@given(edges(), st.sets(st.integers(0, 8)))
def test_write_conflicts_are_found_exactly_where_two_writers_have_no_order(
    drawn: tuple[int, Edges], writers: set[int]
) -> None:
    """Whatever lies between them."""
    count, pairs = drawn
    pairs = [(min(pair), max(pair)) for pair in pairs]
    reach = closure(count, pairs)
    chosen = sorted(number for number in writers if number < count)
    loose = [pair for pair in itertools.combinations(chosen, 2) if pair not in reach]
    if loose:
        with pytest.raises(PlanError, match="both write key 'k'"):
            built(count, pairs, set(chosen))
    else:
        built(count, pairs, set(chosen))


def test_an_edge_that_is_declared_twice_is_one_edge() -> None:
    """By name, as a step, through foreach and through read_keys."""
    a = Step("a", OK)
    b = Step("b", OK, depends_on=["a", a, "a"], foreach="a", read_keys=["a"])
    graph = TaskGraph([a, b])
    assert (graph.needs("b"), len(graph)) == (("a",), 2)


def test_needs_are_in_the_order_of_declaration() -> None:
    """In whatever order a step names them, and however many there are."""
    steps = [Step(f"s{i}", OK) for i in range(9)]
    graph = TaskGraph([*steps, Step("end", OK, depends_on=["s8", "s0", "s3"])])
    assert graph.needs("end") == ("s0", "s3", "s8")


def test_a_reader_needs_the_writers_before_it_also_if_it_writes() -> None:
    """The edge is there although a longer way leads from the one to the other."""
    first, between = Step("first", OK, write_keys=["k"]), Step("between", OK, depends_on=["first"])
    second = Step("second", OK, read_keys=["k"], write_keys=["k"], depends_on=["between"])
    assert TaskGraph([first, between, second]).needs("second") == ("first", "between")


def test_a_reader_between_two_writers_needs_only_the_one_before_it() -> None:
    """Also where it is a declared read, and no edge that names a step, that orders the two."""
    first = Step("first", OK, write_keys=["k", "z"], read_keys=[])
    reader = Step("reader", OK, read_keys=["k"], write_keys=[])
    second = Step("second", OK, write_keys=["k"], read_keys=["z"], depends_on=["reader"])
    graph = TaskGraph([second, reader, first])
    assert (graph.needs("reader"), graph.needs("second")) == (("first",), ("reader", "first"))


def test_a_cycle_through_declared_reads_and_writes_is_found() -> None:
    """Each reads what the other writes: no order is possible, and the error is a PlanError."""
    a = Step("a", OK, read_keys=["y"], write_keys=["x"])
    b = Step("b", OK, read_keys=["x"], write_keys=["y"])
    with pytest.raises(PlanError, match="a -> b -> a"):
        TaskGraph([a, b])


def test_a_step_that_reads_and_writes_one_key_does_not_depend_on_itself() -> None:
    """It reads the older value."""
    graph = TaskGraph([Step("a", OK, read_keys=["n"], write_keys=["n"])])
    assert graph.needs("a") == ()


def test_two_problems_of_one_step_are_both_told() -> None:
    """The message counts them."""
    with pytest.raises(PlanError, match=r"has 2 problems:\n  - .*\n  - ") as caught:
        Workflow("w", [Step("a", OK, depends_on=["x", "y"])])
    assert caught.value.subject == "Workflow 'w'"


def test_a_problem_of_many_steps_is_told_for_each() -> None:
    """Also where they stand beside each other and name the same."""
    with pytest.raises(PlanError) as caught:
        TaskGraph([Step(name, OK, depends_on=["missing"]) for name in "abc"])
    assert [problem.split()[1] for problem in caught.value.problems] == ["'a'", "'b'", "'c'"]


def test_mermaid_shows_steps_edges_and_foreach() -> None:
    """As text that a README can hold."""
    workflow = Workflow("w", [Step("get", OK), Step("each", OK, foreach="get"), Step("end", OK, depends_on=["each"])])
    lines = [line.strip() for line in workflow.to_mermaid().splitlines()]
    assert lines[0] == "flowchart TD"
    assert 's0["get"]' in lines
    assert "s0 -->|foreach| s1" in lines
    assert "s1 --> s2" in lines
    assert len(lines) == 6
