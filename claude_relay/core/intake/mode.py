"""Parsing of `mode` and `needBy`: live, batch, or auto, which chooses by the time available."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .times import read_end

if TYPE_CHECKING:
    from .context import IntakeContext
    from .fields import Fields

MODES = ("live", "batch", "auto")


def read_mode(
    fields: Fields, context: IntakeContext, *, model: str, options: Mapping[str, Any], now: float
) -> tuple[str, float | None]:
    """The mode and the needBy time; a model without batches is called live, with a warning."""
    mode = fields.choice("mode", MODES) or "live"
    need_by = read_end(fields, "needBy", now=now)

    warn = fields.notes.warn
    if need_by is not None and mode != "auto":
        warn(f"needBy was ignored: it is only read with mode auto, and this job is {mode}")
    elif need_by is None and mode == "auto":
        warn("mode auto without needBy is a batch, which may take a day: add needBy")
    if mode == "live":
        return mode, need_by

    listed = context.catalogue.listed(model)
    if listed is not None and listed.supports("batch") is False:
        warn(f"{model} is not available in batches: this job is called live, at the full price")
        return "live", None
    if (options.get("raw") or {}).get("speed") not in (None, "standard"):
        warn("options.raw.speed is not sent in a batch, where it has no meaning")

    return mode, need_by
