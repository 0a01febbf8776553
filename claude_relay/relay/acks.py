"""Applied, not just delivered: the address that goes with each result, and what happens when it is called."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from ..core import acks
from ..core import delivery as moves
from ..core.change import Event
from ..core.delivery import Delivery
from ..core.job import Job
from ..errors import NotFound
from ..ports import Unit, View
from .timekeeping import ago
from .values import Tools

_SECRET = "secret:ack"
_STEP = 100


@dataclass(frozen=True, kw_only=True)
class Acked:
    """A result that was applied: when that was first said."""

    request_id: str
    at: float


class Acks:
    """The use cases of receivers that acknowledge, and of the reminder to those that do not."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store
        self._known: bytes | None = None  # the secret, which never changes once there is one

    def ack(self, token: str) -> Acked:
        """
        The result was applied. Saying it again changes nothing.

        Raises `NotFound` for a token that was not made here, and for one whose job is gone: nobody learns which.
        """
        secret = self._secret()
        named = acks.read_token(secret, token) if secret else None
        if named is None:
            raise NotFound(_UNKNOWN)
        job_id, run = named

        def look(view: View) -> tuple[Job | None, float | None]:
            return view.job(job_id), view.acked(job_id, run)

        job, at = self._store.read(look)
        if job is None:
            raise NotFound(_UNKNOWN)
        if at is None:
            at = self._store.write(lambda unit: _ack(unit, job_id, run))

        return Acked(request_id=job.request_id, at=at)

    def remind(self) -> int:
        """Send once more what was delivered and not acknowledged in time; answers how many that were."""
        after = self._tools.policy.ack_remind
        if after is None:
            return 0

        def due(view: View, limit: int) -> list[Delivery]:
            return list(view.unacked_deliveries(before=ago(view, after), limit=limit))

        def send_again(unit: Unit) -> int:
            found = due(unit, _STEP)
            for delivery in found:
                again = moves.remind(delivery, now=unit.now)
                name = "ack_reminded"
                event = Event(job_id=again.job_id, subject=again.id, version=again.version, at=unit.now, name=name)
                unit.save_delivery(again, delivery.version, event)
            return len(found)

        return self._store.write(send_again) if self._store.read(lambda view: due(view, 1)) else 0

    def _secret(self) -> bytes | None:
        if self._known is None and (text := self._store.read(lambda view: view.memo(_SECRET))):
            self._known = base64.b64decode(text)

        return self._known


def ack_url(unit: Unit, job: Job, tools: Tools) -> str | None:
    """The address that acknowledges this run's result; None where nobody could call it (no RELAY_PUBLIC_URL)."""
    public_url = tools.policy.public_url
    if not public_url:
        return None
    text = unit.memo(_SECRET)
    if text is None:
        text = base64.b64encode(tools.random.randbytes(acks.SECRET_BYTES)).decode()
        unit.remember(_SECRET, text)

    return f"{public_url.rstrip('/')}/ack/{acks.make_token(base64.b64decode(text), job.id, job.run)}"


_UNKNOWN = "This address acknowledges nothing: it was not made here, or its job was purged after its time."


def _ack(unit: Unit, job_id: str, run: int) -> float:
    if (known := unit.acked(job_id, run)) is not None:
        return known
    job = unit.job(job_id)
    if job is None:
        raise NotFound(_UNKNOWN)
    unit.ack(job, run, Event(job_id=job_id, subject=f"ack:{run}", version=1, at=unit.now, name="acked"))

    return unit.now
