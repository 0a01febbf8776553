"""Acknowledgements: the `ackUrl` of each result, its use by the receiver, and reminders."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.collections.collection import MARK
from ..core.deliveries import ack_token, transitions
from ..core.jobs.events import Event, EventName
from ..core.lazy_dataclass import dataclass
from ..errors import NotFound
from .clock_step import cutoff
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..core.jobs.job import Job
    from ..ports import ReadTransaction, Transaction
    from .context import Context

_SECRET = "secret:ack"
_STEP = 100
_UNKNOWN = "This URL acknowledges nothing: it was not made here, or its job was purged after its retention."


@dataclass(frozen=True, kw_only=True)
class AckResult:
    """An acknowledged result, and the time of its first acknowledgement."""

    request_id: str
    at: float


class Acks:
    """The use cases of receivers that acknowledge, and of the reminders to those that do not."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._secret: bytes | None = None  # never changes once it exists

    def ack(self, token: str) -> AckResult:
        """
        Record that the result was applied. Repeating it changes nothing.

        Raises `NotFound` for a token that was not made with this relay's secret and, with the same text, for a purged
        job: a caller cannot tell them apart.
        """
        secret = self._load_secret()
        run_ref = ack_token.read_token(secret, token) if secret else None
        if run_ref is None:
            raise NotFound(_UNKNOWN)

        job, at = self._job_and_ack(*run_ref)
        if job is None:
            raise NotFound(_UNKNOWN)
        if at is None:
            at = self._ack(*run_ref)

        return AckResult(request_id=job.request_id.removesuffix(MARK), at=at)

    def remind(self) -> int:
        """Send results once more that were not acknowledged in time; returns their number."""
        delay = self._context.policy.ack_remind
        if delay is None or not self._any_unacked(delay):
            return 0

        return self._remind(delay)

    @query
    def _job_and_ack(self, tx: ReadTransaction, job_id: str, run: int) -> tuple[Job | None, float | None]:
        return tx.job(job_id), tx.acked_at(job_id, run)

    @transaction
    def _ack(self, tx: Transaction, job_id: str, run: int) -> float:
        if (at := tx.acked_at(job_id, run)) is not None:
            return at
        job = tx.job(job_id)
        if job is None:
            raise NotFound(_UNKNOWN)
        tx.ack(job, run, Event(job_id=job_id, subject=f"ack:{run}", version=1, at=tx.now, name=EventName.ACKED))

        return tx.now

    @query
    def _any_unacked(self, tx: ReadTransaction, delay: float) -> bool:
        return bool(_unacked(tx, delay, 1))

    @transaction
    def _remind(self, tx: Transaction, delay: float) -> int:
        unacked = _unacked(tx, delay, _STEP)
        for delivery in unacked:
            tx.save_delivery(transitions.remind(delivery, now=tx.now))

        return len(unacked)

    def _load_secret(self) -> bytes | None:
        if self._secret is None and (text := self._store.read(lambda tx: tx.shared_value(_SECRET))):
            self._secret = base64.b64decode(text)

        return self._secret


def look_up_secret(reads: ReadTransaction, context: Context) -> None:
    """The look-up of `ack_url`."""
    if context.policy.public_url:
        reads.shared_value(_SECRET)


def ack_url(tx: Transaction, job: Job, context: Context) -> str | None:
    """The URL that acknowledges this run's result; None without a RELAY_PUBLIC_URL at which it could be called."""
    public_url = context.policy.public_url
    if not public_url:
        return None
    text = tx.shared_value(_SECRET)
    if text is None:
        text = base64.b64encode(context.rng.randbytes(ack_token.SECRET_BYTES)).decode()
        tx.set_shared_value(_SECRET, text)

    return f"{public_url.rstrip('/')}/ack/{ack_token.make_token(base64.b64decode(text), job.id, job.run)}"


def _unacked(tx: ReadTransaction, delay: float, limit: int) -> Sequence[Delivery]:
    return tx.unacked_deliveries(before=cutoff(tx, delay), limit=limit)
