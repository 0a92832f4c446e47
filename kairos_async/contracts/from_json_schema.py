"""From a JSON Schema (draft 2020-12) to the annotations that a Schema is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Final, NotRequired, Required, Union, get_args
from uuid import UUID

from pydantic import Field

from kairos_async.contracts.plain import NotJSON, to_plain
from kairos_async.contracts.regex import check_pattern
from kairos_async.contracts.rules import Bounds, OneOf, Unique
from kairos_async.exceptions import ConfigError

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

Node = Mapping[str, Any]

_ANNOTATIONS: Final = frozenset({
    "$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default", "deprecated", "readOnly",
    "writeOnly", "discriminator",
})  # fmt: skip

_FORMATS: Final[Mapping[str, Any]] = {
    "date": date,
    "date-time": datetime,
    "time": time,
    "duration": timedelta,
    "uuid": UUID,
}

_KEYWORDS: Final[Mapping[str, frozenset[str]]] = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "boolean": frozenset(),
    "null": frozenset(),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
}

_NUMBERS: Final = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}

MakeSchema = Callable[..., Any]


def read_object(spec: object, make: MakeSchema) -> Any:
    """`make(fields, extra=...)` for the object that the JSON Schema describes.

    Raises:
        ConfigError: what the document says cannot be said in a Schema; the message names the place and the keyword.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(f"Schema.from_json_schema takes a dict, not {type(spec).__name__}.")
    try:
        to_plain(dict(spec), convert=False)
    except NotJSON as error:
        raise ConfigError(f"Schema.from_json_schema takes JSON; expected {error.expected}.") from None
    if (draft := spec.get("$schema", DRAFT)) != DRAFT:
        raise ConfigError(f"Schema.from_json_schema knows draft 2020-12 ({DRAFT}), not {draft!r}.")
    reader = _Reader(spec, make)
    _check_forms(spec, "$")
    root = reader.resolved(spec, "$", [])
    if root.get("type") != "object":
        raise ConfigError("Schema.from_json_schema takes the schema of an object: `type` must be 'object'.")
    return reader.keyed(root, "$", [])


