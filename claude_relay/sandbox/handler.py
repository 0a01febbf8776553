"""The endpoints: which path answers what."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from claude_relay.sandbox import models, play, request
from claude_relay.sandbox.answers import answer
from claude_relay.sandbox.connection import Connection
from claude_relay.sandbox.problem import SPEAKER, ApiError

_OWN = ("/", "/sandbox/books")


class Handler(Connection):
    """Anthropic's endpoints, and the sandbox's own two, which ask for no key and are not in the books."""

    def route(self, method: str, path: str) -> None:
        if path not in _OWN:
            self.server.books.open(self.call)
        body = self.read_body()
        if path not in _OWN:
            self._check_key()

        if method == "POST" and path in ("/v1/messages", "/v1/messages/count_tokens"):
            self._messages(_object(body), counting=path.endswith("/count_tokens"))
        elif method == "GET" and path == "/v1/models":
            self.send_json(models.page(parse_qs(urlsplit(self.path).query)))
        elif method == "GET" and path.startswith("/v1/models/"):
            self.send_json(models.find(unquote(path.removeprefix("/v1/models/"))).info())
        elif method == "GET" and path == "/sandbox/books":
            self.send_json(self.server.books.calls())
        elif method == "GET" and path == "/":
            self.send_json(
                {"sandbox": f"{SPEAKER}: it stands in for the Messages API; its books are at /sandbox/books."}
            )
        else:
            raise ApiError(404, f"{method} {path[:100]} is not here.")

    def _messages(self, body: Mapping[str, Any], *, counting: bool) -> None:
        """One answer, or the count of its input."""
        ask = request.parse(body, version=self.headers.get("anthropic-version", ""), counting=counting)
        self.note(model=ask.model, stream=ask.stream, input_tokens=ask.input_tokens, prompt_sha256=ask.digest)
        if counting:
            self.send_json({"input_tokens": ask.input_tokens})
            return

        books, orders = self.server.books, ask.orders
        attempt = books.attempt(ask.digest) if orders.counted else 1
        self.note(attempt=attempt)
        self.wait(orders.silence(attempt))
        trouble = orders.trouble(attempt)
        error = play.refusal(trouble, time.time()) if trouble else None
        if error is not None:
            raise error

        found = answer(ask, message_id=f"msg_sandbox_{uuid.uuid4().hex[:24]}")
        found = replace(found, cached=books.cache.use(ask.beginnings, time.time()))
        self.note(cache_read_tokens=found.cached.read, cache_write_tokens=found.cached.written)
        if ask.stream:
            delay, request_id = self.server.delay, self.call.request_id
            score = play.streamed(found, over=orders.slow, delay=delay, trouble=trouble, request_id=request_id)
        else:
            score = play.plain(found, over=orders.slow, trouble=trouble)
        self.note(message_id=found.id, output_tokens=found.output_tokens)
        books.spend(time.time(), read=found.input_tokens, written=found.output_tokens)
        self.play(score)

    def _check_key(self) -> None:
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not (self.headers.get("x-api-key", "").strip() or bearer):
            raise ApiError(401, "an x-api-key header is required; any key will do here.")


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise ApiError(400, f"The request body is not valid JSON: {str(exc)[:100]}") from exc
    if not isinstance(found, dict):
        raise ApiError(400, "The request body is not a JSON object.")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
