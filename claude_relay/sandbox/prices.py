"""Prices of the sandbox's own, so that its books can be compared with those of the relay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

#: Dollars per million tokens: input, output, cache read, cache write for 5 minutes and for an hour.
_PRICES = {
    "claude-fable-5-1": ("10", "50", "0.25", "12.5", "20"),
    "claude-opus-5-5": ("4", "20", "0.2", "5", "8"),
    "claude-opus-5": ("5", "25", "0.5", "6.25", "10"),
    "claude-sonnet-5-5": ("2", "10", "0.1", "2.5", "4"),
    "claude-haiku-5-5": ("0.1", "0.5", "0.01", "0.125", "0.2"),
}
_LONG = {"claude-haiku-5-5": (100_000, 5)}  # above this many input tokens, this multiple of the price
_DATED = re.compile(r"-[0-9]{8}$")


def dollars(call: Mapping[str, Any]) -> float | None:
    """The price of an entry of the books; None where the answer is incomplete, or the model has no price."""
    prices = _PRICES.get(_DATED.sub("", call["model"] or ""))
    if call["ended"] != "finished" or prices is None or call["message_id"] is None:
        return None

    read, written = call["cache_read_tokens"], call["cache_write_tokens"]
    write_price = prices[4] if call["cache_life"] == "1h" else prices[3]
    counts = (call["input_tokens"] - read - written, call["output_tokens"], read, written)
    total = sum(
        (Decimal(price) * count for price, count in zip((*prices[:3], write_price), counts, strict=True)), Decimal(0)
    )
    above, times = _LONG.get(_DATED.sub("", call["model"] or ""), (0, 1))
    if times > 1 and call["input_tokens"] > above:
        total *= times

    return float(total / 1_000_000 / (2 if call["batch_id"] else 1))
