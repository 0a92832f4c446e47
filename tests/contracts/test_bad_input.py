"""What cannot be a contract is refused when it is made, by a message that names the field and the rule."""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from kairos_async import validators as v
from kairos_async.contracts import Schema, compile_contract
from kairos_async.exceptions import ConfigError


class Plain:
    """A class that Pydantic knows nothing of."""


class Arbitrary(BaseModel):
    """A model that holds objects that have no JSON form."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    thing: Plain


@dataclasses.dataclass
class Money:
    """A dataclass, of which an instance is given in place of the class."""

    cents: int


class Lax(BaseModel):
    """A model with a field that converts."""

    ok: int
    age: int = Field(strict=False)


class Pairs(enum.Enum):
    """An enum whose values are no scalars."""

    ONE = (1, 2)


class Nested(BaseModel):
    """A model with such a model in it."""

    inner: list[Lax]


class PythonRegex(BaseModel):
    """A model whose patterns run on Python's engine."""

    model_config = ConfigDict(regex_engine="python-re")
    code: str = Field(pattern="^a$")


class CompiledRegex(BaseModel):
    """A model with a pattern object."""

    code: Annotated[str, Field(pattern=re.compile("^a$"))]


class WrongDefault(BaseModel):
    """A model whose default is not of its type."""

    name: str = None  # type: ignore[assignment]  # that is the point


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Schema({"a": Plain}), "field 'a'"),
        (lambda: Schema({"a": Callable}), "Field 'a' has a type without a JSON form"),
        (lambda: Schema({"a": object()}), r"field 'a'.*for <object object at \w+>$"),  # not Pydantic's own way out
        (lambda: Schema({"a": Money(1)}), r"field 'a' is Money\(cents=1\), an instance.* Use the class Money"),
        (lambda: Schema({"a": "int"}), "field 'a'.*Write the type itself"),
        (lambda: Schema({"a": {"b": int}}), r"field 'a' is a dict.*Schema\("),
        (lambda: Schema({1: int}), "key 1 must be a str"),  # type: ignore[dict-item]
        (lambda: Schema([("a", int)]), "takes a dict"),  # type: ignore[arg-type]
        (lambda: Schema({"a": int}, {"b": [v.range(min=1)]}), "'b', which is no field"),
        (lambda: Schema({"a": int}, {"a": [len]}), "field 'a'.*v.custom"),  # type: ignore[list-item]
        (lambda: Schema({"a": str}, {"a": [v.not_empty]}), r"field 'a'.*Call it: v\.not_empty\("),  # type: ignore[list-item]
        (lambda: Schema({"a": int}, {"a": 3}), "field 'a'.*list of rules"),  # type: ignore[dict-item]
        (lambda: Schema({"a": int}, [v.range(min=1)]), "must be a dict"),  # type: ignore[arg-type]
        (lambda: Schema({"a": str}, {"a": [v.range(min=1)]}), r"field 'a': range\(min=1\) is for numbers"),
        (lambda: Schema({"a": int}, {"a": [v.pattern("x")]}), "field 'a': pattern"),
        (lambda: Schema({"a": int}, {"a": [v.one_of("x")]}), "field 'a': one_of"),
        (lambda: Schema({"a": bool}, {"a": [v.range(min=0)]}), "field 'a'"),
        (lambda: Schema({"a": int}, {"a": [v.range(min=3), v.range(max=2)]}), "field 'a'.*minimum 3 is above 2"),
        (lambda: Schema({"a": str}, {"a": [v.pattern("x"), v.pattern("y")]}), "field 'a'.*second pattern"),
        (lambda: Schema({"a": Annotated[str, Field(pattern="(?=x)")]}), "field 'a'.*look-around"),
        (lambda: Schema({"a": int}, rules=[len]), r"v\.rule"),  # type: ignore[list-item]
        (lambda: Schema({"a": Annotated[int, Field(default="x")]}), "Field 'a' has a default"),
        (lambda: Schema({"a": Lax}), r"Field 'a\.age' says strict=False"),
        (lambda: Schema.from_pydantic(Plain), "Pydantic model class"),  # type: ignore[arg-type]
        (lambda: Schema.from_pydantic(Lax), "Field 'age' says strict=False"),
        (lambda: Schema.from_pydantic(Nested).extend(extra="forbid"), "Field 'inner.age'"),
        (lambda: compile_contract(Nested), "Nested: Field 'inner.age' says strict=False"),
        (lambda: compile_contract(Arbitrary), "Field 'thing' has a type without a JSON form"),
        (lambda: compile_contract(PythonRegex), "time can grow exponentially"),
        (lambda: compile_contract(CompiledRegex), "Field 'code'.*exponentially"),
        (lambda: compile_contract(WrongDefault), r"Field 'name' has a default.*str \| None"),
        (lambda: compile_contract(Plain), "Plain cannot be a contract"),
        (lambda: Schema({"a": Annotated[int, Field(ge=5, le=3)]}), "Field 'a' leaves no value: its minimum 5"),
        (lambda: Schema({"a": Annotated[int, Field(gt=5)]}, {"a": [v.range(max=3)]}), "'a' leaves no value"),
        (lambda: Schema({"a": Annotated[list[int], Field(min_length=2, max_length=1)]}), "'a' leaves no value"),
        (lambda: Schema({"a": type[int]}), "Field 'a' is a class"),
        (lambda: Schema({"a": list[Pairs]}), r"Field 'a': \(1, 2\) is .* no JSON scalar"),
        (lambda: Schema({"a": Literal[b"x"]}), "Field 'a': b'x' is .* no JSON scalar"),
        (lambda: Schema({"a": SecretStr}), "Field 'a' is a SecretStr, of which only stars"),
        (lambda: Schema({"a": Annotated[str, Field(pattern="a.{5000}")]}), "Field 'a'.*so costly"),
        (lambda: compile_contract({"n": int}), r"a dict is a JSON Schema, and 'n' is a type.*write Schema\("),
        (lambda: compile_contract({"n": list[int], "m": 1}), r"'n' is a type.*write Schema\("),
        (lambda: compile_contract("Report"), "'Report' is no contract"),
        (lambda: compile_contract(3), "3 is no contract"),
        (lambda: compile_contract([int]), "is no contract"),
        (lambda: compile_contract(Money(1)), r"Money\(cents=1\) is an instance.* Use the class Money"),
        (lambda: compile_contract(Lax(ok=1, age=2)), "is an instance.* Use the class Lax"),
        (lambda: compile_contract(list["Unknown"]), "Unknown"),  # type: ignore[name-defined]  # noqa: F821
    ],
)  # fmt: skip
def test_each_mistake_has_its_message(make: Callable[[], Any], said: str) -> None:
    """Field, rule, and the way out."""
    with pytest.raises(ConfigError, match=re.compile(said, re.DOTALL)):
        make()


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[int, v.custom(lambda n: n > 0, slow=True)] | str,
        set[int] | Annotated[list[int], v.custom(lambda n: bool(n), slow=True)],
    ],
)
def test_a_deferred_rule_without_a_place_is_refused(annotation: Any) -> None:
    """In a union nobody can tell which values it is about."""
    with pytest.raises(ConfigError, match="no place of its own"):
        compile_contract(annotation)


def test_a_deferred_rule_in_a_model_that_contains_itself_is_refused() -> None:
    """Its places have no end."""
    with pytest.raises(ConfigError, match="contains itself"):
        compile_contract(Knot)


class Knot(BaseModel):
    """A model that contains itself, with a slow rule."""

    n: Annotated[int, v.custom(lambda n: n > 0, slow=True)]
    next: Knot | None = None


def test_without_the_extra_a_json_schema_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else works without it."""
    monkeypatch.delitem(sys.modules, "kairos_async.contracts.json_schema", raising=False)
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(ConfigError, match=re.escape("kairos-async[jsonschema]")):
        compile_contract({"type": "string"})
    assert compile_contract(str).validate("x") == "x"
