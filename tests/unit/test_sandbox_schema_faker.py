"""Structured output: every accepted schema gets a value that validates against it."""

import json
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from claude_relay.sandbox import schema
from claude_relay.sandbox.problem import ApiError
from claude_relay.sandbox.schema_faker import fake_value


def an_object(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def filled(node, seed="a prompt"):
    schema.check(node, where="schema")
    value = fake_value(node, seed)
    Draft202012Validator(node, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)
    return value


@st.composite
def numbers(draw):
    kind = draw(st.sampled_from(["integer", "number"]))
    low = draw(st.integers(-1000, 1000))
    node = {"type": kind}
    if draw(st.booleans()):
        node[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        node[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + draw(st.integers(20, 500))
    if draw(st.booleans()):
        node["multipleOf"] = draw(st.sampled_from([1, 2, 5, 7] if kind == "integer" else [1, 5, 0.01, 0.1, 0.25, 2.5]))
    return node


@st.composite
def strings(draw):
    node = {"type": draw(st.sampled_from(["string", ["string", "null"], ["null", "string"]]))}
    choice = draw(st.sampled_from(["plain", "format", "pattern", "length", "enum", "const"]))
    if choice == "format":
        node["format"] = draw(st.sampled_from(["date", "date-time", "time", "email", "uri", "uuid", "ipv4", "ipv6"]))
    elif choice == "pattern":
        node["pattern"] = draw(
            st.sampled_from([r"^\d{9}$", r"^[A-Z]{2}\d{2}-[a-f]+$", r"^(NO|SE)\d{3,5}$", r"^[^,]{3}(x|y)?$", r"\.pdf$"])
        )
    elif choice == "length":
        node["minLength"] = draw(st.integers(0, 200))
        node["maxLength"] = node["minLength"] + draw(st.integers(0, 10))
    elif choice == "enum":
        node["enum"] = ["NOK", "EUR", "SEK"]
    elif choice == "const":
        node["const"] = "invoice"
    return node


NAMES = st.sampled_from(
    ["belop", "fakturaDato", "kid", "mvaSats", "antall", "postnr", "navn", "linjer", "year", "isPaid", "orgnr", "total"]
)
LEAVES = st.one_of(numbers(), strings(), st.just({"type": "boolean"}), st.just({"type": "null"}), st.just({}))


def _branches(children):
    objects = st.dictionaries(NAMES, children, max_size=4).map(lambda fields: an_object(**fields))
    arrays = st.builds(
        lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
        children,
        st.integers(0, 4),
        st.integers(0, 3),
    )
    either = st.builds(lambda node: {"anyOf": [{"type": "null"}, node]}, children)
    both = st.builds(lambda node: {"allOf": [node, {"description": "…"}]}, children)
    return st.one_of(objects, arrays, either, both)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.recursive(LEAVES, _branches, max_leaves=12), st.text(max_size=5))
def test_every_accepted_schema_gets_a_valid_value(node, seed):
    filled(an_object(root=node), seed)


def test_a_flat_schema_of_133_fields_is_filled_completely():
    node = an_object(**{f"felt{index}Belop": {"type": ["number", "null"]} for index in range(133)})

    value = filled(node)

    assert len(value) == 133
    assert all(isinstance(item, float) for item in value.values())


def test_the_same_prompt_gives_the_same_values_and_another_gives_others():
    node = an_object(fakturanr={"type": "string"}, belop={"type": "number"})

    assert filled(node, "one") == filled(node, "one")
    assert filled(node, "one") != filled(node, "two")


def test_a_new_field_does_not_change_the_others():
    before = filled(an_object(belop={"type": "number"}))
    after = filled(an_object(kid={"type": "string"}, belop={"type": "number"}))

    assert after["belop"] == before["belop"]


@pytest.mark.parametrize(
    ("node", "pattern"),
    [
        ({"enum": ["a", None]}, r'"a"'),
        ({"type": "string", "pattern": r"^\d{4}$"}, r'"\d{4}"'),
        ({"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3}, r"\[.*\]"),
        (
            {"type": "array", "prefixItems": [{"const": 1}, {"const": "x"}], "items": False, "minItems": 2},
            r'\[1, "x"\]',
        ),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, r"\d+"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5}, r"0\.\d+"),
        ({"allOf": [{"type": "integer", "minimum": 7}, {"type": "number", "maximum": 9}]}, r"[789]"),
        ({"type": "number", "multipleOf": 0.1, "minimum": 0.3, "maximum": 0.65}, r"0\.\d"),
        ({"type": "string", "format": "uuid"}, r'"[0-9a-f-]{36}"'),
    ],
)
def test_keywords_are_respected(node, pattern):
    assert re.fullmatch(pattern, json.dumps(filled(an_object(x=node))["x"]))


def test_references_are_followed_and_circular_ones_end():
    node = {
        **an_object(tree={"$ref": "#/$defs/node"}),
        "$defs": {
            "node": an_object(
                name={"type": "string"},
                left={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                children={"type": "array", "items": {"$ref": "#/$defs/node"}},
            )
        },
    }

    assert filled(node)["tree"]["left"]["left"] is None


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"type": "object", "properties": {}}, "'additionalProperties' must be explicitly set to false"),
        (an_object(x={"type": "object", "additionalProperties": True}), "schema.properties.x: For 'object'"),
        (an_object(x={"type": "text"}), "schema.properties.x.type: must be one of"),
        (an_object(x={"$ref": "https://example.com/x"}), "only references within"),
        (an_object(x={"$ref": "#/$defs/none"}), "has no target"),
        (an_object(x={"not": {"type": "string"}}), "'not' is not supported"),
        (an_object(x={"pattern": "("}), "is not a valid regular expression"),
        (an_object(x={"type": "array", "minItems": 10**9}), "up to 1000"),
        (an_object(x={"enum": []}), "at least one value"),
        (an_object(x="string"), "Input should be a schema object"),
        ({"$ref": "#"}, "without an end"),
        (an_object(x={"$ref": "#/properties/x"}), "without an end"),
        (an_object(x={"allOf": [{"type": "string"}, {"type": "integer"}]}), "disagree about the type"),
        (an_object(x={"type": "integer", "minimum": 5, "maximum": 4}), "no number"),
    ],
)
def test_an_unsupported_keyword_is_refused_by_name(node, says):
    with pytest.raises(ApiError) as caught:
        filled(node)

    assert caught.value.status == 400
    assert says in str(caught.value)


def test_a_deep_schema_is_refused_without_a_recursion_error():
    node = {"type": "string"}
    for _ in range(90):
        node = an_object(x=node)

    with pytest.raises(ApiError, match="too deeply"):
        filled(node)


def test_a_pattern_that_backtracks_exponentially_is_given_up():
    """The error says that no string was generated: 60 attempts of at most a tenth of a second."""
    schema_ = an_object(text={"type": "string", "pattern": r"^(\w|\w\w)+$(?!x)\b!", "minLength": 60})
    began = time.thread_time()
    with pytest.raises(ApiError):
        fake_value(schema_, "a prompt")

    assert time.thread_time() - began < 30
