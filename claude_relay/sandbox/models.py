"""
The models of the sandbox, in the shape of Anthropic's catalogue, with a deprecated and a retired one among them.

The data is made up for tests: only Anthropic's own list has the facts about a model. An unknown release date is the
epoch, as in the real catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from claude_relay.sandbox.paging import paged
from claude_relay.sandbox.problem import ApiError, invalid

_EPOCH = "1970-01-01T00:00:00Z"
_LIFECYCLES = ("active", "deprecated", "retired")
_SOON = 14
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


@dataclass(frozen=True, kw_only=True)
class Model:
    """One entry of the catalogue."""

    id: str
    name: str
    line: str
    created: str = _EPOCH
    window: int = 1_000_000
    output: int = 128_000
    efforts: tuple[str, ...] = _EFFORTS
    thinking: tuple[str, ...] = ("adaptive", "disabled", "between_tools")
    structured: bool = True
    pdf: bool = True
    lifecycle: str = "active"
    deprecated: str | None = None
    retires: str | None = None

    def info(self) -> dict[str, Any]:
        """The JSON of `GET /v1/models/{id}`; a deprecated model always retires soon, whatever the date is."""
        retires = self.retires
        if self.lifecycle == "deprecated" and retires is not None:
            soon = datetime.now(timezone.utc) + timedelta(days=_SOON)
            retires = max(retires, f"{soon:%Y-%m-%d}T00:00:00Z")
        return {
            "type": "model",
            "id": self.id,
            "display_name": f"{self.name} (sandbox)",
            "line": self.line,
            "created_at": self.created,
            "lifecycle": self.lifecycle,
            "deprecated_at": self.deprecated,
            "retires_at": retires,
            "max_input_tokens": self.window,
            "max_tokens": self.output,
            "capabilities": self._capabilities(),
        }

    def _capabilities(self) -> dict[str, Any]:
        types = {name: _yes(name in self.thinking) for name in ("adaptive", "between_tools", "disabled", "enabled")}
        reasons = bool({"adaptive", "enabled"} & set(self.thinking))
        strategies = ("clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112")
        return {
            "batch": _yes(True),
            "citations": _yes(True),
            "code_execution": _yes(False),
            "context_management": {**_yes(False), **{name: _yes(False) for name in strategies}},
            "effort": {**_yes(bool(self.efforts)), **{level: _yes(level in self.efforts) for level in _EFFORTS}},
            "image_input": _yes(True),
            "pdf_input": _yes(self.pdf),
            "server_tools": {**_yes(False), "code_execution": _yes(False), "web_search": _yes(False)},
            "structured_outputs": _yes(self.structured),
            "thinking": {**_yes(reasons), "types": types},
        }


def _yes(supported: bool) -> dict[str, bool]:
    return {"supported": supported}


_ALWAYS_THINKS = ("adaptive",)
_OLDER = ("adaptive", "disabled", "enabled")

CATALOGUE = (
    Model(id="claude-fable-5-2", name="Claude Fable 5.2", line="fable", thinking=_ALWAYS_THINKS),
    Model(id="claude-mythos-5-2", name="Claude Mythos 5.2", line="mythos", thinking=_ALWAYS_THINKS),
    Model(id="claude-haiku-5-5", name="Claude Haiku 5.5", line="haiku"),
    Model(id="claude-sonnet-5-5", name="Claude Sonnet 5.5", line="sonnet"),
    Model(id="claude-opus-5-5", name="Claude Opus 5.5", line="opus", thinking=_ALWAYS_THINKS),
    Model(id="claude-fable-5-1", name="Claude Fable 5.1", line="fable", thinking=_ALWAYS_THINKS),
    Model(id="claude-mythos-5-1", name="Claude Mythos 5.1", line="mythos", thinking=_ALWAYS_THINKS),
    Model(id="claude-sonnet-5", name="Claude Sonnet 5", line="sonnet"),
    Model(id="claude-opus-5", name="Claude Opus 5", line="opus"),
    Model(id="claude-opus-4-8", name="Claude Opus 4.8", line="opus", thinking=_OLDER),
    Model(id="claude-opus-4-7", name="Claude Opus 4.7", line="opus", thinking=_OLDER),
    Model(id="claude-sonnet-4-6", name="Claude Sonnet 4.6", line="sonnet", output=64_000, thinking=_OLDER),
    Model(id="claude-opus-4-6", name="Claude Opus 4.6", line="opus", thinking=_OLDER),
    Model(
        id="claude-opus-4-5-20251101",
        name="Claude Opus 4.5",
        line="opus",
        created="2025-11-24T00:00:00Z",
        window=200_000,
        output=64_000,
        efforts=("low", "medium", "high"),
        thinking=("disabled", "enabled"),
    ),
    Model(
        id="claude-haiku-4-5-20251001",
        name="Claude Haiku 4.5",
        line="haiku",
        created="2025-10-15T00:00:00Z",
        window=200_000,
        output=64_000,
        efforts=(),
        thinking=("disabled", "enabled"),
    ),
    Model(
        id="claude-sonnet-4-5-20250929",
        name="Claude Sonnet 4.5",
        line="sonnet",
        created="2025-09-29T00:00:00Z",
        window=200_000,
        output=64_000,
        efforts=(),
        thinking=("disabled", "enabled"),
        lifecycle="deprecated",
        deprecated="2026-06-01T00:00:00Z",
        retires="2026-11-30T00:00:00Z",
    ),
    Model(
        id="claude-3-5-sonnet-20241022",
        name="Claude Sonnet 3.5",
        line="sonnet",
        created="2024-10-22T00:00:00Z",
        window=200_000,
        output=8_192,
        efforts=(),
        thinking=("disabled",),
        structured=False,
        lifecycle="retired",
        deprecated="2025-08-13T00:00:00Z",
        retires="2025-10-28T00:00:00Z",
    ),
)
ALIASES = {
    "claude-opus-4-5": "claude-opus-4-5-20251101",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-3-5-sonnet-latest": "claude-3-5-sonnet-20241022",
}
_BY_ID = {model.id: model for model in CATALOGUE}


def find(name: str) -> Model:
    """A model by id or alias, also a retired one; 404 for any other name."""
    model = _BY_ID.get(ALIASES.get(name, name))
    if model is None:
        raise ApiError(404, f"model: {name[:100]} is not known. GET /v1/models lists the models there are.")
    return model


def usable(name: str) -> Model:
    """A model that answers: a retired one is 404, as upstream."""
    model = find(name)
    if model.lifecycle == "retired":
        raise ApiError(404, f"model: {name} was retired on {(model.retires or '')[:10]}.")
    return model


def page(query: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """`GET /v1/models`: newest first, with cursors in both directions; retired models only on request."""
    wanted = {value for key in ("lifecycle", "lifecycle[]") for text in query.get(key, ()) for value in text.split(",")}
    if not wanted <= set(_LIFECYCLES):
        raise invalid("lifecycle", f"must be one of {', '.join(_LIFECYCLES)}")

    rows = [model for model in CATALOGUE if model.lifecycle in (wanted or {"active", "deprecated"})]
    return paged(rows, query, show=lambda model: model.info())
