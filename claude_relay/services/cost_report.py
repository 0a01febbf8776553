"""Cost report: spend by day, key, model, group, mode or template, as a wire body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.money.spend import GROUPINGS, SpendSummary, day_of
from ..errors import InvalidRequest, Problem
from ..ports import ReadTransaction


def cost_report(tx: ReadTransaction, *, by: str, since: float | None, owner: str | None) -> dict[str, Any]:
    """
    Sums by `by` since that time, of one owner or (None) of all.

    Days are complete days in UTC: the day of `since` counts from its beginning.
    """
    if by not in GROUPINGS:
        raise InvalidRequest(problems=[Problem(field="by", problem=f"must be one of {', '.join(GROUPINGS)}")])
    first = None if since is None else day_of(since)
    rows = tx.costs(by=by, since=first, owner=owner)

    return {
        "by": by,
        "since": first,
        "rows": [{by: row.name or None, **_summary_body(row)} for row in rows],
        "total": _summary_body(_total(rows)),
    }


def _summary_body(summary: SpendSummary) -> dict[str, Any]:
    return {
        "calls": summary.calls,
        "inputTokens": summary.input_tokens,
        "outputTokens": summary.output_tokens,
        "cacheReadTokens": summary.cache_read_tokens,
        "cacheWriteTokens": summary.cache_write_tokens,
        "costUsd": summary.cost_usd,
        "unpricedCalls": summary.unpriced,
    }


def _total(rows: Sequence[SpendSummary]) -> SpendSummary:
    priced = [row.usd for row in rows if row.usd is not None]
    names = ("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "unpriced")
    counts = {name: sum(getattr(row, name) for row in rows) for name in names}

    return SpendSummary(name="total", usd=sum(priced) if priced else None, **counts)
