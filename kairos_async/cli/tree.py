"""A graph as a tree for the terminal, in which every step stands once.

A step hangs under its immediate dominator: the nearest step that every way to it goes through. So a branch stands under
the step where it begins, and where branches join again the next step stands beside them and not inside the last one.
Chains stay at one level; only branches are indented.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

_DEEPEST: Final = 12
"""Levels that are indented. What is deeper stands below the last one."""


class Branch(NamedTuple):
    """One line of the tree: what stands before the name, and the name."""

    guide: str
    name: str


def tree_of(needs: Mapping[str, Sequence[str]]) -> list[Branch]:
    """Return the lines of the tree.

    Args:
        needs: for each step, those that it needs. A need that is no step of the mapping is ignored.
    """
    order = _sorted(needs)
    parent: dict[str, str] = {}
    depth: dict[str, int] = {"": 0}
    for name in order:
        above = [need for need in needs[name] if need in depth]
        common = above[0] if above else ""
        for other in above[1:]:
            common = _meet(common, other, parent, depth)
        parent[name], depth[name] = common, depth[common] + 1
    children: dict[str, list[str]] = {}
    for name in order:
        children.setdefault(parent[name], []).append(name)
    return _lines(children)


def _sorted(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the steps so that each comes after its needs; else in their own order. Cycles are cut."""
    order: list[str] = []
    state: dict[str, bool] = {}
    for first in needs:
        pending = [(first, False)]
        while pending:
            name, done = pending.pop()
            if done:
                state[name] = True
                order.append(name)
            elif name in needs and name not in state:
                state[name] = False
                pending.append((name, True))
                pending.extend((need, False) for need in reversed(needs[name]))
    return order


def _meet(one: str, other: str, parent: Mapping[str, str], depth: Mapping[str, int]) -> str:
    while one != other:
        if depth[one] < depth[other]:
            one, other = other, one
        one = parent[one]
    return one


def _lines(children: Mapping[str, Sequence[str]]) -> list[Branch]:
    lines: list[Branch] = []
    pending = [("", "", "")]
    while pending:
        own, below, name = pending.pop()
        if name:
            lines.append(Branch(own, name))
        inner = children.get(name, ())
        if len(inner) == 1 or len(below) >= 3 * _DEEPEST:
            pending.extend((below, below, child) for child in reversed(inner))
            continue
        for position, child in reversed(list(enumerate(inner))):
            last = position == len(inner) - 1
            pending.append((below + ("└─ " if last else "├─ "), below + ("   " if last else "│  "), child))
    return lines
