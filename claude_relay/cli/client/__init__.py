"""
The operations of the verbs on a relay.

They act on the store of this machine or over HTTP, with the same results.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .query import JobQuery

if TYPE_CHECKING:
    from ...events import StreamMessage
    from ..render.output import Output
    from .tables import TableClient

__all__ = ["JobQuery", "RelayClient", "open_client"]


class RelayClient(Protocol):
    """Results are the JSON bodies of the API. Errors are those of `errors`."""

    @property
    def tables(self) -> TableClient: ...
    def submit(self, body: Any) -> dict[str, Any]: ...
    def estimate(self, body: Any) -> dict[str, Any]: ...
    def submit_many(self, bodies: Sequence[Any]) -> Sequence[dict[str, Any]]: ...
    def status(self, request_id: str) -> dict[str, Any]: ...
    def result(self, request_id: str) -> bytes | None: ...
    def record(self, request_id: str) -> dict[str, Any]: ...
    def jobs(self, query: JobQuery) -> Iterator[dict[str, Any]]: ...
    def readiness(self) -> Sequence[str]: ...
    def overview(self) -> dict[str, Any]: ...
    def cost(self, by: str, query: JobQuery) -> dict[str, Any]: ...
    def events(self, limit: int) -> tuple[Sequence[dict[str, Any]], str]: ...
    def follow(
        self, request_id: str | None, *, cursor: str | None = None, until: float | None = None
    ) -> Iterator[StreamMessage]: ...
    def cancel(self, request_id: str) -> dict[str, Any]: ...
    def retry(self, request_id: str, options: dict[str, Any] | None = None) -> dict[str, Any]: ...
    def redeliver(self, request_id: str, url: str | None = None) -> dict[str, Any]: ...
    def redeliver_many(self, request_ids: Sequence[str], url: str | None = None) -> Sequence[dict[str, Any]]: ...
    def save_template(self, name: str, fields: dict[str, Any]) -> dict[str, Any]: ...
    def templates(self) -> Sequence[dict[str, Any]]: ...
    def template(self, name: str) -> dict[str, Any]: ...
    def delete_template(self, name: str) -> None: ...
    def pause(self, group: str | None) -> None: ...
    def drain(self, *, run_waiting: bool) -> None: ...
    def resume(self, group: str | None) -> None: ...


@contextlib.contextmanager
def open_client(output: Output, *, reading: bool = False) -> Iterator[RelayClient]:
    """A client for the relay that the settings name, open while the block lasts; `reading`: for reads only."""
    settings = output.settings
    if settings.url:
        from .http import HttpClient

        remote = HttpClient(
            settings.url, key=settings.api_key or next(iter(settings.admin_keys), None), owner=output.owner
        )
        try:
            yield remote
        finally:
            remote.close()
        return
    from ...wiring import intake_context, open_relay, open_relay_for_reading, text_source
    from .local import LocalClient

    with (open_relay_for_reading if reading else open_relay)(settings) as relay:
        yield LocalClient(
            relay,
            defaults=lambda: intake_context(settings, relay),
            owner=output.owner,
            texts=lambda: text_source(settings),
            clock=relay.clock,
        )
