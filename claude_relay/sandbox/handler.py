"""The endpoints of the sandbox."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from claude_relay.sandbox import models, response_script
from claude_relay.sandbox.answers import answer
from claude_relay.sandbox.connection import Connection
from claude_relay.sandbox.files import read_form
from claude_relay.sandbox.problem import SANDBOX_NAME, ApiError
from claude_relay.sandbox.request import parse

_BATCHES = "/v1/messages/batches"
_OWN = ("/", "/sandbox/books", "/sandbox/files")


class Handler(Connection):
    """Anthropic's endpoints, and the sandbox's own, which need no key and are not in the books."""

    def route(self, method: str, path: str) -> None:
        if path not in _OWN:
            self.state.books.open(self.call)
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
            self.send_json(self.state.books.files.page({"limit": ["1000"]})["data"])
        elif path == _BATCHES or path.startswith(f"{_BATCHES}/"):
            self._batches(method, path.removeprefix(_BATCHES).strip("/").split("/"), body)
        elif method == "GET" and path == "/sandbox/books":
            self.state.batches.advance(time.time())
            self.send_json(self.state.books.calls())
        elif method == "GET" and path == "/":
            self.send_json(
                {"sandbox": f"{SANDBOX_NAME}: it stands in for the Messages API; its books are at /sandbox/books."}
            )
        else:
            raise ApiError(404, f"{method} {path[:100]} is not an endpoint of the sandbox.")

    def _messages(self, body: Mapping[str, Any], *, counting: bool) -> None:
        """Answer a message request, or count its input tokens."""
        version = self.headers.get("anthropic-version", "")
        request = parse(body, version=version, counting=counting, find_file=self._find_file)
        self.note(
            model=request.model, stream=request.stream, input_tokens=request.input_tokens, prompt_sha256=request.digest
        )
        if counting:
            self.send_json({"input_tokens": request.input_tokens})
            return

        books, directives = self.state.books, request.directives
        attempt = books.next_attempt(request.digest) if directives.counted else 1
        self.note(attempt=attempt)
        self.wait(directives.hang_time(attempt))
        fault = directives.fault(attempt)
        error = response_script.refusal(fault, time.time()) if fault else None
        if error is not None:
            raise error

        reply = answer(request, message_id=f"msg_sandbox_{uuid.uuid4().hex[:24]}")
        reply = replace(reply, cache_usage=books.cache.use(request.prefixes, time.time()))
        self.note(
            cache_read_tokens=reply.cache_usage.read,
            cache_write_tokens=reply.cache_usage.written,
            cache_life=reply.cache_usage.life,
        )
        if request.stream:
            delay, request_id = self.state.delay, self.call.request_id
            script = response_script.streamed(
                reply, over=directives.slow, delay=delay, fault=fault, request_id=request_id
            )
        else:
            script = response_script.plain(reply, over=directives.slow, fault=fault)
        self.note(message_id=reply.id, output_tokens=reply.output_tokens)
        books.add_usage(time.time(), read=reply.input_tokens, written=reply.output_tokens)
        self.play(script)

    def _files(self, method: str, path: str, body: bytes) -> None:
        """Store, list, describe or delete files."""
        files, now, file_id = self.state.books.files, time.time(), unquote(path.removeprefix("/v1/files").strip("/"))
        if method == "POST" and not file_id:
            stored = files.add(read_form(body, self.headers.get("content-type", "")), now)
            self.note(file_id=stored.id, bytes=len(stored.data))
            self.send_json(stored.info())
        elif method == "GET" and not file_id:
            self.send_json(files.page(parse_qs(urlsplit(self.path).query)))
        elif method == "GET" and file_id.endswith("/content"):
            files.get(file_id.removesuffix("/content"), now)
            raise ApiError(400, "Only files created by a tool can be downloaded.", code="file_not_downloadable")
        elif method == "GET":
            self.note(file_id=file_id)
            self.send_json(files.get(file_id, now).info())
        elif method == "DELETE":
            self.note(file_id=file_id)
            self.send_json(files.delete(file_id, now))
        else:
            raise ApiError(405, f"{method} {path[:100]} is not allowed.")

    def _find_file(self, file_id: str) -> tuple[str, bytes]:
        file = self.state.books.files.get(file_id, time.time())
        return file.media_type, file.data

    def _batches(self, method: str, rest: list[str], body: bytes) -> None:
        """Create, list, describe or cancel batches, or read their results."""
        batches, now = self.state.batches, time.time()
        base_url = f"http://{self.headers.get('host', '')}"
        if method == "POST" and rest == [""]:
            batch = batches.create(_object(body), version=self.headers.get("anthropic-version", ""), now=now)
            self.note(batch_id=batch.id)
            self.send_json(batch.info(base_url))
        elif method == "GET" and rest == [""]:
            self.send_json(batches.page(parse_qs(urlsplit(self.path).query), base_url, now=now))
        elif method == "GET" and len(rest) == 1:
            self.send_json(batches.find(rest[0], now=now).info(base_url))
        elif method == "POST" and rest[1:] == ["cancel"]:
            self.send_json(batches.cancel(rest[0], now=now).info(base_url))
        elif method == "GET" and rest[1:] == ["results"]:
            self.send(batches.lines(rest[0], now=now), "application/x-jsonl")
        else:
            raise ApiError(404, f"{method} on that path of a batch is not an endpoint of the sandbox.")

    def _check_key(self) -> None:
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not (self.headers.get("x-api-key", "").strip() or bearer):
            raise ApiError(401, "an x-api-key header is required; any key is accepted here.")


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise ApiError(400, f"The request body is not valid JSON: {str(exc)[:100]}") from exc
    if not isinstance(value, dict):
        raise ApiError(400, "The request body is not a JSON object.")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
