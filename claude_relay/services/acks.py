"""Applied, not just delivered: the address that goes with each result, and what happens when it is called."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from ..core.deliveries import ack_token
from ..core.deliveries import delivery as moves
from ..core.deliveries.delivery import Delivery
from ..core.jobs.change import Event
from ..core.jobs.job import Job
from ..errors import NotFound
from ..ports import ReadTransaction, Transaction
from .clock_step import cutoff
from .context import Context

_SECRET = "secret:ack"
_STEP = 100


@dataclass(frozen=True, kw_only=True)
class AckResult:
    """A result that was applied: when that was first said."""

    request_id: str
    at: float


class Acks:
    """The use cases of receivers that acknowledge, and of the reminder to those that do not."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._known: bytes | None = None  # the secret, which never changes once there is one

    def ack(self, token: str) -> AckResult:
        """
        The result was applied. Saying it again changes nothing.

        Raises `NotFound` for a token that was not made here, and for one whose job is gone: nobody learns which.
        """
        secret = self._secret()
        named = ack_token.read_token(secret, token) if secret else None
        if named is None:
            raise NotFound(_UNKNOWN)
        job_id, run = named

        def look(tx: ReadTransaction) -> tuple[Job | None, float | None]:
            return tx.job(job_id), tx.acked_at(job_id, run)

        job, at = self._store.read(look)
        if job is None:
            raise NotFound(_UNKNOWN)
        if at is None:
            at = self._store.write(lambda tx: _ack(tx, job_id, run))

        return AckResult(request_id=job.request_id, at=at)

    def remind(self) -> int:
        """Send once more what was delivered and not acknowledged in time; answers how many that were."""
        after = self._context.policy.ack_remind
        if after is None:
            return 0

        def due(tx: ReadTransaction, limit: int) -> list[Delivery]:
            return list(tx.unacked_deliveries(before=cutoff(tx, after), limit=limit))

        def send_again(tx: Transaction) -> int:
            found = due(tx, _STEP)
            for delivery in found:
                again = moves.remind(delivery, now=tx.now)
                name = "ack_reminded"
                event = Event(job_id=again.job_id, subject=again.id, version=again.version, at=tx.now, name=name)
                tx.save_delivery(again, delivery.version, event)
            return len(found)

        return self._store.write(send_again) if self._store.read(lambda tx: due(tx, 1)) else 0

    def _secret(self) -> bytes | None:
        if self._known is None and (text := self._store.read(lambda tx: tx.shared_value(_SECRET))):
            self._known = base64.b64decode(text)

        return self._known


def ack_url(tx: Transaction, job: Job, context: Context) -> str | None:
    """The address that acknowledges this run's result; None where nobody could call it (no RELAY_PUBLIC_URL)."""
    public_url = context.policy.public_url
    if not public_url:
        return None
    text = tx.shared_value(_SECRET)
    if text is None:
        text = base64.b64encode(context.rng.randbytes(ack_token.SECRET_BYTES)).decode()
        tx.set_shared_value(_SECRET, text)

    return f"{public_url.rstrip('/')}/ack/{ack_token.make_token(base64.b64decode(text), job.id, job.run)}"


_UNKNOWN = "This address acknowledges nothing: it was not made here, or its job was purged after its time."


def _ack(tx: Transaction, job_id: str, run: int) -> float:
    if (known := tx.acked_at(job_id, run)) is not None:
        return known
    job = tx.job(job_id)
    if job is None:
        raise NotFound(_UNKNOWN)
    tx.ack(job, run, Event(job_id=job_id, subject=f"ack:{run}", version=1, at=tx.now, name="acked"))

    return tx.now
