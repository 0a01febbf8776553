"""
Parsing of a request body, with the refusals of API version 2026-10-21.

It checks frequent mistakes and the cases that the relay must handle; everything else is accepted. Tools are accepted
and counted, and used only where a directive says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_relay.sandbox import blocks, cache, models, schema, tokens
from claude_relay.sandbox.directive_types import Directives
from claude_relay.sandbox.directives import InvalidDirective
from claude_relay.sandbox.directives import parse as parse_directives
from claude_relay.sandbox.problem import ApiError, invalid

VERSIONS = ("2026-10-21", "2023-06-01")
SAMPLING = ("temperature", "top_p", "top_k")
#: The beginning of the relay's repair request: the prompt, and its directives, are then in the user turn before it.
REPAIR = "That answer could not be used:"
EFFORTS = ("low", "medium", "high", "xhigh", "max")

_SHARED = {
    *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config", "cache_control", "speed"),
    *("context_management", "mcp_servers", "container", "thread"),
}
_CREATE_ONLY = {
    *("max_tokens", "stream", "stop_sequences", "metadata", "service_tier", "inference_geo", "diagnostics"),
    *("billing_policy", "compaction", "fallbacks", "fallback_credit_token", "user_profile_id"),
}


@dataclass(frozen=True, kw_only=True)
class MessageRequest:
    """One parsed request, from which the answer is made."""

    model: str
    max_tokens: int
    stream: bool
    prompt: str = field(repr=False)
    directives: Directives = field(repr=False)
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    stop_sequences: tuple[str, ...] = field(default=(), repr=False)
    input_tokens: int
    documents: int = 0
    pages: int = 0
    images: int = 0
    attached: Mapping[str, Any] | None = field(default=None, repr=False)  # the answers that a PDF brings along
    continuing: bool = False
    repairing: bool = False  # whether the relay asks for a repair of an answer that did not fit
    tool: Mapping[str, Any] | None = field(default=None, repr=False)  # the tool that the answer uses
    prefixes: tuple[cache.Prefix, ...] = field(default=(), repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 by which the books identify a prompt."""
        return hashlib.sha256(self.prompt.encode("utf-8", "surrogatepass")).hexdigest()


def parse(
    body: Mapping[str, Any], *, version: str, counting: bool = False, find_file: blocks.FindFile = blocks.no_files
) -> MessageRequest:
    """Read the body of `/v1/messages`, or with `counting` of `/v1/messages/count_tokens`."""
    check_version(version)
    _check_fields(body, version, counting)
    model = models.usable(_text(body, "model"))
    max_tokens = model.output if counting else _max_tokens(body, model)
    turns = blocks.conversation(body, find_file)
    output = _object(body, "output_config")
    output_schema = _output_schema(output, model, cited=any(turn.cited for turn in turns))
    _check_effort(output, body, model)

    user_texts = [turn.text for turn in turns if turn.role == "user"]
    repairing = len(user_texts) > 1 and user_texts[-1].startswith(REPAIR)
    prompt = user_texts[-2] if repairing else user_texts[-1]
    directives = Directives() if counting else _directives(prompt)
    continuing = turns[-1].role == "assistant"
    if continuing and not counting and not directives.pause_turn:
        raise ApiError(
            400,
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )

    request = MessageRequest(
        model=str(body["model"]),
        max_tokens=max_tokens,
        stream=_flag(body, "stream"),
        prompt=prompt,
        directives=directives,
        schema=output_schema,
        stop_sequences=_stop_sequences(body),
        input_tokens=_input_tokens(body, turns, output_schema),
        documents=sum(turn.documents for turn in turns),
        pages=sum(turn.pages for turn in turns),
        images=sum(turn.images for turn in turns),
        attached=next((turn.attached for turn in reversed(turns) if turn.attached), None),
        continuing=continuing,
        repairing=repairing,
        tool=None if directives.tool is None else _tool(body, directives.tool),
        prefixes=() if counting else cache.prefixes(body, turns),
    )
    if request.input_tokens > model.window:
        raise ApiError(400, f"prompt is too long: {request.input_tokens} tokens > {model.window} maximum")
    return request


