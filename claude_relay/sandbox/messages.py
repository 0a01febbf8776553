"""The wire format of an answer: the message of a plain response, or the events of a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from claude_relay.sandbox.answers import Answer

Event = Mapping[str, Any]
PING: Event = {"type": "ping"}
_DELTA = 24


def message(answer: Answer) -> dict[str, Any]:
    """The body of a response that is not streamed."""
    return {
        **_envelope(answer),
        "content": [
            *([{"type": "text", "text": answer.text, "citations": None}] if answer.text else []),
            *([answer.tool_use] if answer.tool_use else []),
        ],
        "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence,
        "stop_details": answer.stop_details,
        "usage": _usage(answer, answer.output_tokens),
    }


def events(answer: Answer) -> list[Event]:
    """The events of a stream, from `message_start` to `message_stop`; an empty answer has no content block."""
    start = {
        **_envelope(answer),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": _usage(answer, min(1, answer.output_tokens)),
    }
    delta = {
        "stop_reason": answer.stop_reason,
        "stop_sequence": answer.stop_sequence,
        "stop_details": answer.stop_details,
    }
    usage = {
        "input_tokens": answer.fresh_tokens,
        "cache_creation_input_tokens": answer.cache_usage.written,
        "cache_read_input_tokens": answer.cache_usage.read,
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"thinking_tokens": 0},
    }
    return [
        {"type": "message_start", "message": start},
        *(_block(answer.text) if answer.text else (PING,)),
        *(_tool_block(answer.tool_use, index=1 if answer.text else 0) if answer.tool_use else ()),
        {"type": "message_delta", "delta": delta, "usage": usage},
        {"type": "message_stop"},
    ]


def encode(event: Event) -> bytes:
    """Encode an event as a server-sent event."""
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event['type']}\ndata: {data}\n\n".encode("utf-8", "replace")


def is_text(event: Event) -> bool:
    """Whether the event carries a piece of the answer."""
    return bool(event["type"] == "content_block_delta")


def _block(text: str) -> Iterator[Event]:
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "", "citations": None}}
    yield PING
    for piece in _pieces(text):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
    yield {"type": "content_block_stop", "index": 0}


def _tool_block(tool_use: Mapping[str, Any], index: int) -> Iterator[Event]:
    yield {"type": "content_block_start", "index": index, "content_block": {**tool_use, "input": {}}}
    for piece in _pieces(json.dumps(tool_use["input"], ensure_ascii=False)):
        yield {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": "input_json_delta", "partial_json": piece},
        }
    yield {"type": "content_block_stop", "index": index}


def _pieces(text: str) -> Iterator[str]:
    """Split a text into pieces of a few words, at least two if possible: a stream must have a middle."""
    size = max(1, min(_DELTA, len(text) // 2))
    return (match[0] for match in re.finditer(rf".{{1,{size}}}(?:\S{{0,12}}\s|$)|.{{1,{size}}}", text, re.DOTALL))


def _envelope(answer: Answer) -> dict[str, Any]:
    return {"id": answer.id, "type": "message", "role": "assistant", "model": answer.model, "container": None}


def _usage(answer: Answer, output: int) -> dict[str, Any]:
    cache = answer.cache_usage
    return {
        "input_tokens": answer.fresh_tokens,
        "cache_creation_input_tokens": cache.written,
        "cache_read_input_tokens": cache.read,
        "cache_creation": {
            f"ephemeral_{life}_input_tokens": cache.written if cache.life == life else 0 for life in ("5m", "1h")
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": 0},
        "server_tool_use": None,
        "service_tier": "standard",
        "speed": "standard",
        "inference_geo": None,
    }
