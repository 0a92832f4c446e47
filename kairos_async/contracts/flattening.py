"""Core schemas without models, for the common case that there is no more to a contract than fields of JSON types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic_core import to_jsonable_python

from kairos_async.contracts.hardening import CONFIG, PLAIN_CONFIG, VALUES, contains
from kairos_async.contracts.plain import MAX_INT_BITS
from kairos_async.contracts.rules import Check, Raw

_LARGEST_INT: Final = 1 << MAX_INT_BITS - 1

_IGNORED: Final = frozenset({"type", "ref", "metadata", "revalidate_instances"})

_SIMPLE: Final[dict[str, frozenset[str]]] = {
    "str": frozenset({"min_length", "max_length", "pattern"}),
    "int": frozenset({"ge", "gt", "le", "lt", "multiple_of"}),
    "float": frozenset({"ge", "gt", "le", "lt", "multiple_of", "allow_inf_nan"}),
    "bool": frozenset(),
    "none": frozenset(),
    "any": frozenset(),
    "literal": frozenset({"expected"}),
    "json-or-python": frozenset({"json_schema", "python_schema"}),
    "enum": frozenset({"cls", "members", "sub_type"}),
    "nullable": frozenset({"schema"}),
    "default": frozenset({"schema", "default", "default_factory"}),
    "function-after": frozenset({"schema", "function"}),
    "function-before": frozenset({"schema", "function"}),
    "list": frozenset({"items_schema", "min_length", "max_length"}),
    "dict": frozenset({"keys_schema", "values_schema", "min_length", "max_length"}),
    "union": frozenset({"choices"}),
    "typed-dict": frozenset({"fields", "extra_behavior", "cls", "cls_name", "config", "total"}),
    "typed-dict-field": frozenset({"schema", "required"}),
    "model": frozenset({"schema", "cls", "custom_init", "root_model", "config"}),
    "model-fields": frozenset({"fields", "model_name", "computed_fields", "extra_behavior"}),
    "model-field": frozenset({"schema", "validation_alias", "serialization_alias"}),
    "definitions": frozenset({"schema", "definitions"}),
    "definition-ref": frozenset({"schema_ref"}),
}
"""The kinds of schema, with the entries that they may have, whose results are JSON built-ins."""

_LEAVES: Final = (str, int, float, bool, type(None))


def flatten(hardened: Raw) -> Raw | None:
    """A schema that accepts the dicts that `hardened` accepts and gives dicts instead of models, with nothing to dump.

    None if there is more to the schema than fields of JSON types and dates, such as validators that may change a value.
    Two thirds of the time of the ordinary way go into making models and dumping them again.
    """
    try:
        return _flat(hardened)
    except _NotSimple:
        return None


def leaf_keys(flat: Raw) -> frozenset[str] | None:
    """The keys of the dicts that such a schema gives, if they are all known and no value is a list or a dict."""
    if flat["type"] != "typed-dict" or flat.get("extra_behavior") == "allow":
        return None
    fields: dict[str, Raw] = flat["fields"]
    return frozenset(fields) if all(_is_leaf(field["schema"]) for field in fields.values()) else None


def _is_leaf(node: Raw) -> bool:
    kind = node["type"]
    if kind == "literal":
        return all(isinstance(value, _LEAVES) for value in node["expected"])
    if kind == "nullable":
        return _is_leaf(node["schema"])
    if kind == "default":
        return "default_factory" not in node and isinstance(node["default"], _LEAVES) and _is_leaf(node["schema"])
    return kind in ("str", "int", "float", "bool", "none")


class _NotSimple(Exception):
    pass


def _flat(node: Raw) -> Raw:
    kind = node["type"]
    allowed = _SIMPLE.get(kind)
    if allowed is None or not node.keys() <= allowed | _IGNORED:
        raise _NotSimple
    if kind == "model":
        return _flat_model(node)
    if kind == "json-or-python":
        return _flat_date(node)
    if kind == "enum":  # the guard around it tells numbers apart
        return _flat({"type": "literal", "expected": [member.value for member in node["members"]]})
    flat = {key: value if key in VALUES else _flat_below(value) for key, value in node.items()}
    if kind == "int":  # one that nobody can print is left to the ordinary way, which says what is wrong with it
        flat = {"ge": -_LARGEST_INT, "le": _LARGEST_INT} | {k: v for k, v in flat.items() if v is not None}
    if not _PLAIN_RESULT.get(kind, _always)(node):
        raise _NotSimple
    if kind == "typed-dict":
        flat["extra_behavior"] = _extra(flat, flat.get("config", {}))
        flat["config"] = CONFIG  # a typed-dict takes none from what is around it
    return flat


def _flat_below(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            return _flat(value)
        return {name: _flat_below(sub) for name, sub in value.items()}
    return [_flat_below(item) for item in value] if isinstance(value, list) else value


def _flat_model(node: Raw) -> Raw:
    fields = node["schema"]
    simple = fields["type"] == "model-fields" and not (
        node.get("custom_init") or node.get("root_model") or fields.get("computed_fields")
    )
    if not simple:
        raise _NotSimple
    extra = _extra(fields, node.get("config", {}))
    flat: Raw = {"type": "typed-dict", "fields": {}, "extra_behavior": extra, "config": CONFIG}
    for name, field in fields["fields"].items():
        inner = _flat(field)["schema"]
        key = field.get("validation_alias") or name
        if key != (field.get("serialization_alias") or name) or key in flat["fields"]:
            raise _NotSimple
        flat["fields"][key] = {
            "type": "typed-dict-field",
            "schema": inner,
            "required": inner["type"] != "default",
        }
    return flat | ({"ref": node["ref"]} if "ref" in node else {})


def _extra(node: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    extra = node.get("extra_behavior") or config.get("extra_fields_behavior") or "ignore"
    if extra == "allow" or not config.keys() <= PLAIN_CONFIG:
        raise _NotSimple
    return str(extra)


def _flat_date(node: Raw) -> Raw:
    """A date as its text, and back to text when it was checked. Sets are left to the ordinary way."""
    if node["python_schema"]["type"] not in ("date", "datetime"):
        raise _NotSimple
    written = {"type": "function-plain", "function": {"type": "no-info", "function": to_jsonable_python}}
    return {"type": "chain", "steps": [*node["json_schema"]["steps"], written]}


def _always(_: Raw) -> bool:
    return True


def _plain_default(node: Raw) -> bool:
    if "default_factory" in node:
        return node["default_factory"] in (list, dict)
    default = node["default"]
    return (
        default is None or type(default) in (str, int, float, bool) or (type(default) in (list, dict) and not default)
    )


_NOT_IN_UNIONS: Final = ("model", "definition-ref", "json-or-python")
"""What takes part in the choice of an alternative in another way than its flat form would."""

_PLAIN_RESULT: Final[dict[str, Callable[[Raw], bool]]] = {
    "default": _plain_default,
    "function-after": lambda node: isinstance(node["function"].get("function"), Check),
    "function-before": lambda node: isinstance(node["function"].get("function"), Check),
    "literal": lambda node: all(type(value) in (str, int, bool, type(None)) for value in node["expected"]),
    "union": lambda node: not any(contains(node["choices"], kind) for kind in _NOT_IN_UNIONS),
    "dict": lambda node: node["keys_schema"]["type"] in ("str", "literal"),
}
