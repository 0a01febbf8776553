"""
Parsers of settings: text in, value out, or a ValueError that says what to write instead.

The message never repeats the value: the caller adds it, unless it is a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..core.text.durations import format_duration, parse_duration
from ..core.text.sizes import format_size, parse_size

T = TypeVar("T")


def comma_list(text: str) -> tuple[str, ...]:
    """A comma-separated list without its empty entries."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def header_list(text: str) -> tuple[str, ...]:
    """Headers as `name=value`, comma-separated."""
    headers = comma_list(text)
    if not all(re.fullmatch(r"[A-Za-z0-9-]+\s*=.*", header) for header in headers):
        raise ValueError("must be headers such as x-team=relay, comma-separated")

    return headers


def word(text: str) -> str:
    """One word without white space."""
    if not text or not text.isprintable() or re.search(r"\s", text):
        raise ValueError("write one word without spaces")

    return text


def optional(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """None for an empty text, otherwise the value of `parse`."""
    return lambda text: parse(text) if text else None


def unless_off(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """None for `off`, otherwise the value of `parse`."""

    def read(text: str) -> T | None:
        if text.lower() == "off":
            return None
        try:
            return parse(text)
        except ValueError as exc:
            raise ValueError(f"{exc}, or off") from None

    return read


def choice(*allowed: str, **also: str) -> Callable[[str], str]:
    """One of a closed set; `also` maps other spellings to its members."""

    def read(text: str) -> str:
        plain = also.get(text.lower(), text.lower())
        if plain not in allowed:
            raise ValueError(f"write {' or '.join(allowed) if len(allowed) < 3 else 'one of ' + ', '.join(allowed)}")

        return plain

    return read


def integer(least: int, most: int) -> Callable[[str], int]:
    """An integer from `least` to `most`."""

    def read(text: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII) and least <= int(text) <= most:
            return int(text)

        raise ValueError(f"write a whole number from {least} to {most}")

    return read


def boolean(text: str) -> bool:
    """Yes or no in any of the usual spellings."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False

    raise ValueError("write 1 or 0, true or false, yes or no")


def duration(text: str) -> float:
    """A duration in seconds; zero is allowed."""
    return parse_duration(text)


def positive_duration(text: str) -> float:
    """A duration above zero, in seconds."""
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("write a duration above zero, such as 90s or 5m")

    return seconds


def delay_range(text: str) -> tuple[float, float]:
    """The first and the longest of growing delays; a single duration is both."""
    delays = [positive_duration(part) for part in comma_list(text)]
    if not 1 <= len(delays) <= 2 or delays != sorted(delays):
        raise ValueError("write the first and the longest delay, such as 5s,60s")

    return delays[0], delays[-1]


def schedule(text: str) -> tuple[float, ...]:
    """A sequence of delays; `off` is an empty one."""
    if text.lower() == "off":
        return ()

    delays = tuple(parse_duration(part) for part in comma_list(text))
    if not 1 <= len(delays) <= 100:
        raise ValueError(f"write 1 to 100 comma-separated delays, such as 5s,30s,{format_duration(300)}, or off")

    return delays


def size(least: int) -> Callable[[str], int]:
    """A number of bytes, `least` or more."""

    def read(text: str) -> int:
        amount = parse_size(text)
        if amount < least:
            raise ValueError(f"the least is {format_size(least)}")

        return amount

    return read


def key(text: str) -> str:
    """An API key: printable ASCII without spaces, as it is sent in a header."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("it contains a space, a line break or a non-ASCII character; paste the key alone")
    if len(text) > 4096:
        raise ValueError("it is longer than 4096 characters; that is not a key")

    return text


def admin_keys(text: str) -> str:
    """The text of one admin key, or of two that a comma separates."""
    for part in split_admin_keys(text):
        key(part)

    return text


def split_admin_keys(text: str) -> tuple[str, ...]:
    """The keys in an API_SECRET_KEY: two, or the complete text, since a key may contain commas."""
    parts = tuple(part.strip() for part in text.split(","))

    return parts if len(parts) == 2 and all(parts) else (text,)


def webhook_secrets(text: str) -> tuple[str, ...]:
    """
    One signing secret, or two during a rotation.

    Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes. A bare string is refused rather than guessed at, since
    a receiver that follows the specification would decode it and compute another signature.
    """
    secrets = tuple(text.replace(",", " ").split())
    if len(secrets) > 2:
        raise ValueError("write one secret, or two separated by a comma during a rotation")
    for secret in secrets:
        try:
            raw = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if not secret.startswith("whsec_") or not 24 <= len(raw) <= 64:
            raise ValueError(
                "a signing secret is whsec_ and the base64 of 24 to 64 bytes;"
                ' make one with: echo "whsec_$(openssl rand -base64 32)"'
            )

    return secrets


def path(text: str) -> Path:
    """The absolute path of a file or directory."""
    return Path(text).expanduser().absolute()
