"""A Schema, its JSON Schema, and the Schema made from that."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kairos_async.contracts import Schema, compile_contract
from kairos_async.contracts.annotated import AnnotatedContract
from kairos_async.exceptions import ValidationError
from tests.contracts.strategies import JSON_DATA, PAIRS, Spec, schemas_with_data

MANY = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@MANY
@given(schemas_with_data())
def test_the_schema_of_a_json_schema_accepts_the_same_values(case: tuple[Schema, Any]) -> None:
    """Random Schemas and values: there and back, the verdict stays."""
    schema, value = case
    again = Schema.from_json_schema(schema.to_json_schema())
    assert again.validate(value).valid == schema.validate(value).valid


@MANY
@given(schemas_with_data())
def test_what_a_contract_returns_it_accepts_again(case: tuple[Schema, Any]) -> None:
    """Validation is idempotent: its own result passes, unchanged."""
    schema, value = case
    try:
        valid = schema.contract.validate(value)
    except ValidationError:
        return
    assert schema.contract.validate(valid) == valid


@MANY
@given(schemas_with_data())
def test_json_schema_of_the_contract_accepts_what_the_contract_accepts(case: tuple[Schema, Any]) -> None:
    """A validator of JSON Schema agrees with the exported schema, on all that the contract lets pass."""
    schema, value = case
    if schema.validate(value).valid:
        compile_contract(schema.to_json_schema()).validate(value)


def outcome(contract: AnnotatedContract, value: object) -> object:
    """What comes out, or what is said of it."""
    try:
        return contract.validate(value)
    except ValidationError as error:
        return error.errors


@MANY
@given(PAIRS, st.data())
def test_the_quick_way_is_the_ordinary_way(pair: tuple[Spec, Spec], data: st.DataObject) -> None:
    """With models left out of it, a contract accepts, gives and says the same."""
    for spec in pair:
        quick, slow = AnnotatedContract(spec.annotation), AnnotatedContract(spec.annotation)
        slow._quick = None
        value = data.draw(spec.data | JSON_DATA)
        assert outcome(quick, value) == outcome(slow, value)
