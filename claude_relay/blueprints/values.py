"""The available scenarios."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import make, make_invoice, make_sheet, n8n, n8n_invoice, n8n_sheet
from .placeholders import KEY_PLACEHOLDER, TEMPLATE_PLACEHOLDER, WEBHOOK_PLACEHOLDER, Blank

__all__ = [
    "KEY_PLACEHOLDER",
    "TEMPLATE_PLACEHOLDER",
    "VARIANTS",
    "WEBHOOK_PLACEHOLDER",
    "Blank",
    "Scenario",
    "scenarios",
]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One file to import."""

    file: str
    content: dict[str, Any] = field(repr=False)  # it may hold a key


Build = Callable[[Blank], dict[str, Any]]

_TOOLS: Mapping[tuple[str, str], Sequence[tuple[str, Build]]] = {
    ("make", "prompt"): (("make-submit.json", make.submit), ("make-receive.json", make.receive)),
    ("make", "invoice"): (
        ("make-invoice-submit.json", make_invoice.submit),
        ("make-invoice-receive.json", make_invoice.receive),
    ),
    ("make", "sheet"): (
        ("make-sheet-submit.json", make_sheet.submit),
        ("make-sheet-receive.json", make_sheet.receive),
    ),
    ("n8n", "prompt"): (("n8n.json", n8n.workflow),),
    ("n8n", "invoice"): (("n8n-invoice.json", n8n_invoice.workflow),),
    ("n8n", "sheet"): (("n8n-sheet.json", n8n_sheet.workflow),),
}
#: A prompt and its answer; a file and its values, which are checked; the rows of a sheet and one callback.
VARIANTS = tuple(dict.fromkeys(variant for _, variant in _TOOLS))


def scenarios(tool: str, blank: Blank, variant: str = "prompt") -> Sequence[Scenario]:
    """The scenarios of `make` or `n8n`, filled in."""
    return [Scenario(file=file, content=build(blank)) for file, build in _TOOLS[tool, variant]]
