"""What the sandbox says to an `Ask`: the text or the JSON, why it stopped, and what it weighs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_relay.sandbox import directives, tokens
from claude_relay.sandbox.cache import NONE, Cached
from claude_relay.sandbox.request import MessageRequest
from claude_relay.sandbox.schema_faker import fake_value

SIGNATURE = "This is the claude-relay sandbox speaking, not Claude."
_TOPIC = 80
_FILLER = (
    "The claude-relay sandbox writes these words because the prompt asked for a long answer; "
    "they mean nothing and they do not come from Claude."
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer, whole: how it travels is decided elsewhere."""

    id: str
    model: str
    text: str = field(repr=False)
    stop_reason: str
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    input_tokens: int
    output_tokens: int
    cached: Cached = NONE
    tool_use: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def fresh_tokens(self) -> int:
        """Input that was neither read from the cache nor written into it."""
        return max(0, self.input_tokens - self.cached.read - self.cached.written)


def answer(ask: MessageRequest, *, message_id: str) -> Answer:
    """The answer to a request; the same request is always answered with the same text."""
    orders = ask.orders
    if orders.refuse:
        return Answer(
            id=message_id,
            model=ask.model,
            text="",
            stop_reason="refusal",
            stop_details={
                "type": "refusal",
                "category": "general_harms",
                "explanation": "The claude-relay sandbox was told to refuse; Claude has not seen this request.",
            },
            input_tokens=ask.input_tokens,
            output_tokens=1,
        )

    text, stop_reason = _text(ask), "end_turn"
    if orders.cut_short or (orders.pause_turn and not ask.continuing):
        text = text[: max(1, len(text) // 2)]
        stop_reason = "max_tokens" if orders.cut_short else "pause_turn"

    tool_use = None
    if ask.tool is not None:
        stop_reason, tool_use = "tool_use", _tool_use(ask, ask.tool, message_id)

    stop_sequence = _first_of(text, ask.stop_sequences)
    if stop_sequence is not None:
        text, stop_reason = text[: text.index(stop_sequence)], "stop_sequence"

    weight = tokens.of_text(text)
    if weight > ask.max_tokens:
        text, weight, stop_reason, stop_sequence = tokens.cut(text, ask.max_tokens), ask.max_tokens, "max_tokens", None
    return Answer(
        id=message_id,
        model=ask.model,
        text=text,
        stop_reason=stop_reason,
        stop_sequence=stop_sequence,
        input_tokens=ask.input_tokens,
        output_tokens=weight + (tokens.of_text(json.dumps(tool_use)) if tool_use else 0),
        tool_use=tool_use,
    )


def _tool_use(ask: MessageRequest, tool: Mapping[str, Any], message_id: str) -> dict[str, Any]:
    identity = message_id.replace("msg_", "toolu_")
    return {
        "type": "tool_use",
        "id": identity,
        "name": tool["name"],
        "input": fake_value(tool["input_schema"], ask.digest),
    }


def _text(ask: MessageRequest) -> str:
    orders = ask.orders
    if ask.schema is not None:
        if orders.say is not None:
            return orders.say
        made = json.dumps(fake_value(ask.schema, ask.digest), ensure_ascii=False)
        bad = orders.bad_json and not (ask.repairing and orders.bad_times == 1)
        return made[:-1] + ', "sandbox' if bad else made
    if orders.say is not None:
        return f"{orders.say}\n\n{SIGNATURE}"
    if orders.long is not None:
        return _long(orders.long)
    return f"{SIGNATURE} {_about(ask)}"


def _about(ask: MessageRequest) -> str:
    """A sentence that shows what arrived: the beginning of the prompt, and the files."""
    topic = directives.without_directives(ask.prompt)
    shown = topic if len(topic) <= _TOPIC else topic[:_TOPIC].rsplit(" ", 1)[0] + " …"
    asked = f"It was asked: “{shown}”" if shown else "It was asked nothing but to behave in a certain way"
    with_files = _files(ask)
    return f"{asked}{f', with {with_files}' if with_files else ''}. With a real key Claude's own answer stands here."


def _files(ask: MessageRequest) -> str:
    parts = []
    if ask.documents:
        pages = f" of {ask.pages} page{'s' * (ask.pages != 1)} in all" if ask.pages else ""
        parts.append(f"{ask.documents} document{'s' * (ask.documents != 1)}{pages}")
    if ask.images:
        parts.append(f"{ask.images} image{'s' * (ask.images != 1)}")
    return " and ".join(parts)


def _long(count: int) -> str:
    words_of_it = _FILLER.split()
    return " ".join(words_of_it[index % len(words_of_it)] for index in range(count))


def _first_of(text: str, sequences: tuple[str, ...]) -> str | None:
    found = [sequence for sequence in sequences if sequence in text]
    return min(found, key=text.index) if found else None
