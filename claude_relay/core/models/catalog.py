"""
The model catalog, and the resolution of a requested name to a model.

The relay never lags the API: an unlisted name is passed on. Names of retired models become the relay's default with a
warning, since the scenarios that use them were written once and are no longer maintained. The list that the worker has
fetched from the upstream takes precedence over the built-in table below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from ..lazy_dataclass import dataclass
from ..text.json_values import safe_quote
from .listing import Model, aliases_of, newest, read_models, undated

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,127}")

#: Ids of the first generations: `claude-2.1`, `claude-instant-1.2`, `claude-3-5-sonnet-20241022`.
_FIRST_GENERATIONS = re.compile(r"claude-(?:v?[123](?:[.-]|$)|instant)")

#: `claude-opus-4-1-20250805`: line, major and minor version; a number of more than two digits is a date.
_VERSIONED = re.compile(r"claude-[a-z]+-([0-9]{1,2})(?:-([0-9]{1,2}))?(?:-(?:[0-9]{8}|latest))?")


@dataclass(frozen=True, kw_only=True)
class ModelCatalog:
    """
    The models as of one day. `retirements` holds the last day of each model for which one is announced.

    `models` is the upstream's list; empty if none has been fetched yet.
    """

    as_of: str
    aliases: Mapping[str, str]
    current: frozenset[str]
    retirements: Mapping[str, str] = field(default_factory=dict)
    oldest: tuple[int, int] = (4, 5)  # every earlier version is retired
    models: tuple[Model, ...] = ()

    def listed(self, model: str) -> Model | None:
        """The upstream's entry for a model, with or without a date in its id."""
        by_id = self._by_id
        return by_id.get(model) or by_id.get(undated(model))

    @cached_property
    def _by_id(self) -> Mapping[str, Model]:
        """Index by id, since every submitted job needs it."""
        return {undated(model.id): model for model in reversed(self.models)} | {
            model.id: model for model in self.models
        }

    def end_of(self, model: str) -> str | None:
        """The last day of a model (`2026-11-30`) if one is announced; a date in the id makes no difference."""
        listed = self.listed(model)
        if listed is not None and not (listed.retired and listed.retires_at is None):
            return None if listed.retires_at is None else _day(listed.retires_at)

        return self.retirements.get(model) or self.retirements.get(undated(model))

    def is_retired(self, model: str, *, today: str) -> bool:
        """Whether a call to the model is certain to fail."""
        listed = self.listed(model)
        if listed is not None:
            # A past date does not mean that the model is retired, unless the list is older than that date.
            last_day = self.end_of(model)
            return listed.retired or (last_day is not None and self.as_of <= last_day < today)
        if model in self.current:
            return False
        last_day = self.end_of(model)
        if last_day is not None:
            return last_day < today
        if _FIRST_GENERATIONS.match(model):
            return True
        version = _VERSIONED.fullmatch(model)

        return version is not None and (int(version[1]), int(version[2] or 0)) < self.oldest

    def lists(self, model: str) -> bool:
        """Whether the model, or an alias for one, is in this catalog, retired ones included."""
        name = model.lower()
        is_current = name in self.aliases or undated(name) in self.current or name in self.current
        return (
            is_current
            or self.listed(name) is not None
            or self.is_retired(name, today="9999")
            or bool(self.end_of(name))
        )

    def successor(self, model: str) -> str | None:
        """The replacement of a model that the upstream lists as retired: the newest of its line."""
        listed = self.listed(model)
        if listed is None or not listed.retired:
            return None
        newer = newest(self.models, listed.line or "")

        return newer.id if newer is not None else self.aliases.get("fast")


#: From Anthropic's model pages and the `anthropic` package 2.12.0; used until the list from `GET /v1/models` is stored.
BUILT_IN = ModelCatalog(
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
    retirements={
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


def from_memo(memo: Any, *, prices: Mapping[str, float] | None = None) -> ModelCatalog:
    """The catalog from the worker's stored list, or the built-in one without a usable list."""
    models = read_models(memo.get("models")) if isinstance(memo, Mapping) else ()
    fetched_at = memo.get("fetchedAt") if isinstance(memo, Mapping) else None
    if not models or isinstance(fetched_at, bool) or not isinstance(fetched_at, (int, float)):
        return BUILT_IN

    return replace(
        BUILT_IN,
        as_of=_day(fetched_at),
        aliases=aliases_of(models, prices or {}) or BUILT_IN.aliases,
        current=frozenset(model.id for model in models if not model.retired),
        models=models,
    )


def resolve(
    name: str | None, *, default: str, catalogue: ModelCatalog, now: float, field: str = "options.model"
) -> tuple[str, tuple[str, ...]]:
    """
    The model to call, and warnings for the caller; `ValueError` if the name cannot be a Claude model.

    `field` is the field of the name. `default` is the operator's choice and is replaced only if the upstream lists it
    as retired.
    """
    warnings: tuple[str, ...] = ()
    if (successor := catalogue.successor(default)) is not None:
        warnings = (f"the relay's default model {default} was retired; {successor} is used instead",)
    replacement = successor or default
    if name is None or name.strip() in ("", default):
        return replacement, warnings

    model = name.strip()
    model = model.lower() if model.lower().startswith("claude-") else model
    model = catalogue.aliases.get(model.lower(), model)
    if not _plausible(model, catalogue):
        words = ", ".join(sorted(catalogue.aliases))
        raise ValueError(f"is not a Claude model: use one of {words}, or an id such as {default}")
    if model == default:
        return replacement, warnings

    last_day, today = catalogue.end_of(model), _day(now)
    if catalogue.is_retired(model, today=today):
        since = f" on {last_day}" if last_day else ""
        return replacement, (f"{field} {safe_quote(model)} was retired{since}; {replacement} is used instead",)
    if last_day is not None:
        when = f"will be retired on {last_day}" if last_day >= today else f"was due to be retired on {last_day}"
        return model, (f"{field} {model} {when}; after that {replacement} is used instead",)
    listed = catalogue.listed(model)
    if listed is not None and listed.lifecycle == "deprecated":
        return model, (f"{field} {model} is deprecated: Anthropic will retire it, on a day not announced yet",)
    if listed is None and catalogue.models:
        return model, (f"{field} {safe_quote(model)} is not on Anthropic's list of {catalogue.as_of}; used as is",)

    return model, ()


def _day(at: float) -> str:
    """The UTC day of a time."""
    return datetime.fromtimestamp(at, tz=timezone.utc).date().isoformat()


def _plausible(model: str, catalogue: ModelCatalog) -> bool:
    """Whether it may be a Claude model; a gateway's ids may have a prefix (`anthropic/claude-…`)."""
    return model in catalogue.current or (_ID.fullmatch(model) is not None and "claude" in model.lower())
