"""
Message Batches: made, listed, looked at, canceled and read, as Anthropic's are, but done within moments.

A batch takes as long as its slowest request says (`slow`, `hang`), at least `SPAN`. Results come in another order than
the requests, and what each of them cost is in the books under its custom_id.
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

from claude_relay.sandbox import request, response_script
from claude_relay.sandbox.answers import answer
from claude_relay.sandbox.call_log import Call, CallLog
from claude_relay.sandbox.messages import message
from claude_relay.sandbox.paging import paged
from claude_relay.sandbox.problem import ApiError, invalid
from claude_relay.sandbox.request import MessageRequest

SPAN = 2.0
MOST_REQUESTS = 100_000
KEPT = 1_000
EXPIRES = 86_400.0
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_KINDS = ("succeeded", "errored", "canceled", "expired")


@dataclass
class Batch:
    """One of them. `asks`: each request, understood, or the error that it will come to."""

    id: str
    at: float
    ready_at: float
    asks: dict[str, MessageRequest | ApiError] = field(repr=False)
    canceled_at: float | None = None
    ended_at: float | None = None
    results: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def shown(self, base: str) -> dict[str, Any]:
        """As the API shows it; its counts stay at nothing until all of it has ended."""
        kinds = [line["result"]["type"] for line in self.results]
        counts = {kind: kinds.count(kind) for kind in _KINDS}
        status = "ended" if self.ended_at else "canceling" if self.canceled_at else "in_progress"
        return {
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {"processing": len(self.asks) - len(kinds), **counts},
            "created_at": _time(self.at),
            "expires_at": _time(self.at + EXPIRES),
            "ended_at": _time(self.ended_at),
            "cancel_initiated_at": _time(self.canceled_at),
            "archived_at": None,
            "results_url": f"{base}/v1/messages/batches/{self.id}/results" if self.ended_at else None,
        }


class Batches:
    """All of them, oldest first; safe for the threads of a server. They live as long as the sandbox does."""

    def __init__(self, books: CallLog, *, span: float = SPAN) -> None:
        self._books, self._span = books, span
        self._lock = threading.RLock()
        self._batches: dict[str, Batch] = {}

    def create(self, body: Mapping[str, Any], *, version: str, now: float) -> Batch:
        """Make one. What is wrong with a single request shows in its result, as upstream, and not here."""
        asks = {
            custom_id: self._understood(params, version)
            for custom_id, params in _requests(body.get("requests"), version=version)
        }
        for ask in asks.values():
            if isinstance(ask, MessageRequest) and ask.orders.batch_error is not None:
                attempt = self._books.attempt(f"batch {ask.digest}")
                if ask.orders.batch_error.times is None or attempt <= ask.orders.batch_error.times:
                    raise ApiError(ask.orders.batch_error.status, "a prompt asked for an error of the whole batch.")
        slowest = max(
            (ask.orders.slow + ask.orders.hang for ask in asks.values() if isinstance(ask, MessageRequest)), default=0.0
        )
        made = Batch(
            id=f"msgbatch_sandbox_{uuid.uuid4().hex[:20]}",
            at=now,
            ready_at=now + max(self._span, slowest),
            asks=asks,
        )
        with self._lock:
            self._batches[made.id] = made
            while len(self._batches) > KEPT:
                del self._batches[next(iter(self._batches))]

        return made

    def find(self, batch_id: str, *, now: float) -> Batch:
        """One of them, as far as it is by now."""
        with self._lock:
            batch = self._batches.get(batch_id)
            if batch is None:
                raise ApiError(404, f"there is no batch {batch_id[:60]}: the sandbox forgets them when it ends.")
            self._go_on(batch, now)

            return batch

    def cancel(self, batch_id: str, *, now: float) -> Batch:
        """Ask for its end, which comes with the next look; one that has ended stays as it is."""
        with self._lock:
            batch = self.find(batch_id, now=now)
            if batch.ended_at is None and batch.canceled_at is None:
                batch.canceled_at = now

            return batch

    def page(self, query: Mapping[str, Sequence[str]], base: str, *, now: float) -> dict[str, Any]:
        """`GET /v1/messages/batches`: newest first."""
        with self._lock:
            self.go_on(now)
            return paged(list(self._batches.values())[::-1], query, show=lambda batch: batch.shown(base))

    def lines(self, batch_id: str, *, now: float) -> bytes:
        """The results as JSON lines."""
        batch = self.find(batch_id, now=now)
        if batch.ended_at is None:
            raise ApiError(404, f"batch {batch_id[:60]} has no results yet: it has not ended.")

        return b"".join(
            json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n" for line in batch.results
        )

    def go_on(self, now: float) -> None:
        """Bring all of them to where they are by now."""
        with self._lock:
            for batch in self._batches.values():
                self._go_on(batch, now)

    def _go_on(self, batch: Batch, now: float) -> None:
        canceled = batch.canceled_at is not None and now > batch.canceled_at
        if batch.ended_at is not None or not (canceled or now >= batch.ready_at):
            return
        done = now >= batch.ready_at
        results = [
            {"custom_id": custom_id, "result": self._result(batch, custom_id, ask) if done else {"type": "canceled"}}
            for custom_id, ask in batch.asks.items()
        ]
        batch.results = results[1::2] + results[::2]
        batch.ended_at = now

    def _result(self, batch: Batch, custom_id: str, ask: MessageRequest | ApiError) -> dict[str, Any]:
        call = self._books.open(
            Call(
                time=time.time(),
                path="/v1/messages/batches",
                request_id=f"req_sandbox_{uuid.uuid4().hex[:24]}",
                batch_id=batch.id,
                custom_id=custom_id,
            )
        )
        if isinstance(ask, ApiError):
            return self._errored(call, ask)
        orders = ask.orders
        attempt = self._books.attempt(ask.digest) if orders.counted else 1
        self._books.note(call, model=ask.model, prompt_sha256=ask.digest, attempt=attempt)
        if orders.expires(attempt):
            self._books.note(call, ended="expired")
            return {"type": "expired"}
        trouble = orders.trouble(attempt)
        error = response_script.refusal(trouble, time.time()) if trouble else None
        if error is not None:
            return self._errored(call, error)

        found = answer(ask, message_id=f"msg_sandbox_{uuid.uuid4().hex[:24]}")
        # One after the other, so that all but the first find what is marked; upstream it is luck.
        found = replace(found, cached=self._books.cache.use(ask.beginnings, time.time()))
        self._books.record_success(ask.digest)
        self._books.note(
            call,
            status=200,
            ended="finished",
            message_id=found.id,
            input_tokens=found.input_tokens,
            cache_read_tokens=found.cached.read,
            cache_write_tokens=found.cached.written,
            cache_life=found.cached.life,
            output_tokens=found.output_tokens,
        )
        whole = message(found)

        return {"type": "succeeded", "message": {**whole, "usage": {**whole["usage"], "service_tier": "batch"}}}

    def _understood(self, params: Mapping[str, Any], version: str) -> MessageRequest | ApiError:
        for name in ("stream", "speed"):
            if params.get(name) not in (None, False, "standard"):
                return invalid(name, "is not supported in a batch")
        try:
            return request.parse(params, version=version, find=self._find)
        except ApiError as exc:
            return exc

    def _find(self, file_id: str) -> tuple[str, bytes]:
        found = self._books.files.get(file_id, time.time())
        return found.media_type, found.data

    def _errored(self, call: Call, error: ApiError) -> dict[str, Any]:
        self._books.note(call, status=error.status, ended="error")

        return {"type": "errored", "error": error.body(call.request_id)}


def _requests(requests: Any, *, version: str) -> list[tuple[str, Any]]:
    """What makes a batch refused as a whole, as far as it is seen at once."""
    request.check_version(version)
    if not isinstance(requests, list) or not requests:
        raise invalid("requests", "Input should be a list of at least one request")
    if len(requests) > MOST_REQUESTS:
        raise invalid("requests", f"at most {MOST_REQUESTS} requests fit into a batch")
    found: dict[str, Any] = {}
    for number, one in enumerate(requests):
        custom_id = one.get("custom_id") if isinstance(one, dict) else None
        if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
            raise invalid(f"requests.{number}.custom_id", "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
        if custom_id in found:
            raise invalid(f"requests.{number}.custom_id", f"{custom_id} stands twice: each must be unique in its batch")
        if not isinstance(one.get("params"), dict):
            raise invalid(f"requests.{number}.params", "Field required")
        found[custom_id] = one["params"]

    return list(found.items())


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat().replace("+00:00", "Z")
