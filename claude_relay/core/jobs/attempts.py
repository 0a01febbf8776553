"""How a try stands in the ledger once it is over, and what tries come to together."""

from __future__ import annotations

from dataclasses import replace

from .change import Call
from .failure import Failure, PartialResponse

#: Of a dollar: finer than any price of a token, coarser than what adding floats leaves behind.
DIGITS = 12


def close_entry(call: Call, failure: Failure, *, now: float) -> Call:
    """That entry, with the failure it ended with."""
    return replace(
        call,
        ended_at=now,
        sent=failure.sent,
        outcome=failure.type.value,
        detail=failure.message,
        first_byte_at=failure.first_byte_at or call.first_byte_at,
        usage=last_usage(failure),
        cost_usd=failure.cost_usd,
        model=failure.model or call.model,
        upstream_request_id=failure.upstream_request_id or call.upstream_request_id,
        text_length=len(failure.partial),
    )


def last_usage(end: Failure | PartialResponse) -> dict[str, int] | None:
    """The tokens of a call's last request: those before it are in the ledger by then, each in an entry of its own."""
    return end.usage if end.last_usage is None else end.last_usage or None


def add_costs(one: float | None, other: float | None) -> float | None:
    """The sum of what is known, without what adding fractions leaves behind."""
    return other if one is None else one if other is None else round(one + other, DIGITS)
