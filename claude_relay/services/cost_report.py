"""Cost report: spend by day, key, model, group, mode or template, as a wire body."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.money.spend import Span, SpendSummary, day_of, spend_days, summarize

if TYPE_CHECKING:
    from ..core.jobs.job_filter import JobFilter
    from ..ports import ReadTransaction

#: Jobs whose ledgers are read at once.
_PAGE = 500


def cost_report(tx: ReadTransaction, *, by: str, which: JobFilter) -> dict[str, Any]:
    """
    Sums by `by` of the calls that the filter selects.

    Days are complete days in UTC: those of `since` and `until` count as a whole. Purged jobs are
    included, except where a host, a status or an error is asked for (`"basis": "jobs"`).
    """
    from ..core.intake.query import parse_grouping  # not for the status of a job, which imports this module

    by = parse_grouping(by)
    days = Span.between(which.since, which.until)
    rows = _of_stored_jobs(tx, by, days, which) if which.reads_jobs else tx.costs(by=by, days=days, which=which)

    return {
        "by": by,
        "since": days.first,
        "until": days.last,
        "basis": "jobs" if which.reads_jobs else "sums",
        "rows": [{by: row.name or None, **_summary_body(row)} for row in rows],
        "total": _summary_body(summarize("total", rows)),
    }


def _of_stored_jobs(tx: ReadTransaction, by: str, days: Span, which: JobFilter) -> Sequence[SpendSummary]:
    """The sums over the ledgers of the jobs that the filter selects; day and model are those of the call."""
    parts: dict[str, list[SpendSummary]] = defaultdict(list)
    page = replace(which, since=None, model=None, limit=_PAGE)
    while jobs := {job.id: job for job in tx.jobs(page)}:
        for call in tx.calls_of(list(jobs)):
            if not call.sent or call.ended_at is None:
                continue
            day = day_of(call.ended_at)
            if day not in days or which.model not in (None, call.model):
                continue
            job = jobs[call.job_id]
            names = {
                "day": day,
                "key": job.owner,
                "model": call.model,
                "group": job.group,
                "mode": call.mode,
                "template": job.template or "",
            }
            parts[names[by]].append(spend_days(call))
        parts = defaultdict(list, {name: [summarize(name, rows)] for name, rows in parts.items()})
        page = replace(page, before=min(jobs))

    return [summarize(name, rows) for name, rows in sorted(parts.items())]


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
