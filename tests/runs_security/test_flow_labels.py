"""Labels on the graph: untrusted data never reaches what cannot be undone, secret data never leaves, unchecked."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from kairos_async import (
    ConfigError,
    FailureAction,
    FailurePolicy,
    Gate,
    Label,
    PlanError,
    Schema,
    Step,
    Workflow,
    WorkflowStatus,
)
from tests.engine.tools import raises, returns

PAIRS = [("untrusted", "irreversible"), ("secret", "external")]


class Verdict(BaseModel):
    """A closed model."""

    model_config = ConfigDict(extra="forbid")
    ok: bool
    grade: Literal["a", "b"]
    points: list[int]
    share: float | None


class Tree(BaseModel):
    """A model that contains itself."""

    model_config = ConfigDict(extra="forbid")
    value: int
    children: list[Tree]


def step(name: str, *needs: str, **declared: Any) -> Step:
    """Return a step that does nothing."""
    return Step(name, returns(None), depends_on=needs, **declared)


def path(*steps: Step, **options: Any) -> list[str]:
    """Return the forbidden ways that the workflow has, as names in their order; an empty list if it can be built."""
    try:
        Workflow("w", steps, **options)
    except PlanError as error:
        return [problem.partition("unchecked: ")[2].partition(". Put a gate between")[0] for problem in error.problems]
    return []


@pytest.mark.parametrize("source", ["untrusted", "secret"])
@pytest.mark.parametrize("sink", ["irreversible", "external"])
@pytest.mark.parametrize("of_input", [True, False])
def test_every_pair_of_source_and_sink(source: str, sink: str, of_input: bool) -> None:
    """Two of the four pairs are forbidden, whether a step or an input is the source."""
    if of_input:
        found = path(step("do", labels=[sink]), input_labels={"mail": [source]})
        way = "input 'mail' -> step 'do'"
    else:
        found = path(step("mail", labels=[source]), step("do", "mail", labels=[sink]))
        way = "step 'mail' -> step 'do'"
    assert found == ([way] if (source, sink) in PAIRS else [])


@pytest.mark.parametrize(("source", "sink"), PAIRS)
def test_a_source_that_is_its_own_sink(source: str, sink: str) -> None:
    """What it brings in is acted on before anyone could check it: no gate, contract, scope or foreach helps."""
    ways: list[dict[str, Any]] = [
        {},
        {"gate": "approval"},
        {"gate": "declassifier"},
        {"output_contract": bool},
        {"input_contract": Schema({"n": int})},
        {"read_keys": [], "write_keys": []},
        {"foreach": "list"},
    ]
    for more in ways:
        assert path(step("list"), step("do", labels=[source, sink], **more)) == ["step 'do'"]
    other = {"untrusted": "external", "secret": "irreversible"}[source]
    assert path(step("do", labels=[source, other])) == []
    with pytest.raises(PlanError, match="in two steps"):
        Workflow("w", [step("do", labels=[source, sink])])


@pytest.mark.parametrize(("source", "sink"), PAIRS)
def test_what_a_sink_brings_in_itself_is_told_before_what_it_reads(source: str, sink: str) -> None:
    """Once, not twice: with the way that no gate can close."""
    do = step("do", "mail", labels=[source, sink])
    found = path(step("mail", labels=[source]), do)
    assert found == ["step 'do'"]


@pytest.mark.parametrize(
    "keys", [{"foreach": "mails"}, {"read_keys": ["mails"]}, {"input_contract": {"type": "object"}}]
)
@pytest.mark.parametrize(("source", "sink"), PAIRS)
def test_a_labelled_input_that_a_sink_takes_itself(source: str, sink: str, keys: Any) -> None:
    """In each way in which a step takes an input."""
    assert path(step("do", labels=[sink], **keys), input_labels={"mails": [source]}) == ["input 'mails' -> step 'do'"]


def test_a_gate_that_writes_over_a_labelled_input_does_not_clear_it() -> None:
    """Should the gate be skipped, the input would be there as it came."""
    check = step("check", read_keys=["mail"], write_keys=["mail"], gate="approval")
    do = step("do", "check", read_keys=["mail"], labels=["irreversible"])
    assert path(check, do, input_labels={"mail": ["untrusted"]}) == ["input 'mail' -> step 'do'"]


def test_an_input_label_on_a_step_is_refused() -> None:
    """Nothing would be labelled by it, and the way from that step would stay open."""
    with pytest.raises(PlanError, match=r"input_labels has 'mail', which is a step; label it with Step\(labels"):
        Workflow("w", [step("mail"), step("do", "mail", labels=["irreversible"])], input_labels={"mail": ["untrusted"]})


@pytest.mark.parametrize(("source", "sink"), PAIRS)
def test_the_message_names_label_sink_and_way(source: str, sink: str) -> None:
    """All that is needed to find it, and what to do about it."""
    steps = [step("mail", labels=[source]), step("sum", "mail"), step("do", "sum", labels=[sink])]
    with pytest.raises(PlanError, match=f"{source} data reaches the {sink} step 'do' unchecked") as caught:
        Workflow("office", steps)
    assert "step 'mail' -> step 'sum' -> step 'do'" in str(caught.value)
    assert "gate='approval'" in str(caught.value)
    assert "office" in str(caught.value)


WAYS: dict[str, tuple[list[Step], str | None]] = {
    "depends_on": ([step("do", "mail", labels=["irreversible"])], "mail do"),
    "read_keys": ([step("do", read_keys=["mail"], labels=["irreversible"])], "mail do"),
    "foreach": ([step("do", foreach="mail", labels=["irreversible"])], "mail do"),
    "foreach with read_keys": ([step("do", foreach="mail", read_keys=["mail"], labels=["irreversible"])], "mail do"),
    "two steps on": ([step("a", "mail"), step("b", "a"), step("do", "b", labels=["irreversible"])], None),
    "through what a step read": (
        [step("a", read_keys=["mail"]), step("do", read_keys=["a"], labels=["irreversible"])],
        "mail a do",
    ),
    "through three that read": (
        [
            step("a", read_keys=["mail"]),
            step("b", read_keys=["a"]),
            step("c", read_keys=["b"]),
            step("do", read_keys=["c"], labels=["irreversible"]),
        ],
        "mail a b c do",
    ),
    "through a foreach": (
        [step("each", foreach="mail"), step("do", read_keys=["each"], labels=["irreversible"])],
        "mail each do",
    ),
    "through a declared write": (
        [
            step("a", read_keys=["mail"], write_keys=["note"]),
            step("do", read_keys=["note"], labels=["irreversible"]),
        ],
        "mail a do",
    ),
    "through an undeclared write": (
        [step("a", read_keys=["mail"]), step("do", "a", read_keys=["note"], labels=["irreversible"])],
        None,
    ),
    "over an input that it may overwrite": (
        [step("do", "mail", read_keys=["amount"], labels=["irreversible"])],
        "mail do",
    ),
    "one of two sources": (
        [step("clean"), step("do", "clean", "mail", labels=["irreversible"])],
        "mail do",
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_labels_go_where_data_goes(name: str) -> None:
    """Along every kind of edge, and through the steps that pass it on. Where several ways lead on, one is told."""
    steps, expected = WAYS[name]
    found = path(step("mail", labels=["untrusted"]), *steps)
    assert len(found) == 1
    way = re.findall(r"step '(\w+)'", found[0])
    assert (way[0], way[-1]) == ("mail", "do")
    assert expected is None or way == expected.split()


def test_labels_of_an_input_go_through_steps() -> None:
    """Also through a step that reads only that input."""
    do = step("do", read_keys=["a"], labels=["external"])
    assert path(step("a", read_keys=["card"]), do, input_labels={"card": ["secret"]}) == [
        "input 'card' -> step 'a' -> step 'do'"
    ]


def test_every_forbidden_way_is_reported() -> None:
    """All of them at once."""
    steps = [step("mail", labels=["untrusted", "secret"]), step("do", "mail", labels=["irreversible", "external"])]
    assert len(path(*steps)) == 2


CLEAN: dict[str, list[Step]] = {
    "order without reading": [step("do", "mail", read_keys=[], labels=["irreversible"])],
    "reading something else": [step("do", "mail", read_keys=["amount"], labels=["irreversible"])],
    "beside it": [step("do", labels=["irreversible"])],
    "before it": [step("do", labels=["irreversible"]), step("then", "do", "mail")],
    "passed on without reading": [
        step("a", "mail", read_keys=[], write_keys=[]),
        step("do", read_keys=["a"], labels=["irreversible"]),
    ],
    "the other sink": [step("do", "mail", labels=["external"])],
    "no sink": [step("do", "mail")],
}


@pytest.mark.parametrize("name", CLEAN)
def test_what_reads_nothing_of_it_is_free(name: str) -> None:
    """Read keys are what makes a graph provably clean."""
    assert path(step("mail", labels=["untrusted"], write_keys=[]), *CLEAN[name]) == []


class SaysItIsClosed(BaseModel):
    """A model whose JSON Schema is not what it does."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"enum": ["yes", "no"]})

    why: str = Field(json_schema_extra={"enum": ["a", "b"]})


