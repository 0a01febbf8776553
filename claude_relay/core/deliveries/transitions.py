"""
Transitions of a delivery: each is a function from a delivery to a `DeliveryChange`, or raises `IllegalTransition`.

    pending ──claim──▶ sending ──record_attempt──▶ delivered ──redeliver, remind──▶ pending
      │ ▲                 │ └─ retries left, or release ─▶ pending
      │ └─ redeliver ── dead ◀── schedule used up, refused
      └─ give_up ─────────▲
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import Conflict, IllegalTransition, LeaseLost
from ..backoff import jittered
from ..jobs.events import Event, EventName
from ..lazy_dataclass import dataclass
from .delivery import Delivery, DeliveryAttempt, DeliveryState, Reply, ReplyClass, classify_reply

if TYPE_CHECKING:
    from ..jobs.job import Job, Lease
    from ..policy import Policy


@dataclass(frozen=True, kw_only=True)
class DeliveryChange:
    """
    A delivery's next version with its event and, where a POST led to it, the attempt.

    `expects` is the version it was decided on: saving is refused when the row has moved since.
    """

    delivery: Delivery
    previous: Delivery
    expects: int
    event: Event
    attempt: DeliveryAttempt | None = None


def open_delivery(
    job: Job, url: str, *, identity: str, now: float, due_at: float, body: bytes | None = None
) -> Delivery:
    """A new delivery of the job's present run; `body` None: that of its outcome."""
    return Delivery(
        id=identity,
        job_id=job.id,
        run=job.run,
        group=job.group,
        webhook_id=f"msg_{identity}",
        url=url,
        state=DeliveryState.PENDING,
        version=1,
        created_at=now,
        opened_at=now,
        due_at=due_at,
        body=body,
    )


def claim(delivery: Delivery, *, lease: Lease, now: float) -> DeliveryChange:
    """Lease a due delivery to one sender."""
    if delivery.state is not DeliveryState.PENDING or delivery.due_at > now:
        raise IllegalTransition(f"delivery {delivery.id} is {delivery.state.value}, not due")

    return _transition(delivery, EventName.DELIVERING, now=now, state=DeliveryState.SENDING, lease=lease)


def record_attempt(
    delivery: Delivery, reply: Reply, *, token: str, policy: Policy, now: float, chance: float
) -> DeliveryChange:
    """Apply a reply: delivered, retried later, or dead. Raises `LeaseLost`."""
    _fence(delivery, token)
    verdict = classify_reply(reply)
    not_ready_since = None
    if verdict is ReplyClass.NOT_READY:
        not_ready_since = now if delivery.not_ready_since is None else delivery.not_ready_since
    fields: dict[str, Any] = dict(
        attempts=delivery.attempts + 1,
        not_ready_since=not_ready_since,
        lease=None,
        last_status=reply.status,
        last_error=reply.error,
    )

    delay = None
    if not_ready_since is not None and now - not_ready_since < policy.not_ready_window:
        delay = jittered(policy.not_ready_delay, chance=chance)
    elif verdict is ReplyClass.RETRY and delivery.schedule_index < len(policy.webhook_schedule):
        delay = jittered(policy.webhook_schedule[delivery.schedule_index], chance=chance)
        fields["schedule_index"] = delivery.schedule_index + 1

    detail = _reply_detail(reply, delivery.attempts + 1)
    if verdict is ReplyClass.DELIVERED:
        name = EventName.DELIVERED
        fields.update(state=DeliveryState.DELIVERED, finished_at=now)
    elif delay is not None:
        name = EventName.DELIVERY_DEFERRED
        due_at = now + max(delay, reply.retry_after or 0.0)
        fields.update(state=DeliveryState.PENDING, due_at=due_at)
        detail["dueAt"] = due_at
    else:
        name = EventName.DELIVERY_DEAD
        fields.update(state=DeliveryState.DEAD, finished_at=now)

    change = _transition(delivery, name, now=now, detail=detail, **fields)
    attempt = DeliveryAttempt(
        delivery_id=delivery.id,
        number=change.delivery.attempts,
        at=now,
        url=delivery.url,
        reply=reply,
        next_due=None if change.delivery.state.final else change.delivery.due_at,
    )
    return replace(change, attempt=attempt)


def give_up(delivery: Delivery, *, why: str, now: float) -> DeliveryChange:
    """Give up a delivery whose destination stays silent, or that is damaged: as if its last attempt had failed."""
    if delivery.state is not DeliveryState.PENDING:
        raise IllegalTransition(f"delivery {delivery.id} is {delivery.state.value}, not waiting")

    detail = _reply_detail(Reply(error=why), delivery.attempts)
    # A waiting delivery has no lease, but a damaged row may have one, with which it could not be saved.
    fields: dict[str, Any] = dict(state=DeliveryState.DEAD, finished_at=now, last_error=why, lease=None)
    return _transition(delivery, EventName.DELIVERY_DEAD, now=now, detail=detail, **fields)


def release(delivery: Delivery, *, token: str, now: float) -> DeliveryChange:
    """Return it unsent, at shutdown or after its sender died: due again at once, the attempt not counted."""
    _fence(delivery, token)

    return _transition(delivery, EventName.DELIVERY_RELEASED, now=now, state=DeliveryState.PENDING, lease=None)


def redeliver(delivery: Delivery, *, now: float, url: str | None = None) -> DeliveryChange:
    """Send the stored outcome again, from the start of the schedule."""
    if delivery.state in (DeliveryState.PENDING, DeliveryState.SENDING) and url is None:
        raise Conflict("the result is on its way already; see its status for the next attempt")
    if delivery.state is DeliveryState.SENDING:
        raise Conflict("the result is being sent this moment; try again when that attempt has ended")
    if not delivery.intact and url is None:
        raise Conflict("the stored webhook address is damaged: name one (redeliver --to URL)")

    fields = {**_reopened(now), "url": url or delivery.url, "intact": True}
    return _transition(delivery, EventName.REDELIVERED, now=now, **fields)


def remind(delivery: Delivery, *, now: float) -> DeliveryChange:
    """Send a result once more, unchanged, that was delivered and has not been acknowledged."""
    if delivery.state is not DeliveryState.DELIVERED or delivery.acked_at or delivery.reminded_at:
        raise IllegalTransition(f"delivery {delivery.id} is {delivery.state.value}, and no reminder is due")

    return _transition(delivery, EventName.ACK_REMINDED, now=now, reminded_at=now, **_reopened(now))


def _reopened(now: float) -> dict[str, Any]:
    return dict(
        state=DeliveryState.PENDING,
        due_at=now,
        opened_at=now,
        schedule_index=0,
        not_ready_since=None,
        finished_at=None,
        lease=None,
    )


def _fence(delivery: Delivery, token: str) -> None:
    if delivery.lease is None or delivery.lease.token != token:
        raise LeaseLost(f"the lease on delivery {delivery.id} was lost: another sender has it, or it has ended")


def _reply_detail(reply: Reply, attempt: int) -> dict[str, Any]:
    return {"statusCode": reply.status, "ms": reply.ms, "error": reply.error, "attempt": attempt}


def _transition(
    delivery: Delivery, name: EventName, *, now: float, detail: dict[str, Any] | None = None, **fields: Any
) -> DeliveryChange:
    """The only way to a delivery's next version."""
    updated = replace(delivery, version=delivery.version + 1, **fields)
    event = Event(
        job_id=delivery.job_id, subject=delivery.id, version=updated.version, at=now, name=name, detail=detail or {}
    )
    return DeliveryChange(delivery=updated, previous=delivery, expects=delivery.version, event=event)
