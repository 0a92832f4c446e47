"""The small language for contracts."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import importlib
import pkgutil
from typing import Annotated, Any, Literal, NotRequired, Required

import pytest
from pydantic import AliasChoices, AliasPath, BaseModel, Field, field_validator
from typing_extensions import TypeAliasType

from kairos_async import LLMJudge, Step, StepContext, Workflow, all_of, contracts
from kairos_async import validators as v
from kairos_async.contracts import JudgeRequest, Schema, compile_contract
from kairos_async.exceptions import ConfigError, ValidationError

REPORT = Schema(
    {"name": str, "products": list[str], "score": float | None},
    validators={"name": [v.not_empty()], "score": [v.range(min=0.0, max=1.0)]},
)


def messages(schema: Schema, data: object) -> list[str]:
    """What is said of the data."""
    return [error.message for error in schema.validate(data).errors]


def test_validate_says_whether_and_why() -> None:
    """The documented snippet, and every kind of error with its parts."""
    assert REPORT.validate({"name": "a", "products": ["x"], "score": 0.5}).valid
    assert REPORT.validate({"name": "a", "products": []})
    result = REPORT.validate({"name": "", "products": "x", "score": 95, "extra": 1})
    assert not result.valid
    assert [(e.field, e.rule, e.expected, e.actual) for e in result.errors] == [
        ("extra", "unknown_key", "only the keys name, products, score", "integer"),
        ("name", "min_length", "text of length >= 1", "string"),
        ("products", "type", "a list", "string"),
        ("score", "less_than_equal", "a value <= 1.0", "integer"),
    ]
    assert result.errors[3].message == "score: expected a value <= 1.0, got integer"
    assert messages(REPORT, {"name": "a"}) == ["products: is missing, expected a list"]


def test_optional_fields() -> None:
    """`T | None` is None if absent; `NotRequired` stays absent; `Required` must be there; a default is filled in."""
    schema = Schema(
        {"a": int | None, "b": NotRequired[int], "c": Required[int | None], "d": Annotated[int, Field(default=4)]}
    )
    assert schema.contract.validate({"c": None}) == {"a": None, "c": None, "d": 4}
    assert schema.required_fields == ["c"]
    assert not schema.validate({"c": None, "b": None}).valid
    assert messages(schema, {}) == ["c: is missing, expected an integer or null"]


def test_nested_schemas_and_their_validators_run() -> None:
    """In a field, a list, a dict, and where it may be absent; with paths into the data."""
    inner: Any = Schema({"n": int}, {"n": [v.range(min=0)]})
    schema = Schema(
        {"one": inner, "many": list[inner], "by_name": dict[str, inner], "maybe": inner | None, "or": None | inner}
    )
    good = {"one": {"n": 1}, "many": [{"n": 2}], "by_name": {"x": {"n": 3}}}
    assert schema.contract.validate(good) == {**good, "maybe": None, "or": None}
    wrong = {"one": {"n": -1}, "many": [{"n": 0}, {"n": -2}], "by_name": {"a b": {"n": -3}}, "maybe": {"n": -4}}
    assert [e.field for e in schema.validate(wrong).errors] == ['by_name["a b"].n', "many[1].n", "maybe.n", "one.n"]
    assert [e.declared for e in schema.validate(wrong).errors] == ["by_name.*.n", "many[].n", "maybe.n", "one.n"]


@pytest.mark.parametrize(
    "key", ["from", "model_config", "schema", "_private", "1st", "", "ä", "a.b", "validate", "__class__"]
)
def test_any_text_is_a_field_name(key: str) -> None:
    """Names that a class could not have."""
    schema = Schema({key: int}, {key: [v.range(min=1)]})
    assert schema.contract.validate({key: 1}) == {key: 1}
    assert not schema.validate({key: 0}).valid
    assert schema.field_names == [key]


def test_unknown_keys() -> None:
    """Refused by default, left out, or kept."""
    data = {"a": 1, "b": [2]}
    assert not Schema({"a": int}).validate(data).valid
    assert Schema({"a": int}, extra="ignore").contract.validate(data) == {"a": 1}
    assert Schema({"a": int}, extra="allow").contract.validate(data) == data
    with pytest.raises(ConfigError, match="extra='keep' is not one of forbid, ignore, allow"):
        Schema({"a": int}, extra="keep")  # type: ignore[arg-type]  # that is the point


def test_enums_literals_and_unions() -> None:
    """By their values, and by the alternatives' types together."""

    class Size(enum.Enum):
        S = "s"
        L = "l"

    schema = Schema({"size": Size, "kind": Literal["a", "b"], "id": int | str})
    assert schema.contract.validate({"size": "s", "kind": "a", "id": 1}) == {"size": "s", "kind": "a", "id": 1}
    assert messages(schema, {"size": "m", "kind": "c", "id": 1.5}) == [
        "id: expected an integer or a string, got number",
        "kind: expected one of 'a' or 'b', got string",
        "size: expected one of 's' or 'l', got string",
    ]


