"""
What the upstream itself says of its models: the list that the worker has fetched and stored, as values.

Nothing here is a table of facts. A list of another day, with fields that are new or gone, is read as far as it goes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: What an alias means: the newest model of the first of these lines that is offered to newcomers.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "smart": ("opus", "fable", "mythos", "sonnet", "haiku"),
    "fast": ("sonnet", "haiku", "opus"),
    "cheap": ("haiku", "sonnet", "opus"),
}
_DATE = re.compile(r"-(?:[0-9]{8}|latest)$")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model as the upstream lists it; None where it does not say."""

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
        """A call for it fails. A date that has passed means nothing: the lifecycle is the signal."""
        return self.lifecycle == "retired"

    def supports(self, *path: str) -> bool | None:
        """Whether it can do `("effort", "xhigh")`; None where nothing is said of that."""
        value: Any = self.capabilities
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        supported = value.get("supported") if isinstance(value, Mapping) else None

        return supported if isinstance(supported, bool) else None


def read_models(entries: Any) -> tuple[Model, ...]:
    """The models of the stored list, in its order; an entry without an id is passed over."""
    found = (_read(entry) for entry in entries) if isinstance(entries, list) else ()

    return tuple(model for model in found if model is not None)


def undated(name: str) -> str:
    """The id without its date: `claude-haiku-4-5-20251001` and `claude-haiku-4-5` are one model."""
    return _DATE.sub("", name)


def newest(models: Sequence[Model], line: str) -> Model | None:
    """The newest model of a line that is offered to newcomers."""
    offered = [model for model in models if model.line == line and model.lifecycle == "active"]
    if all(model.created_at for model in offered):
        return max(offered, key=lambda model: model.created_at or 0.0, default=None)

    # A release date may be unknown (an epoch value); the list itself has the latest first.
    return offered[0] if offered else None


def aliases_of(models: Sequence[Model], prices: Mapping[str, float]) -> dict[str, str]:
    """
    What `smart`, `fast` and `cheap` mean on that list.

    Where a list knows no lines, as a gateway's may, the dearest and the cheapest of what has a price are `smart` and
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
        created_at=_moment(entry.get("createdAt")),
        deprecated_at=_moment(entry.get("deprecatedAt")),
        retires_at=_moment(entry.get("retiresAt")),
        max_input_tokens=_whole(entry.get("maxInputTokens")),
        max_tokens=_whole(entry.get("maxTokens")),
        capabilities=capabilities if isinstance(capabilities, Mapping) else {},
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _moment(value: Any) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None

    # An epoch value stands for "not known".
    return moment.timestamp() or None if moment.tzinfo else None
