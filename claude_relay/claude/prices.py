"""What a call cost, from `prices.json`: a dated table that may be edited. No price, no number: never a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

_MILLION = Decimal(1_000_000)
_DATED = re.compile(r"-\d{8}$")


def cost_usd(model: str, usage: Mapping[str, int], *, batch: bool = False) -> float | None:
    """
    Dollars for one answer, to the last fraction of a cent; None where a price is not known.

    `usage` is flat, as `answer.flat_usage` makes it. Cache writes without a stated lifetime are the 5-minute ones.
    """
    price = _price_of(model)
    if price is None:
        return None

    written = usage.get("cache_creation_input_tokens", 0)
    hour = usage.get("ephemeral_1h_input_tokens", 0)
    tokens = {
        "input": usage.get("input_tokens", 0),
        "output": usage.get("output_tokens", 0),
        "cache_read": usage.get("cache_read_input_tokens", 0),
        "cache_write_5m": max(written - hour, usage.get("ephemeral_5m_input_tokens", 0)),
        "cache_write_1h": hour,
    }
    prompt = sum(count for kind, count in tokens.items() if kind != "output")
    if "long" in price and prompt > price["long"]["above"]:
        price = price["long"]
    if any(count and kind not in price for kind, count in tokens.items()):
        return None

    total = sum((Decimal(price[kind]) * count for kind, count in tokens.items() if count), Decimal(0)) / _MILLION
    if batch:
        total /= 2
    for kind, count in usage.items():
        if kind.endswith("_requests") and count:
            each = table()["each"].get(kind)
            if each is None:
                return None
            total += Decimal(each) * count

    return float(total)


@lru_cache(maxsize=1)
def table() -> dict[str, Any]:
    """The price file, with the date it was true."""
    text = files(__package__).joinpath("prices.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)

    return parsed


def _price_of(model: str) -> dict[str, Any] | None:
    models: dict[str, dict[str, Any]] = table()["models"]

    return models.get(model) or models.get(_DATED.sub("", model))
