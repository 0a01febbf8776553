"""
Which model is asked, whatever the caller called it.

The relay never lags the API: a name it does not know goes through as it is. Names of models that are gone become the
relay's default with a warning, since the scenarios that carry them were written once and are never looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .json_values import shown

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}")

#: The ids of old: `claude-2.1`, `claude-instant-1.2`, `claude-3-5-sonnet-20241022`.
_FIRST_GENERATIONS = re.compile(r"claude-(?:v?[123](?:[.-]|$)|instant)")

#: `claude-opus-4-1-20250805`: family, major and minor; a number of more than two digits is a date.
_VERSIONED = re.compile(r"claude-[a-z]+-([0-9]{1,2})(?:-([0-9]{1,2}))?(?:-(?:[0-9]{8}|latest))?")


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What is known of the models on one day. `ends` holds the last day of a model, where one is announced."""

    as_of: str
    aliases: Mapping[str, str]
    current: frozenset[str]
    ends: Mapping[str, str] = field(default_factory=dict)
    oldest: tuple[int, int] = (4, 5)  # every version before this one is gone

    def end_of(self, model: str) -> str | None:
        """Its last day (`2026-11-30`), where one is known; a date in the id makes no difference."""
        return self.ends.get(model) or self.ends.get(re.sub(r"-(?:[0-9]{8}|latest)$", "", model))

    def is_gone(self, model: str, *, today: str) -> bool:
        """Whether a call for it could only fail."""
        if model in self.current:
            return False
        last_day = self.end_of(model)
        if last_day is not None:
            return last_day < today
        if _FIRST_GENERATIONS.match(model):
            return True
        version = _VERSIONED.fullmatch(model)

        return version is not None and (int(version[1]), int(version[2] or 0)) < self.oldest


#: From Anthropic's model pages and the `anthropic` package 2.12.0; used until the list from `GET /v1/models` is stored.
BUILT_IN = Catalogue(
    as_of="2026-11-22",
    aliases={"smart": "claude-opus-5-5", "fast": "claude-sonnet-5-5", "cheap": "claude-haiku-5-5"},
    current=frozenset(
        (
            "claude-fable-5-2",
            "claude-fable-5-1",
            "claude-fable-5",
            "claude-mythos-5-2",
            "claude-mythos-5-1",
            "claude-mythos-5",
            "claude-opus-5-5",
            "claude-opus-5",
            "claude-opus-4-8",
            "claude-opus-4-7",
            "claude-opus-4-6",
            "claude-opus-4-5",
            "claude-sonnet-5-5",
            "claude-sonnet-5",
            "claude-sonnet-4-6",
            "claude-haiku-5-5",
            "claude-haiku-4-5",
        )
    ),
    ends={
        "claude-instant-1.2": "2024-11-06",
        "claude-2.0": "2025-07-21",
        "claude-2.1": "2025-07-21",
        "claude-3-sonnet": "2025-07-21",
        "claude-3-opus": "2026-01-05",
        "claude-3-5-haiku": "2026-02-19",
        "claude-3-7-sonnet": "2026-02-19",
        "claude-opus-4": "2026-06-15",
        "claude-opus-4-0": "2026-06-15",
        "claude-sonnet-4": "2026-06-15",
        "claude-sonnet-4-0": "2026-06-15",
        "claude-mythos-preview": "2026-06-30",
        "claude-sonnet-4-5": "2026-11-30",
    },
)


def resolve(name: str | None, *, default: str, catalogue: Catalogue, now: float) -> tuple[str, tuple[str, ...]]:
    """
    The model to ask, and what the caller should know about that; ValueError where the name cannot be a Claude model.

    `default` is the operator's choice and is never second-guessed.
    """
    if name is None or name.strip() in ("", default):
        return default, ()

    asked = name.strip()
    asked = asked.lower() if asked.lower().startswith("claude-") else asked
    asked = catalogue.aliases.get(asked.lower(), asked)
    if not _plausible(asked, catalogue):
        words = ", ".join(sorted(catalogue.aliases))
        raise ValueError(f"is not a Claude model: use one of {words}, or an id such as {default}")

    last_day = catalogue.end_of(asked)
    today = datetime.fromtimestamp(now, tz=timezone.utc).date().isoformat()
    if asked != default and catalogue.is_gone(asked, today=today):
        since = f" on {last_day}" if last_day else ""
        return default, (f"options.model {shown(asked)} was retired{since}; {default} is asked instead",)
    if last_day is not None:
        return asked, (f"options.model {asked} is retired on {last_day}; after that {default} is asked instead",)

    return asked, ()


def _plausible(model: str, catalogue: Catalogue) -> bool:
    """A gateway may write its ids with a prefix (`anthropic/claude-…`), so the word is enough."""
    return model in catalogue.current or (_ID.fullmatch(model) is not None and "claude" in model.lower())
