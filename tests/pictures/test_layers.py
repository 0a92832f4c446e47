"""The layout of graphs: what a reader relies on, for any graph."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos_async.pictures.layers import GAP, Layout, arrange

BOX = 100.0
LIMIT = 500.0


GRAPHS = st.lists(st.lists(st.integers(0, 30), max_size=4), max_size=24).map(
    lambda drawn: [sorted({need % index for need in found}) if index else [] for index, found in enumerate(drawn)]
)
"""The needs of each box: any earlier ones."""


def rows_of(layout: Layout) -> dict[int, list[float]]:
    """Return the places of the boxes of each row, from the left."""
    rows: dict[int, list[float]] = {}
    for place, row in layout.boxes:
        rows.setdefault(row, []).append(place)
    return {row: sorted(places) for row, places in rows.items()}


@given(GRAPHS)
def test_edges_go_down_and_boxes_stand_apart(needs: list[list[int]]) -> None:
    """Each edge has a lane in each row between its ends, and in no other."""
    layout = arrange(needs, BOX, LIMIT)
    assert len(layout.boxes) == len(needs)
    for index, found in enumerate(needs):
        for need in found:
            above, below = layout.boxes[need][1], layout.boxes[index][1]
            assert above < below
            assert [row for _, row in layout.paths[need, index]] == list(range(above + 1, below))
    for places in rows_of(layout).values():
        assert all(after - before >= BOX + GAP - 0.2 for before, after in itertools.pairwise(places))
        assert places[0] >= BOX / 2 - 0.2
        assert places[-1] <= layout.width - BOX / 2 + 0.2


@given(GRAPHS)
def test_the_same_graph_is_drawn_the_same(needs: list[list[int]]) -> None:
    """There is no chance in it."""
    assert arrange(needs, BOX, LIMIT) == arrange(needs, BOX, LIMIT)


def test_a_chain_is_a_straight_line() -> None:
    """Nothing pushes it aside."""
    layout = arrange([[], [0], [1], [2]], BOX, LIMIT)
    assert {place for place, _ in layout.boxes} == {BOX / 2}


def test_a_diamond_is_symmetrical() -> None:
    """What joins two stands between them."""
    (top, _), (left, _), (right, _), (bottom, _) = arrange([[], [0], [0], [1, 2]], BOX, LIMIT).boxes
    assert top == bottom == pytest.approx((left + right) / 2)


def test_crossings_are_avoided() -> None:
    """Two pairs declared crosswise do not cross."""
    boxes = arrange([[], [], [1], [0]], BOX, LIMIT).boxes
    assert (boxes[0][0] < boxes[1][0]) == (boxes[3][0] < boxes[2][0])


def test_a_wide_rank_takes_several_rows_and_one_lane() -> None:
    """Two hundred steps between one and one: no wider than the limit and the two lanes that they share."""
    layout = arrange([[], *([0] for _ in range(200)), list(range(1, 201))], BOX, LIMIT)
    assert max(len(places) for places in rows_of(layout).values()) == 4
    assert layout.width <= LIMIT + 60
    assert layout.rows == 52


def test_two_hundred_tangled_steps() -> None:
    """A large graph stays within a few times the limit."""
    chance = random.Random(7)
    needs = [[j for j in range(max(0, i - 12), i) if chance.random() < 0.12] for i in range(200)]
    assert arrange(needs, BOX, 1160).width < 2_000


def test_nothing() -> None:
    """No boxes, no rows."""
    assert arrange([], BOX, LIMIT) == Layout(0.0, 0, [], {})
