"""The operations on collections, and those of a relay elsewhere: its HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

_PATH = "/api/collections"


class TableClient(Protocol):
    """Results are the JSON bodies of the API. Errors are those of `errors`."""

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]: ...
    def add_rows(self, name: str, rows: Sequence[Any], *, key: str) -> dict[str, Any]: ...
    def close(self, name: str, *, key: str | None = None) -> dict[str, Any]: ...
    def show(self, name: str) -> dict[str, Any]: ...
    def list(self, limit: int) -> Sequence[dict[str, Any]]: ...
    def results(self, name: str, options: Mapping[str, str]) -> Iterator[bytes]: ...
    def cancel(self, name: str) -> dict[str, Any]: ...
    def retry(self, name: str, rows: Sequence[int] | None) -> dict[str, Any]: ...
    def redeliver(self, name: str, url: str | None) -> dict[str, Any]: ...


class HttpTables:
    """Implements `TableClient` over HTTP; `send` makes a request, `stream` one whose body is read in pieces."""

    def __init__(self, send: Callable[..., dict[str, Any]], stream: Callable[..., Iterator[bytes]]) -> None:
        self._send, self._stream = send, stream

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a collection; the body of the 202."""
        return self._send("POST", _PATH, body=dict(body))

    def add_rows(self, name: str, rows: Sequence[Any], *, key: str) -> dict[str, Any]:
        """Add rows to an open collection."""
        return self._send("POST", f"{_at(name)}/rows", body={"rows": list(rows)}, headers={"Idempotency-Key": key})

    def close(self, name: str, *, key: str | None = None) -> dict[str, Any]:
        """End the intake of rows; the new status."""
        return self._send("POST", f"{_at(name)}/close", headers={"Idempotency-Key": key} if key else {})

    def show(self, name: str) -> dict[str, Any]:
        """The status of a collection."""
        return self._send("GET", _at(name))

    def list(self, limit: int) -> Sequence[dict[str, Any]]:
        """The newest collections."""
        rows: Sequence[dict[str, Any]] = self._send("GET", _PATH, params={"limit": str(limit)})["collections"]
        return rows

    def results(self, name: str, options: Mapping[str, str]) -> Iterator[bytes]:
        """The results, piece by piece."""
        return self._stream(f"{_at(name)}/results", params=dict(options))

    def cancel(self, name: str) -> dict[str, Any]:
        """Stop every row; the new status."""
        return self._send("POST", f"{_at(name)}/cancel")

    def retry(self, name: str, rows: Sequence[int] | None) -> dict[str, Any]:
        """Run rows again; the new status."""
        return self._send("POST", f"{_at(name)}/retry", body={"rows": list(rows)} if rows else None)

    def redeliver(self, name: str, url: str | None) -> dict[str, Any]:
        """Send the callback again; the new status."""
        return self._send("POST", f"{_at(name)}/redeliver", body={"url": url} if url else None)


def _at(name: str) -> str:
    return f"{_PATH}/{quote(name, safe='')}"
