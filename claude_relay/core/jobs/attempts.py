"""Ledger entries of attempts that have ended, and their sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .change import Call
    from .failure import Failure, PartialResponse

#: Decimals of a dollar: finer than any price of a token, coarser than the errors of adding floats.
DIGITS = 12


def close_entry(call: Call, failure: Failure, *, now: float) -> Call:
    """The entry with the failure it ended with."""
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
    """The tokens of a call's last request: earlier requests have ledger entries of their own."""
    return end.usage if end.last_usage is None else end.last_usage or None


def add_costs(first: float | None, second: float | None) -> float | None:
    """The sum of the amounts that are not None, rounded to `DIGITS`."""
    if first is None or second is None:
        return second if first is None else first

    return round(first + second, DIGITS)
