"""Who requires whom: direct requirements, what they bring along, and where they run in a circle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Graph: TypeAlias = Mapping[str, Iterable[str]]
"""From each package to those that it requires; every package has an entry."""


class Requirements(NamedTuple):
    """The requirements that hold here, between the packages that are here.

    `missing` has (package, requirement) for what is required and not here, `invalid` (package, line) for what does
    not parse.
    """

    direct: dict[str, list[str]]
    missing: list[tuple[str, str]]
    invalid: list[tuple[str, str]]


def direct_requirements(declared: Mapping[str, Iterable[str]]) -> Requirements:
    """Return which package requires which, from the `Requires-Dist` lines of each, by normalised name.

    A line counts when its marker holds for this interpreter; a line for an extra counts when some package asks for
    that extra: with `b[c]` among its lines, `a` requires `b`, and `b` requires what it lists for its extra `c`.
    """
    invalid: list[tuple[str, str]] = []
    parsed = {name: list(_parsed(name, lines, invalid)) for name, lines in declared.items()}
    direct: dict[str, set[str]] = {name: set() for name in parsed}
    missing: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in parsed]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        for requirement in parsed[name]:
            if not _counts(requirement, extra):
                continue
            target = canonicalize_name(requirement.name)
            if target not in parsed:
                missing.add((name, target))
                continue
            if target != name:
                direct[name].add(target)
            asked = {(target, canonicalize_name(wanted)) for wanted in requirement.extras} - seen
            waiting.extend(asked)
            seen |= asked
    return Requirements({name: sorted(targets) for name, targets in direct.items()}, sorted(missing), invalid)


def _parsed(name: str, lines: Iterable[str], invalid: list[tuple[str, str]]) -> Iterator[Requirement]:
    for line in lines:
        try:
            requirement = Requirement(line)
            _counts(requirement, "")  # a marker can parse and still compare what has no order
        except ValueError:
            invalid.append((name, line[:80]))
        else:
            yield requirement


def _counts(requirement: Requirement, extra: str) -> bool:
    """Whether the package requires this with the extra and not without it; for "", whether it always does."""
    marker = requirement.marker
    if marker is None:
        return not extra
    always = marker.evaluate({"extra": ""})
    return always if not extra else not always and marker.evaluate({"extra": extra})


def components(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components, each after all those that it leads to.

    A component of more than one package is a circle: each of its members requires all the others, if only indirectly.
    The algorithm is Kosaraju's, without recursion: an environment can be deeper than Python's stack.
    """
    required_by: dict[str, list[str]] = {name: [] for name in graph}
    for name, targets in graph.items():
        for target in targets:
            required_by[target].append(name)
    found = []
    seen: set[str] = set()
    for name in reversed(_postorder(graph)):
        component = []
        waiting = [name]
        while waiting:
            member = waiting.pop()
            if member not in seen:
                seen.add(member)
                component.append(member)
                waiting.extend(required_by[member])
        if component:
            found.append(sorted(component))
    return found[::-1]


def _postorder(graph: Graph) -> list[str]:
    """Return the nodes in the order in which a depth-first search leaves them."""
    left: list[str] = []
    entered: set[str] = set()
    work = [(name, False) for name in graph]
    while work:
        name, leaving = work.pop()
        if leaving:
            left.append(name)
        elif name not in entered:
            entered.add(name)
            work.append((name, True))
            work.extend((target, False) for target in graph[name])
    return left


def brought_along(graph: Graph) -> dict[str, int]:
    """Return for each package how many others come with it, directly or not."""
    bit = {name: 1 << position for position, name in enumerate(graph)}
    reached: dict[str, int] = {}
    for component in components(graph):
        # Ints as sets: what a component leads to has its own set complete already.
        together = 0
        for member in component:
            together |= bit[member]
            for target in graph[member]:
                together |= reached.get(target, 0)
        reached.update(dict.fromkeys(component, together))
    return {name: reached[name].bit_count() - 1 for name in graph}
