"""A delivery: one outcome on its way to one webhook, and the decision what an answer to it means (`CONTRACT.md` §2)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from urllib.parse import urlsplit

from ...errors import Conflict, IllegalTransition, LeaseLost
from ..backoff import jittered
from ..jobs.job import Lease
from ..policy import Policy


class DeliveryState(str, Enum):
    """Where a delivery stands."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"

    @property
    def final(self) -> bool:
        """Whether nothing more is sent, unless someone asks for it."""
        return self in (DeliveryState.DELIVERED, DeliveryState.DEAD)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One webhook to send. Its body and `webhook_id` never change: the receiver drops repeats by the id."""

    id: str
    job_id: str
    run: int
    webhook_id: str
    url: str = field(repr=False)
    state: DeliveryState
    version: int
    created_at: float
    opened_at: float = 0.0  # when it was opened, or asked to be sent again
    due_at: float
    body: bytes | None = field(default=None, repr=False)  # None: the outcome's own bytes
    attempts: int = 0  # tries in all
    schedule_index: int = 0  # tries that used up the schedule, since it was opened or sent again
    not_ready_since: float | None = None  # it has answered 404 or 409, and nothing else, since then
    lease: Lease | None = None
    last_status: int | None = None
    last_error: str | None = None
    finished_at: float | None = None
    acked_at: float | None = None
    group: str = "default"
    reminded_at: float | None = None

    @property
    def destination(self) -> str:
        """Scheme, host and port: what is slow or gone is gone as a whole."""
        return destination_of(self.url)


def destination_of(url: str) -> str:
    """`https://hook.eu1.make.com:443/abc` and its like to `https://hook.eu1.make.com`."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_USUAL_PORT.get(parts.scheme, ""))

    return f"{parts.scheme}://{host}"


_USUAL_PORT = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one POST came to: a status with the first of its body, or an error without one."""

    status: int | None = None
    ms: int = 0
    excerpt: str = field(default="", repr=False)
    retry_after: float | None = None
    error: str | None = None
    blocked: bool = False  # the guard refused the address
    local_fault: bool = False  # the fault is on this side, or may be: it says nothing of the receiver


class ReplyClass(str, Enum):
    """What a reply means."""

    DELIVERED = "delivered"
    RETRY = "again"  # on the schedule
    NOT_READY = "not_ready"  # every few seconds for two minutes
    DEAD = "dead"


def classify_reply(reply: Reply) -> ReplyClass:
    """The table of answers."""
    status = reply.status
    if reply.blocked:
        return ReplyClass.DEAD
    if status is None or status in (408, 425, 429) or status >= 500:
        return ReplyClass.RETRY
    if 200 <= status < 300:
        return ReplyClass.DELIVERED
    if status == 400 and "queue is full" in reply.excerpt.lower():
        return ReplyClass.RETRY
    if status in (404, 409):
        return ReplyClass.NOT_READY

    return ReplyClass.DEAD


def claim(delivery: Delivery, *, lease: Lease, now: float) -> Delivery:
    """Hand a due delivery to one sender."""
    if delivery.state is not DeliveryState.PENDING or delivery.due_at > now:
        raise IllegalTransition(f"delivery {delivery.id} is {delivery.state.value}, not due")

    return _step(delivery, state=DeliveryState.SENDING, lease=lease)


def record_attempt(
    delivery: Delivery, reply: Reply, *, token: str, policy: Policy, now: float, chance: float
) -> Delivery:
    """What the reply makes of it: delivered, again later, or dead."""
    _fence(delivery, token)
    verdict = classify_reply(reply)
    since = (
        (now if delivery.not_ready_since is None else delivery.not_ready_since)
        if verdict is ReplyClass.NOT_READY
        else None
    )
    told = dict(
        attempts=delivery.attempts + 1,
        not_ready_since=since,
        lease=None,
        last_status=reply.status,
        last_error=reply.error,
    )

    if verdict is ReplyClass.DELIVERED:
        return _step(delivery, state=DeliveryState.DELIVERED, finished_at=now, **told)
    if verdict is ReplyClass.NOT_READY and since is not None and now - since < policy.not_ready_window:
        delay = jittered(policy.not_ready_delay, chance=chance)
        return _step(delivery, state=DeliveryState.PENDING, due_at=now + max(delay, reply.retry_after or 0.0), **told)
    if verdict is ReplyClass.RETRY and delivery.schedule_index < len(policy.webhook_schedule):
        delay = jittered(policy.webhook_schedule[delivery.schedule_index], chance=chance)
        due = now + max(delay, reply.retry_after or 0.0)
        return _step(
            delivery, state=DeliveryState.PENDING, due_at=due, schedule_index=delivery.schedule_index + 1, **told
        )

    return _step(delivery, state=DeliveryState.DEAD, finished_at=now, **told)


def expire_stalled(delivery: Delivery, *, why: str, now: float) -> Delivery:
    """Let one go that waits for a destination which does not come back: dead, as if its last try had failed."""
    if delivery.state is not DeliveryState.PENDING:
        raise IllegalTransition(f"delivery {delivery.id} is {delivery.state.value}, not waiting")

    return _step(delivery, state=DeliveryState.DEAD, finished_at=now, last_error=why)


def release(delivery: Delivery, *, token: str) -> Delivery:
    """Hand it back unsent, at shutdown or when its sender is gone: at once due again, the try not counted."""
    _fence(delivery, token)

    return _step(delivery, state=DeliveryState.PENDING, lease=None)


def redeliver(delivery: Delivery, *, now: float, url: str | None = None) -> Delivery:
    """Send the stored outcome again, from the schedule's start."""
    if delivery.state in (DeliveryState.PENDING, DeliveryState.SENDING) and url is None:
        raise Conflict("the result is on its way already; see its status for the next attempt")
    if delivery.state is DeliveryState.SENDING:
        raise Conflict("the result is being sent this moment; try again when that attempt has ended")

    fresh = dict(
        state=DeliveryState.PENDING, due_at=now, opened_at=now, schedule_index=0, not_ready_since=None, finished_at=None
    )
    return _step(delivery, url=url or delivery.url, lease=None, **fresh)


def remind(delivery: Delivery, *, now: float) -> Delivery:
    """Send it once more, as it was: it was delivered, and nobody has said that it was applied."""
    if delivery.state is not DeliveryState.DELIVERED or delivery.acked_at or delivery.reminded_at:
        raise IllegalTransition(f"delivery {delivery.id} is not one to be reminded of")

    return replace(redeliver(delivery, now=now), reminded_at=now)


def _fence(delivery: Delivery, token: str) -> None:
    if delivery.lease is None or delivery.lease.token != token:
        raise LeaseLost(f"delivery {delivery.id} is no longer this sender's")


def _step(delivery: Delivery, **fields: object) -> Delivery:
    return replace(delivery, version=delivery.version + 1, **fields)  # type: ignore[arg-type]
