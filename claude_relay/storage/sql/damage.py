"""Damaged rows of jobs: those that `doctor --deep` finds, and what can be read of one that is running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...core.jobs.job import Job, Retain, State
from ...errors import Damaged
from . import records
from .conversations import ConversationReads
from .deliveries import DeliveryReads
from .files import FileReads
from .jobs import JobReads
from .requests import RequestReads

if TYPE_CHECKING:
    from ...core.deliveries.delivery import Delivery
    from .query import Row

_WITHOUT_JOB = """
SELECT r.job_id FROM requests r WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = r.job_id) LIMIT 100"""


_RUNNING = f"SELECT {records.columns(records.JOB)} FROM jobs WHERE state = 'running'"
#: Columns of a job by an index that has a copy of them, for SQLite to answer from the copy alone.
_COPIES = (
    "SELECT request_id, owner FROM jobs /* index: jobs_request */ WHERE id = ?",
    "SELECT grp FROM jobs /* index: jobs_group */ WHERE id = ?",
    "SELECT collection, row_no FROM jobs /* index: jobs_row */ WHERE collection IS NOT NULL AND id = ?",
)


class DamageReads(JobReads, RequestReads, DeliveryReads, ConversationReads, FileReads):
    """Implements `ports.store.DamageReads`."""

    def damaged(self, *, cursor: str, limit: int) -> tuple[Sequence[tuple[str, str]], str | None]:
        """Damaged rows of the next `limit` jobs as (requestId, what), and the id to go on from."""
        rows = self._run("SELECT id, request_id FROM jobs WHERE id > ? ORDER BY id LIMIT ?", (cursor, limit))
        problems = [(request_id, what) for job_id, request_id in rows for what in self._damage_of(job_id)]

        return problems, rows[-1][0] if len(rows) == limit else None

    def damaged_running(self) -> Sequence[Job]:
        """
        Running jobs whose row is damaged, with what ledger and events lack of them (`core.damage.rebuilt`).

        One whose owner is in doubt is left out: two columns name it.
        """
        rows = [dict(zip(records.JOB, row, strict=True)) for row in self._run(_RUNNING, ()) if _is_damaged(row)]
        return [job for row in rows if (job := self._readable_job(row)) is not None]

    def orphaned_requests(self) -> Sequence[str]:
        """Ids of requests without a job: the job's row is lost."""
        return [row[0] for row in self._run(_WITHOUT_JOB, ())]

    def has_lost_row(self, request_id: str, owner: str | None) -> bool:
        """Whether the index of requestIds has a job whose row is not found: SQLite says nothing of it."""
        sql, args = "SELECT count(*) FROM jobs /* index: jobs_request */ WHERE request_id = ?", [request_id]
        if owner is not None:
            sql, args = f"{sql} AND owner = ?", [request_id, owner]
        return self._count(sql, args) > 0

    def _readable_job(self, row: dict[str, Any]) -> Job | None:
        copies = [self._run(sql, (row["id"],)) for sql in _COPIES]
        if not copies[0] or not copies[1]:
            return None
        ((request_id, owner),), ((group,),) = copies[:2]
        collection, row_number = copies[2][0] if copies[2] else (None, None)
        if not str(row["flow"]).startswith(f"{owner}/"):
            return None

        return Job(
            id=row["id"],
            owner=owner,
            request_id=request_id,
            body_hash=str(row["body_hash"]),
            state=State.RUNNING,
            version=1,
            created_at=self._now,
            updated_at=self._now,
            due_at=self._now,
            group=group,
            mode=row["mode"] if row["mode"] in ("live", "auto") else "live",
            retain=Retain.FULL if row["retain"] == Retain.FULL.value else Retain.METADATA,
            has_webhook=bool(row["has_webhook"]),
            attempt=_number(row["attempt"]),
            failures=_number(row["failures"]),
            interruptions=_number(row["interruptions"]),
            prompt_length=_number(row["prompt_length"]),
            template=row["template"],
            collection=collection,
            row=row_number,
        )

    def _damage_of(self, job_id: str) -> Sequence[str]:
        problems: list[str] = []

        def check(read: Callable[[], object]) -> None:
            try:
                read()
            except Damaged as exc:
                problems.append(str(exc).partition(":")[0])

        check(lambda: self.job(job_id))
        check(lambda: self.request(job_id))
        check(lambda: self._outcomes(job_id))
        check(lambda: [self.delivery_body(item) for item in self._intact_deliveries(job_id)])
        self.skipped.clear()
        self.partial(job_id)
        for (run,) in self._run("SELECT run FROM repairs WHERE job_id = ?", (job_id,)):
            self.repair(job_id, run)
        problems += [str(exc).partition(":")[0] for exc in self.skipped]
        runs = self._run("SELECT run FROM answers WHERE job_id = ?", (job_id,))
        check(lambda: [self.blocks(job_id, run) for (run,) in runs])
        check(lambda: [self.file_data(job_id, file.number) for file in self.files(job_id)])

        return list(dict.fromkeys(problems))  # a callback usually is the outcome's own bytes

    def _outcomes(self, job_id: str) -> object:
        sql = "SELECT job_id, run, at, status, body, digest FROM outcomes WHERE job_id = ?"
        return self._fetch_all(records.to_outcome, sql, (job_id,))

    def _intact_deliveries(self, job_id: str) -> Sequence[Delivery]:
        deliveries = self.deliveries(job_id)
        if not all(item.intact for item in deliveries):
            raise Damaged(f"the delivery or the stored webhook address of job {job_id}")
        return deliveries


def _is_damaged(row: Row) -> bool:
    try:
        records.to_job(row)
    except (Damaged, ValueError, TypeError, AttributeError, OverflowError):
        return True

    return False


def _number(value: Any) -> int:
    """A count of a damaged row; one that cannot be meant is 0."""
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0
