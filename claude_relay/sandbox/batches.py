"""
Message Batches, as Anthropic has them, but finished within seconds.

A batch takes as long as its slowest request says (`slow`, `hang`), at least `SPAN`. Results come in another order than
the requests, and the books have the cost of each under its custom_id.
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from claude_relay.sandbox import response_script
from claude_relay.sandbox.answers import answer
from claude_relay.sandbox.call_log import Call, CallLog
from claude_relay.sandbox.messages import message
from claude_relay.sandbox.paging import paged
from claude_relay.sandbox.problem import ApiError, invalid
from claude_relay.sandbox.request import MessageRequest, check_version, parse

SPAN = 2.0
MOST_REQUESTS = 100_000
KEPT = 1_000
EXPIRES = 86_400.0
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KINDS = ("succeeded", "errored", "canceled", "expired")


@dataclass
class Batch:
    """One batch. `requests`: each parsed request by custom_id, or the error that is its result."""

    id: str
    at: float
    ready_at: float
    requests: dict[str, MessageRequest | ApiError] = field(repr=False)
    canceled_at: float | None = None
    ended_at: float | None = None
    results: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def info(self, base_url: str) -> dict[str, Any]:
        """The JSON of the batch; the counts of results stay at zero until all of it has ended."""
        kinds = [line["result"]["type"] for line in self.results]
        counts = {kind: kinds.count(kind) for kind in _KINDS}
        status = "ended" if self.ended_at else "canceling" if self.canceled_at else "in_progress"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {"processing": len(self.requests) - len(kinds), **counts},
            "created_at": _time(self.at),
            "expires_at": _time(self.at + EXPIRES),
            "ended_at": _time(self.ended_at),
            "cancel_initiated_at": _time(self.canceled_at),
            "archived_at": None,
            "results_url": f"{base_url}/v1/messages/batches/{self.id}/results" if self.ended_at else None,
        }


class Batches:
    """All batches, oldest first, thread-safe. They live as long as the sandbox does."""

    def __init__(self, books: CallLog, *, span: float = SPAN) -> None:
        self._books, self._span = books, span
        self._lock = threading.RLock()
        self._batches: dict[str, Batch] = {}

    def create(self, body: Mapping[str, Any], *, version: str, now: float) -> Batch:
        """Create a batch. An invalid request shows in its result, as upstream, and not here."""
        requests = {
            custom_id: self._parse(params, version)
            for custom_id, params in _params_by_id(body.get("requests"), version=version).items()
        }
        valid = [request for request in requests.values() if isinstance(request, MessageRequest)]
        for request in valid:
            error = request.directives.batch_error
            if error is not None:
                attempt = self._books.next_attempt(f"batch {request.digest}")
                if error.times is None or attempt <= error.times:
                    raise ApiError(error.status, "a prompt asked for an error of the whole batch.")
        slowest = max((request.directives.slow + request.directives.hang for request in valid), default=0.0)
        batch = Batch(
            id=f"msgbatch_sandbox_{uuid.uuid4().hex[:20]}",
            at=now,
            ready_at=now + max(self._span, slowest),
            requests=requests,
        )
        with self._lock:
            self._batches[batch.id] = batch
            while len(self._batches) > KEPT:
                del self._batches[next(iter(self._batches))]

        return batch

    def find(self, batch_id: str, *, now: float) -> Batch:
        """A batch in its state at the time `now`; 404 if there is none."""
        with self._lock:
            batch = self._batches.get(batch_id)
            if batch is None:
                raise ApiError(404, f"there is no batch {batch_id[:60]}: the sandbox keeps them only while it runs.")
            self._advance(batch, now)

            return batch

    def cancel(self, batch_id: str, *, now: float) -> Batch:
        """Request the cancellation, which the next call carries out; an ended batch stays as it is."""
        with self._lock:
            batch = self.find(batch_id, now=now)
            if batch.ended_at is None and batch.canceled_at is None:
                batch.canceled_at = now

            return batch

    def page(self, query: Mapping[str, Sequence[str]], base_url: str, *, now: float) -> dict[str, Any]:
        """`GET /v1/messages/batches`: newest first."""
        with self._lock:
            self.advance(now)
            return paged(list(self._batches.values())[::-1], query, show=lambda batch: batch.info(base_url))

    def lines(self, batch_id: str, *, now: float) -> bytes:
        """The results as JSON lines."""
        batch = self.find(batch_id, now=now)
        if batch.ended_at is None:
            raise ApiError(404, f"batch {batch_id[:60]} has no results yet: it has not ended.")

        return b"".join(
            json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for line in batch.results
        )

    def advance(self, now: float) -> None:
        """Bring all batches to their state at the time `now`."""
        with self._lock:
            for batch in self._batches.values():
                self._advance(batch, now)

    def _advance(self, batch: Batch, now: float) -> None:
        canceled = batch.canceled_at is not None and now > batch.canceled_at
        if batch.ended_at is not None or not (canceled or now >= batch.ready_at):
            return
        done = now >= batch.ready_at
        results = [
            {
                "custom_id": custom_id,
                "result": self._result(batch, custom_id, request) if done else {"type": "canceled"},
            }
            for custom_id, request in batch.requests.items()
        ]
        batch.results = results[1::2] + results[::2]
        batch.ended_at = now

    def _result(self, batch: Batch, custom_id: str, request: MessageRequest | ApiError) -> dict[str, Any]:
        call = self._books.open(
            Call(
                time=time.time(),
                path="/v1/messages/batches",
                request_id=f"req_sandbox_{uuid.uuid4().hex[:24]}",
                batch_id=batch.id,
                custom_id=custom_id,
            )
        )
        if isinstance(request, ApiError):
            return self._errored(call, request)
        directives = request.directives
        attempt = self._books.next_attempt(request.digest) if directives.counted else 1
        self._books.note(call, model=request.model, prompt_sha256=request.digest, attempt=attempt)
        if directives.expires(attempt):
            self._books.note(call, ended="expired")
            return {"type": "expired"}
        fault = directives.fault(attempt)
        error = response_script.refusal(fault, time.time()) if fault else None
        if error is not None:
            return self._errored(call, error)

        reply = answer(request, message_id=f"msg_sandbox_{uuid.uuid4().hex[:24]}")
        # One after the other, so that all but the first hit the cache; upstream that is chance.
        reply = replace(reply, cache_usage=self._books.cache.use(request.prefixes, time.time()))
        self._books.record_success(request.digest)
        self._books.note(
            call,
            status=200,
            ended="finished",
            message_id=reply.id,
            input_tokens=reply.input_tokens,
            cache_read_tokens=reply.cache_usage.read,
            cache_write_tokens=reply.cache_usage.written,
            cache_life=reply.cache_usage.life,
            output_tokens=reply.output_tokens,
        )
        body = message(reply)

        return {"type": "succeeded", "message": {**body, "usage": {**body["usage"], "service_tier": "batch"}}}

    def _parse(self, params: Mapping[str, Any], version: str) -> MessageRequest | ApiError:
        for name in ("stream", "speed"):
            if params.get(name) not in (None, False, "standard"):
                return invalid(name, "is not supported in a batch")
        try:
            return parse(params, version=version, find_file=self._find_file)
        except ApiError as exc:
            return exc

    def _find_file(self, file_id: str) -> tuple[str, bytes]:
        file = self._books.files.get(file_id, time.time())
        return file.media_type, file.data

    def _errored(self, call: Call, error: ApiError) -> dict[str, Any]:
        self._books.note(call, status=error.status, ended="error")

        return {"type": "errored", "error": error.body(call.request_id)}


def _params_by_id(requests: Any, *, version: str) -> dict[str, Any]:
    """The params of each request by custom_id; raises the errors for which a batch is refused as a whole."""
    check_version(version)
    if not isinstance(requests, list) or not requests:
        raise invalid("requests", "Input should be a list of at least one request")
    if len(requests) > MOST_REQUESTS:
        raise invalid("requests", f"at most {MOST_REQUESTS} requests fit into a batch")
    params: dict[str, Any] = {}
    for number, item in enumerate(requests):
        custom_id = item.get("custom_id") if isinstance(item, dict) else None
        if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
            raise invalid(f"requests.{number}.custom_id", "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
        if custom_id in params:
            raise invalid(f"requests.{number}.custom_id", f"{custom_id} is used twice: it must be unique in its batch")
        if not isinstance(item.get("params"), dict):
            raise invalid(f"requests.{number}.params", "Field required")
        params[custom_id] = item["params"]

    return params


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat().replace("+00:00", "Z")
