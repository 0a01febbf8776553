"""The answer of the sandbox to a request: its text or JSON, its stop reason, and its tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claude_relay.sandbox import attached_answer, tokens
from claude_relay.sandbox.cache import NO_CACHE_USAGE, CacheUsage
from claude_relay.sandbox.directives import without_directives
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
    """One complete answer; `response_script` decides how it is sent."""

    id: str
    model: str
    text: str = field(repr=False)
    stop_reason: str
    stop_sequence: str | None = None
    stop_details: Mapping[str, Any] | None = None
    input_tokens: int
    output_tokens: int
    cache_usage: CacheUsage = NO_CACHE_USAGE
    tool_use: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def fresh_tokens(self) -> int:
        """Input tokens that were neither read from the cache nor written to it."""
        return max(0, self.input_tokens - self.cache_usage.read - self.cache_usage.written)


def answer(request: MessageRequest, *, message_id: str) -> Answer:
    """The answer to a request; the same request is always answered with the same text."""
    directives = request.directives
    if directives.refuse:
        return Answer(
            id=message_id,
            model=request.model,
            text="",
            stop_reason="refusal",
            stop_details={
                "type": "refusal",
                "category": "general_harms",
                "explanation": "The claude-relay sandbox was told to refuse; Claude has not seen this request.",
            },
            input_tokens=request.input_tokens,
            output_tokens=1,
        )

    text, stop_reason = _text(request), "end_turn"
    if directives.cut_short or (directives.pause_turn and not request.continuing):
        text = text[: max(1, len(text) // 2)]
        stop_reason = "max_tokens" if directives.cut_short else "pause_turn"

    tool_use = None
    if request.tool is not None:
        stop_reason, tool_use = "tool_use", _tool_use(request, request.tool, message_id)

    stop_sequence = _first_of(text, request.stop_sequences)
    if stop_sequence is not None:
        text, stop_reason = text[: text.index(stop_sequence)], "stop_sequence"

    weight = tokens.of_text(text)
    if weight > request.max_tokens:
        text, weight, stop_reason, stop_sequence = (
            tokens.cut(text, request.max_tokens),
            request.max_tokens,
            "max_tokens",
            None,
        )
    return Answer(
        id=message_id,
        model=request.model,
        text=text,
        stop_reason=stop_reason,
        stop_sequence=stop_sequence,
        input_tokens=request.input_tokens,
        output_tokens=weight + (tokens.of_text(json.dumps(tool_use)) if tool_use else 0),
        tool_use=tool_use,
    )


def _tool_use(request: MessageRequest, tool: Mapping[str, Any], message_id: str) -> dict[str, Any]:
    identity = message_id.replace("msg_", "toolu_")
    return {
        "type": "tool_use",
        "id": identity,
        "name": tool["name"],
        "input": fake_value(tool["input_schema"], request.digest),
    }


def _text(request: MessageRequest) -> str:
    directives = request.directives
    if request.schema is not None:
        if directives.say is not None:
            return directives.say
        value = fake_value(request.schema, request.digest)
        if request.attached is not None:
            value = attached_answer.fill(value, request.schema, request.attached, repairing=request.repairing)
        text = json.dumps(value, ensure_ascii=False)
        bad = directives.bad_json and not (request.repairing and directives.bad_times == 1)
        return text[:-1] + ', "sandbox' if bad else text
    if directives.say is not None:
        return f"{directives.say}\n\n{SIGNATURE}"
    if directives.long is not None:
        return _long(directives.long)
    return f"{SIGNATURE} {_about(request)}"


def _about(request: MessageRequest) -> str:
    """A sentence that shows the beginning of the prompt and the number of files."""
    topic = without_directives(request.prompt)
    shown = topic if len(topic) <= _TOPIC else topic[:_TOPIC].rsplit(" ", 1)[0] + " …"
    asked = f"It was asked: “{shown}”" if shown else "It was asked nothing but to behave in a certain way"
    with_files = _files(request)
    return f"{asked}{f', with {with_files}' if with_files else ''}. With a real key Claude's own answer stands here."


def _files(request: MessageRequest) -> str:
    parts = []
    if request.documents:
        pages = f" of {request.pages} page{'s' * (request.pages != 1)} in all" if request.pages else ""
        parts.append(f"{request.documents} document{'s' * (request.documents != 1)}{pages}")
    if request.images:
        parts.append(f"{request.images} image{'s' * (request.images != 1)}")
    return " and ".join(parts)


def _long(count: int) -> str:
    words = _FILLER.split()
    return " ".join(words[index % len(words)] for index in range(count))


def _first_of(text: str, sequences: tuple[str, ...]) -> str | None:
    matches = [sequence for sequence in sequences if sequence in text]
    return min(matches, key=text.index) if matches else None
