"""HTTP access to Anthropic through the `anthropic` SDK, which `sdk.load` imports."""

from __future__ import annotations

import errno
import json
import logging
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.text.redaction import Redactor
from . import sdk
from .deadlines import CallDeadlines, CallTimeouts
from .event_stream import event_data

#: Types and codes of errors.
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
DEFAULT_URL = "https://api.anthropic.com"
#: Timeout of a GET, in seconds.
_GET_TIMEOUT = 30.0

#: Bytes of an event and of a whole stream for each character of an answer, with escapes, names and pings.
_EVENT_FACTOR = 2
_STREAM_FACTOR = 64
#: Bytes of an error response that are read.
_MAX_ERROR = 2**20

#: Timeout of a file upload, in seconds.
_UPLOAD_TIMEOUT = 300.0


class StatusError(Exception):
    """An error response: the status and the parsed error of its body."""

    def __init__(self, status: int, error: dict[str, Any]) -> None:
        super().__init__(f"HTTP {status}")
        self.status, self.error = status, error


class ConnectionBroken(Exception):
    """The connection broke, or its data was invalid. The message is meant for people."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text)
        self.reason = reason


class AnthropicClient:
    """Anthropic's API at one base URL, with one key, through the SDK's sync client with its retries disabled."""

    def __init__(self, *, api_key: str, base_url: str | None, limits: CallTimeouts) -> None:
        self._api_key, self._base_url, self._limits = api_key, base_url or DEFAULT_URL, limits
        # Redacted explicitly: the key of a gateway may not have the format of an Anthropic key.
        self._redact = Redactor((api_key,))
        self._opening = threading.Lock()
        self._client: Any = None
        self._current = threading.local()

    def replace_key(self, api_key: str) -> None:
        """Send this key from now on; calls that are running were admitted with the previous one and go on."""
        with self._opening:
            self._redact = Redactor((api_key, self._api_key))
            self._api_key = api_key
            if self._client is not None:
                self._client.api_key = api_key

    def open(self) -> None:
        """Import the SDK and create the client, once. Takes seconds."""
        with self._opening:
            if self._client is None:
                self._client = self._connect()

    def events(
        self,
        body: Mapping[str, Any],
        *,
        betas: Sequence[str],
        deadlines: CallDeadlines,
        traceparent: str | None = None,
    ) -> Generator[dict[str, Any], None, None]:
        """Send a request and yield the stream's events; raises `StatusError` and `ConnectionBroken`."""
        self.open()
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        response = None
        with self._translated_errors(deadlines):
            try:
                response = self._send("POST", "/v1/messages", content, betas, deadlines, traceparent)
                if response.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
                    # Some gateways answer so, though a stream was asked for.
                    yield _event(b"".join(_noted(self._bounded(response), deadlines)))
                    return
                for data in event_data(self._bounded(response)):
                    yield _event(data.decode())
            finally:
                if response is not None:
                    response.close()

    def chunks(
        self,
        method: str,
        path: str,
        *,
        deadlines: CallDeadlines,
        content: bytes | None = None,
        betas: Sequence[str] = (),
    ) -> Generator[bytes, None, None]:
        """Send a request and yield the decoded bytes of the response; raises like `events`."""
        self.open()
        response = None
        with self._translated_errors(deadlines):
            try:
                response = self._send(method, path, content, betas, deadlines)
                for chunk in response.iter_bytes():
                    deadlines.record_event(content=True)
                    yield chunk
            finally:
                if response is not None:
                    response.close()

    @contextmanager
    def _translated_errors(self, deadlines: CallDeadlines) -> Iterator[None]:
        from anthropic import APIStatusError

        try:
            yield
        except APIStatusError as exc:
            raise StatusError(exc.status_code, self.error_details(exc.body)) from exc
        except ConnectionBroken:
            raise
        except Exception as exc:
            # Any exception of the SDK and httpx2, bare or wrapped: `deadlines` has the progress of the call.
            if deadlines.status is not None and not 200 <= deadlines.status < 300:
                raise StatusError(deadlines.status, {}) from exc
            reason = "exhausted" if _is_exhausted(exc) else "stream_cut" if deadlines.status else "connection"
            raise ConnectionBroken(self._redact(_root(exc)), reason) from exc

    def get(self, path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Fetch the JSON object at `path`; raises like `events`."""
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
            raise ConnectionBroken("the response is not a JSON object", "not_an_object")

        return value

    def upload(self, name: str, data: bytes, *, media_type: str, expires_in_seconds: int) -> str:
        """Upload a file and return its id; raises like `events`."""
        self.open()
        import httpx2
        from anthropic import APIStatusError

        try:
            # Not `files.upload`, which imports all of the SDK's resources and their models.
            answer = self._client.post(
                "/v1/files",
                cast_to=httpx2.Response,
                body={"expires_in_seconds": expires_in_seconds},
                files=[("file", (name, data, media_type))],
                options={"headers": {"content-type": "multipart/form-data"}, "timeout": _UPLOAD_TIMEOUT},
            )
            stored = json.loads(answer.content)
        except APIStatusError as exc:
            raise StatusError(exc.status_code, self.error_details(exc.body)) from exc
        except Exception as exc:
            raise ConnectionBroken(self._redact(_root(exc)), "connection") from exc
        file_id = stored.get("id") if isinstance(stored, dict) else None
        if not isinstance(file_id, str):
            raise ConnectionBroken("the response to an upload has no file id", "not_a_file")

        return file_id

    def has_file(self, file_id: str) -> bool:
        """Whether the file is still stored; also True if that cannot be determined."""
        try:
            self.get(f"/v1/files/{file_id}", {})
        except StatusError as exc:
            return exc.status not in (404, 410)
        except ConnectionBroken:
            return True

        return True

    def error_details(self, body: Any) -> dict[str, Any]:
        """Keyword arguments for `classify` from an error body of any shape."""
        error = body.get("error", body) if isinstance(body, Mapping) else body
        if isinstance(error, str):  # a gateway's, or that of a proxy
            error = {} if error.lstrip().startswith("<") else {"message": error}
        if not isinstance(error, Mapping):
            return {}

        details = error.get("details")
        details = details if isinstance(details, Mapping) else {}
        text = error.get("message") or error.get("detail")
        return {
            "kind": _word(error.get("type")),
            "code": _word(details.get("error_code")),
            "text": self._redact(text) if isinstance(text, str) else "",
            "details": details,
        }

    def close(self) -> None:
        """Close every connection."""
        if self._client is not None:
            self._client.close()

    def _send(
        self,
        method: str,
        path: str,
        content: bytes | None,
        betas: Sequence[str],
        deadlines: CallDeadlines,
        traceparent: str | None = None,
    ) -> Any:
        import httpx2
        from anthropic import Stream

        self._current.deadlines = deadlines
        headers = _beta_header(betas) | ({"content-type": "application/json"} if content is not None else {})
        headers |= {"traceparent": traceparent} if traceparent else {}
        request: dict[str, Any] = {"cast_to": httpx2.Response, "stream": True, "stream_cls": Stream[Any]}
        try:
            if method == "GET":
                return self._client.get(path, options={"headers": headers}, **request)
            # Not `messages.create`, which accepts only its own fields (`raw` may have others) and walks all file data.
            return self._client.post(path, content=content, options={"headers": headers}, **request)
        finally:
            self._current.deadlines = None

    def _bounded(self, response: Any) -> Iterator[bytes]:
        """The decompressed bytes of a response, up to what the longest answer may take."""
        most, total, unbroken = self._limits.max_answer, 0, 0
        encoded = "content-encoding" in response.headers  # else the bytes need no decoder between
        pieces = response.extensions.get("pieces")  # of our transport: without two generators of httpx2 between
        for chunk in response.iter_bytes() if encoded else pieces or response.iter_raw():
            total += len(chunk)
            # Of one event, which is in memory as a whole; its escapes take more than its characters.
            unbroken = len(chunk) if b"\n\n" in chunk else unbroken + len(chunk)
            if unbroken > _EVENT_FACTOR * most or total > _STREAM_FACTOR * most:
                raise ConnectionBroken("it is longer than RELAY_MAX_ANSWER allows", "answer_too_large")
            yield chunk

    def _connect(self) -> Any:
        anthropic = sdk.load()
        import httpx2

        from .direct_transport import DirectTransport, has_proxy

        # After the import, which sets the levels by ANTHROPIC_LOG: at `debug` they would log prompts.
        for name in ("anthropic", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        limits = self._limits
        direct: dict[str, Any] = {} if has_proxy() else {"transport": DirectTransport()}
        timeout = httpx2.Timeout(connect=limits.connect, read=limits.call_timeout, write=limits.write, pool=None)
        http = anthropic.DefaultHttpxClient(
            timeout=timeout,
            # A new connection for each call. A kept-alive one may die while the request is sent, which leaves unknown
            # whether the call is billed; a handshake takes milliseconds, a call seconds.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            follow_redirects=False,
            # A proxy from the environment cannot reach this machine's loopback addresses.
            mounts=dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]")),
            event_hooks={"request": [self._trace], "response": [_read_error]},
            **direct,
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
        # Only calls are traced; other requests cost nothing.
        if (deadlines := getattr(self._current, "deadlines", None)) is not None:
            request.extensions["progress"], request.extensions["trace"] = deadlines, deadlines.trace


def can_be_built() -> bool:
    """Whether the SDK's HTTP client can be built with the proxies and certificates of the environment."""
    try:
        sdk.load().DefaultHttpxClient().close()
    except Exception:  # of many types: ImportError, ValueError, InvalidURL, OSError, SSLError
        return False

    return True


def _read_error(response: Any) -> None:
    """Read the body of an error response up to a limit, before the SDK reads all of it."""
    if response.status_code < 400:
        return
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk[: _MAX_ERROR - len(body)]
        if len(body) >= _MAX_ERROR:
            break
    response.close()
    response._content = bytes(body)


def _noted(chunks: Iterator[bytes], deadlines: CallDeadlines) -> Iterator[bytes]:
    for chunk in chunks:
        deadlines.record_event(content=True)
        yield chunk


def _event(data: str | bytes) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ConnectionBroken("the stream contained an event that is not JSON", "stream_malformed") from exc
    if not isinstance(event, dict):
        raise ConnectionBroken("the stream contained an event that is not an object", "stream_malformed")

    return event


def _beta_header(betas: Sequence[str]) -> dict[str, str]:
    return {"anthropic-beta": ",".join(betas)} if betas else {}


def _is_exhausted(exc: BaseException | None) -> bool:
    """Whether this machine was out of file handles or memory, which is no evidence against the upstream."""
    while exc is not None:
        if isinstance(exc, MemoryError) or (isinstance(exc, OSError) and exc.errno in _EXHAUSTED):
            return True
        exc = exc.__cause__ or exc.__context__

    return False


def _root(exc: BaseException) -> str:
    while exc.__cause__ is not None:
        exc = exc.__cause__

    return f"{exc}".strip() or type(exc).__name__


def _word(value: Any) -> str | None:
    """The type or code of an error, or None for a value that no store might hold."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else None