def test_rules_about_several_fields() -> None:
    """They run when each field by itself is right; one that raises has failed, without its text."""
    schema = Schema(
        {"low": int, "high": int}, rules=[v.rule(lambda d: d["low"] <= d["high"], "low must not exceed high")]
    )
    assert schema.validate({"low": 1, "high": 2}).valid
    assert messages(schema, {"low": 3, "high": 2}) == ["the value: expected low must not exceed high, got object"]
    assert [e.field for e in schema.validate({"low": "3", "high": 2}).errors] == ["low"]
    raising = Schema({"a": int}, rules=[v.rule(lambda d: d["SECRET"])])
    assert [e.rule for e in raising.validate({"a": 1}).errors] == ["rule"]
    assert "SECRET" not in messages(raising, {"a": 1})[0]


def test_extend_makes_another_schema() -> None:
    """More fields, more rules, another switch; the first stays as it is."""
    more = REPORT.extend({"url": str}, {"name": [v.length(max=3)], "url": [v.pattern("^https:")]}, extra="ignore")
    data = {"name": "abcd", "products": [], "url": "http:", "x": 1}
    assert [e.field for e in more.validate(data).errors] == ["name", "url"]
    assert more.field_names == ["name", "products", "score", "url"]
    assert REPORT.field_names == ["name", "products", "score"]
    again = REPORT.extend({"score": int})
    assert again.validate({"name": "a", "products": [], "score": 5}).valid
    assert [
        e.field for e in REPORT.extend(rules=[v.rule(lambda d: False)]).validate({"name": "a", "products": []}).errors
    ] == [""]


def test_equality_hash_and_repr() -> None:
    """Two that say the same are the same."""
    same = Schema(
        {"name": str, "products": list[str], "score": float | None},
        {"name": v.not_empty(), "score": [v.range(min=0.0, max=1.0)]},
    )
    assert same == REPORT
    assert hash(same) == hash(REPORT)
    assert REPORT.extend(extra="ignore") != REPORT
    assert REPORT.extend({}, {"products": [v.not_empty()]}) != REPORT
    assert REPORT != "Schema"
    assert repr(REPORT) == (
        "Schema({'name': str, 'products': list[str], 'score': float | None}, "
        "validators={'name': [not_empty()], 'score': [range(min=0.0, max=1.0)]})"
    )
    assert compile_contract(REPORT).name == "Schema(name, products, score)"


def test_constraints_are_in_the_json_schema() -> None:
    """So that a provider can be held to them."""
    schema = Schema(
        {"n": int, "s": str, "l": list[int], "c": str},
        {
            "n": [v.range(min=1, max=2.5)],
            "s": [v.pattern("^a"), v.length(max=3)],
            "l": [v.not_empty()],
            "c": [v.one_of("x")],
        },
    )
    assert schema.to_json_schema() == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "n": {"title": "N", "type": "integer", "minimum": 1, "maximum": 2},
            "s": {"title": "S", "type": "string", "pattern": "^a", "maxLength": 3},
            "l": {"title": "L", "type": "array", "items": {"type": "integer"}, "minItems": 1},
            "c": {"title": "C", "type": "string", "enum": ["x"]},
        },
        "required": ["n", "s", "l", "c"],
    }


def test_from_pydantic_keeps_everything() -> None:
    """Constraints, validators, literals, defaults and aliases; `extend` adds to them."""

    class Person(BaseModel):
        name: str = Field(min_length=2)
        kind: Literal["a", "b"] = "a"

        @field_validator("name")
        @classmethod
        def upper(cls, name: str) -> str:
            if not name[0].isupper():
                raise ValueError("must start with a capital")
            return name

    schema = Schema.from_pydantic(Person)
    assert schema.field_names == ["name", "kind"]
    assert schema.required_fields == ["name"]
    assert schema.contract.validate({"name": "Ada"}) == {"name": "Ada", "kind": "a"}
    assert [e.rule for e in schema.validate({"name": "A", "kind": "c"}).errors] == ["one_of", "min_length"]
    assert [e.rule for e in schema.validate({"name": "ada"}).errors] == ["custom"]
    more = schema.extend({"age": int}, {"age": [v.range(min=0)], "name": [v.length(max=4)]})
    assert [e.field for e in more.validate({"name": "Adaaa", "age": -1}).errors] == ["age", "name"]
    assert [e.rule for e in more.validate({"name": "ada", "age": 1}).errors] == ["custom"]
    assert schema == Schema.from_pydantic(Person)
    assert repr(schema) == "Schema.from_pydantic(Person)"


