"""One answer and its score: events, usage, and what each order does to them."""

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


def the_score(found, *, over=0.0, delay=0.0, trouble=None):
    return response_script.streamed(found, over=over, delay=delay, trouble=trouble, request_id="req_1")


def the_events(score):
    lines = b"".join(step.data for step in score.steps).decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def types(score):
    return [event["type"] for event in the_events(score)]


def the_text(score):
    return "".join(event["delta"]["text"] for event in the_events(score) if event["type"] == "content_block_delta")


def test_a_stream_has_the_events_of_the_real_one():
    score = the_score(answered())
    found = types(score)

    assert found[:3] == ["message_start", "content_block_start", "ping"]
    assert set(found[3:-3]) == {"content_block_delta"}
    assert found[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert score.ending is StreamEnd.WHOLE


def test_a_text_says_that_it_is_the_sandbox_and_echoes_the_topic():
    for prompt in ("What is the capital of Norway?", "[sandbox: say Oslo]", "[sandbox: slow 1s]"):
        assert SIGNATURE in answered(prompt).text

    assert "capital of Norway" in answered().text
    assert answered("[sandbox: say Oslo]").text.startswith("Oslo\n")


def test_the_pieces_make_the_whole_and_usage_agrees_everywhere():
    found = answered("[sandbox: long 300]")
    score = the_score(found)
    first, last = the_events(score)[0]["message"], the_events(score)[-2]

    assert the_text(score) == found.text == message(found)["content"][0]["text"]
    assert first["usage"]["input_tokens"] == last["usage"]["input_tokens"] == found.input_tokens
    assert last["usage"]["output_tokens"] == message(found)["usage"]["output_tokens"] == tokens.of_text(found.text)
    assert len(found.text.split()) == 300


def test_max_tokens_is_honoured():
    found = answered("[sandbox: long 300]", max_tokens=20)

    assert (found.stop_reason, found.output_tokens) == ("max_tokens", 20)
    assert tokens.of_text(found.text) <= 20
    assert answered("[sandbox: long 300]").text.startswith(found.text)


def test_max_tokens_of_nothing_gives_nothing():
    assert message(answered(max_tokens=0))["content"] == []


def test_a_stop_sequence_stops():
    found = answered(stop_sequences=["nowhere", "sandbox", "Claude"])

    assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", "sandbox")
    assert found.text == "This is the claude-relay "


def test_a_refusal_is_empty_and_gives_details():
    found = answered("[sandbox: refuse]")

    assert message(found)["content"] == []
    assert message(found)["stop_details"]["type"] == "refusal"
    assert types(the_score(found)) == ["message_start", "ping", "message_delta", "message_stop"]


@pytest.mark.parametrize(("word", "reason"), [("max-tokens", "max_tokens"), ("pause-turn", "pause_turn")])
def test_half_an_answer_says_why(word, reason):
    assert answered(f"Hello [sandbox: {word}]").stop_reason == reason


def test_a_paused_turn_goes_on_to_its_end():
    turns = [{"role": "user", "content": "Hi [sandbox: pause-turn]"}, {"role": "assistant", "content": "half"}]

    assert answered(messages=turns).stop_reason == "end_turn"


def test_under_a_schema_the_answer_is_json_unless_told_otherwise():
    assert set(json.loads(structured("Read").text)) == {"kid"}
    assert structured('[sandbox: say {"kid": 1}]').text == '{"kid": 1}'
    with pytest.raises(json.JSONDecodeError):
        json.loads(structured("[sandbox: badjson]").text)


def test_slow_spreads_the_text_over_the_time():
    score = the_score(answered(), over=3.0)

    assert sum(step.after for step in score.steps) == pytest.approx(3.0)
    assert len([step for step in score.steps if step.after]) > 2


def test_a_long_pause_is_filled_with_pings():
    score = the_score(answered(), over=600.0)

    assert max(step.after for step in score.steps) <= response_script.PING_EVERY
    assert sum(step.after for step in score.steps) == pytest.approx(600.0)
    assert types(score).count("ping") > 10


@pytest.mark.parametrize(
    ("kind", "ending"),
    [(Kind.BREAK, StreamEnd.CUT), (Kind.END_EARLY, StreamEnd.EARLY), (Kind.STALL, StreamEnd.STALLED)],
)
@pytest.mark.parametrize("prompt", ["What?", "[sandbox: long 500]"])
def test_a_broken_stream_has_some_text_and_no_end(kind, ending, prompt):
    found = answered(prompt)
    score = the_score(found, trouble=Fault(kind=kind))

    assert 0 < len(the_text(score)) < len(found.text)
    assert not {"message_delta", "message_stop"} & set(types(score))
    assert score.ending is ending


def test_a_stall_is_silent_for_its_time():
    score = the_score(answered(), trouble=Fault(kind=Kind.STALL, wait=7.0))

    assert (score.steps[-1].after, score.steps[-1].data) == (7.0, b"")


@pytest.mark.parametrize(("early", "some"), [(True, False), (False, True)])
def test_an_error_event_comes_in_mid_text_or_before_it(early, some):
    score = the_score(answered(), trouble=Fault(kind=Kind.STREAM_ERROR, error="api_error", early=early))
    last = the_events(score)[-1]

    assert (last["type"], last["error"]["type"], last["request_id"]) == ("error", "api_error", "req_1")
    assert bool(the_text(score)) is some
    assert score.ending is StreamEnd.ERROR_EVENT


def test_a_plain_answer_breaks_in_the_middle_of_its_body():
    whole = response_script.plain(answered(), over=0.0, trouble=None)
    broken = response_script.plain(answered(), over=0.0, trouble=Fault(kind=Kind.BREAK))

    assert whole.length == len(whole.steps[0].data)
    assert broken.length == whole.length > len(broken.steps[0].data)


@pytest.mark.parametrize(
    ("trouble", "status", "kind", "code", "retry_after"),
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
def test_an_error_status_has_its_type(trouble, status, kind, code, retry_after):
    error = response_script.refusal(trouble, now=0.0)

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


def test_tries_start_again_once_a_prompt_went_through():
    books = CallLog()

    assert [books.attempt("a"), books.attempt("a"), books.attempt("b")] == [1, 2, 1]
    books.record_success("a")
    assert books.attempt("a") == 1


def test_a_minute_s_use_is_forgotten_with_the_minute():
    books = CallLog()
    books.spend(0.0, calls=1, read=10)

    assert books.spend(59.0, calls=1, written=5) == (2, 10, 5)
    assert books.spend(60.0) == (0, 0, 0)


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
    found = answer(request.parse(body, version="2026-10-21"), message_id="msg_sandbox_1")
    streamed = "".join(
        event["delta"]["partial_json"] for event in events(found) if event.get("delta", {}).get("partial_json")
    )

    assert (found.stop_reason, found.tool_use["name"], found.tool_use["id"]) == ("tool_use", "b", "toolu_sandbox_1")
    assert json.loads(streamed) == found.tool_use["input"] and set(found.tool_use["input"]) == {"city"}
    assert message(found)["content"][-1] == found.tool_use
    with pytest.raises(ApiError, match="none of them is c"):
        request.parse(body | {"messages": [{"role": "user", "content": "[sandbox: tool c]"}]}, version="2026-10-21")


@pytest.mark.parametrize(("order", "mended"), [("badjson", False), ("badjson 1", True)])
def test_bad_json_may_be_mended(order, mended):
    said = [{"role": "user", "content": f"Hi [sandbox: {order}]"}, {"role": "assistant", "content": "{"}]
    turns = [*said, {"role": "user", "content": f"{request.REPAIR} no"}]
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    first, second = (answered(messages=messages, output_config=config) for messages in (said[:1], turns))

    with pytest.raises(ValueError):
        json.loads(first.text)
    assert is_json(second.text) is mended


def is_json(words):
    try:
        json.loads(words)
    except ValueError:
        return False
    return True
