"""Conversations: links between jobs, answers in content blocks, and answers under repair."""

from __future__ import annotations

from typing import Any

from ...core.digests import digest, matches
from ...core.jobs.failure import ErrorType, Repair
from ...core.jobs.submission import Continuation
from ...errors import Damaged
from . import records
from .query import QueryBase, Row


class ConversationReads(QueryBase):
    """Implements `ports.store.ConversationReads`."""

    def earlier(self, job_id: str) -> Continuation | None:
        """The run that a job continues."""
        sql = "SELECT earlier_id, earlier_run FROM continuations WHERE job_id = ?"
        return self._fetch_first(lambda row: Continuation(job_id=row[0], run=row[1]), sql, (job_id,))

    def blocks(self, job_id: str, run: int) -> list[dict[str, Any]] | None:
        """Claude's answer in content blocks, where it is more than its text. Raises `Damaged`."""
        rows = self._run("SELECT blocks, digest FROM answers WHERE job_id = ? AND run = ?", (job_id, run))
        if not rows:
            return None
        [(text, stored)] = rows
        if not matches(stored, (job_id, run, text)):
            raise Damaged(f"the stored answer of job {job_id}")
        blocks: list[dict[str, Any]] = records.load(text)
        return blocks

    def last_answered(self, job_id: str) -> int | None:
        """The latest completed run whose answer is still stored."""
        sql = "SELECT max(run) FROM outcomes WHERE job_id = ? AND status = 'completed' AND length(body) > 0"
        run: int | None = self._fetch_value(sql, (job_id,))
        return run

    def repair(self, job_id: str, run: int) -> Repair | None:
        """The answer of that run which Claude is asked to repair. A damaged one is left out."""
        sql = "SELECT job_id, run, text, problem, kinds, digest FROM repairs WHERE job_id = ? AND run = ?"
        return self._fetch_first_intact(_to_repair, sql, (job_id, run))


class ConversationWrites(QueryBase):
    """Implements `ports.store.ConversationWrites`."""

    def add_continuation(self, job_id: str, earlier: Continuation) -> None:
        """Link a job to the run that it continues, which keeps that from the purge."""
        sql = "INSERT INTO continuations (job_id, earlier_id, earlier_run) VALUES (?, ?, ?)"
        self._run(sql, (job_id, earlier.job_id, earlier.run))

    def save_repair(self, job_id: str, run: int, repair: Repair) -> None:
        """Store the answer to repair; it replaces that of an earlier run."""
        sql = """INSERT INTO repairs (job_id, run, text, problem, kinds, digest) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (job_id) DO UPDATE SET run = excluded.run, text = excluded.text,
                     problem = excluded.problem, kinds = excluded.kinds, digest = excluded.digest"""
        parts = (job_id, run, repair.text, repair.problem, ",".join(repair.kinds))
        self._run(sql, (*parts, digest(*parts)))

    def save_blocks(self, job_id: str, run: int, blocks: list[dict[str, Any]]) -> None:
        """Store an answer in content blocks."""
        text = records.dump(blocks)
        sql = "INSERT INTO answers (job_id, run, blocks, digest) VALUES (?, ?, ?, ?)"
        self._run(sql, (job_id, run, text, digest(job_id, run, text)))


def _to_repair(row: Row) -> Repair:
    *parts, stored = row
    if not matches(stored, parts):
        raise Damaged(f"the answer to repair of job {row[0]}")
    _, _, text, problem, kinds = parts

    return Repair(text=text, problem=problem, kinds=tuple(map(ErrorType, kinds.split(","))))