def test_named_types_are_what_they_name() -> None:
    """`type Score = float` and the like: rules apply, and what may be None may be absent; recursive ones are fine."""
    score, maybe = TypeAliasType("score", float), TypeAliasType("maybe", int | None)
    lists = TypeAliasType("lists", "list[lists] | int")  # type: ignore[misc]  # it contains itself
    scores: Any = list[score]  # type: ignore[valid-type]  # it is one at run time
    schema = Schema(
        {"a": score, "b": maybe, "c": scores, "d": lists | None},
        {"a": [v.range(min=1)], "b": [v.range(min=1), v.custom(lambda n: n < 5)]},
    )
    assert schema.contract.validate({"a": 1, "c": [0]}) == {"a": 1.0, "b": None, "c": [0.0], "d": None}
    assert schema.contract.validate({"a": 1, "c": [], "d": [[1]]})["d"] == [[1]]  # type: ignore[index, call-overload]
    assert [e.field for e in schema.validate({"a": 0, "b": 5, "c": ["x"], "d": [["x"]]}).errors][:3] == [
        "a",
        "b",
        "c[0]",
    ]
    assert not schema.validate({"a": 1, "c": [], "d": [["x"]]}).valid


def test_fields_of_a_model_go_by_their_aliases() -> None:
    """As in the data, in errors, and in the JSON Schema."""

    class Person(BaseModel):
        full_name: str = Field(alias="fullName")
        mail: str = Field(validation_alias=AliasChoices(AliasPath("mails", 0), "mail"))
        age: int = 1

    schema = Schema.from_pydantic(Person)
    assert schema.field_names == ["fullName", "mail", "age"]
    assert schema.required_fields == ["fullName", "mail"]
    longer = schema.extend({}, {"fullName": [v.length(min=2)]})
    assert [e.field for e in longer.validate({"fullName": "A", "mails": ["x"]}).errors] == ["fullName"]
    assert longer.field_names == schema.field_names


async def test_a_schema_is_compiled_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compiled during a run: validation builds no core schema and no validator."""

    def forbidden(*_: object) -> Any:
        raise AssertionError("compiled during validation")

    async def sure(_: JudgeRequest) -> Any:
        return {"pass": True, "confidence": 1.0}

    async def give(ctx: StepContext) -> Any:
        return {"name": "a", "products": []} if ctx.step_id == "a" else "2024-02-29"

    made = [REPORT.contract, compile_contract(list[int]), compile_contract({"type": "string"})]
    workflow = Workflow("compiled", [
        Step("a", give, output_contract=all_of(REPORT, LLMJudge("is fine", sure))),
        Step("b", give, output_contract=dt.date, input_contract=Schema({"a": REPORT}), depends_on=["a"]),
    ])  # fmt: skip
    for name in COMPILERS:
        monkeypatch.setattr(f"kairos_async.contracts.{name}", forbidden)
    for contract in made:
        for data in ({"name": "a", "products": []}, [1], "x", None):
            with contextlib.suppress(ValidationError):
                contract.validate(data)
    result = await workflow.run()
    assert result.output == "2024-02-29"


COMPILERS = [
    "annotated.TypeAdapter", "hardening.SchemaValidator", "hardening.SchemaSerializer", "guards.SchemaValidator",
    "regex.SchemaValidator", "covering.SchemaValidator", "json_schema.Draft202012Validator",
]  # fmt: skip
"""All that compiles anything."""


def test_all_that_compiles_is_known() -> None:
    """No module of contracts has another compiler than those that the test above forbids."""
    names = {"TypeAdapter", "SchemaValidator", "SchemaSerializer", "Draft202012Validator", "validator_for"}
    found = {
        f"{module.name}.{name}"
        for module in pkgutil.iter_modules(contracts.__path__)
        for name in names & vars(importlib.import_module(f"kairos_async.contracts.{module.name}")).keys()
    }
    assert found == set(COMPILERS)
