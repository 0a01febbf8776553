"""Between values and rows: columns and how each is written and read, for every engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ...core.deliveries.delivery import Delivery, DeliveryAttempt, DeliveryState, Reply
from ...core.deliveries.destination import Destination
from ...core.files.fetched import FetchedFile
from ...core.jobs.change import Call, Outcome
from ...core.jobs.events import Event, EventName
from ...core.jobs.failure import ErrorType, PartialResponse
from ...core.jobs.holds import HoldScope, QueueHold
from ...core.jobs.job import Job, Lease, OnInterrupt, Retain, State
from ...core.jobs.submission import StoredRequest
from ...core.jobs.tombstone import Tombstone
from ...core.keys import ApiKey, Scope
from ...core.text.rates import Rate
from ...ports import Group, WorkerHeartbeat

JOB = (
    "id owner request_id body_hash state version created_at updated_at due_at priority rank grp model family mode"
    " on_interrupt retain deadline_at deadline_asked deadline_fixed run_at has_webhook run run_started_at calls attempt"
    " failures interruptions unsent ambiguous lease_worker lease_token lease_expires_at sent cancel_requested_at"
    " waiting_for finished_at error_type error prompt_length response_length usage cost_usd lane give_up_at fallbacks"
    " waiting_error"
).split()
REQUEST = (
    "job_id request webhook_url failure_webhook_url webhook_headers metadata max_cost_usd need_by warnings".split()
)
CALL = (
    "job_id number run started_at first_byte_at ended_at worker model sent upstream_request_id outcome detail"
    " usage cost_usd text_length mode reserved_usd"
).split()
DELIVERY = (
    "id job_id run webhook_id url destination state version created_at opened_at due_at attempts schedule_index not_ready_since"
    " lease_worker lease_token lease_expires_at last_status last_error finished_at acked_at grp reminded_at"
).split()
FILE = "number media_type size sha256 at name".split()


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def columns(names: Sequence[str], prefix: str = "") -> str:
    """`a, b, c` for a SELECT or an INSERT."""
    return ", ".join(prefix + name for name in names)


def insert(table: str, names: Sequence[str], count: int = 1) -> str:
    """An INSERT of those columns, by position, of so many rows at once."""
    row = f"({', '.join('?' * len(names))})"

    return f"INSERT INTO {table} ({columns(names)}) VALUES {', '.join([row] * count)}"


def update(table: str, names: Sequence[str]) -> str:
    """An UPDATE of those columns of one row, if it still has the version that is expected; answers a row if it had."""
    return f"UPDATE {table} SET {', '.join(name + ' = ?' for name in names)} WHERE id = ? AND version = ? RETURNING 1"


def job_values(job: Job) -> tuple[Any, ...]:
    """The row of a job, in the order of `JOB`."""
    lease = job.lease
    return (
        job.id,
        job.owner,
        job.request_id,
        job.body_hash,
        job.state.value,
        job.version,
        job.created_at,
        job.updated_at,
        job.due_at,
        job.priority,
        job.rank,
        job.group,
        job.model,
        job.family,
        job.mode,
        job.on_interrupt.value,
        job.retain.value,
        job.deadline_at,
        int(job.deadline_asked),
        int(job.deadline_fixed),
        job.run_at,
        int(job.has_webhook),
        job.run,
        job.run_started_at,
        job.calls,
        job.attempt,
        job.failures,
        job.interruptions,
        job.unsent,
        int(job.ambiguous),
        lease.worker if lease else None,
        lease.token if lease else None,
        lease.expires_at if lease else None,
        int(job.sent),
        job.cancel_requested_at,
        job.waiting_for,
        job.finished_at,
        job.error_type,
        job.error,
        job.prompt_length,
        job.response_length,
        dump(job.usage),
        job.cost_usd,
        job.lane,
        job.give_up_at,
        ",".join(job.fallbacks) or None,
        job.waiting_error.value if job.waiting_error else None,
    )


def job_update(before: Job | None, after: Job) -> tuple[str, Sequence[Any]]:
    """The UPDATE of what has changed, and no more: an index is only touched where its columns are."""
    values = job_values(after)
    known = job_values(before) if before is not None else (None,) * len(JOB)
    changed = [(name, value) for name, value, old in zip(JOB, values, known, strict=True) if value != old]

    return update("jobs", [name for name, _ in changed]), [value for _, value in changed]


def to_job(row: Sequence[Any]) -> Job:
    """A job from a row in the order of `JOB`."""
    told = dict(zip(JOB, row, strict=True))
    del told["rank"], told["family"]
    told["group"] = told.pop("grp")
    told["state"] = State(told["state"])
    told["on_interrupt"] = OnInterrupt(told["on_interrupt"])
    told["retain"] = Retain(told["retain"])
    told["lease"] = _lease(told)
    told["usage"] = load(told["usage"])
    told["fallbacks"] = tuple((told["fallbacks"] or "").split(",")) if told["fallbacks"] else ()
    told["waiting_error"] = ErrorType(told["waiting_error"]) if told["waiting_error"] else None
    for flag in ("deadline_asked", "deadline_fixed", "has_webhook", "ambiguous", "sent"):
        told[flag] = bool(told[flag])

    return Job(**told)


def request_values(job_id: str, request: StoredRequest, sealed_headers: str | None) -> tuple[Any, ...]:
    """The row of a request, in the order of `REQUEST`; its headers only as they are kept."""
    return (
        job_id,
        dump(request.request),
        request.webhook_url,
        request.failure_webhook_url,
        sealed_headers,
        dump(request.metadata),
        request.max_cost_usd,
        request.need_by,
        dump(list(request.warnings) or None),
    )


def to_request(row: Sequence[Any]) -> StoredRequest:
    """A request from a row in the order of `REQUEST`. Its headers stay where they are: see `View.webhook_headers`."""
    told = dict(zip(REQUEST, row, strict=True))
    told["request"] = load(told["request"])
    told["metadata"] = load(told["metadata"])
    del told["webhook_headers"]
    told["warnings"] = tuple(load(told["warnings"]) or ())

    return StoredRequest(**told)


def call_values(call: Call) -> tuple[Any, ...]:
    """The row of a ledger entry, in the order of `CALL`."""
    told = vars(call) | {"sent": int(call.sent), "usage": dump(call.usage)}

    return tuple(told[name] for name in CALL)


def to_call(row: Sequence[Any]) -> Call:
    """A ledger entry from a row in the order of `CALL`."""
    told = dict(zip(CALL, row, strict=True))
    told["sent"] = bool(told["sent"])
    told["usage"] = load(told["usage"])

    return Call(**told)


def delivery_values(delivery: Delivery) -> tuple[Any, ...]:
    """The row of a delivery, in the order of `DELIVERY`."""
    lease = delivery.lease
    told = vars(delivery) | {
        "destination": delivery.destination,
        "grp": delivery.group,
        "state": delivery.state.value,
        "lease_worker": lease.worker if lease else None,
        "lease_token": lease.token if lease else None,
        "lease_expires_at": lease.expires_at if lease else None,
    }
    return tuple(told[name] for name in DELIVERY)


def to_delivery(row: Sequence[Any]) -> Delivery:
    """A delivery from a row in the order of `DELIVERY`; its body stays where it is."""
    told = dict(zip(DELIVERY, row, strict=True))
    del told["destination"]
    told["group"] = told.pop("grp")
    told["state"] = DeliveryState(told["state"])
    told["lease"] = _lease(told)

    return Delivery(**told)


def to_outcome(row: Sequence[Any]) -> Outcome:
    """From `job_id, run, at, status, body`."""
    return Outcome(job_id=row[0], run=row[1], at=row[2], status=row[3], body=bytes(row[4]))


def to_partial(row: Sequence[Any]) -> PartialResponse:
    """From `text, usage, model, upstream_request_id`."""
    return PartialResponse(text=row[0], usage=load(row[1]), model=row[2], upstream_request_id=row[3])


def to_file(row: Sequence[Any]) -> FetchedFile:
    """From a row in the order of `FILE`."""
    return FetchedFile(**dict(zip(FILE, row, strict=True)))


def to_event(row: Sequence[Any]) -> Event:
    """From `job_id, subject, version, at, name, detail`."""
    return Event(
        job_id=row[0], subject=row[1], version=row[2], at=row[3], name=EventName(row[4]), detail=load(row[5]) or {}
    )


def to_posted(row: Sequence[Any]) -> DeliveryAttempt:
    """From `delivery_id, number, at, url, status, ms, reply, error, next_due`."""
    reply = Reply(status=row[4], ms=row[5], excerpt=row[6], error=row[7])

    return DeliveryAttempt(delivery_id=row[0], number=row[1], at=row[2], url=row[3], reply=reply, next_due=row[8])


def to_tombstone(row: Sequence[Any]) -> Tombstone:
    """From `job_id, owner, request_id, body_hash, state, created_at, finished_at, purged_at`."""
    return Tombstone(
        job_id=row[0],
        owner=row[1],
        request_id=row[2],
        body_hash=row[3],
        state=State(row[4]),
        created_at=row[5],
        finished_at=row[6],
        purged_at=row[7],
    )


def to_group(row: Sequence[Any]) -> Group:
    """From `name, concurrency, rate, paused_at, next_at`."""
    return Group(name=row[0], concurrency=row[1], rate=row[2], paused_at=row[3], next_at=row[4])


def to_hold(row: Sequence[Any]) -> QueueHold:
    """From `scope, reason, since, until`."""
    return QueueHold(scope=HoldScope.parse(row[0]), reason=row[1], since=row[2], until=row[3])


def to_worker(row: Sequence[Any]) -> WorkerHeartbeat:
    """From `id, host, pid, started_at, seen_at, slots, running`."""
    return WorkerHeartbeat(
        id=row[0], host=row[1], pid=row[2], started_at=row[3], seen_at=row[4], slots=row[5], running=row[6]
    )


DESTINATION = "name failures failing_since slowed_at probes successes not_before last_error".split()


def destination_values(known: Destination) -> tuple[Any, ...]:
    """The row of a destination, in the order of `DESTINATION`."""
    return tuple(vars(known)[name] for name in DESTINATION)


def to_destination(row: Sequence[Any]) -> Destination:
    """A destination from a row in the order of `DESTINATION`."""
    return Destination(**dict(zip(DESTINATION, row, strict=True)))


KEY = "id name digest scopes rate_count rate_seconds daily_budget_usd created_at revoked_at".split()


def key_values(key: ApiKey) -> tuple[Any, ...]:
    """The row of a key, in the order of `KEY`."""
    scopes = ",".join(sorted(scope.value for scope in key.scopes))
    rate = (key.rate.count, key.rate.seconds) if key.rate else (None, None)

    return (key.id, key.name, key.digest, scopes, *rate, key.daily_budget_usd, key.created_at, key.revoked_at)


def to_key(row: Sequence[Any]) -> ApiKey:
    """A key from a row in the order of `KEY`."""
    told = dict(zip(KEY, row, strict=True))
    count, seconds = told.pop("rate_count"), told.pop("rate_seconds")
    scopes = frozenset(Scope(word) for word in told.pop("scopes").split(","))
    digest = bytes(told.pop("digest"))

    return ApiKey(**told, scopes=scopes, digest=digest, rate=None if count is None else Rate(count, seconds))


def dump(value: Any) -> str | None:
    """JSON, or NULL for None."""
    return None if value is None else _encode(value)


def load(text: str | None) -> Any:
    """The value back."""
    return None if text is None else json.loads(text)


def _lease(told: dict[str, Any]) -> Lease | None:
    worker, token, until = (told.pop(f"lease_{part}") for part in ("worker", "token", "expires_at"))

    return None if token is None else Lease(worker=worker, token=token, expires_at=until)
