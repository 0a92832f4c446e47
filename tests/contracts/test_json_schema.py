"""Contracts from JSON Schema documents."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kairos_async.contracts import Schema, compile_contract, feedback, json_schema_contract
from kairos_async.contracts.json_schema import UNSUPPORTED
from kairos_async.exceptions import ConfigError, ValidationError

SUITE = Path(__file__).parent / "data" / "json_schema_test_suite"
DRAFT = "https://json-schema.org/draft/2020-12/schema"


CIRCULAR: dict[str, Any] = {"type": "object"}
CIRCULAR["properties"] = {"a": CIRCULAR}


def remotes() -> dict[str, Any]:
    """The documents that the suite's tests refer to, by their URIs; without those of other drafts."""
    found = {}
    for path in (SUITE / "remotes").rglob("*.json"):
        document = json.loads(path.read_text("utf-8"))
        if document.get("$schema", DRAFT) == DRAFT and "$vocabulary" not in document:
            found[f"http://localhost:1234/{path.relative_to(SUITE / 'remotes').as_posix()}"] = document
    return found


def test_the_official_suite() -> None:
    """All required tests of draft 2020-12 but those of custom vocabularies, which are refused and documented so."""
    documents = remotes()
    passed: list[str] = []
    wrong: list[str] = []
    refused: Counter[str] = Counter()
    for path in sorted((SUITE / "tests").glob("*.json")):
        for group in json.loads(path.read_text("utf-8")):
            try:
                contract = json_schema_contract(group["schema"], resources=documents)
            except ConfigError:
                refused[path.name] += len(group["tests"])
                continue
            for test in group["tests"]:
                verdict = True
                try:
                    contract.validate(test["data"])
                except ValidationError:
                    verdict = False
                (passed if verdict is test["valid"] else wrong).append(f"{path.name}: {group['description']}")
    assert wrong == []
    assert refused == {"vocabulary.json": 5}
    assert len(passed) > 1250


@pytest.mark.parametrize("keyword", sorted(UNSUPPORTED))
def test_unsupported_keywords_are_refused_and_documented(keyword: str) -> None:
    """Never a silent pass, wherever they stand."""
    with pytest.raises(ConfigError, match=re.escape(keyword)):
        compile_contract({"properties": {"a": {"items": {keyword: {}}}}})
    page = Path(__file__).parents[2] / "docs" / "contracts.md"
    assert f"`{keyword}`" in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"$ref": "http://example.com/other.json"}, "never fetched"),
        ({"$ref": "file:///etc/passwd"}, "never fetched"),
        ({"$ref": "#/$defs/missing"}, "missing"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "draft-07"),
        ({"$schema": "http://example.com/mine"}, "only 2020-12"),
        ({"items": {"$schema": "http://json-schema.org/draft-04/schema#"}}, "draft-04"),
        ({"type": "text"}, "not valid at 'type'"),
        ({"properties": {"a": {"minimum": "x"}}}, "properties/a/minimum"),
        ({"$ref": "#"}, "circular"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}},
            "circular",
        ),
        ({"allOf": [{"not": {"$ref": "#"}}]}, "circular"),
        ({"$anchor": "a", "$ref": "#a"}, "circular"),
        ({"$dynamicAnchor": "a", "$dynamicRef": "#a"}, "circular"),
        ({"$id": "http://x/y", "$ref": "http://x/y"}, "circular"),
        ({"$ref": "#/%24defs/a~1b", "$defs": {"a/b": {"$ref": "#/$defs/a~1b"}}}, "circular"),
        ({"dependentSchemas": {"a": {"$ref": "#"}}}, "circular"),
        ({"const": math.nan}, "finite"),
        ({"const": {1, 2}}, "JSON value"),
        ({"properties": {"a": {"pattern": "("}}}, "properties/a/pattern|unclosed"),
    ],
)
def test_documents_that_are_no_contract(spec: Any, said: str) -> None:
    """Each is refused when the contract is made, with the place and the reason."""
    with pytest.raises(ConfigError, match=said):
        compile_contract(spec)


