"""Contracts with rules that are async, slow, or ask a model: checked when everything else has passed."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from kairos_async._types import JSONValue
from kairos_async.contracts.contract import VALUE, Contract, CountLLMCall, JSONSchema
from kairos_async.contracts.errors import Wrong, arranged
from kairos_async.contracts.functions import Broken, Deferred, DeferredCheck
from kairos_async.contracts.paths import SchemaMap
from kairos_async.contracts.plain import json_type
from kairos_async.contracts.rules import Check, Raw
from kairos_async.exceptions import ConfigError, ValidationError


class _Each(enum.Enum):
    EACH = "each"


EACH: Final = _Each.EACH
"""In the path of a rule: each item of a list, each value of an object."""

Selector: TypeAlias = tuple[str | int | _Each, ...]


class Placed(NamedTuple):
    """A deferred rule, and the values that it is about. `optional` means that None is not its business."""

    selector: Selector
    rule: Deferred
    optional: bool


class RuledContract(Contract):
    """Another contract, and deferred rules on what it lets pass. Judges come last, if nothing else is broken."""

    __slots__ = ("_inner", "_judges", "_map", "_rules")

    def __init__(self, inner: Contract, placed: Iterable[Placed]) -> None:
        self._inner = inner
        rules = list(placed)
        self._rules = [p for p in rules if not p.rule.is_judge]
        self._judges = [p for p in rules if p.rule.is_judge]
        self._map = SchemaMap(inner.output_schema())
        self.name = inner.name
        self.fields = inner.fields
        self.required = inner.required
        self.is_async = inner.is_async or any(p.rule.needs_await or p.rule.is_slow for p in rules)

    @property
    def structural(self) -> Contract:
        """The contract without its deferred rules."""
        return self._inner

    @property
    def leaves(self) -> frozenset[str] | None:
        return self._inner.leaves

    @property
    def judges(self) -> int:
        return self._inner.judges + len(self._judges)

    def validate(self, value: object, subject: str = VALUE) -> JSONValue:
        awaited = [str(p.rule) for p in (*self._rules, *self._judges) if p.rule.needs_await]
        if awaited:
            raise ConfigError(f"{self.name} has rules that must be awaited ({', '.join(awaited)}): use validate_async.")
        valid = self._inner.validate(value, subject)
        self._refuse(subject, [self._error(*hit) for hit in self._broken_now(valid)])
        return valid

    async def validate_async(
        self, value: object, subject: str = VALUE, *, count_llm_call: CountLLMCall | None = None
    ) -> JSONValue:
        valid = await self._inner.validate_async(value, subject, count_llm_call=count_llm_call)
        for rules in (self._rules, self._judges):
            broken = []
            for placed in rules:
                for path, part in _selected(valid, placed):
                    found = await placed.rule.check(part, count_llm_call)
                    if found is not None:
                        broken.append(self._error(path, part, found))
            self._refuse(subject, broken)
        return valid

    def json_schema(self) -> JSONSchema:
        return self._inner.json_schema()

    def output_schema(self) -> JSONSchema:
        return self._inner.output_schema()

    def _broken_now(self, valid: JSONValue) -> Iterator[tuple[tuple[str | int, ...], JSONValue, Broken]]:
        for placed in self._rules:
            for path, part in _selected(valid, placed):
                found = placed.rule.check_now(part)
                if found is not None:
                    yield path, part, found

    def _error(self, path: tuple[str | int, ...], part: JSONValue, broken: Broken) -> Wrong:
        return Wrong(self._map.locate(path), broken.rule, broken.expected, json_type(part), broken.told)

    def _refuse(self, subject: str, broken: list[Wrong]) -> None:
        if broken:
            raise ValidationError(subject, arranged(broken))


def _selected(value: JSONValue, placed: Placed) -> list[tuple[tuple[str | int, ...], JSONValue]]:
    """The parts of the value that the rule is about, with their paths. A key that is not there has none."""
    found: list[tuple[tuple[str | int, ...], JSONValue]] = [((), value)]
    for step in placed.selector:
        found = [((*path, key), part) for path, whole in found for key, part in _below(whole, step)]
    return [(path, part) for path, part in found if not (placed.optional and part is None)]


def _below(whole: JSONValue, step: str | int | _Each) -> list[tuple[str | int, JSONValue]]:
    if isinstance(whole, list):
        every: list[tuple[str | int, JSONValue]] = list(enumerate(whole))
    elif isinstance(whole, dict):
        every = list(whole.items())
    else:
        return []
    return every if step is EACH else [(key, part) for key, part in every if key == step]


def placed_rules(core: Raw) -> list[Placed]:
    """The deferred rules of a core schema, with their places in what validation returns.

    Raises:
        ConfigError: a rule is where its values cannot be told from others: in a union, in a model that contains itself,
            or below a validator that may change the shape.
    """
    return list(_Finder(core).find(core, (), False))


_STRUCTURE: Final = frozenset({"model", "dataclass", "model-field", "typed-dict-field", "dataclass-field"})


class _Finder:
    def __init__(self, core: Raw) -> None:
        self._definitions = {d["ref"]: d for d in core.get("definitions", ())}
        self._open: list[str] = []

    def find(self, node: Raw, at: Selector, optional: bool) -> Iterator[Placed]:
        kind = node["type"]
        if kind in ("function-after", "function-before") and isinstance(node["function"].get("function"), Check):
            check = node["function"]["function"]
            if isinstance(check, DeferredCheck):
                yield Placed(at, check.rule, optional)
            yield from self.find(node["schema"], at, optional)
        elif kind in ("nullable", "default"):
            yield from self.find(node["schema"], at, True)
        elif kind in _STRUCTURE or kind == "definitions":
            yield from self.find(node["schema"], at, optional)
        elif kind == "definition-ref":
            yield from self._definition(node["schema_ref"], at, optional)
        elif kind in ("model-fields", "typed-dict", "dataclass-args"):
            yield from self._fields(node["fields"], at)
        elif kind == "json-or-python":
            yield from self.find(node["python_schema"], at, optional)
        elif kind in ("list", "set", "frozenset", "dict"):
            yield from self._items(node, at)
        elif has_deferred(node):
            raise ConfigError(f"An async or slow rule inside a {kind!r} has no place of its own. Put it on the field.")

    def _fields(self, fields: Any, at: Selector) -> Iterator[Placed]:
        named = fields.items() if isinstance(fields, dict) else ((field["name"], field) for field in fields)
        for name, field in named:
            yield from self.find(field, (*at, field.get("serialization_alias") or name), False)

    def _items(self, node: Raw, at: Selector) -> Iterator[Placed]:
        for part in ("items_schema", "values_schema"):
            if part in node:
                yield from self.find(node[part], (*at, EACH), False)

    def _definition(self, ref: str, at: Selector, optional: bool) -> Iterator[Placed]:
        definition = self._definitions[ref]
        if ref in self._open:
            if has_deferred(definition):
                raise ConfigError("An async or slow rule inside a model that contains itself is not supported.")
            return
        self._open.append(ref)
        yield from self.find(definition, at, optional)
        self._open.pop()


def has_deferred(node: Any) -> bool:
    """Whether a deferred rule is anywhere in the core schema."""
    if isinstance(node, DeferredCheck):
        return True
    if isinstance(node, dict):
        return any(has_deferred(part) for part in node.values())
    return isinstance(node, (list, tuple)) and any(has_deferred(part) for part in node)


def all_of(contract: Contract, rules: Iterable[Deferred]) -> RuledContract:
    """The contract, then the rules on the whole of what it lets pass."""
    return RuledContract(contract, [Placed((), rule, False) for rule in rules])
