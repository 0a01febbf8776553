"""The turns of a conversation and their content blocks: validated, and measured in tokens."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claude_relay.sandbox import attached_answer, tokens
from claude_relay.sandbox.problem import ApiError, invalid

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PLAIN = frozenset(
    {
        *("search_result", "thinking", "redacted_thinking", "tool_use", "tool_result", "server_tool_use"),
        *("web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result", "container_upload"),
        *("bash_code_execution_tool_result", "text_editor_code_execution_tool_result", "tool_search_tool_result"),
    }
)
BLOCK_TYPES = ("text", "image", "document", *sorted(PLAIN))
MOST_PAGES = 600


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One turn: its text, its files, and its tokens."""

    role: str
    text: str = field(default="", repr=False)
    tokens: int = 0
    documents: int = 0
    pages: int = 0
    images: int = 0
    cited: bool = False
    weights: tuple[int, ...] = ()  # of its blocks, in order
    attached: Mapping[str, Any] | None = field(default=None, repr=False)  # the answers that its PDF brings along


#: Returns the type and bytes of a stored file, given its id. Raises the 404 that upstream answers.
FindFile = Callable[[str], tuple[str, bytes]]


def no_files(file_id: str) -> tuple[str, bytes]:
    """A `FindFile` without any files."""
    raise ApiError(404, f"file {file_id[:60]} is not known")


def conversation(body: Mapping[str, Any], find_file: FindFile = no_files) -> list[Turn]:
    """Every turn of `messages`; raises the first problem."""
    messages = body.get("messages")
    if messages is None:
        raise invalid("messages", "Field required")
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "at least one message is required")

    turns = [_turn(message, f"messages.{index}", find_file) for index, message in enumerate(messages)]
    if not any(turn.role == "user" for turn in turns):
        raise invalid("messages", "at least one user message is required")
    if sum(turn.pages for turn in turns) > MOST_PAGES:
        raise invalid("messages", f"a maximum of {MOST_PAGES} PDF pages may be provided")
    return turns


def system_tokens(system: Any) -> int:
    """Tokens of the system prompt, a string or a list of text blocks."""
    if system is None:
        return 0
    if isinstance(system, str):
        return tokens.of_text(system)
    if not isinstance(system, list):
        raise invalid("system", "Input should be a string or a list of text blocks")
    total = 0
    for index, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            raise invalid(f"system.{index}.type", "Input should be 'text'")
        total += tokens.of_text(_string(block, "text", f"system.{index}"))
    return total


def _turn(message: Any, where: str, find_file: FindFile) -> Turn:
    if not isinstance(message, dict):
        raise invalid(where, "Input should be an object")
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise invalid(f"{where}.role", "Input should be 'user', 'assistant' or 'system'")

    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise invalid(f"{where}.content", "Input should be a string or a list of content blocks")
    if not content:
        raise invalid(f"{where}.content", "must not be empty")

    parts = [_block(block, role, f"{where}.content.{index}", find_file) for index, block in enumerate(content)]
    return _join(role, parts)


def _join(role: str, parts: Sequence[Turn]) -> Turn:
    return Turn(
        role=role,
        text="\n".join(part.text for part in parts if part.text),
        tokens=tokens.A_MESSAGE + sum(part.tokens for part in parts),
        documents=sum(part.documents for part in parts),
        pages=sum(part.pages for part in parts),
        images=sum(part.images for part in parts),
        cited=any(part.cited for part in parts),
        weights=tuple(part.tokens for part in parts),
        attached=next((part.attached for part in parts if part.attached), None),
    )


def _block(block: Any, role: str, where: str, find_file: FindFile) -> Turn:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise invalid(f"{where}.type", "Field required")
    kind = block["type"]
    if kind == "text":
        return _text(block, role, where)
    if kind == "image":
        return _image(block, role, where, find_file)
    if kind == "document":
        return _document(block, role, where, find_file)
    if kind not in PLAIN:
        raise invalid(
            f"{where}.type",
            f"Input tag '{kind[:60]}' does not match any of the expected tags: {', '.join(BLOCK_TYPES)}",
        )
    return Turn(role=role, tokens=tokens.of_text(json.dumps(block, ensure_ascii=False)))


def _text(block: Mapping[str, Any], role: str, where: str) -> Turn:
    text = _string(block, "text", where)
    if not text.strip():
        raise invalid(where, "text content blocks must contain non-whitespace text")
    if role == "user" and block.get("citations"):
        raise invalid(f"{where}.citations", "must be empty in a user message")
    return Turn(role=role, text=text, tokens=tokens.of_text(text))


def _image(block: Mapping[str, Any], role: str, where: str, find_file: FindFile) -> Turn:
    source = _source(block, where, find_file)
    weight = tokens.AN_UNKNOWN_IMAGE
    if source["type"] == "base64":
        if source.get("media_type") not in IMAGES:
            raise invalid(f"{where}.source.media_type", f"Input should be one of {', '.join(IMAGES)}")
        weight = tokens.of_image(_decode(source, where))
    elif source["type"] != "url":
        raise _unknown_source(source, where)
    return Turn(role=role, tokens=weight, images=1)


def _document(block: Mapping[str, Any], role: str, where: str, find_file: FindFile) -> Turn:
    if role == "assistant":
        raise invalid(where, "document blocks are not allowed in an assistant message")
    source = _source(block, where, find_file)
    cited = isinstance(block.get("citations"), dict) and bool(block["citations"].get("enabled"))
    pages, weight, attached = 0, 0, None
    if source["type"] == "base64":
        if source.get("media_type") != "application/pdf":
            raise invalid(f"{where}.source.media_type", "Input should be 'application/pdf'")
        pdf = _decode(source, where)
        if b"%PDF-" not in pdf[:1024]:
            raise invalid(f"{where}.source", "The PDF specified was not valid.")
        pages, attached = tokens.pages(pdf), attached_answer.find(pdf)
    elif source["type"] == "text":
        weight = tokens.of_text(_string(source, "data", f"{where}.source"))
    elif source["type"] == "content":
        weight = tokens.of_text(json.dumps(source.get("content"), ensure_ascii=False))
    elif source["type"] == "url":
        pages = 1
    else:
        raise _unknown_source(source, where)
    return Turn(
        role=role, tokens=weight + pages * tokens.A_PAGE, documents=1, pages=pages, cited=cited, attached=attached
    )


def _source(block: Mapping[str, Any], where: str, find_file: FindFile) -> Mapping[str, Any]:
    """The source of a block; a stored file looks as if its bytes had been sent."""
    source = block.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("type"), str):
        raise invalid(f"{where}.source.type", "Field required")
    if source["type"] != "file":
        return source
    media_type, data = find_file(_string(source, "file_id", f"{where}.source"))
    if media_type == "text/plain":
        return {"type": "text", "media_type": media_type, "data": data.decode("utf-8", "replace")}
    return {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}


def _unknown_source(source: Mapping[str, Any], where: str) -> ApiError:
    return invalid(f"{where}.source.type", f"Input tag '{source['type'][:60]}' is not expected here")


def _decode(source: Mapping[str, Any], where: str) -> bytes:
    data = _string(source, "data", f"{where}.source")
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise invalid(f"{where}.source.base64.data", "invalid base64 data") from exc
    if not decoded:
        raise invalid(f"{where}.source.base64.data", "must not be empty")
    return decoded


def _string(block: Mapping[str, Any], name: str, where: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise invalid(f"{where}.{name}", "Input should be a valid string")
    return value
