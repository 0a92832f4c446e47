"""A layered drawing of a graph, top down: where each box stands, and the points through which each edge goes.

Pure and deterministic: the same graph gives the same drawing. The steps are those of Sugiyama's method: ranks from
longest paths, an order within each rank that avoids crossings, then coordinates. A rank with more boxes than fit side
by side is broken into several rows. Edges that pass a row on their way share one lane for each end that they have in
common: a step with two hundred successors is drawn with one line beside them and not with two hundred.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

GAP: Final = 22.0
"""Between boxes side by side."""
LANE: Final = 10.0
"""What an edge that passes a row takes of its width."""
_SWEEPS: Final = 6

Edge: TypeAlias = tuple[int, int]
Cell: TypeAlias = tuple[int, int]
"""A box is (-1, its index); a lane is (0, source) or (1, target) of the edges that share it."""


class Layout(NamedTuple):
    """Where everything is, in pixels: the middle of each box's upper side, and for each edge the tops of the rows'
    lanes that it goes through, as (x, row)."""

    width: float
    rows: int
    boxes: list[tuple[float, int]]
    paths: dict[Edge, list[tuple[float, int]]]


def arrange(needs: Sequence[Sequence[int]], box: float, limit: float) -> Layout:
    """Return the layout of an acyclic graph.

    Args:
        needs: for each box, the boxes from which an edge leads to it.
        box: the width of a box.
        limit: the width of the whole; more is taken only if lanes beside the boxes need it.
    """
    edges = [(need, index) for index, found in enumerate(needs) for need in found]
    row_of = _break_rows(_ranks(needs), max(1, int((limit + GAP) // (box + GAP))))
    rows, links, lanes = _cells(row_of, edges)
    _order(rows, links)
    x = _place(rows, links, box, limit)
    paths = {
        edge: [(x[row, lane], row) for row in range(row_of[edge[0]] + 1, row_of[edge[1]])]
        for edge, lane in lanes.items()
    }
    boxes = [(x[row_of[index], (-1, index)], row_of[index]) for index in range(len(needs))]
    width = max((place + (box if cell[0] < 0 else LANE) / 2 for (_, cell), place in x.items()), default=0.0)
    return Layout(width, len(rows), boxes, paths)


def _ranks(needs: Sequence[Sequence[int]]) -> list[int]:
    """Return the length of the longest path to each box. One that needs nothing stands right above what needs it."""
    successors: list[list[int]] = [[] for _ in needs]
    for index, found in enumerate(needs):
        for need in found:
            successors[need].append(index)
    missing = [len(found) for found in needs]
    free = deque(index for index, count in enumerate(missing) if not count)
    ranks = [0] * len(needs)
    while free:
        current = free.popleft()
        for successor in successors[current]:
            ranks[successor] = max(ranks[successor], ranks[current] + 1)
            missing[successor] -= 1
            if not missing[successor]:
                free.append(successor)
    for index, found in enumerate(needs):
        if not found and successors[index]:
            ranks[index] = min(ranks[successor] for successor in successors[index]) - 1
    return ranks


def _break_rows(ranks: Sequence[int], most: int) -> list[int]:
    """Return the row of each box: a rank of more than `most` boxes takes several rows of about the same length."""
    members: dict[int, list[int]] = {}
    for index, rank in enumerate(ranks):
        members.setdefault(rank, []).append(index)
    row_of = [0] * len(ranks)
    first = 0
    for rank in sorted(members):
        count = -(-len(members[rank]) // most)
        length = -(-len(members[rank]) // count)
        for position, index in enumerate(members[rank]):
            row_of[index] = first + position // length
        first += count
    return row_of


_Links: TypeAlias = list[dict[Cell, list[Cell]]]


def _cells(row_of: Sequence[int], edges: Sequence[Edge]) -> tuple[list[list[Cell]], _Links, dict[Edge, Cell]]:
    """Return what stands in each row, the links from each row's cells to those of the row above, and edges' lanes."""
    outgoing, incoming = [0] * len(row_of), [0] * len(row_of)
    for source, target in edges:
        outgoing[source] += 1
        incoming[target] += 1
    rows: list[dict[Cell, None]] = [{} for _ in range(max(row_of, default=-1) + 1)]
    for index, row in enumerate(row_of):
        rows[row][-1, index] = None
    links: list[dict[Cell, dict[Cell, None]]] = [{} for _ in rows]
    lanes: dict[Edge, Cell] = {}
    for source, target in edges:
        lane = (0, source) if outgoing[source] >= incoming[target] else (1, target)
        lanes[source, target] = lane
        above: Cell = (-1, source)
        for row in range(row_of[source] + 1, row_of[target] + 1):
            here: Cell = (-1, target) if row == row_of[target] else lane
            rows[row].setdefault(here)
            links[row].setdefault(here, {})[above] = None
            above = here
    return [list(row) for row in rows], [{cell: list(up) for cell, up in row.items()} for row in links], lanes


def _order(rows: list[list[Cell]], links: _Links) -> None:
    """Order the cells of each row by the middle of what they are linked to, down and up, and keep the best order."""
    down = _reversed(links)
    best, fewest = [list(row) for row in rows], _crossings(rows, links)
    for _ in range(_SWEEPS):
        if not fewest:
            break
        for row in range(1, len(rows)):
            _sort(rows[row], rows[row - 1], links[row])
        for row in range(len(rows) - 2, -1, -1):
            _sort(rows[row], rows[row + 1], down[row])
        found = _crossings(rows, links)
        if found < fewest:
            best, fewest = [list(row) for row in rows], found
    rows[:] = best


def _reversed(links: _Links) -> _Links:
    """Return the links from each row's cells to those of the row below."""
    down: _Links = [{} for _ in links]
    for row, linked in enumerate(links):
        for cell, above in linked.items():
            for other in above:
                down[row - 1].setdefault(other, []).append(cell)
    return down


