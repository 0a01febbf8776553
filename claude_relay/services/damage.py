"""Stored content that is not what was written: it is not used, its job fails, and the operator is told."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from ..core import damage
from ..core.jobs.endings import reject
from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..core.jobs.job import Job
from ..errors import Damaged
from ..ports import Transaction
from . import outcomes
from .context import Context

log = logging.getLogger(__name__)


def note(tx: Transaction, exc: Damaged) -> None:
    """Note a case, for the alert."""
    log.error("%s", exc)
    what = str(exc).partition(":")[0]
    tx.set_shared_value(damage.KEY, damage.add(tx.shared_value(damage.KEY), what, now=tx.now))


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
