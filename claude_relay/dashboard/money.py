"""Spend by day, month, model, key, group or mode, as a table, a plot and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from ..core.intake.query import parse_time_or_age
from ..core.jobs.job_filter import JobFilter
from ..core.money.spend import GROUPINGS
from ..errors import InvalidRequest
from .plots import spend_plot
from .site import Page, Visit

_PATH = "/dashboard/money"
_BY = ("day", "month", *GROUPINGS[1:])
_SUMS = ("calls", "inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens", "costUsd", "unpricedCalls")
_DAYS, _ROWS = 30, 400
#: A cell that begins with one of these is a formula for a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Money(Page):
    """`/dashboard/money`."""

    def get(self, visit: Visit, **names: str) -> None:
        problem: str | None = None
        rows: list[dict[str, Any]] = []
        total: dict[str, Any] = {}
        by, since = visit.param("by") or "day", visit.param("since") or "30d"
        try:
            rows, total = self.report(visit, by, since)
        except InvalidRequest as exc:
            problem = visit.refuse_filter(exc)
        month = JobFilter(since=self.site.clock() - _DAYS * 86_400, owner=visit.owner)
        days = self.relay.queries.cost(by="day", which=month)
        visit.render(
            "money.html",
            "Money",
            by=by,
            since=since,
            choices=_BY,
            rows=rows[:_ROWS],
            hidden=max(0, len(rows) - _ROWS),
            total=total,
            problem=problem,
            plot=spend_plot(_every_day(days["rows"], self.site.clock())),
            csv=f"{_PATH}/csv?{urlencode({'by': by, 'since': since})}",
            every=30,
        )

    def report(self, visit: Visit, by: str, since: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """The rows, the latest or the dearest first, and the total."""
        since_at = parse_time_or_age("since", since, now=self.site.clock())
        grouping = "day" if by == "month" else by
        report = self.relay.queries.cost(by=grouping, which=JobFilter(since=since_at, owner=visit.owner))
        rows = [{**row, "name": row[grouping] or "none"} for row in report["rows"]]
        if by == "month":
            rows = _by_month(rows)
        dated = by in ("day", "month")
        rows.sort(key=lambda row: row["name"] if dated else row["costUsd"] or 0.0, reverse=True)

        return rows, report["total"]


class MoneyCsv(Money):
    """`/dashboard/money/csv`."""

    def get(self, visit: Visit, **names: str) -> None:
        by = visit.param("by") or "day"
        rows, _ = self.report(visit, by, visit.param("since") or "30d")
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow([by, *_SUMS])
        writer.writerows([_plain(row["name"]), *(row[name] for name in _SUMS)] for row in rows)
        visit.resp.content_type = "text/csv; charset=utf-8"
        visit.resp.downloadable_as = f"claude-relay-cost-by-{by}.csv"
        visit.resp.data = out.getvalue().encode("utf-8", "replace")


def _by_month(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    months: dict[str, dict[str, Any]] = {}
    for row in rows:
        month = months.setdefault(
            row["name"][:7], {"name": row["name"][:7], **dict.fromkeys(_SUMS, 0), "costUsd": None}
        )
        for each in _SUMS:
            if row[each] is not None:
                month[each] = (month[each] or 0) + row[each]

    return list(months.values())


def _every_day(rows: Sequence[Mapping[str, Any]], now: float) -> list[tuple[str, float]]:
    """Spend of each of the last days, those without a call as well."""
    known = {row["day"]: row["costUsd"] or 0.0 for row in rows}
    today = datetime.fromtimestamp(now, tz=timezone.utc).date()
    days = [str(today - timedelta(days=back)) for back in range(_DAYS - 1, -1, -1)]

    return [(day, known.get(day, 0.0)) for day in days]


def _plain(text: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{text}" if str(text).startswith(_FORMULA) else str(text)
