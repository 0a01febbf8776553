"""
How each kind of setting is read: text in, value out, or a ValueError whose words say what to write instead.

The words never repeat the value: the caller adds it, unless it is a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from claude_relay.core.text.durations import format_duration, parse_duration
from claude_relay.core.text.sizes import format_size, parse_size

T = TypeVar("T")


def words(text: str) -> tuple[str, ...]:
    """A comma-separated list; gaps between commas are nothing."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def name(text: str) -> str:
    """One word without white space."""
    if not text or not text.isprintable() or re.search(r"\s", text):
        raise ValueError("write one word without spaces")

    return text


def absent(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """None where nothing is written, else as `parse` has it."""
    return lambda text: parse(text) if text else None


def off(parse: Callable[[str], T]) -> Callable[[str], T | None]:
    """None for `off`, else as `parse` has it."""

    def read(text: str) -> T | None:
        if text.lower() == "off":
            return None
        try:
            return parse(text)
        except ValueError as exc:
            raise ValueError(f"{exc}, or off") from None

    return read


def choice(*allowed: str, **also: str) -> Callable[[str], str]:
    """One of a closed set; `also` are other spellings of its members."""

    def read(text: str) -> str:
        plain = also.get(text.lower(), text.lower())
        if plain not in allowed:
            raise ValueError(f"write {' or '.join(allowed) if len(allowed) < 3 else 'one of ' + ', '.join(allowed)}")

        return plain

    return read


def integer(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def read(text: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII) and least <= int(text) <= most:
            return int(text)

        raise ValueError(f"write a whole number from {least} to {most}")

    return read


def boolean(text: str) -> bool:
    """Yes or no, as people write it."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False

    raise ValueError("write 1 or 0, true or false, yes or no")


def duration(text: str) -> float:
    """A length of time in seconds; nought is one too."""
    return parse_duration(text)


def some_time(text: str) -> float:
    """A length of time above nought."""
    seconds = parse_duration(text)
    if seconds <= 0:
        raise ValueError("write a time above nought, such as 90s or 5m")

    return seconds


def span(text: str) -> tuple[float, float]:
    """Where a growing delay begins and where it ends; one time alone is both."""
    times = [some_time(word) for word in words(text)]
    if not 1 <= len(times) <= 2 or times != sorted(times):
        raise ValueError("write the first and the longest delay, such as 5s,60s")

    return times[0], times[-1]


def schedule(text: str) -> tuple[float, ...]:
    """Delays one after another; `off` is none."""
    if text.lower() == "off":
        return ()

    delays = tuple(parse_duration(word) for word in words(text))
    if not 1 <= len(delays) <= 100:
        raise ValueError(f"write 1 to 100 delays with commas between, such as 5s,30s,{format_duration(300)}, or off")

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
    """An API key: what fits into a header."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("it holds a space, a line break or a letter outside ASCII; paste the key alone")
    if len(text) > 4096:
        raise ValueError("it is longer than 4096 characters; that is no key")

    return text


def webhook_secrets(text: str) -> tuple[str, ...]:
    """
    One secret, or two while one replaces the other.

    Standard Webhooks: `whsec_` and the base64 of 24 to 64 bytes. A bare string is refused rather than guessed at, since
    a receiver that follows the specification would decode it and never agree with us on the signature.
    """
    secrets = tuple(text.replace(",", " ").split())
    if len(secrets) > 2:
        raise ValueError("write one secret, or two with a comma between while one is being replaced")
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
    """A file or a directory, absolute from here on."""
    return Path(text).expanduser().absolute()
