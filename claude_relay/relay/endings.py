"""What belongs to the end of a run: its outcome and, where someone waits, the delivery, in the same transaction."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..core import wire
from ..core.change import Change, Outcome
from ..core.delivery import Delivery, DeliveryState
from ..core.failure import Completion
from ..core.job import Job, State
from ..core.submission import Request
from ..errors import NotFound
from ..ports import Unit
from . import turning
from .acks import ack_url
from .values import Tools


def save(unit: Unit, change: Change, tools: Tools, *, done: Completion | None = None, partial: str = "") -> Change:
    """Save a move; if it ends the run, with the frozen body and the delivery that carries it."""
    if change.job.state.final:
        if done is None and not partial:
            change, partial = _with_what_had_come(unit, change)
        request = unit.request(change.job.id) or Request(job_id=change.job.id, request={})
        request = replace(request, warnings=(*request.warnings, *turning.warnings(unit, change.job, request, tools)))
        change = _ended(change, request, tools, ack_url(unit, change.job, tools), done=done, partial=partial)
    unit.save(change)

    return change


def _with_what_had_come(unit: Unit, change: Change) -> tuple[Change, str]:
    """A try before the last one may have brought some of an answer: it was paid for, and whoever waits gets it."""
    came = unit.partial(change.job.id)
    if came is None:
        return change, ""
    job = replace(change.job, response_length=len(came.text), usage=change.job.usage or came.usage)

    return replace(change, job=job), came.text


def _ended(
    change: Change, request: Request, tools: Tools, ack: str | None, *, done: Completion | None, partial: str
) -> Change:
    job, now = change.job, change.event.at
    common = dict(metadata=request.metadata, warnings=request.warnings, ack_url=ack, now=now)
    if job.state is State.COMPLETED and done is not None:
        body = wire.success_body(job, done, **common)  # type: ignore[arg-type]
    else:
        body = wire.failure_body(job, partial=partial, **common)  # type: ignore[arg-type]

    blocks = done.blocks if done is not None else None
    outcome = Outcome(job_id=job.id, run=job.run, at=now, status=body["status"], body=wire.encode(body), blocks=blocks)
    url = request.webhook_url
    if body["status"] == "failed":
        url = request.failure_webhook_url or url
    if url is None:
        return replace(change, outcome=outcome)

    # The 202 goes out once the job is on the disk, which takes long for a large bulk; nobody can claim it before that.
    began = max(job.run_started_at, change.call.started_at if change.call is not None else 0.0)
    due_at = max(now, began + tools.policy.delivery_delay)

    return replace(change, outcome=outcome, delivery=_delivery(job, body, url, tools, now=now, due_at=due_at))


def open_delivery(unit: Unit, job: Job, url: str, tools: Tools) -> Delivery:
    """A delivery for a run that had ended without one: to the address that someone names now."""
    outcome = unit.outcome(job.id, job.run)
    if outcome is None:
        raise NotFound(f"the result of job {job.request_id} was erased after its time")
    delivery = _delivery(job, json.loads(outcome.body), url, tools, now=unit.now, due_at=unit.now)
    delivery = replace(delivery, acked_at=unit.acked(job.id, job.run))
    unit.add_delivery(delivery)

    return delivery


def _delivery(job: Job, body: dict[str, Any], url: str, tools: Tools, *, now: float, due_at: float) -> Delivery:
    policy = tools.policy
    result = f"/api/result/{job.request_id}"
    sent = wire.as_delivered(
        body,
        callback=policy.callback,
        limit=policy.callback_max,
        result_url=f"{policy.public_url.rstrip('/')}{result}" if policy.public_url else result,
    )
    identity = tools.new_id(now)
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
        body=None if sent is None else wire.encode(sent),
    )
