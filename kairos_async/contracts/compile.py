"""From whatever a user calls a contract to the one `Contract`."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from types import GenericAlias
from typing import Any

from kairos_async._types import JSONValue
from kairos_async.contracts import deferred
from kairos_async.contracts.annotated import annotated_contract, is_instance
from kairos_async.contracts.contract import Contract
from kairos_async.contracts.functions import Deferred
from kairos_async.contracts.schema import Schema
from kairos_async.exceptions import ConfigError


def compile_contract(spec: object) -> Contract:
    """The contract of a Schema, a Pydantic model, any annotation that Pydantic's TypeAdapter takes, or a JSON Schema.

    A rule such as an LLMJudge alone is a contract on any JSON value, and a `Contract` is given back as it is. Compile
    once, when the step is made, and validate as often as needed.

    Raises:
        ConfigError: there is no such contract; the message names the field and the rule.
    """
    if isinstance(spec, Contract):
        return spec
    if isinstance(spec, Schema):
        return spec.contract
    if isinstance(spec, Mapping):
        if types := [key for key, value in spec.items() if isinstance(value, (type, GenericAlias))]:
            raise ConfigError(
                f"As a contract, a dict is a JSON Schema, and {types[0]!r} is a type in it. For an object with these "
                "keys, write Schema({...})."
            )
        return json_schema_contract(spec)
    if isinstance(spec, Deferred):
        return deferred.all_of(annotated_contract(Any), [spec])
    if isinstance(spec, (str, int, float, list, tuple, set)) or inspect.isroutine(spec):
        raise ConfigError(f"{spec!r} is no contract. Use a Schema, a type such as list[str], or a JSON Schema dict.")
    if is_instance(spec):
        kind = type(spec).__name__
        raise ConfigError(f"{spec!r} is an instance of {kind}, and no contract. Use the class {kind}.")
    if not isinstance(spec, type):
        return annotated_contract(spec)
    return _of_class(spec)


@functools.lru_cache(maxsize=128)
def _of_class(kind: type) -> Contract:
    """One contract for a class, however many steps name it: compiling takes a millisecond.

    Of the last classes alone: a contract holds its class, 16 KB with all that belongs to it, and a service may make one
    for each request.
    """
    return annotated_contract(kind)


def all_of(contract: object, *rules: Deferred) -> Contract:
    """A contract, and rules on the whole of what it lets pass: `all_of(Report, v.rule(...), LLMJudge(...))`.

    `contract` is anything that `compile_contract` takes. Its own rules come first, then these, and judges last; each
    stage only if nothing was broken before.

    Raises:
        ConfigError: no rule is given, or one is for a field and not for the whole.
    """
    for rule in rules:
        if not isinstance(rule, Deferred):
            raise ConfigError(f"all_of: {rule!r} is no rule for a whole value. Use v.rule, v.custom or an LLMJudge.")
    if not rules:
        raise ConfigError("all_of needs a contract and at least one rule.")
    return deferred.all_of(compile_contract(contract), rules)


def json_schema_contract(
    spec: Mapping[str, JSONValue] | bool, *, resources: Mapping[str, JSONValue] | None = None, formats: bool = False
) -> Contract:
    """The contract of a JSON Schema document, draft 2020-12. It needs the extra `jsonschema`.

    Args:
        resources: documents by their URI, to which `$ref` may lead. Nothing is ever fetched.
        formats: check `format`. In draft 2020-12 it is an annotation unless one asks for more.

    Raises:
        ConfigError: the document is not valid, of another draft, refers to what is not here, has a keyword that is
            not supported or a regex that is not for the linear-time engine; or the extra is not installed.
    """
    try:
        # The one import inside a function: jsonschema-rs is an extra, and this module must be importable without it.
        module = importlib.import_module("kairos_async.contracts.json_schema")
    except ModuleNotFoundError as error:
        if error.name != "jsonschema_rs":
            raise
        raise ConfigError(
            "A JSON Schema as a contract needs the extra `jsonschema`: pip install 'kairos-async[jsonschema]'."
        ) from None
    contract: Contract = module.JSONSchemaContract(spec, resources=resources or {}, formats=formats)
    return contract
