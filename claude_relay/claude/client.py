"""The wire: one POST through the `anthropic` client, its events read raw. The only module that imports it, lazily."""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.text.redaction import Redactor
from .deadlines import CallDeadlines, CallTimeouts

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
DEFAULT_URL = "https://api.anthropic.com"
#: A question without a model's answer, in seconds.
_GET_TIMEOUT = 30.0

#: A file on its way there, in seconds.
_UPLOAD_TIMEOUT = 300.0


class StatusError(Exception):
    """An error answer: a status, and what its body says."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.error = status, error


class ConnectionBroken(Exception):
    """The connection, or what came over it, broke. Its text is for people."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class AnthropicClient:
    """Anthropic's API at one address, with one key, through the SDK's sync client without its retries."""

    def __init__(self, *, api_key: str, base_url: str | None, limits: CallTimeouts) -> None:
        self._api_key, self._base_url, self._limits = api_key, base_url or DEFAULT_URL, limits
        # A gateway's key need not look like one.
        self._redact = Redactor((api_key,))
        self._opening = threading.Lock()
        self._client: Any = None
        self._current = threading.local()

    def open(self) -> None:
        """Import the SDK and set the client up: seconds, once."""
        with self._opening:
            if self._client is None:
                self._client = self._connect()

    def events(
        self, body: Mapping[str, Any], *, betas: Sequence[str], watch: CallDeadlines
    ) -> Generator[dict[str, Any], None, None]:
        """Send it and yield the stream's events; `Refused` for an error answer, `Broken` for a broken connection."""
        self.open()
        from anthropic import Stream

        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        response = None
        with self._plainly(watch):
            try:
                response = self._send("POST", "/v1/messages", content, betas, watch)
                for event in Stream.raw_events(response):
                    if event.data:
                        yield _event(event.data)
            finally:
                if response is not None:
                    response.close()

    def chunks(
        self, method: str, path: str, *, watch: CallDeadlines, content: bytes | None = None, betas: Sequence[str] = ()
    ) -> Generator[bytes, None, None]:
        """Send it and yield the answer's bytes as they come, decoded; `Refused` and `Broken` as for `events`."""
        self.open()
        response = None
        with self._plainly(watch):
            try:
                response = self._send(method, path, content, betas, watch)
                for chunk in response.iter_bytes():
                    watch.record_event(content=True)
                    yield chunk
            finally:
                if response is not None:
                    response.close()

    @contextmanager
    def _plainly(self, watch: CallDeadlines) -> Iterator[None]:
        from anthropic import APIStatusError

        try:
            yield
        except APIStatusError as exc:
            raise StatusError(exc.status_code, self.error_details(exc.body)) from exc
        except ConnectionBroken:
            raise
        except Exception as exc:
            # Whatever the SDK and httpx2 raise, bare or wrapped: how far the call came is in the watch.
            if watch.status is not None and not 200 <= watch.status < 300:
                raise StatusError(watch.status, {}) from exc
            reason = "exhausted" if _is_ours(exc) else "stream_cut" if watch.status else "connection"
            raise ConnectionBroken(self._redact(_root(exc)), reason) from exc

    def get(self, path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object at `path`; `Refused` or `Broken` like a call."""
        self.open()
        import httpx2
        from anthropic import APIStatusError

        try:
            answer = self._client.get(
                path, cast_to=httpx2.Response, options={"params": dict(params), "timeout": _GET_TIMEOUT}
            )
            value = json.loads(answer.content)
        except APIStatusError as exc:
            raise StatusError(exc.status_code, self.error_details(exc.body)) from exc
        except Exception as exc:
            raise ConnectionBroken(self._redact(_root(exc)), "connection") from exc
        if not isinstance(value, dict):
            raise ConnectionBroken("the answer is not a JSON object", "not_an_object")

        return value

    def upload(self, name: str, data: bytes, *, media_type: str, expires_in_seconds: int) -> str:
        """Store a file there; answers its id. `Refused` or `Broken` like a call."""
        self.open()
        from anthropic import APIStatusError

        try:
            stored = self._client.files.upload(
                file=(name, data, media_type), expires_in_seconds=expires_in_seconds, timeout=_UPLOAD_TIMEOUT
            )
        except APIStatusError as exc:
            raise StatusError(exc.status_code, self.error_details(exc.body)) from exc
        except Exception as exc:
            raise ConnectionBroken(self._redact(_root(exc)), "connection") from exc
        if not isinstance(file_id := getattr(stored, "id", None), str):
            raise ConnectionBroken("the answer to an upload names no file", "not_a_file")

        return file_id

    def has_file(self, file_id: str) -> bool:
        """Whether it is still stored there. Where that cannot be learnt, it is taken to be."""
        try:
            self.get(f"/v1/files/{file_id}", {})
        except StatusError as exc:
            return exc.status not in (404, 410)
        except ConnectionBroken:
            return True

        return True

    def error_details(self, body: Any) -> dict[str, Any]:
        """The `error` of an error's body as keywords of `classify`, whatever the body is."""
        error = body.get("error") if isinstance(body, Mapping) else None
        if not isinstance(error, Mapping):
            return {}

        details = error.get("details")
        details = details if isinstance(details, Mapping) else {}
        kind, code, text = error.get("type"), details.get("error_code"), error.get("message")
        return {
            "kind": kind if isinstance(kind, str) else None,
            "code": code if isinstance(code, str) else None,
            "text": self._redact(text) if isinstance(text, str) else "",
            "details": details,
        }

    def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            self._client.close()

    def _send(self, method: str, path: str, content: bytes | None, betas: Sequence[str], watch: CallDeadlines) -> Any:
        import httpx2
        from anthropic import Stream

        self._current.watch = watch
        headers = _beta_header(betas) | ({"content-type": "application/json"} if content is not None else {})
        told: dict[str, Any] = {"cast_to": httpx2.Response, "stream": True, "stream_cls": Stream[Any]}
        try:
            if method == "GET":
                return self._client.get(path, options={"headers": headers}, **told)
            # `messages.create` takes only the fields it knows and walks through every file: `raw` may know more.
            return self._client.post(path, content=content, options={"headers": headers}, **told)
        finally:
            self._current.watch = None

    def _connect(self) -> Any:
        import anthropic
        import httpx2

        # After the import, as it sets the levels by ANTHROPIC_LOG; at `debug` they would write prompts into the log.
        for name in ("anthropic", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        limits = self._limits
        timeout = httpx2.Timeout(connect=limits.connect, read=limits.call_timeout, write=limits.write, pool=None)
        http = anthropic.DefaultHttpxClient(
            timeout=timeout,
            # A connection of its own for each call. A kept one may die as the request goes out, and nobody knows then
            # whether it is being paid for; a handshake costs milliseconds, a call seconds.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            follow_redirects=False,
            # A proxy of the environment cannot know what this machine's own addresses are.
            mounts=dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]")),
            event_hooks={"request": [self._trace]},
        )
        return anthropic.Anthropic(
            api_key=self._api_key,
            base_url=self._base_url,
            max_retries=0,
            timeout=timeout,
            http_client=http,
            open_telemetry=False,
        )

    def _trace(self, request: Any) -> None:
        # Only calls are watched; a question that costs nothing has nothing to tell.
        if (watch := getattr(self._current, "watch", None)) is not None:
            request.extensions["trace"] = watch.trace


def _event(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ConnectionBroken("the stream contained an event that is not JSON", "stream_malformed") from exc
    if not isinstance(event, dict):
        raise ConnectionBroken("the stream contained an event that is not an object", "stream_malformed")

    return event


def _beta_header(betas: Sequence[str]) -> dict[str, str]:
    return {"anthropic-beta": ",".join(betas)} if betas else {}


def _is_ours(exc: BaseException | None) -> bool:
    """Whether this machine had no file handle or memory to spare: it says nothing of the call."""
    while exc is not None:
        if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno in _EXHAUSTED):
            return True
        exc = exc.__cause__ or exc.__context__

    return False


def _root(exc: BaseException) -> str:
    while exc.__cause__ is not None:
        exc = exc.__cause__

    return f"{exc}".strip() or type(exc).__name__
