"""Parsing of `prompt` and `messages`: a single prompt, or the messages of a conversation."""

from __future__ import annotations

from typing import Any

from ..text.json_values import safe_quote
from .fields import Fields, kind

_ROLES = ("user", "assistant", "system")
_MESSAGES = frozenset(("messages",))
_REQUIRED = "is required"


def read_messages(fields: Fields) -> tuple[dict[str, Any], list[str]]:
    """`{"prompt": …}` or `{"messages": …}`, and the texts in it."""
    prompt, messages = fields.string("prompt"), fields.array("messages")
    if prompt is not None and messages is None and not fields.has_any(_MESSAGES):
        return {"prompt": prompt}, [prompt]
    invalid = fields.given("prompt") is not None and prompt is None
    if prompt is not None and fields.given("messages") is not None:
        fields.problem("messages", "cannot be combined with prompt: send one of the two")
    elif prompt is not None:
        return {"prompt": prompt}, [prompt]
    elif messages is not None:
        return {"messages": messages}, _check_messages(fields, messages)
    elif fields.given("messages") is None and not invalid:
        fields.problem("prompt", _missing(fields.as_sent("prompt")))

    return {}, []


def _missing(prompt: object) -> str:
    return f"{_REQUIRED}: this one is only white space" if isinstance(prompt, str) and prompt else _REQUIRED


def _check_messages(fields: Fields, messages: list[Any]) -> list[str]:
    """Refuse only messages that the API would certainly refuse, as its rules change; returns their texts."""
    texts: list[str] = []
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if not isinstance(message, dict):
            fields.problem(at, f'must be an object such as {{"role": "user", "content": "…"}}, not {kind(message)}')
            continue
        role = message.get("role")
        if role not in _ROLES:
            actual = f", not “{safe_quote(role)}”" if isinstance(role, str) else ""
            fields.problem(f"{at}.role", f"must be one of {', '.join(_ROLES)}{actual}")
        texts += _check_content(fields, message.get("content"), f"{at}.content")

    last = messages[-1]
    if isinstance(last, dict) and last.get("role") == "assistant":
        fields.problem(
            f"messages[{len(messages) - 1}].role",
            "must not be assistant in the last message: Claude no longer continues a given answer; "
            "use options.outputSchema to control the format instead",
        )
    return texts


def _check_content(fields: Fields, content: object, at: str) -> list[str]:
    """Check one message's content; returns the texts in it."""
    if isinstance(content, str):
        if not content or content.isspace():
            fields.problem(at, "is empty")
        return [content]
    if not isinstance(content, list):
        problem = "is required" if content is None else f"must be a string or a list of blocks, not {kind(content)}"
        fields.problem(at, problem)
        return []
    if not content:
        fields.problem(at, "is empty")

    texts: list[str] = []
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            fields.problem(f"{at}[{index}]", 'must be a block with a type, such as {"type": "text", "text": "…"}')
            continue
        text = block.get("text")
        if block["type"] == "text":
            _check_text(fields, text, f"{at}[{index}].text")
        if isinstance(text, str):
            texts.append(text)

    return texts


def _check_text(fields: Fields, text: object, at: str) -> None:
    """Check a text block as a prompt is checked."""
    if not isinstance(text, str):
        fields.problem(at, "is required" if text is None else f"must be a string in quotes, not {kind(text)}")
    elif not text:
        fields.problem(at, "is empty: leave the block out")
    elif text.isspace():
        fields.problem(at, "is only white space: leave the block out")
