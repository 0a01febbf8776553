"""The present rows of claimed jobs, for their own worker alone; and the checkpoints of their answers."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.jobs.fencing import fence
from ..errors import Damaged, LeaseLost
from .damage import restore_running

if TYPE_CHECKING:
    from ..core.jobs.change import Call
    from ..core.jobs.failure import PartialResponse
    from ..core.jobs.job import Job
    from ..ports import ReadTransaction, Transaction
    from .types import ClaimedJob

    #: A claimed job, the number of its ledger entry (None: the present one), and its answer so far.
    Checkpoint = tuple[ClaimedJob, int | None, PartialResponse]


def look_up_call(reads: ReadTransaction, claimed: ClaimedJob) -> None:
    """The look-ups of `fenced_call`."""
    reads.job(claimed.job.id)
    reads.call(claimed.job.id, claimed.call.number)


def fenced_call(tx: Transaction, claimed: ClaimedJob) -> tuple[Job, Call]:
    """The present rows of a claimed job and its call; raises `LeaseLost`."""
    try:
        job = tx.job(claimed.job.id)
    except Damaged as exc:
        job = restore_running(tx, claimed, exc)
    if job is None:
        raise LeaseLost()
    fence(job, claimed.token)

    return job, tx.call(job.id, job.calls) or claimed.call


def save_checkpoints(tx: Transaction, items: Sequence[Checkpoint]) -> None:
    """Store those answers, except for lost leases and for ledger entries that have ended."""
    for claimed, number, partial in items:
        with contextlib.suppress(LeaseLost):
            job, _ = fenced_call(tx, claimed)
            if number in (None, job.calls):
                tx.checkpoint(job, job.calls, partial)
