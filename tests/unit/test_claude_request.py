"""Conversion of stored requests to Messages API bodies, and adaptation of schemas."""

import copy
import json

import pytest

from claude_relay.claude import schema
from claude_relay.claude.request import build, with_continuation
from claude_relay.core.jobs.submission import Exchange
from claude_relay.errors import InvalidRequest

MODEL = "claude-sonnet-5-5"
PDF = "JVBERi0xLjQK"
PNG = "iVBORw0KGgoAAAA"
INVOICE = {
    "type": "object",
    "properties": {"number": {"type": "string"}, "total": {"type": "number", "minimum": 0}},
    "required": ["number"],
}


def body(request, **fields):
    return build(request, model=MODEL, **fields).body


def test_a_prompt_becomes_a_user_turn():
    assert body({"prompt": "Hei"}) == {
        "model": MODEL,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "Hei"}],
        "stream": True,
    }


def test_options_map_to_the_fields_of_the_api():
    """A temperature is dropped: the API refuses it."""
    sent = body(
        {"prompt": "Hei", "options": {"maxTokens": 7, "systemPrompt": "Kort.", "effort": "low", "temperature": 0}}
    )

    assert (sent["max_tokens"], sent["system"], sent["output_config"]) == (7, "Kort.", {"effort": "low"})
    assert "temperature" not in sent


def test_the_conversation_so_far_comes_first():
    """Turns, files and answers; an empty answer is left out, because Claude refuses it."""
    history = [
        Exchange(request={"prompt": "A", "files": [{"data": PNG}]}, answer="B"),
        Exchange(request={"messages": [{"role": "user", "content": "C"}]}, answer=" "),
    ]
    source = {"type": "base64", "media_type": "image/png", "data": PNG}

    assert body({"prompt": "D"}, history=history)["messages"] == [
        {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "A"}]},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": "C"},
        {"role": "user", "content": "D"},
    ]


@pytest.mark.parametrize(("earlier_model", "thought_of"), [(MODEL, True), ("claude-opus-5-5", False)])
def test_thinking_blocks_are_sent_back_to_their_own_model_only(earlier_model, thought_of):
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    call = {"type": "tool_use", "id": "t1", "name": "clock", "input": {}}
    request = {"prompt": "A", "options": {"model": earlier_model}}
    history = [Exchange(request=request, answer=[thought, {"type": "text", "text": ""}, call])]

    answer = body({"prompt": "B"}, history=history)["messages"][1]["content"]

    assert answer == ([thought, call] if thought_of else [call])


def test_messages_in_raw_are_the_turns():
    """They replace `messages`, after the conversation so far."""
    raw = {"messages": [{"role": "user", "content": "C"}]}
    history = [Exchange(request={"prompt": "A"}, answer="B")]

    assert [turn["content"] for turn in body({"options": {"raw": raw}}, history=history)["messages"]] == ["A", "B", "C"]
    with pytest.raises(InvalidRequest, match=r"raw\.messages must be a list of turns"):
        body({"options": {"raw": {"messages": ["C"]}}})


def test_files_come_before_the_text():
    files = [
        {"data": PDF, "mediaType": "application/pdf", "name": "faktura.pdf"},
        {"data": PNG},
        {"fileId": "file_1"},
        {"fileId": "file_2", "mediaType": "image/png"},
    ]
    [turn] = body({"prompt": "Les", "files": files})["messages"]

    pdf = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    assert turn["content"] == [
        {"type": "document", "source": pdf, "title": "faktura.pdf"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_2"}},
        {"type": "text", "text": "Les"},
    ]


@pytest.mark.parametrize("content", ["og nå?", [{"type": "text", "text": "og nå?"}]])
def test_files_go_into_the_last_user_turn(content):
    messages = [
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "B"},
        {"role": "user", "content": content},
    ]
    request = {"messages": messages, "files": [{"data": PDF}]}
    kept = copy.deepcopy(request)

    first, _, last = body(request)["messages"]

    assert first == messages[0]
    assert [block["type"] for block in last["content"]] == ["document", "text"]
    assert request == kept


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"prompt": "x", "files": [{"data": "AAAA"}]}, "files[0].mediaType"),
        ({"prompt": "x", "files": [{"data": PDF}, {"url": "https://example.com/a.pdf"}]}, "files[1]"),
        ({"messages": [{"role": "assistant", "content": "x"}], "files": [{"data": PDF}]}, "messages"),
    ],
)
def test_an_unsendable_field_is_named(request_, field):
    with pytest.raises(InvalidRequest) as caught:
        body(request_)

    assert [problem.field for problem in caught.value.problems] == [field]


