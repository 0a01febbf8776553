"""JSON bodies of collections: answers, the callback, and results. Key order is part of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..wire import STATUS, delivery_status, encode, optional_timestamp, timestamp
from .collection import Collection, Phase, Tally, status_of

if TYPE_CHECKING:
    from ..deliveries.delivery import Delivery
    from ..deliveries.destination import Destination
    from ..jobs.job import Job

#: Failed rows that a callback lists.
MAX_FAILURES = 100
_MAX_ERROR = 500
#: Keys of a row's own callback that its entry in the collection's callback has, too, where they are not empty.
_SHORT = ("response json content checks checksFailed truncated error errorType partialResponse metadata").split()
_EMPTY: Mapping[str, Any] = {"truncated": False, "metadata": {}}
_NOT_IN_RESULTS = ("requestId", "status", "timestamp", "ackUrl")


def accepted_body(
    collection: Collection,
    tally: Tally,
    *,
    now: float,
    base: str | None,
    warnings: Sequence[str],
    duplicate: bool,
    show_state: bool = True,
    webhook_empty: bool = False,
) -> dict[str, Any]:
    """The body of a 202; without `show_state` a duplicate has the status of the first answer."""
    path, message = f"/api/collections/{collection.collection_id}", "Collection accepted and processing"
    if webhook_empty:
        message += f"; webhookUrl is empty, so there is no webhook: ask for the results at {path}/results"
    is_shown = (duplicate and show_state) or collection.phase is Phase.OPEN
    body: dict[str, Any] = {
        "message": message,
        "collectionId": collection.collection_id,
        "status": status_of(collection, tally) if is_shown else "pending",
        "total": collection.total,
        "statusUrl": f"{(base or '').rstrip('/')}{path}",
        "timestamp": timestamp(now),
        "warnings": list(warnings),
    }
    if duplicate:
        body["duplicate"] = True

    return body


def status_body(
    collection: Collection,
    tally: Tally,
    *,
    metadata: Any,
    delivery: Delivery | None,
    destination: Destination | None,
    acked: float | None,
) -> dict[str, Any]:
    """The answer of `GET /api/collections/{id}`."""
    job = collection.job

    return {
        "collectionId": collection.collection_id,
        "status": status_of(collection, tally),
        "generation": collection.generation,
        "total": collection.total,
        "pending": tally.pending,
        "processing": tally.processing,
        "completed": tally.completed,
        "failed": tally.failed,
        "createdAt": timestamp(job.created_at),
        "finishedAt": optional_timestamp(collection.finished_at),
        "costUsd": tally.cost_usd,
        "savedUsd": tally.saved_usd,
        "checksFailed": tally.checks_failed,
        "delivery": delivery_status(delivery, destination),
        "acked": optional_timestamp(acked),
        "metadata": metadata if metadata is not None else {},
        "group": job.group,
        "template": collection.template,
        "maxCostUsd": collection.max_cost_usd,
        "cancelRequestedAt": optional_timestamp(collection.cancel_requested_at),
        "owner": job.owner,
    }


def callback_body(
    collection: Collection,
    tally: Tally,
    *,
    usage: Mapping[str, int],
    failures: Iterable[Job],
    results: Sequence[bytes] | None,
    results_url: str,
    metadata: Any,
    ack_url: str | None,
    limit: int,
    now: float,
) -> bytes:
    """The callback of one generation, with its results (each of them encoded) if they fit into `limit` bytes."""
    head: dict[str, Any] = {
        "collectionId": collection.collection_id,
        "status": tally.outcome,
        "timestamp": timestamp(now),
        "generation": collection.generation,
        "total": collection.total,
        "completed": tally.completed,
        "failed": tally.failed,
        "usage": dict(usage),
        "costUsd": tally.cost_usd,
        "savedUsd": tally.saved_usd,
        "failures": [_failure(row) for row in failures],
    }
    tail: dict[str, Any] = {
        "resultsUrl": results_url,
        "metadata": metadata if metadata is not None else {},
        "ackUrl": ack_url,
    }
    if tally.checks_failed is not None:
        tail["checksFailed"] = tally.checks_failed
    begin, end = encode(head).removesuffix(b"}"), encode(tail).removeprefix(b"{")
    if results is not None:
        body = b'%s,"results":[%s],%s' % (begin, b",".join(results), end)
        if len(body) <= limit:
            return body

    return encode(head | tail | {"resultsTruncated": True})


def short_result(row: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a row in the callback of its collection."""
    head = {"row": row, "requestId": body["requestId"], "status": body["status"]}

    values = {key: body[key] for key in _SHORT if body.get(key) is not None and body[key] != _EMPTY.get(key, "")}

    return head | values


def full_result(job: Job, body: Mapping[str, Any] | None) -> dict[str, Any]:
    """The result of a row in `…/results`; a row without an outcome has its number, id and status only."""
    head = {"row": job.row, "requestId": job.request_id, "status": STATUS[job.state]}
    if body is None:
        return head

    return head | {key: value for key, value in body.items() if key not in _NOT_IN_RESULTS}


def add_usage(total: dict[str, int], usage: Mapping[str, Any] | None) -> None:
    """Add the token counts of one row."""
    for name, value in (usage or {}).items():
        if isinstance(value, int) and not isinstance(value, bool):
            total[name] = total.get(name, 0) + value


def _failure(row: Job) -> dict[str, Any]:
    error = row.error or "the job failed"

    return {
        "row": row.row,
        "requestId": row.request_id,
        "error": error if len(error) <= _MAX_ERROR else f"{error[:_MAX_ERROR]}…",
        "errorType": row.error_type or "internal",
    }