def test_recursion_through_data_is_fine() -> None:
    """A tree whose children are trees is no circle."""
    tree = compile_contract({"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}}})
    assert tree.validate({"kids": [{"kids": []}]}) == {"kids": [{"kids": []}]}
    with pytest.raises(ValidationError, match=re.escape("kids[0].kids[0]: expected an object, got integer")):
        tree.validate({"kids": [{"kids": [3]}]})


def test_errors_name_place_rule_and_what_is_allowed() -> None:
    """In the same words as those of other contracts."""
    contract = compile_contract(
        {
            "title": "Order",
            "type": "object",
            "properties": {
                "n": {"type": "integer", "minimum": 1},
                "s": {"type": ["string", "null"], "maxLength": 2},
                "kind": {"enum": ["a", 1]},
                "who": {"anyOf": [{"type": "object", "required": ["id"]}, {"type": "string"}]},
                "tags": {"items": {"type": "string"}, "uniqueItems": True},
            },
            "required": ["n"],
            "additionalProperties": False,
        }
    )
    assert contract.name == "Order"
    assert contract.required == frozenset({"n"})
    with pytest.raises(ValidationError) as caught:
        contract.validate({"s": "abc", "kind": 2, "who": {}, "tags": ["a", "a", 1], "x": 1})
    assert feedback(caught.value.errors) == [
        {"field": "*", "rule": "unknown_key", "expected": "only the keys n, s, kind, who, tags"},
        {"field": "kind", "rule": "one_of", "expected": "one of 'a' or 1"},
        {"field": "n", "rule": "required", "expected": "a value"},
        {"field": "s", "rule": "max_length", "expected": "text of length <= 2"},
        {"field": "tags", "rule": "unique", "expected": "items that differ from each other"},
        {"field": "tags[]", "rule": "type", "expected": "a string"},
        {"field": "who.id", "rule": "required", "expected": "a value"},
    ]
    with pytest.raises(ValidationError, match="who: expected an object or a string, got integer"):
        contract.validate({"n": 1, "who": 3})


def test_formats_are_checked_when_asked_for() -> None:
    """By default an annotation, as the draft says; with `formats` a rule, and an unknown one refused."""
    spec: Any = {"type": "string", "format": "email"}
    assert json_schema_contract(spec).validate("x") == "x"
    with pytest.raises(ValidationError, match="text of the format email"):
        json_schema_contract(spec, formats=True).validate("x")
    with pytest.raises(ConfigError, match="nonsense"):
        json_schema_contract({"format": "nonsense"}, formats=True)


def test_booleans_and_resources() -> None:
    """True accepts all; false nothing; documents that are passed in can be referred to."""
    assert json_schema_contract(True).validate([1]) == [1]
    with pytest.raises(ValidationError):
        json_schema_contract(False).validate(1)
    contract = json_schema_contract(
        {"$ref": "https://example.com/n"}, resources={"https://example.com/n": {"type": "integer"}}
    )
    assert contract.validate(1.0) == 1.0
    with pytest.raises(ValidationError):
        contract.validate("x")


def test_the_value_comes_back_as_a_plain_copy() -> None:
    """Objects that Pydantic can dump are dumped first; the document itself is not changed by being compiled."""
    spec: dict[str, Any] = {"type": "array", "items": {"type": "string", "pattern": "^a"}}
    contract = compile_contract(spec)
    value = ["ab"]
    assert contract.validate(value) == value
    assert contract.validate(value) is not value
    assert contract.validate(("ab",)) == ["ab"]
    assert contract.json_schema() == spec == {"type": "array", "items": {"type": "string", "pattern": "^a"}}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"type": "string"}, "must be 'object'"),
        ({"type": "object", "properties": {"a": {"$ref": "http://x.y"}}}, "nothing is fetched"),
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/a"}},
                "$defs": {"a": {"items": {"$ref": "#/$defs/a"}, "type": "array"}},
            },
            "circle",
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, "leads nowhere"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, r"\$\.a: not"),
        ({"type": "object", "properties": {"a": {"minimum": 3}}}, r"\$\.a: minimum"),
        ({"type": "object", "properties": {"a": {"oneOf": [{}, {"type": "string"}]}}}, "discriminator"),
        ({"type": "object", "properties": {}, "required": ["b"]}, "not among the properties"),
        ({"type": "object", "properties": {"a": {"type": "string", "format": "email"}}}, "email"),
        ({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}, "draft-07"),
        ({"type": "object", "patternProperties": {}}, "patternProperties"),
        ("x", "takes a dict"),
        ({"type": "object", "properties": [1]}, r"\$: properties is \[1\], and must be an object"),
        ({"type": "object", "properties": {"a": {"anyOf": []}}}, r"\$\.a: anyOf .* list that is not empty"),
        ({"type": "object", "properties": {"a": {"allOf": 3}}}, r"\$\.a: allOf"),
        ({"type": "object", "properties": {"a": {"type": []}}}, r"\$\.a: type"),
        ({"type": "object", "properties": {"a": {"type": {}}}}, r"\$\.a: type"),
        ({"type": "object", "properties": {"a": {"type": "array", "prefixItems": 3}}}, r"\$\.a: prefixItems"),
        ({"type": "object", "properties": {"a": {"type": "string", "minLength": -1}}}, r"\$\.a: minLength"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}, r"\$\.a: .*look-around"),
        ({"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 0}}}, r"\$\.a: multipleOf"),
        (
            {"type": "object", "properties": {"a": {"type": "integer", "minimum": 5, "maximum": 3}}},
            "'a' leaves no value",
        ),
        (CIRCULAR, "levels of nesting"),
    ],
)
def test_what_a_schema_cannot_express_is_refused(spec: Any, said: str) -> None:
    """`from_json_schema` never leaves a keyword out in silence."""
    with pytest.raises(ConfigError, match=said):
        Schema.from_json_schema(spec)


def test_what_a_schema_can_express() -> None:
    """Objects, lists, tuples, unions, references, formats and all constraints."""
    schema = Schema.from_json_schema(
        {
            "type": "object",
            "$defs": {"p": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
            "properties": {
                "p": {"$ref": "#/$defs/p"},
                "t": {
                    "type": "array",
                    "prefixItems": [{"type": "integer"}, {"type": "string"}],
                    "minItems": 2,
                    "maxItems": 2,
                },
                "d": {"type": "string", "format": "date"},
                "u": {"type": ["integer", "null"], "minimum": 2},
                "l": {"type": "array", "items": {"enum": ["a", 1]}, "uniqueItems": True},
                "m": {"type": "object", "additionalProperties": {"const": 3}},
                "n": {"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5, "default": 1},
            },
            "required": ["u"],
            "additionalProperties": False,
        }
    )
    good = {"p": {"x": 1}, "t": [1, "a"], "d": "2024-02-29", "u": None, "l": ["a", 1], "m": {"k": 3}, "n": 1.5}
    assert schema.contract.validate(good) == {**good, "p": {"x": 1.0}}
    assert schema.contract.validate({"u": 3}) == {"u": 3, "n": 1.0}
    wrong = {"p": {"x": "1"}, "t": [1], "d": "x", "u": 1, "l": ["a", "a"], "m": {"k": 4}, "n": 0.25}
    assert {e.declared for e in schema.validate(wrong).errors} == {"p.x", "t[]", "d", "u", "l", "m.*", "n"}
