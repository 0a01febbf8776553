"""`mode` and `needBy`: live, in a batch, or whichever fits the time there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .context import IntakeContext
from .fields import Fields
from .times import read_end

MODES = ("live", "batch", "auto")


def read_mode(
    fields: Fields, context: IntakeContext, *, model: str, options: Mapping[str, Any], now: float
) -> tuple[str, float | None]:
    """The mode, and by when it is needed; what can be done in no batch is live, and said."""
    mode = fields.word("mode", MODES) or "live"
    need_by = read_end(fields, "needBy", now=now)

    warn = fields.notes.warn
    if need_by is not None and mode != "auto":
        warn(f"needBy is only read with mode auto, and was ignored: this job is {mode}")
    elif need_by is None and mode == "auto":
        warn("mode auto without needBy is a batch, which may take a day: say by when it is needed")
    if mode == "live":
        return mode, need_by

    listed = context.catalogue.listed(model)
    if listed is not None and listed.supports("batch") is False:
        warn(f"{model} is not offered in batches, so that this job is called live, at the full price")
        return "live", None
    if (options.get("raw") or {}).get("speed") not in (None, "standard"):
        warn("options.raw.speed has no meaning in a batch, and is left out there")

    return mode, need_by
