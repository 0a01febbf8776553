"""What is said to Claude: one prompt, or the turns of a conversation."""

from __future__ import annotations

from typing import Any

from ..text.json_values import safe_quote
from .fields import Fields, kind

_ROLES = ("user", "assistant", "system")
_REQUIRED = "is required"


def read_messages(fields: Fields) -> tuple[dict[str, Any], int]:
    """`{"prompt": …}` or `{"messages": …}`, and how many letters the caller wrote."""
    prompt, messages = fields.text("prompt"), fields.array("messages")
    wrong = fields.given("prompt") is not None and prompt is None
    if prompt is not None and fields.given("messages") is not None:
        fields.problem("messages", "cannot stand beside prompt: give one of the two")
    elif prompt is not None:
        return {"prompt": prompt}, len(prompt)
    elif messages is not None:
        return {"messages": messages}, _read(fields, messages)
    elif fields.given("messages") is None and not wrong:
        fields.problem("prompt", _missing(fields.as_sent("prompt")))

    return {}, 0


def _missing(prompt: object) -> str:
    return f"{_REQUIRED}: this one holds only white space" if isinstance(prompt, str) and prompt else _REQUIRED


def _read(fields: Fields, messages: list[Any]) -> int:
    """Only what would surely be refused upstream is refused here: the API's own rules grow faster than this."""
    letters = 0
    for index, turn in enumerate(messages):
        at = f"messages[{index}]"
        if not isinstance(turn, dict):
            fields.problem(at, f'must be an object such as {{"role": "user", "content": "…"}}: this is {kind(turn)}')
            continue
        role = turn.get("role")
        if role not in _ROLES:
            said = f", not “{safe_quote(role)}”" if isinstance(role, str) else ""
            fields.problem(f"{at}.role", f"must be one of {', '.join(_ROLES)}{said}")
        letters += _read_content(fields, turn.get("content"), f"{at}.content")

    last = messages[-1]
    if isinstance(last, dict) and last.get("role") == "assistant":
        fields.problem(
            f"messages[{len(messages) - 1}].role",
            "must not be assistant in the last turn: Claude no longer goes on from a begun answer; "
            "ask for a form with options.outputSchema instead",
        )
    return letters


def _read_content(fields: Fields, content: object, at: str) -> int:
    """The letters in it."""
    if isinstance(content, str):
        if not content or content.isspace():
            fields.problem(at, "is empty")
        return len(content)
    if not isinstance(content, list):
        said = "is required" if content is None else f"must be a text or a list of blocks: this is {kind(content)}"
        fields.problem(at, said)
        return 0
    if not content:
        fields.problem(at, "is empty")

    letters = 0
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            fields.problem(f"{at}[{index}]", 'must be a block with a type, such as {"type": "text", "text": "…"}')
        elif isinstance(block.get("text"), str):
            letters += len(block["text"])

    return letters
