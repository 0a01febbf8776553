"""The verbs over HTTP, with `requests`: a relay elsewhere, with a key of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import requests
import tenacity

from ... import __version__
from ... import errors as house
from ...errors import Busy, ConfigError, InvalidRequest, Problem, RelayError, Unreachable
from . import JobQuery

_PAGE = 200
_BY_STATUS: dict[int, type[RelayError]] = {
    400: InvalidRequest,
    401: house.Unauthorized,
    403: house.Forbidden,
    404: house.NotFound,
    409: house.Conflict,
    413: house.TooLarge,
    415: house.UnsupportedMedia,
}


class HttpClient:
    """Implements `Desk` over a relay's HTTP API."""

    def __init__(self, url: str, *, key: str | None, owner: str | None = None, timeout: float = 70.0) -> None:
        if not key:
            raise ConfigError([f"RELAY_API_KEY is missing: set it to a key of the relay at {url}."])
        self._url = url.rstrip("/")
        self._owner, self._timeout = owner, timeout
        self._session = requests.Session()
        self._session.headers.update({"X-API-Key": key, "User-Agent": f"claude-relay-cli/{__version__}"})

    def submit(self, body: Any) -> dict[str, Any]:
        """The body of the 202."""
        return self._json("POST", "/api/claude", body=body)

    def estimate(self, body: Any) -> dict[str, Any]:
        """What it would come to."""
        return self._json("POST", "/api/estimate", body=body)

    def submit_many(self, bodies: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """A verdict each."""
        return self._json("POST", "/api/claude/bulk", body=list(bodies))

    def status(self, request_id: str) -> dict[str, Any]:
        """Where it stands."""
        return self._json("GET", f"/api/status/{_id(request_id)}")

    def result(self, request_id: str) -> bytes | None:
        """The callback's bytes, once there are any."""
        answer = self._ask("GET", f"/api/result/{_id(request_id)}")
        if answer.status_code != 200:
            return None
        self._read(answer)
        return answer.content

    def record(self, request_id: str) -> dict[str, Any]:
        """All that is known of it."""
        return self._json("GET", f"/api/jobs/{_id(request_id)}")

    def jobs(self, which: JobQuery) -> Iterator[dict[str, Any]]:
        """Newest first, page by page."""
        params: dict[str, str] = {
            "status": ",".join(which.status),
            "group": which.group or "",
            "since": which.since or "",
            "q": which.text or "",
            "host": which.host or "",
            "dead": "true" if which.dead else "",
            "unacked": "true" if which.unacked else "",
        }
        left = which.limit
        while left is None or left > 0:
            params["limit"] = str(_PAGE if left is None else min(_PAGE, left))
            page = self._json("GET", "/api/jobs", params={name: value for name, value in params.items() if value})
            yield from page["jobs"]
            if page["cursor"] is None:
                return
            params["cursor"] = page["cursor"]
            left = None if left is None else left - len(page["jobs"])

    def overview(self) -> dict[str, Any]:
        """The whole relay."""
        return self._json("GET", "/api/overview")

    def cost(self, by: str, since: str | None) -> dict[str, Any]:
        """What was spent."""
        return self._json("GET", "/api/cost", params={"by": by} | ({"since": since} if since else {}))

    def events(self, cursor: int | None, limit: int) -> tuple[Sequence[dict[str, Any]], int]:
        """What moved after `cursor`."""
        params = {"limit": str(limit)} | ({} if cursor is None else {"cursor": str(cursor)})
        page = self._json("GET", "/api/moves", params=params)
        return page["moves"], page["cursor"]

    def cancel(self, request_id: str) -> dict[str, Any]:
        """Its status afterwards."""
        return self._json("POST", f"/api/jobs/{_id(request_id)}/cancel")

    def retry(self, request_id: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Its status afterwards."""
        body = {"options": options} if options else None
        return self._json("POST", f"/api/jobs/{_id(request_id)}/retry", body=body)

    def redeliver(self, request_id: str, url: str | None = None) -> dict[str, Any]:
        """Its status afterwards."""
        body = {"url": url} if url else None
        return self._json("POST", f"/api/jobs/{_id(request_id)}/redeliver", body=body)

    def redeliver_many(self, request_ids: Sequence[str], url: str | None = None) -> Sequence[dict[str, Any]]:
        """A verdict each."""
        body = {"requestIds": list(request_ids)} | ({"url": url} if url else {})
        return self._json("POST", "/api/redeliver", body=body)

    def pause(self, group: str | None) -> None:
        """A group, or all."""
        self._json("POST", f"/api/groups/{_id(group)}/pause" if group else "/api/pause")

    def resume(self, group: str | None) -> None:
        """A group, or all."""
        self._json("POST", f"/api/groups/{_id(group)}/resume" if group else "/api/resume")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _json(self, method: str, path: str, *, body: Any = None, params: dict[str, str] | None = None) -> Any:
        return self._read(self._ask(method, path, body=body, params=params))

    def _read(self, answer: requests.Response) -> Any:
        """What the JSON says; the page of a proxy or another site in its place is no answer of a relay."""
        try:
            return answer.json()
        except ValueError:
            raise Unreachable(f"{self._url} does not answer like a relay: is the address right?") from None

    def _ask(
        self, method: str, path: str, *, body: Any = None, params: dict[str, str] | None = None
    ) -> requests.Response:
        if self._owner:
            params = {**(params or {}), "owner": self._owner}
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": "application/json"}

        @tenacity.retry(
            retry=tenacity.retry_if_exception_type(requests.ConnectionError),
            # A POST that may have arrived is not repeated: only a connection that was never made.
            stop=tenacity.stop_after_attempt(3 if method == "GET" else 1),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
            reraise=True,
        )
        def ask() -> requests.Response:
            return self._session.request(
                method, self._url + path, data=data, headers=headers, params=params, timeout=self._timeout
            )

        try:
            answer = ask()
        except requests.RequestException as exc:
            why = "it does not answer in time" if isinstance(exc, requests.Timeout) else "no connection"
            raise Unreachable(
                f"cannot reach the relay at {self._url} ({why}). Is the API running? systemctl status claude-relay-api"
            ) from exc
        if answer.status_code >= 400:
            raise _error(answer)

        return answer


def _error(answer: requests.Response) -> RelayError:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        body = {}
        if answer.status_code in (502, 504):
            # A proxy's own page: the relay behind it was not reached.
            told = f"the relay is out of reach: its proxy answered {answer.status_code}"
            return Unreachable(f"{told}. Is the API running? systemctl status claude-relay-api")
    text = str(body.get("error") or f"the relay answered {answer.status_code}")
    kind = _BY_STATUS.get(answer.status_code)
    if kind is not None and issubclass(kind, InvalidRequest):
        problems = [
            Problem(field=str(one.get("field", "")), problem=str(one.get("problem", "")))
            for one in body.get("problems") or ()
        ]
        return kind(text, problems=problems)
    if kind is not None:
        return kind(text)
    if answer.status_code in (429, 503):
        return Busy(text)

    return RelayError(text)


def _id(text: str) -> str:
    return quote(text, safe="")