class AnyKeys(BaseModel):
    """A model that takes any keys and says that it does not."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})

    ok: bool


CLOSED = [
    *(bool, int, float, Literal["yes", "no"], list[bool], bool | None, Verdict, list[Verdict]),
    *(Schema({"ok": bool, "score": float}), Schema({"grade": Literal["a", "b"]}), Schema({"v": Schema({"n": int})})),
    *({"enum": ["yes", "no"]}, {"const": 1}, {"type": "integer"}, {"type": "array", "items": {"type": "number"}}),
    {"type": "object", "properties": {"ok": {"type": "boolean"}}, "additionalProperties": False},
    {"oneOf": [{"type": "boolean"}, {"enum": ["yes", "no"]}]},
]
OPEN = [
    *(
        Annotated[str, Field(json_schema_extra={"enum": ["yes"]})],
        Annotated[str, Field(json_schema_extra={"const": 1})],
    ),
    *(Annotated[str, WithJsonSchema({"type": "boolean"})], SaysItIsClosed, list[SaysItIsClosed], AnyKeys),
    *(None, str, list[str], str | None, dict[str, int], Any, Tree, Annotated[str, "a note"]),
    *(Schema({"ok": bool, "why": str}), Schema({"ok": bool}, extra="allow"), Schema({"v": Schema({"s": str})})),
    *({}, {"type": "string"}, {"type": ["integer", "string"]}, {"type": "string", "pattern": "^a*$"}),
    *({"type": "object", "properties": {"ok": {"type": "boolean"}}}, {"type": "array"}, {"not": {"type": "null"}}),
    {"oneOf": [{"type": "boolean"}, {"type": "string"}]},
    *({"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"minimum": 3}, {"type": "string", "format": "date"}),
    {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "integer"}},
    {"type": "object", "additionalProperties": False, "patternProperties": {".*": {"type": "string"}}},
    {"type": "object", "additionalProperties": {"type": "integer"}},
]


def gated(**declared: Any) -> list[str]:
    """Return the forbidden ways of a graph in which one step stands between source and sink."""
    return path(
        step("mail", labels=["untrusted"], write_keys=[]),
        step("check", read_keys=["mail"], write_keys=[], **declared),
        step("do", read_keys=["check"], labels=["irreversible"]),
    )


@pytest.mark.parametrize("contract", CLOSED, ids=repr)
def test_a_closed_contract_is_a_gate(contract: object) -> None:
    """Numbers, booleans, null and listed values leave no room for a text."""
    assert gated(output_contract=contract) == []


@pytest.mark.parametrize("contract", OPEN, ids=repr)
def test_a_contract_with_room_for_text_is_no_gate(contract: object) -> None:
    """Free text, keys of one's own, and models whose depth is free."""
    assert gated(output_contract=contract) == ["step 'mail' -> step 'check' -> step 'do'"]


