"""Stored content that is not what was written: it is not used, its job fails, and the operator is told."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core import damage as rules
from ..core.jobs.attempts import add_costs
from ..core.jobs.change import RELEASED
from ..core.jobs.endings import reject
from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..errors import Damaged, LeaseLost
from . import outcomes

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..ports import Transaction
    from .context import Context
    from .types import ClaimedJob

log = logging.getLogger(__name__)

#: Outcomes of calls whose jobs were taken from their worker.
_GIVEN_UP = ("interrupted", RELEASED)


def note(tx: Transaction, exc: Damaged) -> None:
    """Note a case, for the alert."""
    log.error("%s", exc)
    what = str(exc).partition(":")[0]
    tx.set_shared_value(rules.KEY, rules.add(tx.shared_value(rules.KEY), what, now=tx.now))


def failure_of(exc: Damaged) -> Failure:
    """The failure of a job whose content is damaged: nothing was sent."""
    return Failure(type=ErrorType.INTERNAL, message=str(exc), remedy=Remedy.FAIL, sent=False, reason="damaged")


@contextlib.contextmanager
def damaged_jobs_fail(tx: Transaction, job: Job, context: Context) -> Iterator[None]:
    """Fail that waiting job if its content turns out to be damaged in the block; others go on."""
    try:
        yield
    except Damaged as exc:
        note(tx, exc)
        outcomes.save_transition(tx, reject(job, failure_of(exc), now=tx.now), context)


def rebuild_running(tx: Transaction, job_id: str) -> Job | None:
    """Replace the damaged row of a running job whose worker is dead; None if there is nothing to replace."""
    damaged = next((job for job in tx.damaged_running() if job.id == job_id), None)
    job = damaged and rules.rebuilt(damaged, tx.calls(job_id), tx.events(job_id))
    if job:
        note(tx, Damaged(f"the row of job {job.request_id}"))
        tx.rewrite(job)

    return job


def restore_running(tx: Transaction, claimed: ClaimedJob, exc: Damaged) -> Job:
    """
    Replace the damaged row of a running job by what its worker holds, so that a paid answer is kept.

    The ledger shows whether the worker still has the job, as the token in the row may be damaged, too: the last entry
    is this call's, and open. Raises `LeaseLost` otherwise.
    """
    calls = [call for call in tx.calls(claimed.job.id) if call.number >= claimed.call.number]
    ours = all(call.worker == claimed.call.worker and call.outcome not in _GIVEN_UP for call in calls)
    lease = claimed.job.lease
    if not ours or not calls or calls[-1].outcome is not None or lease is None:
        raise LeaseLost() from exc
    note(tx, exc)
    cost = claimed.job.cost_usd
    for call in calls[:-1]:
        cost = add_costs(cost, call.cost_usd)
    versions = [event.version for event in tx.events(claimed.job.id) if event.subject == "job"]
    job = replace(
        claimed.job,
        version=max(versions, default=claimed.job.version),
        calls=calls[-1].number,
        sent=calls[-1].sent,
        cost_usd=cost,
        lease=replace(lease, expires_at=tx.now + lease.expires_at - claimed.call.started_at),
    )
    tx.rewrite(job)

    return job
