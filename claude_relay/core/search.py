"""Full-text search: a case-insensitive substring of what people wrote and were answered, never of the stored JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

#: A needle of up to this many characters is nearly everywhere: only the newest jobs are looked at.
SHORT, NEWEST = 2, 10_000


def fold(text: str) -> str:
    """The text without differences of case, in any script."""
    return text.casefold()


class Needle:
    """A text to search for."""

    def __init__(self, text: str) -> None:
        self._folded = fold(text)
        self.short = len(text) <= SHORT
        # Stored JSON has these characters as escapes; of any other needle the text as stored is a first, quick look.
        self._as_stored = not any(char in '"\\' or char < " " for char in self._folded)

    def matches(self, request_id: str, request: str | None, outcome: bytes | None) -> bool:
        """Whether the requestId, the stored request or the stored outcome contains it."""
        if self._folded in fold(request_id):
            return True
        return self._is_in_json(request, request_texts) or self._is_in_json(
            outcome.decode("utf-8", "replace") if outcome else None, answer_texts
        )

    def _is_in_json(self, stored: str | None, texts: Callable[[dict[str, Any]], Iterator[str]]) -> bool:
        if not stored or (self._as_stored and not self._is_in(stored)):
            return False
        try:
            return any(map(self._is_in, texts(json.loads(stored))))
        except ValueError:  # damaged on the disk: doctor --deep lists it
            return False

    def _is_in(self, text: str) -> bool:
        return self._folded in fold(text)


def request_texts(request: dict[str, Any]) -> Iterator[str]:
    """Prompt, system prompt and the texts of the messages."""
    options = request.get("options") or {}
    yield from _texts(request.get("prompt"))
    yield from _texts(options.get("systemPrompt"))
    yield from _texts((options.get("raw") or {}).get("system"))
    for message in request.get("messages") or ():
        yield from _texts(message.get("content") if isinstance(message, dict) else None)


def answer_texts(body: dict[str, Any]) -> Iterator[str]:
    """The answer of a callback body, or the part of one that arrived."""
    yield from _texts(body.get("response"))
    yield from _texts(body.get("partialResponse"))


def _texts(content: Any) -> Iterator[str]:
    """The texts of a string or of content blocks, those inside tool results and documents included."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict):
                yield from _texts(block.get("text"))
                yield from _texts(block.get("content"))
