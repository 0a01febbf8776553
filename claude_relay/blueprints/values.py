"""The available scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import make, n8n
from .placeholders import KEY_PLACEHOLDER, WEBHOOK_PLACEHOLDER, Blank

__all__ = ["KEY_PLACEHOLDER", "WEBHOOK_PLACEHOLDER", "Blank", "Scenario", "scenarios"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One file to import."""

    file: str
    content: dict[str, Any] = field(repr=False)  # it may hold a key


_TOOLS: Mapping[str, Sequence[tuple[str, Callable[[Blank], dict[str, Any]]]]] = {
    "make": (("make-submit.json", make.submit), ("make-receive.json", make.receive)),
    "n8n": (("n8n.json", n8n.workflow),),
}


def scenarios(tool: str, blank: Blank) -> Sequence[Scenario]:
    """The scenarios of `make` or `n8n`, filled in."""
    return [Scenario(file=file, content=build(blank)) for file, build in _TOOLS[tool]]
