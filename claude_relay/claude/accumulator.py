"""Assembly of one streamed message from the raw events of the Messages API. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from ..core.lazy_dataclass import dataclass

#: Delta type: the block field that it extends. Other delta types are unknown and ignored.
_TEXTS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


#: Values billed at list price; any other is billed by a factor that the price list does not have.
_LIST_PRICED = {
    "speed": (None, "standard"),
    "service_tier": (None, "standard", "batch"),
    "inference_geo": (None, "", "global", "not_available"),
}

#: Approximate number of characters per output token.
CHARACTERS_PER_TOKEN = 3.5


#: Maximum of a token count that is believed: the sums of many still fit into the integers of a store.
MAX_TOKENS = 10**12


#: Characters of a name.
_NAME = 200


class MalformedStream(Exception):
    """The stream violates the protocol."""


@dataclass
class _Block:
    """
    One block of content.

    Its text is UTF-8 in one buffer while it grows, and a string once it is read: never both, never a list of pieces.
    A string of four bytes a character that is kept beside its parts would take nine times the size of the answer.
    """

    start: dict[str, Any] = field(repr=False)
    written: bytearray = field(default_factory=bytearray, repr=False)
    decoded: str | None = field(default=None, repr=False)
    citations: list[Any] = field(default_factory=list, repr=False)
    signature: str | None = None

    def write(self, piece: str) -> None:
        if self.decoded is not None:
            self.written, self.decoded = bytearray(self.decoded.encode()), None
        self.written += piece.encode("utf-8", "surrogatepass")

    @property
    def text(self) -> str:
        if self.decoded is None:
            try:
                self.decoded = self.written.decode()
            except UnicodeDecodeError:  # surrogates, or halves of them
                text = self.written.decode("utf-8", "surrogatepass")
                if "\ud800" <= text[-1] <= "\udbff":
                    return _whole_characters(text)  # the other half may come
                self.decoded = _whole_characters(text)
            self.written = bytearray()

        return self.decoded

    def assembled(self) -> dict[str, Any]:
        block, text = dict(self.start), self.text
        if self.citations:
            block["citations"] = self.citations
        if self.signature is not None:
            block["signature"] = self.signature
        is_text = block.get("type") in ("text", "thinking")
        if text and not is_text:
            block["input"] = _parsed(text)
        block = _whole_values(block)
        if is_text:
            block[block["type"]] = text

        return block


class MessageAccumulator:
    """
    The message received so far.

    `started`: `message_start` was received, so the input is billed; `began`: Claude has written something, so another
    attempt may be billed twice; `counted`: its final output tokens were reported; `ended`: `message_stop` was received.
    """

    def __init__(self) -> None:
        self.message_id = ""
        self.model = ""
        self.stop_reason: str | None = None
        self.stop_details: Mapping[str, Any] = {}
        self.usage: dict[str, int] = {}
        self.extra_price = False
        self.counted = False
        self.started = self.began = self.ended = False
        self.length = 0
        self.on_text: Callable[[str], None] | None = None  # called with each piece of the text
        self._blocks: dict[int, _Block] = {}
        self._replaced: list[_Block] = []  # by a gateway that begins each block with the same index

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> MessageAccumulator:
        """Read a complete message as if it had been streamed."""
        answer = cls()
        try:
            answer.feed_message(message)
        except (KeyError, TypeError, AttributeError) as exc:
            raise MalformedStream("a message does not have the expected structure") from exc

        return answer

    def feed_message(self, message: Mapping[str, Any]) -> None:
        """Process a complete message: that of a batch, or of a gateway that does not stream."""
        blocks = list(message["content"])
        self.feed({"type": "message_start", "message": message})
        for index, block in enumerate(blocks):
            self.feed({"type": "content_block_start", "index": index, "content_block": block})
        self.feed({"type": "message_delta", "delta": message, "usage": message.get("usage")})
        self.feed({"type": "message_stop"})

    def feed(self, event: Mapping[str, Any]) -> None:
        """Process one event. Unknown events, blocks and deltas are ignored: the API may add new ones at any time."""
        try:
            self._feed(event)
        except (KeyError, TypeError, AttributeError, ValueError) as exc:
            raise MalformedStream(
                f"an event of the type {str(event.get('type'))[:40]!r} does not have the expected structure"
            ) from exc

    def _feed(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            self._delta(self._extended(event), event["delta"])
        elif kind == "content_block_start":
            block = _Block(start=dict(event["content_block"]))
            index = max(self._blocks, default=-1) + 1 if event.get("index") is None else event["index"]
            if (replaced := self._blocks.get(index)) is not None:
                self._replaced.append(replaced)
            self._blocks[index] = block
            if block.start.get("type") in ("text", "thinking"):
                piece = _string(block.start.pop(block.start["type"], ""))
                if piece:
                    self._write(block, piece)
        elif kind == "message_start":
            message = event["message"]
            self.message_id, self.model = _name(message.get("id")), _name(message.get("model"))
            self._count(message.get("usage"))
            self.started = True
        elif kind == "message_delta":
            delta = event["delta"]
            self.stop_reason = _name(delta.get("stop_reason")) or self.stop_reason
            self.stop_details = _whole_values(dict(delta.get("stop_details") or self.stop_details))
            self.counted = "output_tokens" in self._count(event.get("usage"))
        elif kind == "message_stop":
            self.ended = True

    def _extended(self, event: Mapping[str, Any]) -> _Block:
        """The block that a delta extends. Some gateways leave out the index, or the start of a block of text."""
        index = max(self._blocks, default=0) if event.get("index") is None else event["index"]
        following = max(self._blocks, default=-1) + 1
        if index == following and event["delta"]["type"] == "text_delta":
            self._blocks[index] = _Block(start={"type": "text"})

        return self._blocks[index]

    def _delta(self, block: _Block, delta: Mapping[str, Any]) -> None:
        self.began = True
        kind = delta.get("type")
        if kind in _TEXTS:
            self._write(block, _string(delta[_TEXTS[kind]]))
        elif kind == "citations_delta":
            block.citations.append(delta["citation"])
        elif kind == "signature_delta":
            block.signature = _string(delta["signature"])

    def _write(self, block: _Block, piece: str) -> None:
        self.began = True
        self.length += len(piece)
        block.write(piece)
        if block.start.get("type") == "text" and self.on_text is not None:
            self.on_text(piece)

    def _count(self, usage: Any) -> dict[str, int]:
        # The counts are cumulative, so the latest value of each counts. Some gateways send null, texts or nothing.
        if not isinstance(usage, Mapping):
            return {}
        counts = flat_usage(usage)
        self.usage |= counts
        self.extra_price = self.extra_price or not at_list_price(usage)

        return counts

    @property
    def estimated_usage(self) -> dict[str, int]:
        """
        The token counts, with output estimated from the text where it was not reported.

        Output tokens are reported at the end only. For an answer that is in progress or broke off they are estimated
        from its characters, and also given as `estimated_output_tokens`.
        """
        written = math.ceil(self.length / CHARACTERS_PER_TOKEN)
        if self.counted or not self.started or written <= self.usage.get("output_tokens", 0):
            return self.usage

        return self.usage | {"output_tokens": written, "estimated_output_tokens": written}

    @property
    def text(self) -> str:
        """Text of all text blocks."""
        blocks = (*self._replaced, *self._blocks.values())
        texts = [block.text for block in blocks if block.start.get("type") == "text"]

        return texts[0] if len(texts) == 1 else "".join(texts)

    @property
    def complete(self) -> bool:
        """
        Whether the message was received to its end; only then is the call a success.

        A finished answer is worth more than its bookkeeping: its start, counts or a stop reason may be missing.
        """
        return self.ended and bool((self.started and self.stop_reason) or self._blocks)

    @property
    def metered(self) -> bool:
        """Whether its tokens were reported, so that its cost is known."""
        return {"input_tokens", "output_tokens"} <= self.usage.keys()

    @property
    def likely_stop_reason(self) -> str:
        """The stop reason, or the likely one of a complete message without one."""
        asks = any(block.start.get("type") == "tool_use" for block in self._blocks.values())

        return self.stop_reason or ("tool_use" if asks else "end_turn")

    def blocks(self) -> list[dict[str, Any]]:
        """All blocks, in order, in the form in which they may be sent back."""
        return [block.assembled() for block in self._blocks.values()]


def at_list_price(usage: Mapping[str, Any]) -> bool:
    """
    Whether the request is billed at list price.

    False for another speed, region or service tier; if the counts are incomplete, as they leave out the usage of
    another model or of a compaction; and if the request was repriced (`fallback_credit`).
    """
    if (
        any(usage.get(name) not in values for name, values in _LIST_PRICED.items())
        or usage.get("fallback_credit") is not None
    ):
        return False
    parts = usage.get("iterations")

    return not isinstance(parts, list) or all(
        isinstance(part, Mapping) and part.get("type") == "message" for part in parts
    )


def flat_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """Flatten usage to its counts; nested counts keep their own names and are dropped if zero."""
    flat: dict[str, int] = {}
    for key, value in usage.items():
        if isinstance(value, Mapping):
            flat |= {name: count for name, count in flat_usage(value).items() if count}
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS:
            flat[_whole_characters(key)] = value

    return flat


def content_for_callback(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    The blocks other than text.

    Includes thinking blocks only with a tool call, whose result must be sent back together with them.
    """
    others = [block for block in blocks if block.get("type") != "text"]
    if any(block.get("type") == "tool_use" for block in others):
        return others

    return [block for block in others if block.get("type") not in ("thinking", "redacted_thinking")]


def has_more_than_text(blocks: list[dict[str, Any]]) -> bool:
    """Whether an answer is more than its text, so that a later turn must send back all its blocks."""
    return any(block.get("type") != "text" or block.get("citations") for block in blocks)


def _name(value: Any) -> str:
    """An id, a model or a reason of a gateway, as a column and a label can hold it."""
    text = _whole_characters(value[:_NAME]) if isinstance(value, str) else ""

    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def _whole_characters(text: str) -> str:
    """Text whose surrogate pairs are joined, as an emoji may be cut into two events; lone halves are replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    return text


def _whole_values(value: dict[str, Any]) -> dict[str, Any]:
    """The value with `_whole_characters` in every string: no store and no callback can hold half a character."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return value
    whole = _whole_characters(text)

    return value if whole is text else json.loads(whole)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a string was expected, not {type(value).__name__}")

    return value


def _parsed(text: str) -> Any:
    # Truncated JSON input is dropped. Numbers out of range are kept: they fail the check of the whole answer.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}
