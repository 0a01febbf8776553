"""What was spent, in the words of the wire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.money.spend import GROUPINGS, SpendSummary, day_of
from ..errors import InvalidRequest, Problem
from ..ports import ReadTransaction


def costs(*, by: str, since: float | None, owner: str | None) -> Callable[[ReadTransaction], dict[str, Any]]:
    """
    The look that answers: sums by `by` since then, of one owner or of all.

    Days are whole ones in UTC, so that the day of `since` counts from its beginning.
    """
    if by not in GROUPINGS:
        raise InvalidRequest(problems=[Problem(field="by", problem=f"must be one of {', '.join(GROUPINGS)}")])
    first = None if since is None else day_of(since)

    def look(tx: ReadTransaction) -> dict[str, Any]:
        rows = tx.costs(by=by, since=first, owner=owner)
        return {
            "by": by,
            "since": first,
            "rows": [{by: row.name, **_told(row)} for row in rows],
            "total": _told(_sum(rows)),
        }

    return look


def _told(spent: SpendSummary) -> dict[str, Any]:
    return {
        "calls": spent.calls,
        "inputTokens": spent.input_tokens,
        "outputTokens": spent.output_tokens,
        "cacheReadTokens": spent.cache_read_tokens,
        "cacheWriteTokens": spent.cache_write_tokens,
        "costUsd": spent.cost_usd,
        "unpricedCalls": spent.unpriced,
    }


def _sum(rows: Any) -> SpendSummary:
    known = [row.usd for row in rows if row.usd is not None]
    names = ("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "unpriced")
    total = {name: sum(getattr(row, name) for row in rows) for name in names}

    return SpendSummary(name="total", usd=sum(known) if known else None, **total)
