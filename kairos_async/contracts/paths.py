"""Paths into a value, in the data's words and in the contract's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kairos_async._types import JSONValue

ANY_KEY: Final = "*"
"""Stands for a key that the contract does not declare."""

_PLAIN_KEY: Final = re.compile(r'[^\s.\[\]"*]+')

Node = Mapping[str, JSONValue]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the data, and what the contract says there.

    `field` is the path as `a.b[0].c`; `declared` has `[]` for indices, `*` for undeclared keys, and a part that
    contains itself once only; `nodes` are the JSON Schemas that apply there, of which a union has several.
    """

    field: str
    declared: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Spot:
    """A place in the contract. `ended`: beyond it depth and shape are the data's choice, and the path ends there.

    `is_union`: there are several alternatives; `items`: so many items have a place of their own; `leads`: the schemas
    that say what is below; `keys`: those that are declared.
    """

    declared: str
    nodes: tuple[Node, ...]
    ended: bool
    above: tuple[_Spot, ...]
    is_union: bool
    items: int
    leads: frozenset[int]
    keys: frozenset[str]


def _spot(declared: str, nodes: tuple[Node, ...], ended: bool, above: tuple[_Spot, ...]) -> _Spot:
    is_union = any(len(_union_of(node)) > 1 for node in nodes)
    items = max((len(_subschemas(node, "prefixItems")) for node in nodes), default=0)
    leads = frozenset(id(node) for node in nodes if not _LEADING.isdisjoint(node))
    keys = frozenset(key for node in nodes for key in _declared_keys(node))
    return _Spot(declared, nodes, ended, above, is_union, items, leads, keys)


_LEADING: Final = frozenset({"properties", "items", "prefixItems", "additionalProperties", "patternProperties"})


class SchemaMap:
    """Walks a JSON Schema along the path of an error."""

    __slots__ = ("_below", "_root", "_starts")

    def __init__(self, root: Node) -> None:
        self._root = root
        self._starts = {tagged: _spot("", tuple(self._expand([root], tagged)), False, ()) for tagged in (False, True)}
        self._below: dict[tuple[_Spot, str | int], _Spot] = {}

    def locate(self, path: Sequence[str | int], *, tagged: bool = False) -> Place:
        """The place at the end of the path.

        With `tagged`, the path is Pydantic's: a union adds an entry that names its branch and is no key of the data.
        """
        spot, field = self._starts[tagged], ""
        for key in path:
            if tagged and spot.is_union:
                token: str | int = "|"
            elif isinstance(key, int):
                token, field = key if 0 <= key < spot.items else spot.items, f"{field}[{key}]"
            else:
                token = f".{key}" if key in spot.keys else ANY_KEY
                field = _join(field, _quoted(key))
            below = spot if spot.ended else self._below.get((spot, token))
            if below is None:
                below = self._below[spot, token] = self._made(spot, token, tagged)
            spot = below
        return Place(field, spot.declared, spot.nodes)

    def has_unions(self) -> bool:
        """Whether anything in the contract has alternatives, besides null."""
        waiting: list[object] = [self._root]
        while waiting:
            part = waiting.pop()
            if isinstance(part, Mapping):
                if len(_union_of(part)) > 1:
                    return True
                waiting.extend(part.values())
            elif isinstance(part, list):
                waiting.extend(part)
        return False

    def _made(self, spot: _Spot, token: str | int, tagged: bool) -> _Spot:
        """The place below; where a contract contains itself again and again, the one above, so that there is an end."""
        below: list[Node]
        name, ended = "", False
        if token == "|":
            below = [branch for node in spot.nodes for branch in _union_of(node)]
        elif isinstance(token, int):
            below, name = [item for node in spot.nodes for item in _items(node, token)], "[]"
        elif token == ANY_KEY:
            below, name = [sub for node in spot.nodes for sub in _undeclared(node)], ANY_KEY
        else:
            below, name = [sub for node in spot.nodes for sub in _property(node, token[1:])], _quoted(token[1:])
        nodes = tuple(self._expand(below, tagged))
        if isinstance(token, int) and not nodes:
            ended = True
        declared = spot.declared if ended or not name else _join(spot.declared, name)
        ended = ended or not nodes
        above = (*spot.above, spot)
        made = _spot(declared, nodes, ended, above)
        same = [other for other in above if other.leads and other.leads == made.leads]
        return same[-1] if len(same) > 1 else made

    def _expand(self, nodes: Sequence[Node], tagged: bool) -> list[Node]:
        """The nodes and those that they lead to without a step into the data: by reference, allOf, a nullable."""
        found: list[Node] = []
        queue = list(nodes)
        seen: set[int] = set()
        while queue:
            node = queue.pop(0)
            if id(node) in seen:
                continue
            seen.add(id(node))
            found.append(node)
            if isinstance(ref := node.get("$ref"), str):
                queue.extend(self._target(ref))
            queue.extend(_subschemas(node, "allOf"))
            branches = _union_of(node)
            if len(branches) == 1 or not tagged:
                queue.extend(branches)
            if not tagged:
                queue.extend(_subschemas(node, "if", "then", "else", "dependentSchemas"))
        return found

    def _target(self, ref: str) -> list[Node]:
        if not ref.startswith("#"):
            return []
        node: object = self._root
        for part in ref[1:].split("/")[1:]:
            node = node.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(node, Mapping) else None
        return [node] if isinstance(node, Mapping) else []


def _subschemas(node: Node, *keywords: str) -> list[Node]:
    found: list[object] = []
    for keyword in keywords:
        value = node.get(keyword)
        if keyword == "dependentSchemas" and isinstance(value, Mapping):
            found.extend(value.values())
        else:
            found.extend(value if isinstance(value, list) else [value])
    return [sub for sub in found if isinstance(sub, Mapping)]


def _union_of(node: Node) -> list[Node]:
    """The branches of a union, without null, which Pydantic does not treat as a branch."""
    return [branch for branch in _subschemas(node, "anyOf", "oneOf") if branch.get("type") != "null"]


def _declared_keys(node: Node) -> list[str]:
    properties, required = node.get("properties"), node.get("required")
    named = list(properties) if isinstance(properties, Mapping) else []
    return [*named, *(key for key in required if isinstance(key, str))] if isinstance(required, list) else named


def _property(node: Node, key: str) -> list[Node]:
    properties = node.get("properties")
    if isinstance(properties, Mapping) and key in properties:
        declared = properties[key]
        return [declared if isinstance(declared, Mapping) else {}]
    return [{}] if key in _declared_keys(node) else []


def _undeclared(node: Node) -> list[Node]:
    patterns = node.get("patternProperties")
    by_pattern = list(patterns.values()) if isinstance(patterns, Mapping) else []
    found = [*by_pattern, node.get("additionalProperties"), node.get("unevaluatedProperties")]
    return [sub for sub in found if isinstance(sub, Mapping)]


def _items(node: Node, index: int) -> list[Node]:
    prefix = _subschemas(node, "prefixItems")
    if 0 <= index < len(prefix):  # the keys of a dict can be ints, too, before it is JSON
        return [prefix[index]]
    return _subschemas(node, "items", "contains", "unevaluatedItems")


def _quoted(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else f"[{json.dumps(key)}]"


def _join(path: str, key: str) -> str:
    return path + key if not path or key[:1] == "[" else f"{path}.{key}"
