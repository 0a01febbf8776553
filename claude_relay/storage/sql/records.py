"""Mapping between values and rows: the columns of each table, for every engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.deliveries.delivery import Delivery, DeliveryAttempt, DeliveryState, Reply
from ...core.deliveries.destination import Destination
from ...core.digests import digest, matches
from ...core.files.fetched import FetchedFile
from ...core.jobs.change import Call, Outcome
from ...core.jobs.events import Event, EventName
from ...core.jobs.failure import ErrorType, PartialResponse
from ...core.jobs.holds import HoldScope, QueueHold
from ...core.jobs.job import Job, Lease, OnInterrupt, Retain, State
from ...core.jobs.submission import EncodedRequest, StoredRequest
from ...core.jobs.tombstone import Tombstone
from ...errors import Damaged
from ...ports import Group, WorkerHeartbeat
from . import job_digest, row_variables

if TYPE_CHECKING:
    from .query import Row

JOB = job_digest.COLUMNS
REQUEST = (
    "job_id request webhook_url failure_webhook_url webhook_headers metadata max_cost_usd need_by warnings"
    " traceparent request_digest digest variables"
).split()
CALL = (
    "job_id number run started_at first_byte_at ended_at worker model sent upstream_request_id outcome detail"
    " usage cost_usd text_length mode reserved_usd"
).split()
DELIVERY = (
    "id job_id run webhook_id url destination state version created_at opened_at due_at attempts schedule_index"
    " not_ready_since lease_worker lease_token lease_expires_at last_status last_error finished_at acked_at grp"
    " reminded_at digest"
).split()
#: The columns of a delivery in its digest.
DELIVERY_DIGEST = "id job_id run webhook_id url destination state version created_at attempts schedule_index".split()
FILE = "number media_type size sha256 at name".split()


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
#: The body is the last column of its table, so that SQLite can write a long one in pieces.
INSERT_OUTCOME = """INSERT INTO outcomes (job_id, run, at, status, digest, body) VALUES (?, ?, ?, ?, ?, ?)
/* long: outcomes.body */"""


def columns(names: Sequence[str], prefix: str = "") -> str:
    """`a, b, c` for a SELECT or an INSERT."""
    return ", ".join(prefix + name for name in names)


def insert(table: str, names: Sequence[str], count: int = 1) -> str:
    """An INSERT of `count` rows with those columns, by position."""
    row = f"({', '.join('?' * len(names))})"

    return f"INSERT INTO {table} ({columns(names)}) VALUES {', '.join([row] * count)}"


def update(table: str, names: Sequence[str], *more: str, key: str = "id = ?") -> str:
    """An UPDATE of those columns of one row with the expected version; returns a row if it had that version."""
    assignments = [*(f"{name} = ?" for name in names), *more]

    return f"UPDATE {table} SET {', '.join(assignments)} WHERE {key} AND version = ? RETURNING 1"


def job_values(job: Job) -> tuple[Any, ...]:
    """The row of a job, in the order of `JOB`."""
    row = _job_columns(job)

    return (*row, job_digest.of(row), job_digest.sum_of_times(row))


def _job_columns(job: Job) -> tuple[Any, ...]:
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
        dump(job.checks),
        str(job.flow),
        job.template,
        job.collection,
        job.row,
    )


def job_update(previous: Job | None, job: Job) -> tuple[str, Sequence[Any]]:
    """The UPDATE of the changed columns only: an index is written only if its columns are."""
    row = _job_columns(job)
    old_row = _job_columns(previous) if previous is not None else (None,) * len(row)
    changed = {name: value for name, value, old in zip(JOB, row, old_row, strict=False) if value != old}
    changed["digest"] = job_digest.of(row)
    times, value = job_digest.assignment(changed)

    return update("jobs", list(changed), times), [*changed.values(), value]


def to_job(row: Row) -> Job:
    """A job from a row in the order of `JOB`."""
    values = dict(zip(JOB, row, strict=True))
    job_digest.check(row)
    del values["rank"], values["family"], values["flow"], values["digest"], values["times"]
    values["row"] = values.pop("row_no")
    values["group"] = values.pop("grp")
    try:
        values["state"] = State(values["state"])
        values["on_interrupt"] = OnInterrupt(values["on_interrupt"])
        values["retain"] = Retain(values["retain"])
    except ValueError:
        raise Damaged(f"the row of job {values['request_id']}") from None
    values["lease"] = _lease(values)
    values["usage"] = load(values["usage"])
    values["checks"] = None if values["checks"] is None else tuple(load(values["checks"]))
    values["fallbacks"] = tuple(values["fallbacks"].split(",")) if values["fallbacks"] else ()
    values["waiting_error"] = ErrorType(values["waiting_error"]) if values["waiting_error"] else None
    for flag in ("deadline_asked", "deadline_fixed", "has_webhook", "ambiguous", "sent"):
        values[flag] = bool(values[flag])

    return Job(**values)


#: The columns of a request that its digest covers, besides the content of the call.
CALLBACK = (
    "job_id webhook_url failure_webhook_url webhook_headers metadata max_cost_usd need_by warnings traceparent"
).split()


def request_values(job_id: str, request: StoredRequest, encrypted_headers: str | None) -> tuple[Any, ...]:
    """The row of a request, in the order of `REQUEST`, with encrypted headers."""
    call = request.request
    content = call.json if isinstance(call, EncodedRequest) else dump(call)
    variables = None
    if request.variables is not None:
        variables = row_variables.encode(
            request.variables, str(content, "utf-8") if isinstance(content, memoryview) else content or ""
        )
    values = {
        "job_id": job_id,
        "request": content,
        "webhook_url": request.webhook_url,
        "failure_webhook_url": request.failure_webhook_url,
        "webhook_headers": encrypted_headers,
        "metadata": dump(request.metadata),
        "max_cost_usd": request.max_cost_usd,
        "need_by": request.need_by,
        "warnings": dump(list(request.warnings) or None),
        "traceparent": request.traceparent,
        "request_digest": digest(job_id, content),
        "variables": variables,
    }
    values["digest"] = digest(*(values[name] for name in CALLBACK))

    return tuple(values[name] for name in REQUEST)


def to_request(row: Row) -> StoredRequest:
    """A request from `REQUEST`, without headers: see `RequestReads.webhook_target`. Raises `Damaged`."""
    values = dict(zip(REQUEST, row, strict=True))
    if not matches(values["request_digest"], (values["job_id"], values["request"])):
        raise Damaged(f"the stored request of job {values['job_id']}")

    callback = [values[name] for name in CALLBACK] + [values["digest"]]
    return to_callback(callback, request=load(values["request"]))


def to_callback(row: Row, *, request: dict[str, Any]) -> StoredRequest:
    """The part of a request that the callback needs, from `CALLBACK` and the digest. Raises `Damaged`."""
    values = dict(zip(CALLBACK, row, strict=False))
    if not matches(row[-1], row[:-1]):
        raise Damaged(f"the stored webhook of job {values['job_id']}")
    del values["webhook_headers"]
    values["metadata"] = load(values["metadata"])
    values["warnings"] = tuple(load(values["warnings"]) or ())

    return StoredRequest(request=request, **values)


def call_values(call: Call) -> tuple[Any, ...]:
    """The row of a ledger entry, in the order of `CALL`."""
    values = vars(call) | {"sent": int(call.sent), "usage": dump(call.usage)}

    return tuple(values[name] for name in CALL)


def to_call(row: Row) -> Call:
    """A ledger entry from a row in the order of `CALL`."""
    values = dict(zip(CALL, row, strict=True))
    values["sent"] = bool(values["sent"])
    values["usage"] = load(values["usage"])

    return Call(**values)


def delivery_values(delivery: Delivery) -> tuple[Any, ...]:
    """The row of a delivery, in the order of `DELIVERY`."""
    lease = delivery.lease
    values = vars(delivery)
    row = values | {
        "destination": delivery.destination,
        "grp": delivery.group,
        "state": delivery.state.value,
        "lease_worker": lease.worker if lease else None,
        "lease_token": lease.token if lease else None,
        "lease_expires_at": lease.expires_at if lease else None,
    }
    row["digest"] = digest(*_delivery_parts(row)) if delivery.intact else b""

    return tuple(row[name] for name in DELIVERY)


def _delivery_parts(values: Mapping[str, Any]) -> list[Any]:
    """The columns that only transitions change, besides the lease."""
    return [values[name] for name in DELIVERY_DIGEST]


def delivery_update(previous: Delivery, delivery: Delivery) -> tuple[str, Sequence[Any]]:
    """The UPDATE of the changed columns only."""
    changed = [
        (name, value)
        for name, value, old in zip(DELIVERY, delivery_values(delivery), delivery_values(previous), strict=True)
        if value != old
    ]
    # By its run: an index of the ids would be a thirtieth of PostgreSQL's write-ahead log.
    sql = update("deliveries", [name for name, _ in changed], key="job_id = ? AND run = ?")

    return sql, [value for _, value in changed]


def to_delivery(row: Row) -> Delivery:
    """A delivery from a row in the order of `DELIVERY`; without its body."""
    values = dict(zip(DELIVERY, row, strict=True))
    values["intact"] = matches(values.pop("digest"), _delivery_parts(values))
    del values["destination"]
    values["group"] = values.pop("grp")
    try:
        values["state"] = DeliveryState(values["state"])
    except ValueError:
        raise Damaged(f"the delivery {values['id']} of job {values['job_id']}") from None
    values["lease"] = _lease(values)

    return Delivery(**values)


def to_outcome(row: Row) -> Outcome:
    """From `job_id, run, at, status, body, digest`; an erased one has neither body nor digest. Raises `Damaged`."""
    job_id, run, at, status, body, stored = row
    if not outcome_intact(job_id, run, body, stored):
        raise Damaged(f"the stored result of job {job_id}")

    return Outcome(job_id=job_id, run=run, at=at, status=status, body=bytes(body))


def outcome_intact(job_id: str, run: int, body: Any, stored: bytes | None) -> bool:
    """Whether the body of an outcome is the one that was written, or was erased."""
    if stored is None:
        return isinstance(body, bytes) and not body

    return isinstance(body, bytes) and matches(stored, (job_id, run, body))


def to_partial(row: Row) -> PartialResponse:
    """From `job_id, number, text, usage, model, upstream_request_id, digest` and the job's present call."""
    *parts, stored, present = row
    if not matches(stored, parts):
        raise Damaged(f"the partial answer of job {row[0]}")
    _, number, text, usage, model, upstream_id = parts
    if number != present:
        return PartialResponse(text=text, model=model)

    return PartialResponse(text=text, usage=load(usage), model=model, upstream_request_id=upstream_id)


