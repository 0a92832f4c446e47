"""Values of one shape that another one may refuse: candidates for counter-examples, to be checked by both contracts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from kairos_async._types import JSONValue
from kairos_async.contracts.samples import texts_matching
from kairos_async.contracts.shapes import ANYTHING, Anything, Atom, Lists, Numbers, Objects, Shape, Text, Values

_DEPTH: Final = 8
_PER_PART: Final = 60
_AT_ONCE: Final = 4
_LARGEST_TEXT: Final = 10_000
_FORMATS: Final = {
    "date": "2024-02-29",
    "datetime": "2024-02-29T12:30:00Z",
    "time": "12:30:00",
    "uuid": "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
}
_ANY: Final[tuple[JSONValue, ...]] = (None, True, 0, -1, 7, 0.5, 1.0, "", "text", [], [None], {}, {"key": None})


def candidates(producer: Shape, consumer: Shape, depth: int = 0) -> Iterator[JSONValue]:
    """Values that the producer's shape is likely to hold, those first that the consumer's shape is likely to refuse."""
    # A few of each alternative in turn, so that none waits for all the values of another.
    parts = [islice(_of_atom(atom, consumer, depth), _PER_PART) for atom in producer]
    while parts:
        for part in list(parts):
            few = list(islice(part, _AT_ONCE))
            yield from few
            if len(few) < _AT_ONCE:
                parts.remove(part)


def _of_atom(atom: Atom, consumer: Shape, depth: int) -> Iterator[JSONValue]:
    if isinstance(atom, Values):
        yield from atom.values
    elif isinstance(atom, Numbers):
        yield from _numbers(atom, consumer)
    elif isinstance(atom, Text):
        yield from _texts(atom, consumer)
    elif isinstance(atom, Lists):
        yield from _lists(atom, consumer, depth)
    elif isinstance(atom, Objects):
        yield from _objects(atom, consumer, depth)
    else:
        yield from _anything(consumer, depth)


def _anything(consumer: Shape, depth: int) -> Iterator[JSONValue]:
    yield from _ANY
    for other in consumer:
        if not isinstance(other, Anything) and depth < _DEPTH:
            yield from _of_atom(_widened(other), consumer, depth + 1)


def _widened(atom: Atom) -> Atom:
    """All values of the atom's JSON type."""
    if isinstance(atom, Numbers):
        return Numbers(atom.whole)
    if isinstance(atom, Text):
        return Text()
    if isinstance(atom, Lists):
        return Lists(ANYTHING)
    if isinstance(atom, Objects):
        return Objects({}, ANYTHING)
    return atom


def _numbers(atom: Numbers, consumer: Shape) -> Iterator[JSONValue]:
    tried: set[float] = set()
    for point in _points(atom, consumer):
        number = _fitted(point, atom)
        if number is not None and number not in tried:
            tried.add(number)
            yield number


def _points(atom: Numbers, consumer: Shape) -> Iterator[float]:
    bounds: list[float] = []
    steps: list[float] = [atom.step or 1]
    for other in (atom, *consumer):
        if isinstance(other, Numbers):
            bounds.extend(bound for bound in (other.low, other.high) if bound is not None)
            steps.append(other.step or 1)
        elif isinstance(other, Values):
            bounds.extend(value for value in other.values if type(value) in (int, float))  # type: ignore[misc]
    for bound in bounds:
        yield bound
        for step in dict.fromkeys((*steps, 0.5)):
            yield bound + step
            yield bound - step
        if not atom.whole and isinstance(bound, float):
            yield math.nextafter(bound, math.inf)
            yield math.nextafter(bound, -math.inf)
    if atom.low is not None and atom.high is not None:
        yield atom.low + (atom.high - atom.low) / 2 if not atom.whole else (int(atom.low) + int(atom.high)) // 2
    yield from (0, 1, -1, 0.5, 2, 3, 7, 10, 1.0e6, -1.0e6)
    if atom.whole:
        yield from (10**309, -(10**309))
    else:
        yield from (1.0e308, -1.0e308)


