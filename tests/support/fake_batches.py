"""
Message Batches for the fake Claude, which record the batches created and the cost of each custom_id.

    with FakeClaude() as fake:
        upload_cache = Shelf(span=0.2).on(fake)
        ...
        assert upload_cache.paid == {"01J…-1": 0.000054}

It shares no code with the product. A word in a prompt selects the result of an item: `errored`, `invalid`, `expired`,
`refuse`; `say` is followed by the answer; `slow-batch` keeps the batch in progress for `slow_span`, or until it is
canceled.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from fractions import Fraction
from typing import Any

from .fake_claude import END, FakeClaude, Reset, Seen, Step, answer, chunk, head, refusal

PATH = "/v1/messages/batches"
#: Dollars per million tokens, live: input and output of claude-sonnet-5-5, from Anthropic's page.
INPUT, OUTPUT = Fraction(2), Fraction(10)


@dataclass
class Batch:
    """One batch."""

    id: str
    at: float
    requests: dict[str, Any]
    ready_at: float
    canceling: bool = False
    unstoppable: bool = False  # ignores a cancel request
    results: list[dict[str, Any]] | None = None

    def ended(self) -> bool:
        return self.results is not None


@dataclass
class Shelf:
    """All batches. `span`: duration of a batch in seconds, or a function that returns it."""

    span: float | Callable[[], float] = 0.0
    seed: int = 1
    slow_word: str = "slow-batch"
    slow_span: float = 3600.0
    #: Outcomes of the next creations: "reset" creates the batch without a response; otherwise a refusal.
    creations: list[str | tuple[Step, ...]] = field(default_factory=list)
    #: Messages of a bad request that are the results of the next items.
    item_errors: list[str] = field(default_factory=list)
    results_away: list[tuple[Step, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batches: dict[str, Batch] = {}
        self.paid: dict[str, Fraction] = {}
        self.answered: Counter[str] = Counter()
        self.live: list[tuple[str, Fraction]] = []
        self._lock = threading.RLock()
        self._random = random.Random(self.seed)

    def on(self, fake: FakeClaude) -> Shelf:
        """Answer the batch requests to that fake; other requests are answered as before."""
        otherwise = fake.otherwise
        fake.otherwise = lambda seen: self.answer(seen) if seen.path.startswith(PATH) else otherwise(seen)
        return self

    def answer(self, seen: Seen) -> Sequence[Step]:
        with self._lock:
            path, _, query = seen.path.partition("?")
            if seen.method == "POST" and path == PATH:
                return self._create(seen.body)
            if path == PATH:
                return self._list(query)
            batch = self.batches.get(path.split("/")[4])
            if batch is None:
                return refusal("404 Not Found", "not_found_error")
            self._progress(batch)
            if path.endswith("/cancel"):
                batch.canceling = not batch.unstoppable
                return _json(self._shown(batch))
            if path.endswith("/results"):
                return self._results(batch)
            return _json(self._shown(batch))

    def lose(self, batch_id: str) -> None:
        """Delete a batch and its results."""
        with self._lock:
            del self.batches[batch_id]

    def _create(self, body: Any) -> Sequence[Step]:
        meets = self.creations.pop(0) if self.creations else None
        if meets is not None and meets != "reset":
            return meets  # type: ignore[return-value]
        requests = {entry["custom_id"]: entry["params"] for entry in body["requests"]}
        assert len(requests) == len(body["requests"]), "duplicate custom_id in a batch"
        for params in requests.values():
            assert "stream" not in params
        if any("bad-batch" in json.dumps(params) for params in requests.values()):
            return refusal("400 Bad Request", "invalid_request_error", text="one of the requests is bad")
        span = self.span() if callable(self.span) else self.span
        batch = Batch(f"msgbatch_{len(self.batches) + 1:06d}", time.time(), requests, time.time() + span)
        self.batches[batch.id] = batch
        return (Reset(),) if meets == "reset" else _json(self._shown(batch))

    def _list(self, query: str) -> Sequence[Step]:
        params = dict(part.split("=") for part in query.split("&") if part)
        newest = sorted(self.batches.values(), key=lambda batch: batch.id, reverse=True)
        for batch in newest:
            self._progress(batch)
        if "after_id" in params:
            newest = [batch for batch in newest if batch.id < params["after_id"]]
        page = newest[: int(params.get("limit", 20))]
        return _json({"data": [self._shown(batch) for batch in page], "has_more": len(page) < len(newest)})

    def _results(self, batch: Batch) -> Sequence[Step]:
        if batch.results is None:
            return refusal("404 Not Found", "not_found_error", text="there are no results yet")
        if self.results_away:
            return self.results_away.pop(0)
        lines = [chunk(json.dumps(line).encode() + b"\n") for line in batch.results]
        return (head(kind="application/x-jsonl"), *lines, END)

    def _progress(self, batch: Batch) -> None:
        slow = any(self.slow_word in json.dumps(params) for params in batch.requests.values())
        ready_at = batch.at + self.slow_span if slow else batch.ready_at
        if batch.results is not None or (time.time() < ready_at and not batch.canceling):
            return
        lines = []
        for name, params in batch.requests.items():
            canceled = batch.canceling and time.time() < ready_at
            lines.append(
                {"custom_id": name, "result": {"type": "canceled"} if canceled else self._result(name, params)}
            )
        self._random.shuffle(lines)
        batch.results = lines

    def _result(self, name: str, params: Any) -> dict[str, Any]:
        text = json.dumps(params["messages"])
        if self.item_errors:
            error = {"type": "invalid_request_error", "message": self.item_errors.pop(0)}
            return {"type": "errored", "error": {"type": "error", "error": error, "request_id": "req_fake"}}
        if "invalid" in text:
            error = {"type": "invalid_request_error", "message": "the request is bad"}
            return {"type": "errored", "error": {"type": "error", "error": error, "request_id": "req_fake"}}
        if "errored" in text and name.endswith("-1"):  # once
            error = {"type": "api_error", "message": "an error of our own"}
            return {"type": "errored", "error": {"type": "error", "error": error, "request_id": "req_fake"}}
        if "expired" in text and name.endswith("-1"):
            return {"type": "expired"}
        refused = "refuse" in text
        usage = {"input_tokens": 7 + len(text) % 5, "output_tokens": 1 if refused else 3 + len(text) % 11}
        self.answered[name] += 1
        self.paid[name] = self.paid.get(name, Fraction(0)) + price(usage) / 2
        prompt = params["messages"][-1]["content"]
        says = prompt.removeprefix("say ") if prompt.startswith("say ") else f"batched answer to {prompt}"
        message = {
            "id": f"msg_{name}",
            "type": "message",
            "role": "assistant",
            "model": params["model"],
            "content": [] if refused else [{"type": "text", "text": says}],
            "stop_reason": "refusal" if refused else "end_turn",
            "stop_sequence": None,
            "usage": usage | {"service_tier": "batch"},
        }
        return {"type": "succeeded", "message": message}

    def _shown(self, batch: Batch) -> dict[str, Any]:
        total = len(batch.requests)
        kinds = Counter(line["result"]["type"] for line in batch.results or ())
        status = "ended" if batch.ended() else "canceling" if batch.canceling else "in_progress"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {
                "processing": total - sum(kinds.values()),
                **{kind: kinds.get(kind, 0) for kind in ("succeeded", "errored", "canceled", "expired")},
            },
            "created_at": _time(batch.at),
            "expires_at": _time(batch.at + 86_400),
            "ended_at": _time(time.time()) if batch.ended() else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"https://elsewhere.example/{batch.id}/results" if batch.ended() else None,
        }


def live(upload_cache: Shelf) -> Callable[[Seen], Sequence[Step]]:
    """Live answers, whose cost is recorded in the same place."""

    def play(seen: Seen) -> Sequence[Step]:
        if not seen.path.startswith("/v1/messages"):
            return refusal("404 Not Found", "not_found_error")
        usage = {"input_tokens": 10, "output_tokens": 5}
        upload_cache.live.append((json.dumps(seen.body["messages"]), price(usage)))
        return answer(f"live answer to {seen.body['messages'][-1]['content']}", model=seen.body["model"], **usage)

    return play


def price(usage: dict[str, int]) -> Fraction:
    return (INPUT * usage["input_tokens"] + OUTPUT * usage["output_tokens"]) / 1_000_000


def _json(body: Any) -> tuple[Step, ...]:
    return (head(kind="application/json"), chunk(json.dumps(body).encode()), END)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, tz=timezone.utc).isoformat().replace("+00:00", "Z")
