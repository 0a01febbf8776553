"""What conversations are made of, in SQL: a part of `ports.View` and of `ports.Unit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.jobs.failure import SchemaRepair
from ...core.jobs.submission import Continuation
from . import records


class ConversationReads:
    """The questions."""

    _run: Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]

    def earlier(self, job_id: str) -> Continuation | None:
        """Which run that job goes on from."""
        found = self._run("SELECT earlier_id, earlier_run FROM continuations WHERE job_id = ?", (job_id,))
        return Continuation(job_id=found[0][0], run=found[0][1]) if found else None

    def options(self, job_id: str) -> dict[str, Any]:
        """How that job asked: without reading its files, which may be dozens of megabytes in the same text."""
        found = self._run("SELECT request -> 'options' FROM requests WHERE job_id = ?", (job_id,))
        return records.load(found[0][0]) or {} if found else {}

    def blocks(self, job_id: str, run: int) -> list[dict[str, Any]] | None:
        """Claude's answer block by block, where it is more than its text."""
        found = self._run("SELECT blocks FROM answers WHERE job_id = ? AND run = ?", (job_id, run))
        blocks: list[dict[str, Any]] | None = records.load(found[0][0]) if found else None
        return blocks

    def last_answered(self, job_id: str) -> int | None:
        """The latest run that was completed and of which the answer is still there."""
        sql = "SELECT max(run) FROM outcomes WHERE job_id = ? AND status = 'completed' AND length(body) > 0"
        run: int | None = self._run(sql, (job_id,))[0][0]
        return run

    def repair(self, job_id: str, run: int) -> SchemaRepair | None:
        """The answer of that run which Claude is to mend."""
        found = self._run("SELECT text, problem FROM repairs WHERE job_id = ? AND run = ?", (job_id, run))
        return SchemaRepair(text=found[0][0], problem=found[0][1]) if found else None


class ConversationWrites(ConversationReads):
    """And what is written."""

    def add_continuation(self, job_id: str, earlier: Continuation) -> None:
        """That job goes on from this run, which is kept for it."""
        sql = "INSERT INTO continuations (job_id, earlier_id, earlier_run) VALUES (?, ?, ?)"
        self._run(sql, (job_id, earlier.job_id, earlier.run))

    def save_repair(self, job_id: str, run: int, repair: SchemaRepair) -> None:
        """Claude is to be shown this answer; one of an earlier run is forgotten."""
        sql = """INSERT INTO repairs (job_id, run, text, problem) VALUES (?, ?, ?, ?) ON CONFLICT (job_id) DO UPDATE
                 SET run = excluded.run, text = excluded.text, problem = excluded.problem"""
        self._run(sql, (job_id, run, repair.text, repair.problem))

    def save_blocks(self, job_id: str, run: int, blocks: list[dict[str, Any]]) -> None:
        """Keep an answer block by block."""
        sql = "INSERT INTO answers (job_id, run, blocks) VALUES (?, ?, ?)"
        self._run(sql, (job_id, run, records.dump(blocks)))
