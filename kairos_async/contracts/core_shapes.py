"""The shapes of contracts made from annotations, read off Pydantic's core schemas.

The shape of what is accepted may be too small, and that of what is returned too large, but never the other way round:
a proof from them is right. What is not known becomes vague, or anything.
"""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from kairos_async.contracts.guards import AsPlain, TypeGuard
from kairos_async.contracts.hardening import PLAIN_CONFIG, contains
from kairos_async.contracts.rules import Check, Raw, ValueCheck
from kairos_async.contracts.shapes import (
    ANYTHING,
    BOOLEANS,
    NULL,
    UNKNOWN,
    Atom,
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

_LARGEST: Final = int(sys.float_info.max)
_BOUNDS: Final = frozenset({"ge", "gt", "le", "lt", "multiple_of"})
_FREE: Final = frozenset({"type", "ref", "metadata", "strict", "allow_inf_nan"})
_FORMATS: Final = frozenset({"date", "datetime", "time", "uuid"})


def accepted(core: Raw) -> Shape:
    """What the contract accepts, in the form of JSON."""
    return _Reader(core, returned=False).shape(core)


def returned(core: Raw) -> Shape:
    """What the contract returns."""
    return _Reader(core, returned=True).shape(core)


class _Reader:
    def __init__(self, core: Raw, *, returned: bool) -> None:
        self._definitions = {d["ref"]: d for d in core.get("definitions", ())}
        self._open: set[str] = set()
        self._returned = returned
        self._unknown = ANYTHING if returned else UNKNOWN

    def shape(self, node: Raw) -> Shape:
        kind = node["type"]
        if self._returned and "serialization" in node:
            return ANYTHING
        if kind in _FORMATS:
            plain = node.keys() <= _FREE | {"microseconds_precision"}
            text: Shape = (Text(format=kind),)
            return text if plain or self._returned else vague(text)
        reader = _READERS.get(kind)
        return self._unknown if reader is None else reader(self, node)

    def _integer(self, node: Raw) -> Shape:
        return self._known(node, _BOUNDS, (_numbers(node, whole=True),))

    def _float(self, node: Raw) -> Shape:
        floats = _numbers(node, whole=False)
        if self._returned:
            return self._known(node, _BOUNDS, (floats,))
        # An int passes, too, if a float can hold it; the bounds are those of the float, so round them inwards.
        low, high = floats.low, floats.high
        lowest = -_LARGEST if low is None else math.ceil(math.nextafter(low, math.inf) if floats.open_low else low)
        highest = (
            _LARGEST if high is None else math.floor(math.nextafter(high, -math.inf) if floats.open_high else high)
        )
        whole = Numbers(True, lowest, highest, step=floats.step, vague=floats.step is not None)
        return self._known(node, _BOUNDS, (floats, whole))

    def _text(self, node: Raw) -> Shape:
        patterns = (Pattern(node["pattern"]),) if node.get("pattern") is not None else ()
        text = Text(node.get("min_length") or 0, node.get("max_length"), patterns)
        changing = any(node.get(key) for key in ("strip_whitespace", "to_lower", "to_upper"))
        if changing and self._returned:
            return (Text(),)
        return self._known(node, frozenset({"min_length", "max_length", "pattern"}), (text,))

    def _literal(self, node: Raw) -> Shape:
        return self._values([getattr(value, "value", value) for value in node["expected"]])

    def _enum(self, node: Raw) -> Shape:
        if self._returned and issubclass(node["cls"], enum.Flag):
            return ANYTHING  # a sum of members
        return self._values([member.value for member in node["members"]])

    def _values(self, values: list[Any]) -> Shape:
        if all(type(value) in (str, int, float, bool, type(None)) for value in values):
            return (Values(tuple(values)),)
        return self._unknown

    def _list(self, node: Raw) -> Shape:
        lists = Lists(
            self.shape(node["items_schema"]),
            (),
            node.get("min_length") or 0,
            node.get("max_length"),
            node["type"] != "list",
        )
        return self._known(node, frozenset({"items_schema", "min_length", "max_length"}), (lists,))

    def _either(self, node: Raw) -> Shape:
        own = node["python_schema"]  # sets and dates are of this kind since `harden`; others are not known
        return self.shape(own) if own["type"] in ("set", "frozenset", "date", "datetime") else self._unknown

    def _tuple(self, node: Raw) -> Shape:
        items = [self.shape(item) for item in node["items_schema"]]
        variadic = node.get("variadic_item_index")
        if variadic is None:
            return self._known(
                node, frozenset({"items_schema"}), (Lists(ANYTHING, tuple(items), len(items), len(items)),)
            )
        if variadic != len(items) - 1:
            return self._unknown
        first = tuple(items[:-1])
        lists = Lists(items[-1], first, max(len(first), node.get("min_length") or 0), node.get("max_length"))
        return self._known(
            node, frozenset({"items_schema", "variadic_item_index", "min_length", "max_length"}), (lists,)
        )

    def _dict(self, node: Raw) -> Shape:
        keys = node["keys_schema"]
        objects = Objects({}, self.shape(node["values_schema"]), node.get("min_length") or 0, node.get("max_length"))
        any_key = keys["type"] == "str" and not keys.get("min_length") and keys.keys() <= _FREE | {"min_length"}
        shape = self._known(node, frozenset({"keys_schema", "values_schema", "min_length", "max_length"}), (objects,))
        return shape if any_key or self._returned else vague(shape)

    def _model(self, node: Raw) -> Shape:
        if node.get("post_init") and self._returned:
            return ANYTHING
        inner = (
            self._objects(node["schema"], node.get("config") or {})
            if "fields" in node["schema"]
            else self.shape(node["schema"])
        )
        return vague(inner) if node.get("custom_init") or node.get("post_init") else inner

    def _typed_dict(self, node: Raw) -> Shape:
        return self._objects(node, node.get("config") or {})

    def _objects(self, node: Raw, config: dict[str, Any]) -> Shape:
        fields = node["fields"]
        named = fields.items() if isinstance(fields, dict) else [(field["name"], field) for field in fields]
        total = node.get("total", config.get("typed_dict_total", True))
        properties = {
            self._key(name, field): self._property(field, total)
            for name, field in named
            if not (self._returned and field.get("init_only"))
        }
        for computed in node.get("computed_fields") or () if self._returned else ():
            properties[computed.get("alias") or computed["property_name"]] = Property(ANYTHING, required=True)
        behaviour = node.get("extra_behavior") or config.get("extra_fields_behavior") or "ignore"
        if self._returned:
            extra = ANYTHING if behaviour == "allow" else None
        else:
            extra = None if behaviour == "forbid" else (UNKNOWN if "extras_schema" in node else ANYTHING)
        if None in properties:
            return self._unknown
        shape: Shape = (Objects(properties, extra),)  # type: ignore[arg-type]  # None was ruled out
        if not self._returned:
            return shape if config.keys() <= PLAIN_CONFIG else vague(shape)
        # A key that is kept as it is can have the name under which a field is written.
        renamed = behaviour == "allow" and not properties.keys() <= {_read_key(name, field) for name, field in named}
        return ANYTHING if renamed or not config.keys() <= PLAIN_CONFIG else shape

    def _key(self, name: str, field: Raw) -> str | None:
        if self._returned:
            return str(field.get("serialization_alias") or name)
        return _read_key(name, field)

    def _property(self, field: Raw, total: bool) -> Property:
        schema = field["schema"]
        has_default = schema["type"] == "default"
        required = field.get("required", total) if field["type"] == "typed-dict-field" else not has_default
        always = has_default and schema.get("on_error", "raise") != "omit"
        if self._returned and (field.get("serialization_exclude") or "serialization_exclude_if" in field):
            return Property(self.shape(schema), required=False)
        return Property(self.shape(schema), required=bool(required) or (self._returned and always))

    def _default(self, node: Raw) -> Shape:
        inner = self.shape(node["schema"])
        if not self._returned:
            return inner
        if "default" in node:
            default = node["default"]
            if default is None or type(default) in (str, int, float, bool):
                return (*inner, Values((default,)))
            return ANYTHING if contains(node["schema"], "definition-ref") else inner  # which was not checked
        empty = _EMPTY.get(node.get("default_factory"))
        return ANYTHING if empty is None else (*inner, empty)

    def _union(self, node: Raw) -> Shape:
        choices = node["choices"].values() if isinstance(node["choices"], dict) else node["choices"]
        shapes = [self.shape(choice[0] if isinstance(choice, tuple) else choice) for choice in choices]
        return tuple(atom for shape in shapes for atom in shape)

    def _tagged(self, node: Raw) -> Shape:
        if self._returned:
            return self._union(node)
        tag = node["discriminator"]
        return tuple(_with_tag(atom, tag) for atom in self._union(node))

    def _function(self, node: Raw) -> Shape:
        function = node["function"].get("function")
        if isinstance(function, AsPlain):
            return ANYTHING
        inner = self.shape(node["schema"]) if "schema" in node else self._unknown
        if isinstance(function, ValueCheck):
            return self._chosen(function, node["schema"], inner)
        if isinstance(function, TypeGuard):
            return inner
        if isinstance(function, Check):
            return inner if self._returned else vague(inner)
        kept = node["type"] == ("function-before" if self._returned else "function-after")
        if not kept:
            return self._unknown
        return inner if self._returned else vague(inner)

    def _chosen(self, check: ValueCheck, field: Raw, inner: Shape) -> Shape:
        values: tuple[Any, ...] = check.values
        if field["type"] == "float":
            floats = tuple(float(value) for value in values)
            values = floats if self._returned else (*floats, *(int(value) for value in floats if value.is_integer()))
        elif field["type"] not in ("str", "int", "bool", "function-after"):
            return inner if self._returned else vague(inner)
        shape: Shape = (Values(values),)
        unbound = field.keys() <= _FREE | {"min_length"} and not field.get("min_length")
        return shape if unbound or field["type"] == "function-after" or self._returned else vague(shape)

    def _reference(self, node: Raw) -> Shape:
        ref = node["schema_ref"]
        if ref in self._open:
            return self._unknown
        self._open.add(ref)
        shape = self.shape(self._definitions[ref])
        self._open.discard(ref)
        return shape

    def _known(self, node: Raw, entries: frozenset[str], shape: Shape) -> Shape:
        """The shape, of which only a part is meant if the node says more than these entries."""
        return shape if self._returned or node.keys() <= entries | _FREE else vague(shape)


def _read_key(name: str, field: Raw) -> str | None:
    alias = field.get("validation_alias") or name
    return alias if isinstance(alias, str) else None


def _with_tag(atom: Atom, tag: object) -> Atom:
    """An alternative that is found by the value of a key, which must be there even if it has a default."""
    if not isinstance(atom, Objects) or not isinstance(tag, str) or tag not in atom.properties:
        return replace(atom, vague=True)
    required = replace(atom.properties[tag], required=True)
    return replace(atom, properties={**atom.properties, tag: required})


_EMPTY: Final[Mapping[Any, Atom]] = {list: Lists((), max_length=0), dict: Objects({}, None)}
"""What default factories make."""


def _numbers(node: Raw, *, whole: bool) -> Numbers:
    low, open_low = (node["gt"], True) if node.get("gt") is not None else (node.get("ge"), False)
    high, open_high = (node["lt"], True) if node.get("lt") is not None else (node.get("le"), False)
    if None not in (node.get("gt"), node.get("ge")):
        low, open_low = max((node["gt"], True), (node["ge"], False))
    if None not in (node.get("lt"), node.get("le")):
        high, open_high = min((node["lt"], False), (node["le"], True))
        open_high = not open_high
    if whole and low is not None and open_low:  # of ints, the next one is the bound
        low, open_low = low + 1, False
    if whole and high is not None and open_high:
        high, open_high = high - 1, False
    if not whole:  # Pydantic compares with the float next to the bound
        low, high = (None if bound is None else float(bound) for bound in (low, high))
    return Numbers(whole, low, high, open_low, open_high, node.get("multiple_of"), tolerant=not whole)


_READERS: Final[dict[str, Callable[[_Reader, Raw], Shape]]] = {
    "any": lambda _, __: ANYTHING,
    "none": lambda _, __: NULL,
    "bool": lambda _, __: BOOLEANS,
    "int": _Reader._integer,
    "float": _Reader._float,
    "str": _Reader._text,
    "literal": _Reader._literal,
    "enum": _Reader._enum,
    "list": _Reader._list,
    "set": _Reader._list,
    "frozenset": _Reader._list,
    "json-or-python": _Reader._either,
    "tuple": _Reader._tuple,
    "dict": _Reader._dict,
    "nullable": lambda reader, node: (*reader.shape(node["schema"]), *NULL),
    "default": _Reader._default,
    "union": _Reader._union,
    "tagged-union": _Reader._tagged,
    "model": _Reader._model,
    "dataclass": _Reader._model,
    "typed-dict": _Reader._typed_dict,
    "definitions": lambda reader, node: reader.shape(node["schema"]),
    "definition-ref": _Reader._reference,
    "function-after": _Reader._function,
    "function-before": _Reader._function,
    "function-wrap": _Reader._function,
    "function-plain": _Reader._function,
}
"""How each kind of core schema is read; what is not here is not known."""
