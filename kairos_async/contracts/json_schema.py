"""Contracts from JSON Schema documents, draft 2020-12, by jsonschema-rs. This module needs the extra `jsonschema`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, NoReturn, cast
from urllib.parse import unquote

from jsonschema_rs import Draft202012Validator, ReferencingError, RegexOptions, Registry
from jsonschema_rs import ValidationError as Refused

from kairos_async._types import FieldError, JSONValue
from kairos_async.contracts.contract import VALUE, Contract, JSONSchema, declared_keys, fresh
from kairos_async.contracts.errors import (
    arranged,
    from_not_json,
    not_checkable,
)
from kairos_async.contracts.json_errors import translated
from kairos_async.contracts.paths import SchemaMap
from kairos_async.contracts.plain import NotJSON, to_plain
from kairos_async.contracts.regex import check_pattern, longest_text
from kairos_async.exceptions import ConfigError, ValidationError

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

UNSUPPORTED: Final = frozenset(
    {"$vocabulary", "$recursiveRef", "$recursiveAnchor", "definitions", "dependencies", "additionalItems"}
)
"""Keywords that are refused: those of other drafts that would be ignored, and vocabularies of one's own."""

_IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else")
"""Keywords whose schemas look at the same value."""

_Nodes = Iterator[tuple[str, Mapping[str, Any]]]


class JSONSchemaContract(Contract):
    """What a JSON Schema accepts. The value is returned as it is, in JSON built-ins; no defaults are filled in.

    Numbers follow JSON Schema: 1.0 is an integer. Keywords that the standard does not know are annotations.

    Args:
        spec: the document; true accepts everything, false nothing.
        resources: other documents by URI, for `$ref`.
        formats: whether `format` is checked.

    Raises:
        ConfigError: see `json_schema_contract`, the function that makes these contracts.
    """

    schema_says_all: ClassVar[bool] = True

    __slots__ = ("_is_valid", "_iter_errors", "_key_limit", "_map", "_schema")

    def __init__(self, spec: object, *, resources: Mapping[str, JSONValue], formats: bool) -> None:
        schema = _plain_schema(spec)
        for document in (schema, *resources.values()):
            _refuse_keywords(document)
        _refuse_circles(schema)
        self._key_limit = _key_limit((schema, *resources.values()))
        guarded = {uri: _with_guards(document) for uri, document in resources.items()}
        validator = _compiled(_with_guards(schema), guarded, formats)
        self._is_valid = validator.is_valid
        self._iter_errors = validator.iter_errors
        self._schema: JSONSchema = schema if isinstance(schema, dict) else ({} if schema else {"not": {}})
        self._map = SchemaMap(self._schema)
        title = self._schema.get("title")
        self.name = title if isinstance(title, str) and title else "JSON Schema"
        self.fields, self.required = declared_keys(self._schema)
        self.is_async = False

    def validate(self, value: object, subject: str = VALUE) -> JSONValue:
        errors: list[FieldError]
        try:
            plain = to_plain(value)
            if self._key_limit is not None and _longest_key(plain) > self._key_limit:
                raise NotJSON("max_length", f"keys of length <= {self._key_limit}", value)
            if self._is_valid(plain):
                return plain
            errors = arranged(translated(self._iter_errors(plain), plain, self._map))
        except NotJSON as refused:
            errors = from_not_json(refused, self._map)
        except KeyboardInterrupt:
            raise
        except BaseException:
            errors = not_checkable(value)
        raise ValidationError(subject, errors or not_checkable(value))

    def json_schema(self) -> JSONSchema:
        return fresh(self._schema)

    def output_schema(self) -> JSONSchema:
        return fresh(self._schema)


def _plain_schema(spec: object) -> dict[str, JSONValue] | bool:
    if isinstance(spec, bool):
        return spec
    try:
        plain = to_plain(dict(spec) if isinstance(spec, Mapping) else spec, convert=False)
    except NotJSON as error:
        at = "/".join(map(str, reversed(error.path)))
        raise ConfigError(f"The JSON Schema is no JSON at {at or 'its root'!r}: expected {error.expected}.") from None
    if not isinstance(plain, dict):
        raise ConfigError(f"A JSON Schema is a dict, true or false, not {type(spec).__name__}.")
    return plain


def _compiled(schema: Any, resources: Mapping[str, Any], formats: bool) -> Draft202012Validator:
    try:
        registry = Registry(resources.items(), retriever=_refuse_fetch) if resources else None
        return Draft202012Validator(
            schema,
            validate_formats=formats,
            ignore_unknown_formats=not formats,
            registry=registry,
            retriever=None if registry else _refuse_fetch,
            pattern_options=RegexOptions(),
        )
    except Refused as error:
        at = "/".join(map(str, error.instance_path)) or "its root"
        reason = error.message
    except (ReferencingError, ValueError, TypeError) as error:
        at, reason = "its root", str(error).split("\n")[0]
    raise ConfigError(f"The JSON Schema is not valid at {at!r}: {_explained(reason)}")


def _refuse_fetch(uri: str) -> NoReturn:
    raise ValueError(f"nothing is fetched; pass {uri} in resources=")