def to_file(row: Row) -> FetchedFile:
    """From a row in the order of `FILE`."""
    return FetchedFile(**dict(zip(FILE, row, strict=True)))


def to_event(row: Row) -> Event:
    """From `job_id, subject, version, at, name, detail`."""
    name = EventName(row[4])
    return Event(job_id=row[0], subject=row[1], version=row[2], at=row[3], name=name, detail=load(row[5]) or {})


def to_attempt(row: Row) -> DeliveryAttempt:
    """From `delivery_id, number, at, url, status, ms, reply, error, next_due`."""
    reply = Reply(status=row[4], ms=row[5], excerpt=row[6], error=row[7])

    return DeliveryAttempt(delivery_id=row[0], number=row[1], at=row[2], url=row[3], reply=reply, next_due=row[8])


def to_tombstone(row: Row) -> Tombstone:
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


def to_group(row: Row) -> Group:
    """From `name, concurrency, rate, paused_at, next_at`."""
    return Group(name=row[0], concurrency=row[1], rate=row[2], paused_at=row[3], next_at=row[4])


def to_hold(row: Row) -> QueueHold:
    """From `scope, reason, since, until, detail`."""
    return QueueHold(scope=HoldScope.parse(row[0]), reason=row[1], since=row[2], until=row[3], detail=row[4])


def to_worker(row: Row) -> WorkerHeartbeat:
    """From `id, host, pid, started_at, seen_at, slots, running`."""
    return WorkerHeartbeat(
        id=row[0], host=row[1], pid=row[2], started_at=row[3], seen_at=row[4], slots=row[5], running=row[6]
    )


DESTINATION = "name failures failing_since slowed_at probes successes not_before last_error".split()


def destination_values(destination: Destination) -> tuple[Any, ...]:
    """The row of a destination, in the order of `DESTINATION`."""
    return tuple(vars(destination)[name] for name in DESTINATION)


def to_destination(row: Row) -> Destination:
    """A destination from a row in the order of `DESTINATION`."""
    return Destination(**dict(zip(DESTINATION, row, strict=True)))


def dump(value: Any) -> str | None:
    """JSON, or NULL for None."""
    return None if value is None else _encode(value)


def load(text: str | None) -> Any:
    """The value of a JSON text; None for NULL."""
    return None if text is None else json.loads(text)


def _lease(values: dict[str, Any]) -> Lease | None:
    worker, token, until = (values.pop(f"lease_{part}") for part in ("worker", "token", "expires_at"))

    return None if token is None else Lease(worker=worker, token=token, expires_at=until)