def check_version(version: str) -> None:
    """Refuse a request without a supported API version."""
    if not version:
        raise ApiError(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise ApiError(400, f'anthropic-version: "{version[:40]}" is not a valid version; use {VERSIONS[0]}')


def _check_fields(body: Mapping[str, Any], version: str, counting: bool) -> None:
    allowed = _SHARED if counting else _SHARED | _CREATE_ONLY
    for name in body:
        if name in SAMPLING and not counting:
            if version != VERSIONS[0]:
                continue
            raise invalid(name, f"is not supported by API version {VERSIONS[0]}: leave it out")
        if name not in allowed:
            raise invalid(name[:100], "Extra inputs are not permitted")


def _max_tokens(body: Mapping[str, Any], model: models.Model) -> int:
    if "max_tokens" not in body:
        raise invalid("max_tokens", "Field required")
    value = body["max_tokens"]
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid("max_tokens", "Input should be a valid integer")
    if value < 0:
        raise invalid("max_tokens", "Input should be greater than or equal to 0")
    if value > model.output:
        raise invalid(
            "max_tokens",
            f"{value} > {model.output}, which is the maximum allowed number of output tokens for {body['model']}",
        )
    return value


def _output_schema(output: Mapping[str, Any], model: models.Model, *, cited: bool) -> Mapping[str, Any] | None:
    output_format = output.get("format")
    if output_format is None:
        return None
    where = "output_config.format"
    if not isinstance(output_format, dict) or output_format.get("type") != "json_schema":
        raise invalid(f"{where}.type", "Input should be 'json_schema'")
    output_schema = output_format.get("schema")
    if not isinstance(output_schema, dict):
        raise invalid(f"{where}.schema", "Field required, and it must be an object")
    if not model.structured:
        raise invalid(where, f"structured outputs are not supported by {model.id}")
    if cited:
        raise invalid(where, "citations cannot be used together with structured outputs")
    schema.check(output_schema, where=f"{where}.schema")
    return output_schema


def _check_effort(output: Mapping[str, Any], body: Mapping[str, Any], model: models.Model) -> None:
    effort = output.get("effort")
    if effort is not None and effort not in EFFORTS:
        raise invalid("output_config.effort", f"Input should be one of {', '.join(EFFORTS)}")
    if effort is not None and effort not in model.efforts:
        raise invalid("output_config.effort", f"{effort} is not supported by {model.id}")
    thinking = _object(body, "thinking")
    if thinking and thinking.get("type") not in model.thinking:
        raise invalid("thinking.type", f"must be one of {', '.join(model.thinking)} for {model.id}")


def _tool(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and isinstance(tool.get("input_schema"), dict) and name in ("", tool.get("name")):
            return tool
    raise invalid("tools", f"none of them is {name or 'a tool'} with an input_schema, and the prompt asks to use it")


def _directives(prompt: str) -> Directives:
    try:
        return parse_directives(prompt)
    except InvalidDirective as exc:
        raise ApiError(400, str(exc)) from exc


def _stop_sequences(body: Mapping[str, Any]) -> tuple[str, ...]:
    sequences = body.get("stop_sequences") or ()
    if not isinstance(sequences, list | tuple) or not all(isinstance(item, str) and item.strip() for item in sequences):
        raise invalid("stop_sequences", "each stop sequence must contain non-whitespace text")
    return tuple(sequences)


def _input_tokens(
    body: Mapping[str, Any], turns: Sequence[blocks.Turn], output_schema: Mapping[str, Any] | None
) -> int:
    """Input tokens of the whole request: system, turns, files, tools and schema."""
    total = sum(turn.tokens for turn in turns)
    total += blocks.system_tokens(body.get("system"))
    for extra in (body.get("tools"), output_schema):
        if extra:
            total += tokens.of_text(json.dumps(extra, ensure_ascii=False, separators=(",", ":")))
    return total


def _text(body: Mapping[str, Any], name: str) -> str:
    if name not in body:
        raise invalid(name, "Field required")
    if not isinstance(body[name], str) or not body[name]:
        raise invalid(name, "Input should be a valid string")
    return str(body[name])


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(name, "Input should be an object")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise invalid(name, "Input should be a valid boolean")
    return value