def _fitted(point: float, atom: Numbers) -> float | int | None:
    """The number next to the point that is of the atom's kind and step, if it is in its range."""
    if atom.whole:
        number: float | int = math.floor(point) if not isinstance(point, int) else point
        if atom.step and isinstance(atom.step, int):
            number = -(-number // atom.step) * atom.step
        elif atom.step and abs(number) < 1e15:
            number = math.ceil(number / atom.step) * atom.step
            number = int(number) if float(number).is_integer() else 0
    else:
        if isinstance(point, int) and abs(point) > 1e308:
            return None
        number = round(float(point) / atom.step) * float(atom.step) if atom.step and abs(point) < 1e15 else float(point)
    return number if _in_range(number, atom) else None


def _in_range(number: float, atom: Numbers) -> bool:
    above = atom.low is None or number > atom.low or (number == atom.low and not atom.open_low)
    below = atom.high is None or number < atom.high or (number == atom.high and not atom.open_high)
    return above and below


def _texts(atom: Text, consumer: Shape) -> Iterator[JSONValue]:
    if atom.format is not None:
        yield _FORMATS.get(atom.format, "")
        return
    others = [other for other in consumer if isinstance(other, Text)]
    lengths = _lengths([atom, *others], atom.min_length, atom.max_length, _LARGEST_TEXT)
    if atom.patterns:
        for pattern in atom.patterns:
            yield from texts_matching(pattern.text, lengths)
        return
    seeds = ["a", "Z", "0", " ", "-", "é", "\n", "@"]
    for other in others:
        for pattern in other.patterns:
            seeds.extend(text for text in texts_matching(pattern.text, [atom.min_length])[:4] if text)
    for seed in seeds:
        for length in lengths:
            yield (seed * (length // len(seed) + 1))[:length]


def _lengths(atoms: Iterable[Any], low: int, high: int | None, most: int) -> list[int]:
    """Lengths at and around the bounds of the atoms, within those asked for."""
    near = {low, low + 1, 3}
    for atom in atoms:
        for bound in (atom.min_length, atom.max_length):
            if bound is not None:
                near |= {bound - 1, bound, bound + 1}
    return sorted(length for length in near if low <= length <= min(most, most if high is None else high))


def _lists(atom: Lists, consumer: Shape, depth: int) -> Iterator[JSONValue]:
    others = [other for other in consumer if isinstance(other, Lists)]
    lengths = _lengths([atom, *others], max(atom.min_length, 0), atom.max_length, 200)
    if depth >= _DEPTH:
        if atom.min_length == 0:
            yield []
        return
    fill = _distinct_items(atom, max(lengths, default=0), depth) if atom.unique else None
    plain = list(islice(candidates(atom.items, (), depth + 1), 1))
    for length in lengths:
        built = _built(atom, length, fill, plain, depth)
        if built is not None:
            yield built
    against: Shape = tuple(a for other in others for a in other.items) if others else ()
    base = next((length for length in lengths if length > len(atom.first)), None)
    for item in candidates(atom.items, against, depth + 1):
        built = _built(atom, base, fill, [item], depth) if base else None
        if built is not None:
            yield [*built[:-1], item]
            yield [*built, item] if atom.max_length is None or len(built) < atom.max_length else built
    yield from _first_varied(atom, others, depth)


def _first_varied(atom: Lists, others: list[Lists], depth: int) -> Iterator[JSONValue]:
    base = _built(
        atom, max(atom.min_length, len(atom.first)), None, list(islice(candidates(atom.items, (), depth + 1), 1)), depth
    )
    for index, shape in enumerate(atom.first if base is not None else ()):
        against = tuple(
            a for other in others for a in (other.first[index] if index < len(other.first) else other.items)
        )
        for item in candidates(shape, against, depth + 1):
            assert base is not None
            yield [*base[:index], item, *base[index + 1 :]]


def _distinct_items(atom: Lists, count: int, depth: int) -> list[JSONValue]:
    found: list[JSONValue] = []
    for item in candidates(atom.items, (), depth + 1):
        if not any(type(item) is type(other) and item == other for other in found):
            found.append(item)
        if len(found) >= count:
            break
    return found


def _built(
    atom: Lists, length: int, fill: list[JSONValue] | None, plain: list[JSONValue], depth: int
) -> list[JSONValue] | None:
    """A list of this length, or None if there are no items for it."""
    built: list[JSONValue] = []
    for shape in atom.first[:length]:
        first = list(islice(candidates(shape, (), depth + 1), 1))
        if not first:
            return None
        built.extend(first)
    rest = length - len(built)
    if fill is not None:
        return [*built, *fill[:rest]] if len(fill) >= rest else None
    return [*built, *plain * rest] if plain or not rest else None


def _objects(atom: Objects, consumer: Shape, depth: int) -> Iterator[JSONValue]:
    if depth >= _DEPTH:
        return
    base: dict[str, JSONValue] = {}
    for name, declared in atom.properties.items():
        first = list(islice(candidates(declared.shape, (), depth + 1), 1))
        if first:
            base[name] = first[0]
        elif declared.required:
            return
    others = [other for other in consumer if isinstance(other, Objects)]
    yield base
    optional = [name for name, declared in atom.properties.items() if not declared.required and name in base]
    yield {name: value for name, value in base.items() if name not in optional}
    for name in optional:
        yield {key: value for key, value in base.items() if key != name}
    yield from _extended(atom, base, others, depth)
    for name, declared in atom.properties.items():
        for value in candidates(declared.shape, _at_key(others, name), depth + 1):
            yield {**base, name: value}


def _at_key(others: list[Objects], name: str) -> Shape:
    return tuple(
        atom
        for other in others
        for atom in (other.properties[name].shape if name in other.properties else other.extra or ())
    )


def _extended(atom: Objects, base: dict[str, JSONValue], others: list[Objects], depth: int) -> Iterator[JSONValue]:
    """The object with keys that it does not declare: those that the consumer declares, and ones of no one's."""
    if atom.extra is None:
        return
    names = {name for other in others for name in other.properties} - atom.properties.keys()
    for name in (*sorted(names), "undeclared"):
        for value in candidates(atom.extra, _at_key(others, name), depth + 1):
            yield {**base, name: value}
    some = list(islice(candidates(atom.extra, (), depth + 1), 1))
    for other in others:
        for count in _lengths([atom, other], max(atom.min_length, len(base)), atom.max_length, 50) if some else ():
            yield {**base, **{f"key{i}": some[0] for i in range(count - len(base))}}