class _Reader:
    def __init__(self, root: Node, make: MakeSchema) -> None:
        self._root = root
        self._make = make

    def annotation(self, node: object, at: str, refs: list[str]) -> Any:
        """The annotation whose values are those that the node accepts. `refs` are the references that led here."""
        if node is True:
            return Any
        if not isinstance(node, Mapping):
            raise ConfigError(f"JSON Schema at {at}: {node!r} is no schema that a Schema can express.")
        _check_forms(node, at)
        if "$ref" in node:
            self._allow(node, at, frozenset({"$ref"}))
            return self.annotation(self.resolved(node, at, refs), at, [*refs, node["$ref"]])
        for union in ("anyOf", "oneOf"):
            if union in node:
                return self._union(node, union, at, refs)
        if len(node.get("allOf", ())) == 1:
            self._allow(node, at, frozenset({"allOf"}))
            return self.annotation(node["allOf"][0], f"{at}.allOf", refs)
        return self._chosen(self._typed(node, at, refs), node, at)

    def resolved(self, node: Node, at: str, refs: list[str]) -> Node:
        """The node that a reference leads to, and the node itself if it is none."""
        if "$ref" not in node:
            return node
        ref = node["$ref"]
        if ref in refs:
            raise ConfigError(
                f"JSON Schema at {at}: {ref} refers to itself in a circle, which a Schema cannot express."
            )
        target: Any = self._root
        if not isinstance(ref, str) or not ref.startswith("#/"):
            raise ConfigError(
                f"JSON Schema at {at}: $ref {ref!r} is not to the document's own $defs; nothing is fetched."
            )
        for part in ref[2:].split("/"):
            target = target.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(target, Mapping) else None
        if not isinstance(target, Mapping):
            raise ConfigError(f"JSON Schema at {at}: $ref {ref!r} leads nowhere.")
        _check_forms(target, at)
        return self.resolved(target, at, [*refs, ref])

    def keyed(self, node: Node, at: str, refs: list[str]) -> Any:
        """The Schema of an object with its own properties."""
        self._allow(node, at, frozenset({"type", "properties", "required", "additionalProperties"}))
        additional = node.get("additionalProperties", True)
        if not isinstance(additional, bool):
            raise ConfigError(f"JSON Schema at {at}: additionalProperties beside properties must be true or false.")
        required = node.get("required", [])
        properties = node.get("properties", {})
        unknown = [name for name in required if name not in properties]
        if unknown:
            raise ConfigError(f"JSON Schema at {at}: required names {unknown}, which are not among the properties.")
        fields = {name: self._field(name, sub, name in required, at, refs) for name, sub in properties.items()}
        return self._make(fields, extra="allow" if additional else "forbid")

    def _field(self, name: str, node: object, required: bool, at: str, refs: list[str]) -> Any:
        annotation = self.annotation(node, f"{at}.{name}", refs)
        nullable = annotation is not Any and type(None) in get_args(annotation)
        if required:
            return Required[annotation] if nullable else annotation
        if isinstance(node, Mapping) and "default" in node:
            default = node["default"]
            return annotation if nullable and default is None else Annotated[annotation, Field(default=default)]
        return NotRequired[annotation]

    def _union(self, node: Node, keyword: str, at: str, refs: list[str]) -> Any:
        self._allow(node, at, frozenset({keyword, "enum"}))
        branches = node[keyword]
        if keyword == "oneOf" and len(branches) > 1 and "discriminator" not in node:
            raise ConfigError(f"JSON Schema at {at}: oneOf without a discriminator cannot be expressed in a Schema.")
        read = [self.annotation(branch, f"{at}.{keyword}[{i}]", refs) for i, branch in enumerate(branches)]
        return self._chosen(_union(read), node, at)

    def _chosen(self, annotation: Any, node: Node, at: str) -> Any:
        """The annotation, with `enum` and `const` on it."""
        if "const" in node:
            values: Any = [node["const"]]
        elif "enum" in node:
            values = [value for value in node["enum"] if value is not None or type(None) not in get_args(annotation)]
        else:
            return annotation
        if not values or any(isinstance(value, (list, dict)) for value in values):
            raise ConfigError(f"JSON Schema at {at}: enum and const must have scalars, at least one, in a Schema.")
        return Annotated[annotation, OneOf(tuple(values))]

    def _typed(self, node: Node, at: str, refs: list[str]) -> Any:
        kind = node.get("type")
        if kind is None:
            self._allow(node, at, frozenset({"enum", "const"}))
            return Any
        if isinstance(kind, list):
            branches = [{**_keywords_for(node, each), "type": each} for each in kind]
            self._allow(node, at, frozenset({"type", "enum", "const"}).union(*branches))
            return _union([self._typed(branch, at, refs) for branch in branches])
        if kind not in _KEYWORDS:
            raise ConfigError(f"JSON Schema at {at}: type {kind!r} is not one of {', '.join(_KEYWORDS)}.")
        self._allow(node, at, _KEYWORDS[kind] | {"type", "enum", "const"})
        if kind == "object":
            return self._object(node, at, refs)
        if kind == "array":
            return self._array(node, at, refs)
        if kind in ("integer", "number"):
            limits = {ours: node[theirs] for theirs, ours in _NUMBERS.items() if theirs in node}
            return _annotated(int if kind == "integer" else float, [Field(**limits)] if limits else [])
        return self._text(node, at) if kind == "string" else (bool if kind == "boolean" else None)

    def _object(self, node: Node, at: str, refs: list[str]) -> Any:
        if "properties" in node or node.get("additionalProperties") is False:
            return self.keyed(node, at, refs)
        if node.get("required"):
            raise ConfigError(f"JSON Schema at {at}: required without properties cannot be expressed in a Schema.")
        values = self.annotation(node.get("additionalProperties", True), f"{at}.additionalProperties", refs)
        return _annotated(dict[str, values], _lengths("dict", node, "minProperties", "maxProperties"))  # type: ignore[valid-type]

    def _array(self, node: Node, at: str, refs: list[str]) -> Any:
        if "prefixItems" in node:
            return self._tuple(node, at, refs)
        items = self.annotation(node.get("items", True), f"{at}[]", refs)
        rules: list[Any] = _lengths("list", node, "minItems", "maxItems")
        return _annotated(list[items], rules + [Unique()] * bool(node.get("uniqueItems")))  # type: ignore[valid-type]

    def _tuple(self, node: Node, at: str, refs: list[str]) -> Any:
        items = [self.annotation(item, f"{at}[{i}]", refs) for i, item in enumerate(node["prefixItems"])]
        fixed = node.get("minItems") == node.get("maxItems") == len(items)
        if not fixed or "items" in node or "uniqueItems" in node:
            raise ConfigError(
                f"JSON Schema at {at}: prefixItems needs minItems and maxItems of {len(items)} in a Schema."
            )
        return tuple[tuple(items)]  # type: ignore[misc]

    def _text(self, node: Node, at: str) -> Any:
        rules: list[Any] = _lengths("str", node, "minLength", "maxLength")
        if "pattern" in node:
            try:
                regex = check_pattern(node["pattern"])
            except ConfigError as error:
                raise ConfigError(f"JSON Schema at {at}: {error}") from None
            rules.append(Bounds("pattern", repr(regex), "text", {"str": {"pattern": regex}}))
        if "format" not in node:
            return _annotated(str, rules)
        if node["format"] not in _FORMATS or rules:
            raise ConfigError(
                f"JSON Schema at {at}: format {node['format']!r} cannot be expressed in a Schema"
                f"{' together with other rules' if rules else ''}. Known formats: {', '.join(_FORMATS)}."
            )
        return _FORMATS[node["format"]]

    def _allow(self, node: Node, at: str, keywords: frozenset[str]) -> None:
        unknown = sorted(node.keys() - keywords - _ANNOTATIONS)
        if unknown:
            raise ConfigError(
                f"JSON Schema at {at}: {', '.join(unknown)} cannot be expressed in a Schema. "
                "Pass the JSON Schema itself as the contract."
            )


