"""The endpoints: which path answers what."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from claude_relay.sandbox import models, request, response_script
from claude_relay.sandbox.answers import answer
from claude_relay.sandbox.connection import Connection
from claude_relay.sandbox.files import read_form
from claude_relay.sandbox.problem import SANDBOX_NAME, ApiError

_BATCHES = "/v1/messages/batches"
_OWN = ("/", "/sandbox/books", "/sandbox/files")


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
        elif path == "/v1/files" or path.startswith("/v1/files/"):
            self._files(method, path, body)
        elif method == "GET" and path == "/sandbox/files":
            self.send_json(self.server.books.files.page({"limit": ["1000"]})["data"])
        elif path == _BATCHES or path.startswith(f"{_BATCHES}/"):
            self._batches(method, path.removeprefix(_BATCHES).strip("/").split("/"), body)
        elif method == "GET" and path == "/sandbox/books":
            self.server.batches.go_on(time.time())
            self.send_json(self.server.books.calls())
        elif method == "GET" and path == "/":
            self.send_json(
                {"sandbox": f"{SANDBOX_NAME}: it stands in for the Messages API; its books are at /sandbox/books."}
            )
        else:
            raise ApiError(404, f"{method} {path[:100]} is not here.")

    def _messages(self, body: Mapping[str, Any], *, counting: bool) -> None:
        """One answer, or the count of its input."""
        version = self.headers.get("anthropic-version", "")
        ask = request.parse(body, version=version, counting=counting, find=self._find)
        self.note(model=ask.model, stream=ask.stream, input_tokens=ask.input_tokens, prompt_sha256=ask.digest)
        if counting:
            self.send_json({"input_tokens": ask.input_tokens})
            return

        books, orders = self.server.books, ask.orders
        attempt = books.attempt(ask.digest) if orders.counted else 1
        self.note(attempt=attempt)
        self.wait(orders.silence(attempt))
        trouble = orders.trouble(attempt)
        error = response_script.refusal(trouble, time.time()) if trouble else None
        if error is not None:
            raise error

        found = answer(ask, message_id=f"msg_sandbox_{uuid.uuid4().hex[:24]}")
        found = replace(found, cached=books.cache.use(ask.beginnings, time.time()))
        self.note(
            cache_read_tokens=found.cached.read,
            cache_write_tokens=found.cached.written,
            cache_life=found.cached.life,
        )
        if ask.stream:
            delay, request_id = self.server.delay, self.call.request_id
            score = response_script.streamed(
                found, over=orders.slow, delay=delay, trouble=trouble, request_id=request_id
            )
        else:
            score = response_script.plain(found, over=orders.slow, trouble=trouble)
        self.note(message_id=found.id, output_tokens=found.output_tokens)
        books.spend(time.time(), read=found.input_tokens, written=found.output_tokens)
        self.play(score)

    def _files(self, method: str, path: str, body: bytes) -> None:
        """Store, list, look at, delete."""
        files, now, file_id = self.server.books.files, time.time(), unquote(path.removeprefix("/v1/files").strip("/"))
        if method == "POST" and not file_id:
            stored = files.add(read_form(body, self.headers.get("content-type", "")), now)
            self.note(file_id=stored.id, bytes=len(stored.data))
            self.send_json(stored.info())
        elif method == "GET" and not file_id:
            self.send_json(files.page(parse_qs(urlsplit(self.path).query)))
        elif method == "GET" and file_id.endswith("/content"):
            files.get(file_id.removesuffix("/content"), now)
            raise ApiError(400, "Only files that a tool has made can be downloaded.", code="file_not_downloadable")
        elif method == "GET":
            self.note(file_id=file_id)
            self.send_json(files.get(file_id, now).info())
        elif method == "DELETE":
            self.note(file_id=file_id)
            self.send_json(files.delete(file_id, now))
        else:
            raise ApiError(405, f"{method} {path[:100]} is not allowed.")

    def _find(self, file_id: str) -> tuple[str, bytes]:
        found = self.server.books.files.get(file_id, time.time())
        return found.media_type, found.data

    def _batches(self, method: str, rest: list[str], body: bytes) -> None:
        """Make, list, look, cancel, read."""
        shelf, now = self.server.batches, time.time()
        base = f"http://{self.headers.get('host', '')}"
        if method == "POST" and rest == [""]:
            made = shelf.create(_object(body), version=self.headers.get("anthropic-version", ""), now=now)
            self.note(batch_id=made.id)
            self.send_json(made.shown(base))
        elif method == "GET" and rest == [""]:
            self.send_json(shelf.page(parse_qs(urlsplit(self.path).query), base, now=now))
        elif method == "GET" and len(rest) == 1:
            self.send_json(shelf.find(rest[0], now=now).shown(base))
        elif method == "POST" and rest[1:] == ["cancel"]:
            self.send_json(shelf.cancel(rest[0], now=now).shown(base))
        elif method == "GET" and rest[1:] == ["results"]:
            self.send(shelf.lines(rest[0], now=now), "application/x-jsonl")
        else:
            raise ApiError(404, f"{method} on that path of a batch is not here.")

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
