"""Takes secrets out of text that others will read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

REDACTED = "[redacted]"

# What keys look like, whoever's they are: Anthropic's, signing secrets, our own named keys.
_KEYS = r"(?:sk-ant-|whsec_|crk_)[A-Za-z0-9+/=_-]+"

# A shorter one would blot out ordinary words, and protects nothing.
_SHORTEST = 6


@dataclass(frozen=True)
class Redactor:
    """Replaces whatever looks like a key, and each of `secrets` to the letter."""

    secrets: Iterable[str] = field(default=(), repr=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The longest first: one secret may be the beginning of another.
        literal = sorted((secret for secret in self.secrets if len(secret) >= _SHORTEST), key=len, reverse=True)
        object.__setattr__(self, "_pattern", re.compile("|".join([*map(re.escape, literal), _KEYS])))

    def __call__(self, text: str) -> str:
        return self._pattern.sub(REDACTED, text)

    def cut_off(self, text: str) -> str:
        """The same where only the beginning of a text was kept: it may end within a secret."""
        text = self(text)
        for secret in self.secrets:
            for length in range(len(secret) - 1, _SHORTEST - 1, -1):
                if text.endswith(secret[:length]):
                    return text[:-length] + REDACTED

        return text
