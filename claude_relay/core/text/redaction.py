"""Removal of secrets from output."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field

from ..lazy_dataclass import dataclass

REDACTED = "[redacted]"

# Keys of any owner: Anthropic's, signing secrets, our own named keys.
_KEYS = r"(?:sk-ant-|whsec_|crk_)[A-Za-z0-9+/=_-]+"

# A shorter secret would blot out ordinary words, and protects nothing.
_MIN_LENGTH = 6


@dataclass(frozen=True)
class Redactor:
    """Replaces everything that looks like a key, and each of `secrets` literally."""

    secrets: Iterable[str] = field(default=(), repr=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The longest first: one secret may be the beginning of another.
        literal = sorted((secret for secret in self.secrets if len(secret) >= _MIN_LENGTH), key=len, reverse=True)
        object.__setattr__(self, "_pattern", re.compile("|".join([*map(re.escape, literal), _KEYS])))

    def __call__(self, text: str) -> str:
        return self._pattern.sub(REDACTED, text)

    def cut_off(self, text: str) -> str:
        """Redact a truncated text, which may end within a secret."""
        lengths = (
            length
            for secret in self.secrets
            for length in range(_MIN_LENGTH, len(secret))
            if text.endswith(secret[:length])
        )
        start = len(text) - max(lengths, default=0)
        if start == len(text) or any(each.start() < start < each.end() for each in self._pattern.finditer(text)):
            return self(text)

        return self(text[:start]) + REDACTED