def test_raw_is_merged_last_and_field_by_field_into_output_config():
    raw = {"max_tokens": 9, "thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}, "stream": False}
    options = {"maxTokens": 7, "effort": "low", "outputSchema": INVOICE, "raw": raw | {"betas": ["a-1", "b-2"]}}
    kept = copy.deepcopy(options)

    plan = build({"prompt": "Hei", "options": options}, model=MODEL)

    assert (plan.body["max_tokens"], plan.body["thinking"], plan.body["stream"]) == (9, {"type": "adaptive"}, True)
    assert plan.body["output_config"]["effort"] == "max"
    assert plan.body["output_config"]["format"]["type"] == "json_schema"
    assert plan.betas == ("a-1", "b-2")
    assert "betas" not in plan.body
    assert options == kept


def test_a_paused_call_is_continued_with_the_answer_so_far():
    blocks = [{"type": "text", "text": "so far"}]
    sent = body({"prompt": "Hei"})

    assert with_continuation(sent, blocks)["messages"][1:] == [{"role": "assistant", "content": blocks}]
    assert with_continuation(sent, [{"type": "text", "text": ""}, *blocks]) == with_continuation(
        sent, blocks
    )  # Claude takes no empty text
    assert len(sent["messages"]) == 1


def test_the_jobs_model_overrides_the_model_in_raw():
    """A retry or a fallback may have changed the model: the ledger and the call must agree."""
    assert body({"prompt": "Hei", "options": {"raw": {"model": "claude-opus-5"}}})["model"] == MODEL


def test_an_output_schema_is_closed_and_unsupported_rules_are_described():
    """What is optional stays optional: a field made required would make Claude invent a value."""
    kept = copy.deepcopy(INVOICE)
    sent = body({"prompt": "Hei", "options": {"outputSchema": INVOICE}})

    assert sent["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"number": {"type": "string"}, "total": {"type": "number", "description": "{minimum: 0}"}},
            "required": ["number"],
            "additionalProperties": False,
        },
    }
    assert kept == INVOICE


def test_every_object_inside_a_schema_is_closed():
    line = {"type": "object", "properties": {"vat": {"type": ["string", "null"], "pattern": "^[0-9]+$"}}}
    wanted = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "lines": {"type": "array", "items": line, "minItems": 2},
            "buyer": {"$ref": "#/$defs/party"},
            "kind": {"enum": ["invoice", "credit"]},
            "due": {"type": "string", "format": "date"},
            "either": {"oneOf": [{"type": "string"}, {"type": "null"}]},
        },
        "$defs": {"party": {"properties": {"name": {"type": "string", "description": "Legal name"}}}},
    }

    assert schema.adapt_schema(wanted) == {
        "type": "object",
        "properties": {
            "lines": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"vat": {"type": ["string", "null"], "description": '{pattern: "^[0-9]+$"}'}},
                    "required": [],
                    "additionalProperties": False,
                },
                "description": "{minItems: 2}",
            },
            "buyer": {"$ref": "#/$defs/party"},
            "kind": {"enum": ["invoice", "credit"]},
            "due": {"type": "string", "format": "date"},
            "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "$defs": {
            "party": {
                "type": "object",
                "properties": {"name": {"type": "string", "description": "Legal name"}},
                "required": [],
                "additionalProperties": False,
            }
        },
        "required": [],
        "additionalProperties": False,
    }


TREE = {
    "type": "object",
    "properties": {"child": {"$ref": "#/$defs/node"}},
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
}


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"type": "object"},
        {"type": "array"},
        {"type": "object", "additionalProperties": {"type": "number"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "number"}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["b"]},
        {"type": "object", "properties": {"a": {}}},
        {"type": "object", "properties": {"a": True}},
        {"enum": [{"a": 1}]},
        {"type": "array", "prefixItems": [{"type": "string"}], "items": {"type": "string"}},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#"},
        {"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}}, {"type": "object"}]},
        TREE,
    ],
)
def test_an_unsupported_schema_is_put_into_the_prompt(wanted):
    """An adapted schema would mean something else; the answer is validated in any case."""
    plan = build({"prompt": "Hei", "options": {"outputSchema": wanted, "systemPrompt": "Kort."}}, model=MODEL)

    assert not plan.native
    assert "output_config" not in plan.body
    assert plan.body["system"].startswith("Kort.\n\n")
    assert plan.body["system"].endswith(json.dumps(wanted))
    assert plan.schema == wanted


@pytest.mark.parametrize(
    "text",
    [
        '{"number": "7"}',
        ' \n{"number": "7"}\n',
        '```json\n{"number": "7"}\n```',
        '```\n{"number": "7"}\n```\n',
        '```JSON\r\n{"number": "7"}\r\n```',
    ],
)
def test_an_answer_is_read_with_or_without_a_fence(text):
    assert schema.parse_answer(text, INVOICE) == {"number": "7"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON (line 1, column 1)"),
        ("Here you are: {}", "not JSON"),
        ('{"number": "7"} and so on', "not JSON (line 1, column 17)"),
        ('{"number": "7", "total": NaN}', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"number": 7}', 'at $.number: {"type": "string"} is not satisfied'),
        ('{"number": "7", "total": -1}', 'at $.total: {"minimum": 0} is not satisfied'),
        ("{}", 'at $: {"required": ["number"]} is not satisfied'),
    ],
)
def test_a_mismatch_names_the_place_but_not_the_value(text, words):
    with pytest.raises(schema.SchemaMismatch) as caught:
        schema.parse_answer(text, INVOICE)

    assert words in str(caught.value)


def test_an_invalid_schema_is_refused_before_the_call():
    with pytest.raises(InvalidRequest, match=r"options\.outputSchema is not a JSON Schema"):
        schema.validate({"type": "number", "minimum": "low"})


def test_a_schema_never_fetches_anything():
    """A `$ref` to a URL is a fault of the schema, never a request from this machine."""
    with pytest.raises(InvalidRequest, match="outputSchema"):
        schema.parse_answer("{}", {"$ref": "http://169.254.169.254/latest/meta-data"})
