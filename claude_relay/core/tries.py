"""How a try stands in the ledger once it is over, and what tries come to together."""

from __future__ import annotations

from dataclasses import replace

from .change import Call
from .failure import Failure


def ended_by(call: Call, failure: Failure, *, now: float) -> Call:
    """That entry, with the failure it ended with."""
    return replace(
        call,
        ended_at=now,
        sent=failure.sent,
        outcome=failure.type.value,
        detail=failure.message,
        first_byte_at=failure.first_byte_at or call.first_byte_at,
        usage=failure.last_usage or failure.usage,
        cost_usd=failure.cost_usd,
        model=failure.model or call.model,
        upstream_request_id=failure.upstream_request_id or call.upstream_request_id,
        text_length=len(failure.partial),
    )


def total(one: float | None, other: float | None) -> float | None:
    """The sum of what is known."""
    return other if one is None else one if other is None else one + other
