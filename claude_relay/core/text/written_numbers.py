"""Numbers of a request with the digits in which they were written: 1.10 is no 1.1 to a bookkeeper."""

from __future__ import annotations

import json
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class WrittenNumber(float):
    """A float that another text than its own stands for: 1.10, 1e3, or one with more digits than it holds."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> WrittenNumber:
        number = super().__new__(cls, text)
        number.text = text

        return number

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        return (self.text,)


def read_number(text: str) -> float:
    """The float of a JSON number, which keeps the text if it is not the float's own."""
    number = float(text)

    return number if repr(number) == text else WrittenNumber(text)


def encode_as_written(value: Any) -> str:
    """Compact JSON, each number with its own digits."""
    if isinstance(value, dict):
        pairs = (f"{_encode(name)}:{encode_as_written(child)}" for name, child in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encode_as_written, value)) + "]"

    return value.text if isinstance(value, WrittenNumber) else _encode(value)
