"""Jobs that wait for a batch, or are in one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from . import records
from .query import QueryBase, placeholders

if TYPE_CHECKING:
    from ...core.jobs.job import Job

_JOB = f"SELECT {records.columns(records.JOB, 'j.')} FROM jobs j"
# Not the rows of a collection that are being stored, or were stopped.
STARTABLE = " AND (j.collection IS NULL OR j.collection NOT IN (SELECT id FROM collections WHERE claimable = 0))"


class BatchJobReads(QueryBase):
    """Part of `ports.store.JobReads`."""

    def batch_candidates(
        self,
        *,
        limit: int,
        auto: bool,
        skip_groups: Collection[str] = (),
        skip_owners: Collection[str] = (),
        skip_collections: Collection[str] = (),
        collection: str | None = None,
    ) -> Sequence[Job]:
        """Due jobs that wait for a batch, oldest first, with a time to give up (`auto`) or without."""
        skip, values = not_in(grp=skip_groups, owner=skip_owners)
        if collection is not None:
            skip, values = f"{skip} AND j.collection = ?", [*values, collection]
        if skip_collections:
            skip += f" AND (j.collection IS NULL OR j.collection NOT IN ({placeholders(skip_collections)}))"
            values = [*values, *sorted(skip_collections)]
        hint = "" if collection else "/* index: jobs_gather */"
        sql = f"""{_JOB} {hint} WHERE j.state = 'queued' AND j.lane = 'batch' AND j.due_at <= ?
                  AND j.give_up_at IS {"NOT " if auto else ""}NULL{skip}{STARTABLE} ORDER BY j.due_at, j.id LIMIT ?"""
        return self._fetch_intact(records.to_job, sql, (self._now, *values, limit))

    def late_batch_jobs(self, *, unsent_before: float, sent_before: float, limit: int) -> Sequence[Job]:
        """Jobs in the batch lane whose time to give up was before the cut-off for unsent or for sent ones."""
        sql = f"""{_JOB} /* index: jobs_give_up */
                  WHERE j.lane = 'batch' AND j.give_up_at IS NOT NULL AND j.state IN ('queued', 'batched')
                    AND j.give_up_at <= CASE j.sent WHEN 0 THEN ? ELSE ? END{STARTABLE}
                  ORDER BY j.give_up_at LIMIT ?"""
        return self._fetch_intact(records.to_job, sql, (unsent_before, sent_before, limit))

    def batched_past_deadline(self, *, limit: int) -> Sequence[Job]:
        """Jobs in a batch past a deadline that was asked for."""
        sql = f"""{_JOB} /* index: jobs_batched */ WHERE j.state = 'batched' AND j.deadline_asked = 1
                  AND j.deadline_at <= ? LIMIT ?"""
        return self._fetch_intact(records.to_job, sql, (self._now, limit))


def not_in(**skipped: Collection[str]) -> tuple[str, list[str]]:
    """Conditions that leave out rows by column, and their values."""
    where = ""
    args: list[str] = []
    for column, values in skipped.items():
        if values:
            where += f" AND j.{column} NOT IN ({placeholders(values)})"
            args.extend(sorted(values))

    return where, args
