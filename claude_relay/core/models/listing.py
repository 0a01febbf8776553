"""
The upstream's list of models, as the worker has fetched and stored it.

This module contains no facts about models. Lists with new or missing fields are read as far as possible.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from operator import attrgetter
from typing import Any

from ..lazy_dataclass import dataclass

#: Meaning of each alias: the newest active model of the first of these lines that has one.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "smart": ("opus", "fable", "mythos", "sonnet", "haiku"),
    "fast": ("sonnet", "haiku", "opus"),
    "cheap": ("haiku", "sonnet", "opus"),
}
_DATE = re.compile(r"-(?:[0-9]{8}|latest)$")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model as the upstream lists it; None for missing values."""

    id: str
    name: str = ""
    line: str | None = None
    lifecycle: str = "active"
    created_at: float | None = None
    deprecated_at: float | None = None
    retires_at: float | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    capabilities: Mapping[str, Any] = field(default_factory=dict)

    @property
    def retired(self) -> bool:
        """Whether calls to it fail; the lifecycle decides, not a date in the past."""
        return self.lifecycle == "retired"

    def supports(self, *path: str) -> bool | None:
        """Whether it supports a capability such as `("effort", "xhigh")`; None if the list does not say."""
        value: Any = self.capabilities
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        supported = value.get("supported") if isinstance(value, Mapping) else None

        return supported if isinstance(supported, bool) else None


def read_models(entries: Any) -> tuple[Model, ...]:
    """The models of the stored list, in its order; entries without an id are skipped."""
    models = (_read(entry) for entry in entries) if isinstance(entries, list) else ()

    return tuple(model for model in models if model is not None)


@functools.lru_cache(maxsize=1024)
def undated(name: str) -> str:
    """The id without its date: `claude-haiku-4-5-20251001` and `claude-haiku-4-5` are the same model."""
    return _DATE.sub("", name)


def newest(models: Sequence[Model], line: str) -> Model | None:
    """The newest active model of a line."""
    offered = [model for model in models if model.line == line and model.lifecycle == "active"]
    if all(model.created_at for model in offered):
        return max(offered, key=attrgetter("created_at"), default=None)

    # A release date may be unknown (an epoch value); the list itself has the latest first.
    return offered[0] if offered else None


def aliases_of(models: Sequence[Model], prices: Mapping[str, float]) -> dict[str, str]:
    """
    The models that `smart`, `fast` and `cheap` stand for on that list.

    If a list has no lines, as a gateway's may, the most expensive and the cheapest priced models are `smart` and
    `cheap`, and there is no `fast`.
    """
    chosen = {word: model.id for word in FAMILIES for model in _best(models, word)}
    offered = [model.id for model in models if model.lifecycle == "active" and model.id in prices]
    priced = sorted(offered, key=lambda name: prices[name])
    if not chosen and priced:
        chosen = {"smart": priced[-1], "cheap": priced[0]}

    return chosen


def _best(models: Sequence[Model], word: str) -> Iterator[Model]:
    for line in FAMILIES[word]:
        if (model := newest(models, line)) is not None:
            yield model
            return


def _read(entry: Any) -> Model | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str) or not entry["id"]:
        return None
    capabilities = entry.get("capabilities")

    return Model(
        id=entry["id"],
        name=_text(entry.get("displayName")) or entry["id"],
        line=_text(entry.get("line")),
        lifecycle=_text(entry.get("lifecycle")) or "active",
        created_at=_time(entry.get("createdAt")),
        deprecated_at=_time(entry.get("deprecatedAt")),
        retires_at=_time(entry.get("retiresAt")),
        max_input_tokens=_positive_int(entry.get("maxInputTokens")),
        max_tokens=_positive_int(entry.get("maxTokens")),
        capabilities=capabilities if isinstance(capabilities, Mapping) else {},
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _positive_int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _time(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None

    # An epoch value means "unknown".
    return time.timestamp() or None if time.tzinfo else None
