"""Answers and their response scripts: events, usage, and the effect of each directive."""

import json
from dataclasses import replace

import pytest

from claude_relay.sandbox import request, response_script, tokens
from claude_relay.sandbox.answers import SIGNATURE, answer
from claude_relay.sandbox.call_log import MOST_CALLS, Call, CallLog
from claude_relay.sandbox.directive_types import Fault, Kind
from claude_relay.sandbox.headers import rate_limits
from claude_relay.sandbox.messages import events, message
from claude_relay.sandbox.problem import ApiError
from claude_relay.sandbox.response_script import StreamEnd

SCHEMA = {"type": "object", "properties": {"kid": {"type": "string"}}, "additionalProperties": False}


def asked(prompt="What is the capital of Norway?", **changes):
    body = {"model": "claude-sonnet-5-5", "max_tokens": 4096, "messages": [{"role": "user", "content": prompt}]}
    return request.parse({**body, **changes}, version="2026-10-21")


def answered(prompt="What is the capital of Norway?", **changes):
    return answer(asked(prompt, **changes), message_id="msg_sandbox_1")


def structured(prompt):
    return answered(prompt, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})


def script_of(reply, *, over=0.0, delay=0.0, fault=None):
    return response_script.streamed(reply, over=over, delay=delay, fault=fault, request_id="req_1")


def events_of(script):
    lines = b"".join(step.data for step in script.steps).decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def types(script):
    return [event["type"] for event in events_of(script)]


def text_of(script):
    return "".join(event["delta"]["text"] for event in events_of(script) if event["type"] == "content_block_delta")


def test_a_stream_has_events_of_of_the_real_one():
    script = script_of(answered())
    reply = types(script)

    assert reply[:3] == ["message_start", "content_block_start", "ping"]
    assert set(reply[3:-3]) == {"content_block_delta"}
    assert reply[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert script.ending is StreamEnd.COMPLETE


def test_a_text_names_the_sandbox_and_echoes_the_topic():
    for prompt in ("What is the capital of Norway?", "[sandbox: say Oslo]", "[sandbox: slow 1s]"):
        assert SIGNATURE in answered(prompt).text

    assert "capital of Norway" in answered().text
    assert answered("[sandbox: say Oslo]").text.startswith("Oslo\n")


def test_the_pieces_join_to_the_answer_and_usage_agrees_everywhere():
    reply = answered("[sandbox: long 300]")
    script = script_of(reply)
    first, last = events_of(script)[0]["message"], events_of(script)[-2]

    assert text_of(script) == reply.text == message(reply)["content"][0]["text"]
    assert first["usage"]["input_tokens"] == last["usage"]["input_tokens"] == reply.input_tokens
    assert last["usage"]["output_tokens"] == message(reply)["usage"]["output_tokens"] == tokens.of_text(reply.text)
    assert len(reply.text.split()) == 300


def test_max_tokens_is_honoured():
    reply = answered("[sandbox: long 300]", max_tokens=20)

    assert (reply.stop_reason, reply.output_tokens) == ("max_tokens", 20)
    assert tokens.of_text(reply.text) <= 20
    assert answered("[sandbox: long 300]").text.startswith(reply.text)


def test_max_tokens_of_zero_gives_an_empty_answer():
    assert message(answered(max_tokens=0))["content"] == []


def test_a_stop_sequence_stops():
    reply = answered(stop_sequences=["nowhere", "sandbox", "Claude"])

    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "sandbox")
    assert reply.text == "This is the claude-relay "


def test_a_refusal_is_empty_and_gives_details():
    reply = answered("[sandbox: refuse]")

    assert message(reply)["content"] == []
    assert message(reply)["stop_details"]["type"] == "refusal"
    assert types(script_of(reply)) == ["message_start", "ping", "message_delta", "message_stop"]


@pytest.mark.parametrize(("word", "reason"), [("max-tokens", "max_tokens"), ("pause-turn", "pause_turn")])
def test_half_an_answer_has_its_stop_reason(word, reason):
    assert answered(f"Hello [sandbox: {word}]").stop_reason == reason


def test_a_paused_turn_goes_on_to_its_end():
    turns = [{"role": "user", "content": "Hi [sandbox: pause-turn]"}, {"role": "assistant", "content": "half"}]

    assert answered(messages=turns).stop_reason == "end_turn"


def test_under_a_schema_the_answer_is_json_unless_a_directive_says_otherwise():
    assert set(json.loads(structured("Read").text)) == {"kid"}
    assert structured('[sandbox: say {"kid": 1}]').text == '{"kid": 1}'
    with pytest.raises(json.JSONDecodeError):
        json.loads(structured("[sandbox: badjson]").text)


def test_slow_spreads_text_of_over_the_time():
    script = script_of(answered(), over=3.0)

    assert sum(step.pause for step in script.steps) == pytest.approx(3.0)
    assert len([step for step in script.steps if step.pause]) > 2


def test_a_long_pause_is_filled_with_pings():
    script = script_of(answered(), over=600.0)

    assert max(step.pause for step in script.steps) <= response_script.PING_EVERY
    assert sum(step.pause for step in script.steps) == pytest.approx(600.0)
    assert types(script).count("ping") > 10


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(Kind.BREAK, StreamEnd.CUT), (Kind.END_EARLY, StreamEnd.EARLY), (Kind.STALL, StreamEnd.STALLED)],
)
@pytest.mark.parametrize("prompt", ["What?", "[sandbox: long 500]"])
def test_a_broken_stream_has_some_text_and_no_end(kind, ending, prompt):
    reply = answered(prompt)
    script = script_of(reply, fault=Fault(kind=kind))

    assert 0 < len(text_of(script)) < len(reply.text)
    assert not {"message_delta", "message_stop"} & set(types(script))
    assert script.ending is ending