def _explained(reason: str) -> str:
    if 'is not a "regex"' in reason:
        return (
            f"{reason}. Patterns run on an engine whose time is linear in the text, which has no look-around and no "
            "back-references."
        )
    if "not present in a registry" in reason:
        return f"{reason}. A $ref is never fetched: put the document into $defs, or pass it in resources=."
    return reason


_SUBSCHEMAS: Final = frozenset({
    "additionalProperties", "allOf", "anyOf", "contains", "contentSchema", "else", "if", "items", "not", "oneOf",
    "prefixItems", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_MAPPED_SUBSCHEMAS: Final = frozenset({"$defs", "dependentSchemas", "patternProperties", "properties"})


def subschemas(node: object, at: str = "") -> _Nodes:
    """The schema and all schemas in it, with their JSON Pointers."""
    if not isinstance(node, Mapping):
        return
    yield at, node
    for key, value in node.items():
        if key in _MAPPED_SUBSCHEMAS and isinstance(value, Mapping):
            for name, sub in value.items():
                yield from subschemas(sub, f"{at}/{key}/{_escaped(name)}")
        elif key in _SUBSCHEMAS:
            for index, sub in enumerate(value if isinstance(value, list) else [value]):
                yield from subschemas(sub, f"{at}/{key}/{index}" if isinstance(value, list) else f"{at}/{key}")


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _with_guards(document: Any) -> Any:
    """The document, with text that is too long for its pattern refused before it is matched; see `regex`.

    The pattern moves into a condition at the end of `allOf`, so that no `$ref` of the document is changed.
    """
    guarded = fresh(document) if isinstance(document, dict) else document
    for at, node in list(subschemas(guarded)):
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            try:
                check_pattern(pattern)
            except ConfigError as error:
                raise ConfigError(f"The JSON Schema is not valid at '#{at}': {error}") from None
            condition = {"if": {"maxLength": longest_text(pattern)}, "then": {"pattern": pattern}, "else": False}
            cast(dict[str, Any], node)["allOf"] = [*node.get("allOf", ()), condition]
            del cast(dict[str, Any], node)["pattern"]
    return guarded


def _key_limit(documents: Iterable[object]) -> int | None:
    """How long a key may be for the patterns of `patternProperties`; None if there are none."""
    patterns = [
        check_pattern(pattern)
        for document in documents
        for _, node in subschemas(document)
        for pattern in node.get("patternProperties", ())
    ]
    return min(map(longest_text, patterns), default=None)


def _longest_key(value: JSONValue) -> int:
    if isinstance(value, dict):
        return max((max(len(key), _longest_key(item)) for key, item in value.items()), default=0)
    return max(map(_longest_key, value), default=0) if isinstance(value, list) else 0


def _refuse_keywords(document: object) -> None:
    for at, node in subschemas(document):
        draft = node.get("$schema", DRAFT)
        if draft not in (DRAFT, DRAFT + "#"):
            raise ConfigError(f"The JSON Schema is of draft {draft!r}; only 2020-12 is known: {DRAFT!r}.")
        if found := sorted(node.keys() & UNSUPPORTED):
            raise ConfigError(
                f"The JSON Schema has {', '.join(found)} at '#{at}', which draft 2020-12 contracts do not know."
            )


def _refuse_circles(schema: object) -> None:
    """Raise for a schema that only says that a value must be what the same schema says of the same value."""
    if not isinstance(schema, Mapping):
        return
    places = dict(subschemas(schema))
    if any("$id" in node for at, node in places.items() if at):
        return  # references can mean anything there; the library that follows them ends by itself
    for start in places:
        seen: set[str] = set()
        queue = [start]
        while queue:
            for target in _in_place(places, queue.pop()):
                if target == start:
                    raise ConfigError(
                        f"The JSON Schema is circular: '#{start}' leads back to itself on the same value."
                    )
                if target not in seen:
                    seen.add(target)
                    queue.append(target)


def _in_place(places: Mapping[str, Mapping[str, Any]], at: str) -> Iterator[str]:
    node = places[at]
    ref = node.get("$ref")
    if isinstance(ref, str):
        yield from _targets(places, ref)
    if isinstance(ref := node.get("$dynamicRef"), str):
        yield from _targets(places, ref)
    below = [f"{at}/dependentSchemas/{_escaped(name)}" for name in node.get("dependentSchemas", ())]
    for keyword in _IN_PLACE:
        value = node.get(keyword)
        below += [f"{at}/{keyword}/{i}" for i in range(len(value))] if isinstance(value, list) else [f"{at}/{keyword}"]
    yield from (place for place in below if place in places)


def _targets(places: Mapping[str, Mapping[str, Any]], ref: str) -> Iterator[str]:
    """The places of the document that the reference leads to."""
    base, _, fragment = ref.partition("#")
    if base not in ("", places[""].get("$id")):
        return
    fragment = unquote(fragment)
    if fragment in places:
        yield fragment
    yield from (at for at, node in places.items() if fragment and fragment in _anchors(node))


def _anchors(node: Mapping[str, Any]) -> tuple[Any, Any]:
    return node.get("$anchor"), node.get("$dynamicAnchor")
