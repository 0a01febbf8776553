"""The client for a relay elsewhere: its HTTP API through `requests`, with an API key."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urljoin, urlsplit

import requests
import tenacity

from ... import __version__, errors
from ...core.text.written_numbers import encode_as_written
from ...errors import Busy, ConfigError, InvalidRequest, Problem, RelayError, Unreachable
from .query import JobQuery, read_pages
from .tables import HttpTables

if TYPE_CHECKING:
    from ...events import StreamMessage

_BY_STATUS: dict[int, type[RelayError]] = {
    400: InvalidRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    413: errors.TooLarge,
    415: errors.UnsupportedMedia,
}
#: A stream has a sign of life every 15 seconds; pause before another attempt while all streams are taken.
_STREAM_SILENCE, _STREAM_PAUSE = 45.0, 2.0
#: Seconds for the connection and its TLS handshake.
_CONNECT_TIMEOUT = 10.0
_CERTIFICATE = re.compile(r"certificate verify failed: ([^(\n]{1,100}?) ?\(")
#: The query parameters whose names differ from those of `JobQuery`.
_PARAMETERS = {"text": "q"}


class HttpClient:
    """Implements `RelayClient` over a relay's HTTP API."""

    def __init__(self, url: str, *, key: str | None, owner: str | None = None, timeout: float = 70.0) -> None:
        if not key:
            raise ConfigError([f"RELAY_API_KEY is missing: set it to a key of the relay at {url}."])
        self._url = url.rstrip("/")
        self._owner, self._timeout = owner, timeout
        self._session = requests.Session()
        self._session.headers.update({"X-API-Key": key, "User-Agent": f"claude-relay-cli/{__version__}"})
        self.tables = HttpTables(self._json, self._pieces)

    def submit(self, body: Any) -> dict[str, Any]:
        """Submit one job; the body of the 202."""
        return self._json("POST", "/api/claude", body=body)

    def estimate(self, body: Any) -> dict[str, Any]:
        """Tokens and cost of a request body, without submitting it."""
        return self._json("POST", "/api/estimate", body=body)

    def submit_many(self, bodies: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """Submit several jobs; a verdict for each."""
        return self._verdicts("/api/claude/bulk", list(bodies))

    def status(self, request_id: str) -> dict[str, Any]:
        """The status body of a job."""
        return self._json("GET", f"/api/status/{_quoted(request_id)}")

    def result(self, request_id: str) -> bytes | None:
        """The bytes of the callback; None until the job has ended."""
        response = self._request("GET", f"/api/result/{_quoted(request_id)}")
        if response.status_code != 200:
            return None
        self._parse(response)
        return response.content

    def record(self, request_id: str) -> dict[str, Any]:
        """The complete record of a job."""
        return self._json("GET", f"/api/jobs/{_quoted(request_id)}")

    def jobs(self, query: JobQuery) -> Iterator[dict[str, Any]]:
        """The jobs, newest first, read page by page."""
        filters = _parameters(query)

        def read(cursor: str | None, limit: int) -> tuple[Sequence[dict[str, Any]], str | None]:
            position = {"cursor": cursor} if cursor else {}
            page = self._json("GET", "/api/jobs", params={**filters, **position, "limit": str(limit)})
            return page["jobs"], page["cursor"]

        return read_pages(read, query.limit)

    def readiness(self) -> Sequence[str]:
        """Reasons why jobs are accepted but not run; none where they cannot be read."""
        try:
            response = self._session.get(f"{self._url}/health/ready", timeout=self._timeout, allow_redirects=False)
            return [str(reason) for reason in response.json()["reasons"]]
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return []

    def overview(self) -> dict[str, Any]:
        """The state of the relay."""
        return self._json("GET", "/api/overview")

    def cost(self, by: str, query: JobQuery) -> dict[str, Any]:
        """Spending, with totals by `by`."""
        return self._json("GET", "/api/cost", params={"by": by} | _parameters(query))

    def events(self, limit: int) -> tuple[Sequence[dict[str, Any]], str]:
        """The latest events, and the cursor from which to follow the next ones."""
        page = self._json("GET", "/api/moves", params={"limit": str(limit)})
        return page["moves"], page["after"]

    def follow(
        self, request_id: str | None, *, cursor: str | None = None, until: float | None = None
    ) -> Iterator[StreamMessage]:
        """
        The messages of a job up to its end, or of all jobs; `until` is a monotonic time.

        A stream that is closed or broken off is resumed behind its last event.
        """
        from ...events.messages import decode

        path = f"/api/jobs/{_quoted(request_id)}/events" if request_id is not None else "/api/events"
        while (left := math.inf if until is None else until - time.monotonic()) > 0:
            params = {"text": "0"} if request_id is None else {}
            params |= {} if cursor is None else {"after": cursor}
            try:
                silence = max(1.0, min(_STREAM_SILENCE, left))
                response = self._request("GET", path, params=params, stream=True, timeout=silence)
            except Busy:  # all streams are taken
                time.sleep(min(_STREAM_PAUSE, left))
                continue
            began = cursor
            with response:
                if response.status_code == 204:
                    return
                try:
                    for message in decode(_until(response.iter_lines(decode_unicode=True), until)):
                        cursor = message.id or cursor
                        if message.name:
                            yield message
                        if message.name == "end" and request_id is not None:
                            return
                except requests.RequestException:
                    pass  # silent for too long, or broken off
            if cursor == began:
                time.sleep(min(_STREAM_PAUSE / 4, left))

    def cancel(self, request_id: str) -> dict[str, Any]:
        """Cancel a job; its new status."""
        return self._json("POST", f"/api/jobs/{_quoted(request_id)}/cancel")

    def retry(self, request_id: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a job again; its new status."""
        body = {"options": options} if options else None
        return self._json("POST", f"/api/jobs/{_quoted(request_id)}/retry", body=body)

    def redeliver(self, request_id: str, url: str | None = None) -> dict[str, Any]:
        """Deliver a result again; its new status."""
        body = {"url": url} if url else None
        return self._json("POST", f"/api/jobs/{_quoted(request_id)}/redeliver", body=body)

    def redeliver_many(self, request_ids: Sequence[str], url: str | None = None) -> Sequence[dict[str, Any]]:
        """Deliver several results again; a verdict for each."""
        body = {"requestIds": list(request_ids)} | ({"url": url} if url else {})
        return self._verdicts("/api/redeliver", body)

    def save_template(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Store a template."""
        return self._json("PUT", f"/api/templates/{_quoted(name)}", body=fields)

    def templates(self) -> Sequence[dict[str, Any]]:
        """The newest versions of the templates that this key may use."""
        return cast("Sequence[dict[str, Any]]", self._json("GET", "/api/templates")["templates"])

    def template(self, name: str) -> dict[str, Any]:
        """A template with its body."""
        return self._json("GET", f"/api/templates/{_quoted(name)}")

    def delete_template(self, name: str) -> None:
        """Delete a template."""
        self._request("DELETE", f"/api/templates/{_quoted(name)}")

    def pause(self, group: str | None) -> None:
        """Pause a group, or all jobs."""
        self._json("POST", f"/api/groups/{_quoted(group)}/pause" if group else "/api/pause")

    def drain(self, *, run_waiting: bool) -> None:
        """Accept no more jobs."""
        self._json("POST", "/api/drain", body={"runWaiting": run_waiting})

    def resume(self, group: str | None) -> None:
        """Resume a group, or all jobs."""
        self._json("POST", f"/api/groups/{_quoted(group)}/resume" if group else "/api/resume")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _json(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: dict[str, str] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        response = self._request(method, path, body=body, params=params, headers=headers)
        return cast("dict[str, Any]", self._parse(response))

    def _pieces(self, path: str, *, params: dict[str, str]) -> Iterator[bytes]:
        """The body of a long answer, piece by piece."""
        with self._request("GET", path, params=params, stream=True) as response:
            yield from response.iter_content(64 * 1024)

    def _verdicts(self, path: str, body: Any) -> Sequence[dict[str, Any]]:
        return cast("Sequence[dict[str, Any]]", self._parse(self._request("POST", path, body=body)))

    def _parse(self, response: requests.Response) -> Any:
        """The JSON of a response; raises `Unreachable` for the page of a proxy or of another site."""
        try:
            return response.json()
        except ValueError:
            raise Unreachable(f"{self._url} does not answer like a relay: is the URL right?") from None

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: dict[str, str] | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        stream: bool = False,
        timeout: float | None = None,
    ) -> requests.Response:
        if self._owner:
            params = {**(params or {}), "owner": self._owner}
        # Numbers keep their digits, and half a character stays an escape, which the relay refuses with a reason.
        data = None if body is None else encode_as_written(body).encode("utf-8", "backslashreplace")
        headers = {**headers, **({} if data is None else {"Content-Type": "application/json"})}

        @tenacity.retry(
            retry=tenacity.retry_if_exception(_may_pass),
            # A POST is not repeated: it may have arrived.
            stop=tenacity.stop_after_attempt(3 if method == "GET" else 1),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
            reraise=True,
        )
        def send() -> requests.Response:
            # A redirect is not followed: `requests` would send X-API-Key, and on 307 the prompt, to any host.
            return self._session.request(
                method,
                self._url + path,
                data=data,
                headers=headers,
                params=params,
                timeout=(_CONNECT_TIMEOUT, timeout or self._timeout),
                stream=stream,
                allow_redirects=False,
            )

        try:
            response = send()
        except requests.RequestException as exc:
            raise Unreachable(_connection_fault(self._url, exc)) from exc
        if 300 <= response.status_code < 400:
            raise Unreachable(_redirect_fault(self._url, response))
        if response.status_code >= 400:
            raise _error(response)

        return response


def _may_pass(exc: BaseException) -> bool:
    """Whether a repetition soon may succeed: not after a time-out, and not where the other side speaks no TLS."""
    return isinstance(exc, requests.ConnectionError) and not isinstance(
        exc, (requests.Timeout, requests.exceptions.SSLError)
    )


def _connection_fault(url: str, exc: requests.RequestException) -> str:
    if isinstance(exc, requests.exceptions.SSLError) and "CERTIFICATE" in str(exc).upper():
        return f"cannot reach the relay at {url}: its TLS certificate is not trusted here ({_certificate_fault(exc)})"
    if isinstance(exc, requests.exceptions.SSLError):
        plain = f"http://{url.partition('://')[2]}"
        return f"cannot reach the relay at {url}: no https (TLS) is spoken there. Is its URL {plain} (RELAY_URL)?"
    reason = "it does not answer in time" if isinstance(exc, requests.Timeout) else "no connection"
    hint = " If it listens without TLS, use http:// instead of https://." if url.startswith("https://") else ""

    return f"cannot reach the relay at {url} ({reason}).{hint} Is the API running? systemctl status claude-relay-api"


def _certificate_fault(exc: BaseException) -> str:
    match = _CERTIFICATE.search(str(exc))

    return match[1] if match else "verification failed"


def _until(lines: Iterator[str], until: float | None) -> Iterator[str]:
    """The lines up to that monotonic time; a wait for one is bounded by the timeout of the connection."""
    for line in lines:
        yield line
        if until is not None and time.monotonic() >= until:
            return


def _redirect_fault(url: str, response: requests.Response) -> str:
    """The fault of a redirect, with the scheme and host that it leads to if they are printable."""
    target = urlsplit(urljoin(f"{url}/", response.headers.get("Location", "")))
    origin = f"{target.scheme}://{target.netloc}"
    shown = f" to {origin}" if origin.isascii() and origin.isprintable() and target.netloc else ""

    return (
        f"{url} answers with a redirect{shown} ({response.status_code}), which is not followed, since it would receive "
        "the API key: set RELAY_URL to the URL at which the relay itself answers"
    )


def _error(response: requests.Response) -> RelayError:
    status = response.status_code
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
        if status in (502, 504):
            # A proxy's own page: the relay behind it was not reached.
            return Unreachable(
                f"the relay is out of reach: its proxy answered {status}. Is the API running? "
                "systemctl status claude-relay-api"
            )
    text = str(body.get("error") or f"the relay answered {status}")
    kind = _BY_STATUS.get(status)
    if kind is not None and issubclass(kind, InvalidRequest):
        problems = [
            Problem(field=str(item.get("field", "")), problem=str(item.get("problem", "")))
            for item in body.get("problems") or ()
        ]
        return kind(text, problems=problems)
    if kind is not None:
        return kind(text)
    if status in (429, 503):
        return Busy(text)

    return RelayError(text)


def _parameters(query: JobQuery) -> dict[str, str]:
    return {_PARAMETERS.get(name, name): _text(value) for name, value in query.filters().items() if value}


def _text(value: Any) -> str:
    """A filter as a query parameter."""
    if value is True:
        return "true"

    return value if isinstance(value, str) else ",".join(value)


def _quoted(text: str) -> str:
    return quote(text, safe="")
