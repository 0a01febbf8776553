"""Parsing of request bodies, and the refusals of API version 2026-10-21."""

import base64
import hashlib

import pytest

from claude_relay.claude import request as relay_request
from claude_relay.core.jobs.failure import ErrorType, Repair
from claude_relay.sandbox import request
from claude_relay.sandbox.problem import SANDBOX_NAME, ApiError

NOW = "2026-10-21"
PDF = base64.b64encode(b"%PDF-1.7\n1 0 obj << /Type /Pages /Count 2 >>\n<< /Type /Page >>\n<</Type/Page>>").decode()
PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + (750).to_bytes(4, "big") + (100).to_bytes(4, "big")
).decode()


def a_body(**changes):
    body = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
    return {key: value for key, value in {**body, **changes}.items() if value is not ...}


def a_turn(*blocks, role="user"):
    return {"role": role, "content": list(blocks)}


def text(value="Read this", **more):
    return {"type": "text", "text": value, **more}


def a_pdf(**more):
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, **more}


def refused(body, version=NOW, counting=False):
    with pytest.raises(ApiError) as caught:
        request.parse(body, version=version, counting=counting)
    return caught.value


def test_a_plain_request_is_parsed():
    parsed = request.parse(a_body(stream=True, stop_sequences=["END"]), version=NOW)

    assert (parsed.model, parsed.max_tokens, parsed.stream, parsed.prompt) == ("claude-sonnet-5-5", 100, True, "Hi")
    assert parsed.stop_sequences == ("END",)
    assert parsed.digest == hashlib.sha256(b"Hi").hexdigest()
    assert "Hi" not in repr(parsed)


def test_files_are_counted_in_pages_and_pixels():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    bare = request.parse(a_body(messages=[a_turn(text())]), version=NOW)
    full = request.parse(a_body(messages=[a_turn(a_pdf(), image, text())]), version=NOW)

    assert (full.documents, full.pages, full.images) == (1, 2, 1)
    assert full.input_tokens == bare.input_tokens + 2 * 2000 + 100


def test_the_count_is_the_same_as_the_answers_input():
    parts = {"system": "Be brief", "messages": [a_turn(a_pdf(), text())], "tools": [{"name": "x"}]}

    counted = request.parse(a_body(max_tokens=..., **parts), version=NOW, counting=True)

    assert counted.input_tokens == request.parse(a_body(**parts), version=NOW).input_tokens


def test_directives_are_read_in_the_last_user_turn_only():
    turns = [a_turn(text("[sandbox: refuse]")), a_turn(text("ok"), role="assistant"), a_turn(text("go on"))]

    assert not request.parse(a_body(messages=turns), version=NOW).directives.refuse


def test_a_paused_turn_may_be_sent_back():
    turns = [a_turn(text("[sandbox: pause-turn]")), a_turn(text("half"), role="assistant")]

    assert request.parse(a_body(messages=turns), version=NOW).continuing


def test_the_older_version_still_takes_sampling_parameters():
    assert request.parse(a_body(temperature=0.5), version="2023-06-01").prompt == "Hi"


BAD_SOURCE = {"type": "base64", "media_type": "application/pdf"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"temperature": 0.5}, "temperature: is not supported by API version 2026-10-21"),
        ({"top_p": 0.5}, "top_p: is not supported"),
        ({"top_k": 5}, "top_k: is not supported"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"max_tokens": ...}, "max_tokens: Field required"),
        ({"max_tokens": "100"}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": True}, "max_tokens: Input should be a valid integer"),
        ({"max_tokens": -1}, "max_tokens: Input should be greater"),
        ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000"),
        ({"model": ...}, "model: Field required"),
        ({"stream": "yes"}, "stream: Input should be a valid boolean"),
        ({"system": [{"type": "image"}]}, "system.0.type"),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence"),
        ({"messages": ...}, "messages: Field required"),
        ({"messages": []}, "messages: at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [a_turn()]}, "messages.0.content: must not be empty"),
        ({"messages": [a_turn(text(" "))]}, "messages.0.content.0: text content blocks must contain"),
        ({"messages": [a_turn({"type": "video"})]}, "messages.0.content.0.type: Input tag 'video'"),
        ({"messages": [a_turn(text(citations=[{}]))]}, "messages.0.content.0.citations: must be empty"),
        ({"messages": [a_turn(text()), a_turn(a_pdf(), role="assistant")]}, "messages.1.content.0: document blocks"),
        (
            {"messages": [a_turn(text()), a_turn(text("So"), role="assistant")]},
            "does not support assistant message prefill",
        ),
        ({"messages": [a_turn({"type": "document", "source": {**BAD_SOURCE, "data": "@@"}})]}, "invalid base64 data"),
        ({"messages": [a_turn({"type": "document", "source": {**BAD_SOURCE, "data": "aGk="}})]}, "not valid"),
        ({"messages": [a_turn({"type": "image", "source": {"type": "base64", "media_type": "x"}})]}, "media_type"),
        ({"messages": [a_turn(text("[sandbox: fly]"))]}, "not a directive of the sandbox"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.type: must be one of"),
        ({"output_config": {"effort": "huge"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}, "additionalProperties"),
    ],
)
def test_a_problem_is_a_400_that_names_the_field(changes, says):
    error = refused(a_body(**changes))

    assert (error.status, error.kind) == (400, "invalid_request_error")
    assert says in str(error)


def test_citations_and_a_schema_exclude_each_other():
    wanted = {"format": {"type": "json_schema", "schema": {"type": "string"}}}
    cited = a_turn(a_pdf(citations={"enabled": True}), text())

    assert "citations" in str(refused(a_body(messages=[cited], output_config=wanted)))


def test_too_many_tokens_for_the_model_are_refused():
    long = a_body(model="claude-haiku-4-5", messages=[{"role": "user", "content": "x" * 800_000}])

    assert "prompt is too long" in str(refused(long))


@pytest.mark.parametrize("model", ["claude-unknown-9", "claude-3-5-sonnet-20241022"])
def test_unknown_and_retired_models_are_404(model):
    error = refused(a_body(model=model))

    assert (error.status, error.kind) == (404, "not_found_error")
    assert model in str(error)


@pytest.mark.parametrize("version", ["", "2099-01-01"])
def test_a_version_is_required(version):
    assert "anthropic-version" in str(refused(a_body(), version=version))


def test_a_count_takes_no_max_tokens():
    assert "max_tokens: Extra inputs" in str(refused(a_body(), counting=True))


def test_every_error_names_the_sandbox():
    body = refused(a_body(max_tokens=...)).body("req_1")

    assert body["request_id"] == "req_1"
    assert body["error"]["message"].startswith(SANDBOX_NAME)


def test_a_repair_is_about_the_prompt_of_the_previous_turn():
    """In the relay's own wording, so that a directive of the prompt applies to it, too."""
    turns = [a_turn(text("Hi [sandbox: badjson]")), a_turn(text("{"), role="assistant")]
    repair_request = relay_request.build(
        {"prompt": "Hi"}, model="m", repair=Repair(text="{", problem="it is no JSON", kinds=(ErrorType.SCHEMA,))
    )
    repair, other = (
        request.parse(a_body(messages=[*turns, last]), version=NOW)
        for last in (repair_request.body["messages"][-1], a_turn(text("Go on")))
    )

    assert (repair.repairing, repair.directives.bad_json, repair.prompt) == (True, True, "Hi [sandbox: badjson]")
    assert (other.repairing, other.directives.bad_json) == (False, False)
