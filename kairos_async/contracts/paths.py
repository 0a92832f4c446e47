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

    `field` is the path as `a.b[0].c`; `declared` has `[]` for indices and `*` for undeclared keys; `nodes` are the
    JSON Schemas that apply there, of which there are several inside a union.
    """

    field: str
    declared: str
    nodes: tuple[Node, ...]


class SchemaMap:
    """Walks a JSON Schema along the path of an error."""

    __slots__ = ("_root",)

    def __init__(self, root: Node) -> None:
        self._root = root

    def locate(self, path: Sequence[str | int], *, tagged: bool = False) -> Place:
        """The place at the end of the path.

        With `tagged`, the path is Pydantic's: a union adds an entry that names its branch and is no key of the data.
        """
        nodes = self._expand([self._root], tagged)
        field = declared = ""
        ended = False  # beyond what the contract declares, depth and shape are the data's choice: the path ends there
        for key in path:
            if tagged and any(len(_union_of(node)) > 1 for node in nodes):
                nodes = self._expand([branch for node in nodes for branch in _union_of(node)], tagged)
            elif isinstance(key, int):
                nodes = self._expand([item for node in nodes for item in _items(node, key)], tagged)
                ended = ended or not nodes
                field, declared = f"{field}[{key}]", declared if ended else f"{declared}[]"
            else:
                known = [sub for node in nodes for sub in _property(node, key)]
                below = known or [sub for node in nodes for sub in _undeclared(node)]
                name = _quoted(key) if known else ANY_KEY
                field, declared = _join(field, _quoted(key)), declared if ended else _join(declared, name)
                nodes = self._expand(below, tagged)
                ended = ended or not below
        return Place(field, declared, tuple(nodes))

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


def _property(node: Node, key: str) -> list[Node]:
    properties, required = node.get("properties"), node.get("required")
    if isinstance(properties, Mapping) and key in properties:
        declared = properties[key]
        return [declared if isinstance(declared, Mapping) else {}]
    return [{}] if isinstance(required, list) and key in required else []


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
    return path + key if not path or key.startswith("[") else f"{path}.{key}"