def _sort(row: list[Cell], other: list[Cell], links: dict[Cell, list[Cell]]) -> None:
    position = {cell: place for place, cell in enumerate(other)}
    scale = len(other) / max(1, len(row))
    middle = {
        cell: sum(position[up] for up in links[cell]) / len(links[cell]) if cell in links else place * scale
        for place, cell in enumerate(row)
    }
    row.sort(key=middle.__getitem__)


def _crossings(rows: list[list[Cell]], links: _Links) -> int:
    count = 0
    for row in range(1, len(rows)):
        position = {cell: place for place, cell in enumerate(rows[row - 1])}
        seen: list[int] = []
        for cell in rows[row]:
            ends = sorted(position[up] for up in links[row].get(cell, ()))
            count += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return count


def _place(rows: list[list[Cell]], links: _Links, box: float, limit: float) -> dict[tuple[int, Cell], float]:
    """Return the middle of each cell: as near to what it is linked to as the order and the width allow."""
    down = _reversed(links)
    apart = [[_width(cell, box) / 2 for cell in row] for row in rows]
    taken = [sum(half) * 2 + sum(itertools.starmap(_gap, itertools.pairwise(half))) for half in apart]
    whole = max([limit, *taken])
    x: dict[tuple[int, Cell], float] = {}
    for row, cells in enumerate(rows):
        middle = (whole - taken[row]) / 2
        for cell, place in zip(cells, _spread([middle] * len(cells), apart[row], whole), strict=True):
            x[row, cell] = place
    forth = [(row, row - 1, links) for row in range(1, len(rows))]
    back = [(row, row + 1, down) for row in range(len(rows) - 2, -1, -1)]
    sweeps = _SWEEPS if len(x) < 2_000 else 1
    for row, beside, linked in (forth + back) * sweeps + forth:
        wanted = [_wanted(x, row, beside, cell, linked[row]) for cell in rows[row]]
        for cell, place in zip(rows[row], _spread(wanted, apart[row], whole), strict=True):
            x[row, cell] = place
    least = min((place - _width(cell, box) / 2 for (_, cell), place in x.items()), default=0.0)
    return {key: round(place - least, 1) for key, place in x.items()}


def _width(cell: Cell, box: float) -> float:
    return box if cell[0] < 0 else LANE


def _gap(before: float, after: float) -> float:
    """Return the least distance between two cells of these half widths: lanes stand closer than boxes."""
    return GAP if min(before, after) > LANE / 2 else LANE


def _wanted(
    x: dict[tuple[int, Cell], float], row: int, beside: int, cell: Cell, links: dict[Cell, list[Cell]]
) -> float:
    linked = links.get(cell)
    if not linked:
        return x[row, cell]
    return sum(x[beside, other] for other in linked) / len(linked)


def _spread(wanted: Sequence[float], half: Sequence[float], whole: float) -> list[float]:
    """Return the places nearest to the wanted ones (least squares) that keep order, distances and the whole width.

    Pool adjacent violators: neighbours that would overlap become one block, which stands at the mean of its wishes.
    """
    offsets = [half[0]] if half else []
    for before, after in itertools.pairwise(half):
        offsets.append(offsets[-1] + before + _gap(before, after) + after)
    blocks: list[tuple[float, int]] = []
    for place, offset in zip(wanted, offsets, strict=True):
        total, count = place - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            more, members = blocks.pop()
            total, count = total + more, count + members
        blocks.append((total, count))
    shifts = [total / count for total, count in blocks for _ in range(count)]
    most = whole - (offsets[-1] + half[-1]) if half else 0.0
    return [min(max(shift, 0.0), most) + offset for shift, offset in zip(shifts, offsets, strict=True)]
