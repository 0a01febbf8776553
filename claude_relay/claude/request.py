"""Conversion of a stored request to a Messages API body. Pure; the stored request is not changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from ..core.jobs.failure import Repair
from ..core.jobs.submission import Exchange
from ..core.lazy_dataclass import dataclass
from ..core.models.betas import read_betas
from ..errors import InvalidRequest
from .schema import adapt_schema

DEFAULT_MAX_TOKENS = 4096

_BASE64_PREFIXES = {
    "JVBERi0": "application/pdf",
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}
_SCHEMA_PROMPT = (
    "Answer with one JSON value and nothing else: no explanation, no code fence. "
    "It must be valid against this JSON Schema:\n"
)
_REPAIR_PROMPT = (
    "That answer could not be used: {problem}. Answer once more, to what was asked before, with the whole JSON value "
    "corrected and nothing else."
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    One call to make. `betas` are sent in a header; `schema` is the caller's own, for validating the answer.

    `native`: Claude's structured output enforces the schema. Otherwise the prompt asks for it.
    """

    body: dict[str, Any] = field(repr=False)
    betas: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    native: bool = False


def build(
    request: Mapping[str, Any],
    *,
    model: str,
    history: Sequence[Exchange] = (),
    repair: Repair | None = None,
    native: bool = True,
) -> Plan:
    """
    Build the body: the conversation so far, the turns with the files in the last user turn, then the options.

    `repair`: Claude's previous answer and its problem are appended to the turns. `raw` is merged last: its fields
    replace ours, except that `output_config` is merged field by field, its `messages` are the turns, its `model` is
    ignored, and every call streams.
    """
    options = request.get("options") or {}
    schema = options.get("outputSchema")
    adapted = adapt_schema(schema) if schema is not None and native else None

    body: dict[str, Any] = {
        "model": model,
        "max_tokens": options.get("maxTokens", DEFAULT_MAX_TOKENS),
        "messages": [*_conversation(history, model), *_turns(request), *_repair_turns(repair)],
    }
    system = options.get("systemPrompt") or ""
    if schema is not None and adapted is None:
        system = "\n\n".join(part for part in (system, _SCHEMA_PROMPT + json.dumps(schema, ensure_ascii=False)) if part)
    if system:
        body["system"] = system
    config: dict[str, Any] = {}
    if options.get("effort"):
        config["effort"] = options["effort"]
    if adapted is not None:
        config["format"] = {"type": "json_schema", "schema": adapted}

    raw = dict(options.get("raw") or {})
    try:
        betas = read_betas(raw.pop("betas", None))
    except ValueError as exc:
        raise InvalidRequest.at("options.raw.betas", str(exc)) from exc
    raw.pop("messages", None)  # already used as the turns
    raw.pop("model", None)  # the job's model counts, which a fallback may have changed
    if isinstance(raw.get("output_config"), Mapping):
        config |= raw.pop("output_config")
    if config:
        body["output_config"] = config

    return Plan(
        body={**body, **raw, "stream": True},
        betas=betas,
        schema=schema,
        native=adapted is not None,
    )


def with_continuation(body: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The body that continues a call after a pause: it includes Claude's answer so far."""
    content = _sendable(blocks, thoughts=True)
    turns = [{"role": "assistant", "content": content}] if content else []

    return {**body, "messages": [*body["messages"], *turns]}


def _conversation(history: Sequence[Exchange], model: str) -> Iterator[dict[str, Any]]:
    """The turns of earlier exchanges, as sent and as answered."""
    for exchange in history:
        yield from _turns(exchange.request)
        same_model = (exchange.request.get("options") or {}).get("model") == model
        if answer := _sendable(exchange.answer, thoughts=same_model):
            yield {"role": "assistant", "content": answer}


def _repair_turns(repair: Repair | None) -> Iterator[dict[str, Any]]:
    if repair is None:
        return
    if repair.text.strip():
        yield {"role": "assistant", "content": repair.text}
    yield {"role": "user", "content": _REPAIR_PROMPT.format(problem=repair.problem)}


def _sendable(answer: str | Sequence[Mapping[str, Any]], *, thoughts: bool) -> str | list[dict[str, Any]]:
    """Content of an answer's turn, without another model's thoughts and empty texts, which Claude refuses."""
    if isinstance(answer, str):
        return answer if answer.strip() else ""

    return [dict(block) for block in answer if _is_sendable(block, thoughts=thoughts)]


def _is_sendable(block: Mapping[str, Any], *, thoughts: bool) -> bool:
    if block.get("type") == "text":
        return bool(str(block.get("text", "")).strip())

    return thoughts or block.get("type") not in ("thinking", "redacted_thinking")


def _turns(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    files = [_block(file, number) for number, file in enumerate(request.get("files") or ())]
    raw = (request.get("options") or {}).get("raw") or {}
    given = raw.get("messages") or request.get("messages") or ()
    if not isinstance(given, Sequence) or not all(isinstance(turn, Mapping) for turn in given):
        raise InvalidRequest.at("options.raw.messages", "must be a list of turns")
    turns = [dict(turn) for turn in given]
    if not turns:
        prompt = request.get("prompt") or ""
        return [{"role": "user", "content": [*files, {"type": "text", "text": prompt}] if files else prompt}]
    if not files:
        return turns

    last = next((turn for turn in reversed(turns) if turn.get("role") == "user"), None)
    if last is None:
        raise InvalidRequest.at("messages", "must include a user turn, to which the files can be added")
    content = last.get("content") or []
    last["content"] = [*files, *([{"type": "text", "text": content}] if isinstance(content, str) else content)]

    return turns


def _block(file: Mapping[str, Any], number: int) -> dict[str, Any]:
    data, media_type = file.get("data"), file.get("mediaType")
    if file.get("fileId"):
        kind = "image" if str(media_type).startswith("image/") else "document"
        block: dict[str, Any] = {"type": kind, "source": {"type": "file", "file_id": file["fileId"]}}
        return block | ({"title": file["name"]} if file.get("name") and kind == "document" else {})
    if not isinstance(data, str):
        raise InvalidRequest.at(f"files[{number}]", "has no data to send")

    media_type = media_type or next(
        (kind for prefix, kind in _BASE64_PREFIXES.items() if data.startswith(prefix)), None
    )
    if media_type is None:
        problem = "is required: the data does not look like a PDF, PNG, JPEG, GIF or WebP"
        raise InvalidRequest.at(f"files[{number}].mediaType", problem)
    source = {"type": "base64", "media_type": media_type, "data": data}
    if media_type.startswith("image/"):
        return {"type": "image", "source": source}

    return {"type": "document", "source": source} | ({"title": file["name"]} if file.get("name") else {})
