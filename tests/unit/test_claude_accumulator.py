"""`MessageAccumulator`: any stream is assembled or malformed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.claude.accumulator import MalformedStream, MessageAccumulator, at_list_price, flat_usage

KINDS = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "news",
)
NAMES = (
    "text",
    "thinking",
    "tool_use",
    "text_delta",
    "input_json_delta",
    "signature_delta",
    "citations_delta",
    "id",
    0,
    1,
)
KEYS = ("type", "id", "model", "usage", "text", "thinking", "partial_json", "signature", "citation", "input_tokens")
leaves = st.sampled_from((None, True, 7, "", "ø", *NAMES))
boxes = st.dictionaries(
    st.sampled_from(KEYS), leaves | st.dictionaries(st.sampled_from(KEYS), leaves, max_size=2), max_size=4
)
fields = {
    name: leaves | boxes | st.lists(leaves, max_size=2)
    for name in ("index", "delta", "content_block", "message", "usage")
}
events = st.fixed_dictionaries({"type": st.sampled_from(KINDS)}, optional=fields)


@given(st.lists(events, max_size=6))
def test_any_stream_is_assembled_or_malformed(stream):
    """The only exception is `MalformedStream`, and the message so far stays readable."""
    answer = MessageAccumulator()
    for event in stream:
        try:
            answer.feed(event)
        except MalformedStream:
            break

    assert isinstance(answer.text, str)
    json.dumps(answer.blocks())
    assert all(isinstance(count, int) for count in answer.usage.values())


@given(st.lists(st.text() | st.sampled_from(["\ud83d", "\ude00", "\U0001f600"])), st.sets(st.integers(0, 9)))
def test_a_text_is_the_same_however_often_it_is_read_on_the_way(pieces, reads):
    """A checkpoint may come between the halves of a surrogate pair."""
    answer = MessageAccumulator()
    answer.feed({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for number, piece in enumerate(pieces):
        answer.feed({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
        if number in reads:
            answer.text.encode()

    whole = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert answer.text == whole == answer.blocks()[0]["text"]
    assert answer.text is answer.blocks()[0]["text"] or not whole or whole[-1] == "\N{REPLACEMENT CHARACTER}"


def test_the_text_of_blocks_with_the_same_index_is_kept():
    """Some gateways begin each block with index 0."""
    answer = MessageAccumulator()
    for piece in ("Once ", "upon ", "a time"):
        answer.feed({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": piece}})

    assert answer.text == "Once upon a time"


def test_truncated_tool_input_is_dropped():
    answer = MessageAccumulator()
    answer.feed({"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "input": {}}})
    answer.feed(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"a'}}
    )

    assert answer.blocks() == [{"type": "tool_use", "input": {}}]


def test_citations_and_text_in_the_start_event_are_kept():
    answer = MessageAccumulator()
    answer.feed({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "One "}})
    answer.feed({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "two"}})
    answer.feed({"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"n": 1}}})

    assert answer.text == "One two"
    assert answer.blocks() == [{"type": "text", "text": "One two", "citations": [{"n": 1}]}]


@pytest.mark.parametrize(
    ("usage", "flat"),
    [
        ({"input_tokens": 1, "service_tier": "standard", "cache_read_input_tokens": None}, {"input_tokens": 1}),
        (
            {"cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2}},
            {"ephemeral_1h_input_tokens": 2},
        ),
        ({"speed": True}, {}),
    ],
)
def test_usage_is_flattened_to_counts(usage, flat):
    assert flat_usage(usage) == flat


@pytest.mark.parametrize(
    ("usage", "listed"),
    [
        ({"input_tokens": 1, "speed": None, "service_tier": None, "inference_geo": None, "iterations": None}, True),
        ({"speed": "standard", "service_tier": "batch", "inference_geo": "not_available"}, True),
        ({"service_tier": "standard", "inference_geo": "global", "iterations": [{"type": "message"}]}, True),
        ({"speed": "fast"}, False),
        ({"service_tier": "priority"}, False),
        ({"inference_geo": "us"}, False),  # a tenth dearer
        ({"iterations": [{"type": "message"}, {"type": "compaction", "input_tokens": 5}]}, False),  # in no other count
        ({"iterations": [{"type": "fallback_message", "model": "claude-opus-5-5"}]}, False),
        ({"fallback_credit": {"status": {"type": "redeemed"}}}, False),
    ],
)
def test_usage_shows_whether_list_price_applies(usage, listed):
    assert at_list_price(usage) is listed


def test_a_name_of_a_gateway_is_one_that_a_label_can_hold() -> None:
    """CASES F8: a model, an id and a reason are short and printable, whatever was sent."""
    answer = MessageAccumulator()
    names = {"id": "msg\x00\n1", "model": "claude\x00-" + "x" * 100_000}
    answer.feed({"type": "message_start", "message": names})
    answer.feed({"type": "message_delta", "delta": {"stop_reason": "end\x1b_turn\ud83d"}})

    assert (answer.message_id, answer.stop_reason) == ("msg1", "end_turn\ufffd")
    assert answer.model.startswith("claude-xxx") and len(answer.model) <= 200