def test_a_stall_is_silent_for_its_time():
    script = script_of(answered(), fault=Fault(kind=Kind.STALL, wait=7.0))

    assert (script.steps[-1].pause, script.steps[-1].data) == (7.0, b"")


@pytest.mark.parametrize(("early", "some"), [(True, False), (False, True)])
def test_an_error_event_comes_in_mid_text_or_before_it(early, some):
    script = script_of(answered(), fault=Fault(kind=Kind.STREAM_ERROR, error="api_error", early=early))
    last = events_of(script)[-1]

    assert (last["type"], last["error"]["type"], last["request_id"]) == ("error", "api_error", "req_1")
    assert bool(text_of(script)) is some
    assert script.ending is StreamEnd.ERROR_EVENT


def test_a_plain_answer_breaks_in_the_middle_of_its_body():
    complete = response_script.plain(answered(), over=0.0, fault=None)
    broken = response_script.plain(answered(), over=0.0, fault=Fault(kind=Kind.BREAK))

    assert complete.length == len(complete.steps[0].data)
    assert broken.length == complete.length > len(broken.steps[0].data)


@pytest.mark.parametrize(
    ("fault", "status", "kind", "code", "retry_after"),
    [
        (Fault(kind=Kind.ERROR), 529, "overloaded_error", None, None),
        (Fault(kind=Kind.ERROR, status=402), 402, "billing_error", None, None),
        (Fault(kind=Kind.ERROR, status=503), 503, "api_error", None, None),
        (Fault(kind=Kind.ERROR, status=418), 418, "invalid_request_error", None, None),
        (Fault(kind=Kind.RATE_LIMIT), 429, "rate_limit_error", None, "1"),
        (Fault(kind=Kind.RATE_LIMIT, wait=0.25), 429, "rate_limit_error", None, "0.25"),
        (Fault(kind=Kind.SPEND_LIMIT), 429, "rate_limit_error", "enforced_spend_limit_reached", None),
    ],
)
def test_an_error_status_has_its_type(fault, status, kind, code, retry_after):
    error = response_script.refusal(fault, now=0.0)

    assert (error.status, error.kind, error.code) == (status, kind, code)
    assert error.headers.get("retry-after") == retry_after


def test_a_spend_limit_names_the_date_it_lifts():
    december = 1797000000.0  # 2026-12-11

    assert "2027-01-01" in str(response_script.refusal(Fault(kind=Kind.SPEND_LIMIT), now=december))


def test_rate_limit_headers_show_what_is_left_and_when_it_comes_back():
    free = rate_limits((1, 1000, 50), 0.0)
    none = rate_limits((1, 1000, 50), 0.0, "3")

    assert free["anthropic-ratelimit-requests-remaining"] == "3999"
    assert free["anthropic-ratelimit-tokens-remaining"] == str(2_400_000 - 1050)
    assert none["anthropic-ratelimit-tokens-remaining"] == "0"
    assert none["anthropic-ratelimit-tokens-reset"] == "1970-01-01T00:00:03Z"


def test_attempts_start_again_once_a_prompt_was_answered():
    books = CallLog()

    assert [books.next_attempt("a"), books.next_attempt("a"), books.next_attempt("b")] == [1, 2, 1]
    books.record_success("a")
    assert books.next_attempt("a") == 1


def test_usage_starts_from_zero_every_minute():
    books = CallLog()
    books.add_usage(0.0, calls=1, read=10)

    assert books.add_usage(59.0, calls=1, written=5) == (2, 10, 5)
    assert books.add_usage(60.0) == (0, 0, 0)


def test_the_books_are_bounded():
    books = CallLog()
    for number in range(MOST_CALLS + 5):
        books.open(Call(time=number, path="/", request_id=str(number)))

    assert len(books.calls()) == MOST_CALLS
    assert books.calls()[0]["request_id"] == "5"


def test_an_answer_does_not_show_its_text_in_its_repr():
    assert "Norway" not in repr(replace(answered()))


def test_a_tool_is_asked_for_with_input_that_fits_its_schema():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    body = {
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi [sandbox: tool b]"}],
        "tools": [{"name": "a", "input_schema": {}}, {"name": "b", "input_schema": schema}],
    }
    reply = answer(request.parse(body, version="2026-10-21"), message_id="msg_sandbox_1")
    streamed = "".join(
        event["delta"]["partial_json"] for event in events(reply) if event.get("delta", {}).get("partial_json")
    )

    assert (reply.stop_reason, reply.tool_use["name"], reply.tool_use["id"]) == ("tool_use", "b", "toolu_sandbox_1")
    assert json.loads(streamed) == reply.tool_use["input"] and set(reply.tool_use["input"]) == {"city"}
    assert message(reply)["content"][-1] == reply.tool_use
    with pytest.raises(ApiError, match="none of them is c"):
        request.parse(body | {"messages": [{"role": "user", "content": "[sandbox: tool c]"}]}, version="2026-10-21")


@pytest.mark.parametrize(("directive", "repaired"), [("badjson", False), ("badjson 1", True)])
def test_bad_json_may_be_repaired(directive, repaired):
    first_turns = [{"role": "user", "content": f"Hi [sandbox: {directive}]"}, {"role": "assistant", "content": "{"}]
    turns = [*first_turns, {"role": "user", "content": f"{request.REPAIR} no"}]
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    first, second = (answered(messages=messages, output_config=config) for messages in (first_turns[:1], turns))

    with pytest.raises(ValueError):
        json.loads(first.text)
    assert is_json(second.text) is repaired


def is_json(text):
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