@pytest.mark.parametrize("contract", [bool, Verdict])
def test_a_closed_contract_says_nothing_of_writes(contract: object) -> None:
    """What a step writes beside its output is not checked by its output's contract."""
    mail = step("mail", labels=["untrusted"], write_keys=[])
    do = step("do", read_keys=["note"], labels=["irreversible"])
    declared = step("check", read_keys=["mail"], write_keys=["note"], output_contract=contract)
    assert path(mail, declared, do) == ["step 'mail' -> step 'check' -> step 'do'"]
    loose = step("check", read_keys=["mail"], output_contract=contract)
    after = step("do", "check", read_keys=["note"], labels=["irreversible"])
    assert len(path(mail, loose, after)) == 1


def test_a_closed_input_contract_is_no_gate() -> None:
    """It says nothing of what the step returns."""
    assert len(gated(input_contract=Schema({"mail": bool}))) == 1


@pytest.mark.parametrize("gate", ["approval", "declassifier", Gate.APPROVAL, Gate.DECLASSIFIER])
@pytest.mark.parametrize(("source", "sink"), PAIRS)
def test_approval_and_declassifier_are_gates(gate: str, source: str, sink: str) -> None:
    """Of both kinds of data."""
    check = step("check", read_keys=["mail"], write_keys=[], gate=gate)
    assert path(step("mail", labels=[source]), check, step("do", read_keys=["check"], labels=[sink])) == []