def _check_forms(node: Node, at: str) -> None:
    """Raise for a keyword whose value is not of the form that JSON Schema says."""
    for keyword, (is_formed, form) in _FORMS.items():
        if keyword in node and not is_formed(node[keyword]):
            raise ConfigError(f"JSON Schema at {at}: {keyword} is {node[keyword]!r}, and must be {form}.")


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_length(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value == int(value)


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_FORMS: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    **dict.fromkeys(("properties", "$defs"), (lambda value: isinstance(value, Mapping), "an object")),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), (
        lambda value: isinstance(value, list) and bool(value), "a list that is not empty"
    )),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), (_is_number, "a number")),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), (
        _is_length, "a whole number >= 0"
    )),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number > 0"),
    "required": (_are_names, "a list of strings"),
    "type": (lambda value: isinstance(value, str) or (_are_names(value) and bool(value)), "a string or a list of some"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
}  # fmt: skip


def _keywords_for(node: Node, kind: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key in _KEYWORDS.get(kind, ())}


def _lengths(kind: str, node: Node, low: str, high: str) -> list[Any]:
    limits = {ours: int(node[theirs]) for ours, theirs in (("min_length", low), ("max_length", high)) if theirs in node}
    shown = ", ".join(f"{name.removesuffix('_length')}={limit!r}" for name, limit in limits.items())
    return [Bounds("length", shown, "text, lists and objects", {kind: limits})] if limits else []


def _annotated(annotation: Any, rules: list[Any]) -> Any:
    return Annotated[(annotation, *rules)] if rules else annotation


def _union(annotations: list[Any]) -> Any:
    return Union[tuple(_as_type(annotation) for annotation in annotations)]  # noqa: UP007  # as many as there are


def _as_type(annotation: Any) -> Any:
    """The annotation in a form that `Union` takes: a Schema is an object, not a type."""
    return (
        annotation
        if annotation is None or isinstance(annotation, type) or get_args(annotation)
        else Annotated[Any, annotation]
    )
