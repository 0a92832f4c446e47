"""The shapes of JSON Schema documents, by the semantics of JSON Schema: 1.0 is an integer, and 1 equals 1.0."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, Final

from kairos_async.contracts.regex import longest_text
from kairos_async.contracts.shapes import (
    ANYTHING,
    BOOLEANS,
    NULL,
    UNKNOWN,
    Lists,
    Numbers,
    Objects,
    Pattern,
    Property,
    Shape,
    Text,
    Values,
    vague,
)

Node = Mapping[str, Any]

_SILENT: Final = frozenset({
    "$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default", "deprecated", "readOnly",
    "writeOnly", "discriminator",
})  # fmt: skip
_READ: Final = frozenset({
    "type", "enum", "const", "anyOf", "$ref", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minLength", "maxLength", "pattern", "items", "prefixItems", "minItems", "maxItems", "uniqueItems",
    "properties", "required", "additionalProperties", "minProperties", "maxProperties",
})  # fmt: skip
_ALONE: Final = ("enum", "const", "anyOf", "$ref", "oneOf")
"""Keywords that are understood as the only ones of their schema, apart from `type` beside enum and const."""

_LARGEST: Final = int(sys.float_info.max)

_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")


def shape_of(schema: Node | bool, *, accepted: bool) -> Shape:
    """The shape. Where it is not known exactly, it is vague if `accepted`, and else larger than it should be."""
    return _Reader(schema, accepted).shape(schema)


class _Reader:
    def __init__(self, root: object, accepted: bool) -> None:
        self._root = root
        self._accepted = accepted
        self._open: set[str] = set()
        self._has_ids = isinstance(root, Mapping) and any(_has_id(part) for part in root.values())

    def shape(self, node: object) -> Shape:
        if node is False:
            return ()
        if not isinstance(node, Mapping):
            return ANYTHING
        said = node.keys() - _SILENT
        if not said:
            return ANYTHING
        alone = [keyword for keyword in _ALONE if keyword in node]
        exact = said <= _READ and (not alone or said <= {alone[0], "type"})
        shape = self._alone(node, alone[0]) if alone else self._typed(node)
        return vague(shape) if self._accepted and not exact else shape

    def _alone(self, node: Node, keyword: str) -> Shape:
        if keyword in ("anyOf", "oneOf"):
            return tuple(atom for branch in node[keyword] for atom in self.shape(branch))
        if keyword == "$ref":
            return self._reference(node["$ref"])
        values = [node["const"]] if keyword == "const" else node["enum"]
        if not all(type(value) in (str, int, float, bool, type(None)) for value in values):
            return UNKNOWN if self._accepted else ANYTHING
        shape: Shape = (Values(tuple(same for value in values for same in _equal(value))),)
        return vague(shape) if self._accepted and "type" in node else shape

    def _reference(self, ref: str) -> Shape:
        target: Any = self._root
        for part in ref[2:].split("/") if ref.startswith("#/") else ():
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        if self._has_ids or ref in self._open or not ref.startswith("#/") or not isinstance(target, (Mapping, bool)):
            return UNKNOWN if self._accepted else ANYTHING
        self._open.add(ref)
        shape = self.shape(target)
        self._open.discard(ref)
        return shape

    def _typed(self, node: Node) -> Shape:
        kinds = node.get("type", _TYPES)
        atoms: list[Any] = []
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            atoms.extend(self._of_type(kind, node))
        return tuple(atoms)

    def _of_type(self, kind: str, node: Node) -> Shape:
        if kind == "null":
            return NULL
        if kind == "boolean":
            return BOOLEANS
        if kind == "integer":
            return _numbers(node, step=1)
        if kind == "number":
            return _numbers(node, step=None)
        if kind == "string":
            return (_text(node),)
        return self._array(node) if kind == "array" else self._object(node)

    def _array(self, node: Node) -> Shape:
        first = tuple(self.shape(item) for item in node.get("prefixItems", ()))
        low, high = _length(node.get("minItems", 0)), _bound(node.get("maxItems"))
        return (Lists(self.shape(node.get("items", True)), first, low, high, node.get("uniqueItems", False)),)

    def _object(self, node: Node) -> Shape:
        required = node.get("required", [])
        extra = ANYTHING if "patternProperties" in node else self.shape(node.get("additionalProperties", True)) or None
        declared = {
            name: Property(self.shape(sub), name in required) for name, sub in node.get("properties", {}).items()
        }
        for name in required:
            if name not in declared:
                declared[name] = Property(extra or (), required=True)
        low, high = _length(node.get("minProperties", 0)), _bound(node.get("maxProperties"))
        return (Objects(declared, extra, low, high),)


def _has_id(part: object) -> bool:
    """Whether a schema in it has a base URI of its own, so that references need not start at the root."""
    if isinstance(part, Mapping):
        return "$id" in part or any(_has_id(each) for each in part.values())
    return isinstance(part, list) and any(_has_id(each) for each in part)


def _text(node: Node) -> Text:
    low, high = _length(node.get("minLength", 0)), _bound(node.get("maxLength"))
    if "pattern" not in node:
        return Text(low, high)
    longest = longest_text(node["pattern"])
    pattern = Pattern(node["pattern"], ecma=bool(_ECMA.search(_ESCAPED_SIGN.sub("", node["pattern"]))))
    return Text(low, longest if high is None else min(high, longest), (pattern,))


_ESCAPED_SIGN: Final = re.compile(r"\\[^A-Za-z0-9]")
_ECMA: Final = re.compile(r"[.\\]|\(\?(?!:)|&&|--|~~|\[[^\]]*\[")
"""What may mean something else in a pattern of JSON Schema: classes such as `.` and `\\d`, flags, sets of sets."""


def _numbers(node: Node, step: int | None) -> Shape:
    low, open_low = node.get("minimum"), False
    if "exclusiveMinimum" in node and (low is None or node["exclusiveMinimum"] >= low):
        low, open_low = node["exclusiveMinimum"], True
    high, open_high = node.get("maximum"), False
    if "exclusiveMaximum" in node and (high is None or node["exclusiveMaximum"] <= high):
        high, open_high = node["exclusiveMaximum"], True
    multiple = node.get("multipleOf", step)
    floats = Numbers(False, low, high, open_low, open_high, multiple, vague=step is not None and multiple != step)
    return (Numbers(True, low, high, open_low, open_high, None if multiple == 1 else multiple), floats)


def _equal(value: Any) -> list[Any]:
    """The Python values that equal a number of JSON Schema: 1 and 1.0."""
    if type(value) is int and abs(value) <= _LARGEST and float(value) == value:
        return [value, float(value)]
    if type(value) is float and value.is_integer():
        return [value, int(value)]
    return [value]


def _length(value: float) -> int:
    return int(value)


def _bound(value: float | None) -> int | None:
    return None if value is None else int(value)