def test_a_gate_does_not_clear_what_goes_around_it() -> None:
    """A sink after a gate that may still read the source is refused; read_keys close that way."""
    mail, check = step("mail", labels=["untrusted"]), step("check", "mail", gate="approval")
    assert path(mail, check, step("do", "check", labels=["irreversible"])) == ["step 'mail' -> step 'do'"]
    assert path(mail, check, step("do", read_keys=["check"], labels=["irreversible"])) == []


def test_a_gate_at_the_sink_is_too_late() -> None:
    """It has received the data already."""
    assert len(path(step("mail", labels=["untrusted"]), step("do", "mail", gate="approval", labels=["irreversible"])))


def test_a_source_behind_a_gate_is_a_source_again() -> None:
    """The gate's own label is not cleared."""
    check = step("check", read_keys=["mail"], gate="approval", labels=["untrusted"])
    do = step("do", read_keys=["check"], labels=["irreversible"])
    assert path(step("mail"), check, do) == ["step 'check' -> step 'do'"]


@pytest.mark.parametrize("labels", [["trusted"], [""], ["Untrusted"], "untrusted", ["untrusted", 3]])
def test_unknown_labels_are_config_errors(labels: Any) -> None:
    """Of a step when it is made, of an input when the workflow is."""
    with pytest.raises(ConfigError, match="label"):
        step("a", labels=labels)
    with pytest.raises(ConfigError, match="label"):
        Workflow("w", [step("a")], input_labels={"k": labels})


@pytest.mark.parametrize("sink", ["irreversible", "external", Label.EXTERNAL])
def test_an_input_is_no_sink(sink: str) -> None:
    """Its labels are those of sources."""
    with pytest.raises(ConfigError, match=r"input 'k'.*is not one of \['(untrusted|secret)', '(untrusted|secret)'\]"):
        Workflow("w", [step("a")], input_labels={"k": [sink]})


@pytest.mark.parametrize("gate", ["approved", "", 1, True])
def test_unknown_gates_are_config_errors(gate: Any) -> None:
    """Which one is known is in the message."""
    with pytest.raises(ConfigError, match=r"gate=.* is not one of"):
        step("a", gate=gate)


@pytest.mark.parametrize("by_input", [True, False])
@pytest.mark.parametrize("gate", [None, "approval"])
async def test_a_replan_is_judged_by_the_same_labels(by_input: bool, gate: str | None) -> None:
    """New steps that would open a way are refused and the run fails; with a gate they go on."""
    policy = FailurePolicy(max_retries=0, on_execution_fail=FailureAction.REPLAN)
    steps = [
        step("mail", labels=[] if by_input else ["untrusted"]),
        Step("plan", raises(ValueError), depends_on=["mail"], failure_policy=policy),
    ]
    source = "text" if by_input else "mail"
    workflow = Workflow(
        "w",
        steps,
        planner=lambda request: [
            step("check", read_keys=[source], write_keys=[], gate=gate),
            step("do", read_keys=["check"], labels=["irreversible"]),
        ],
        input_labels={"text": ["untrusted"]} if by_input else {},
    )
    result = await workflow.run({"text": "t"})
    if gate:
        assert result.status is WorkflowStatus.COMPLETE
        assert "do" in result.step_results
    else:
        assert "untrusted data reaches the irreversible step 'do' unchecked" in str(result.error_message)
        assert "do" not in result.step_results
