"""What the verbs ask of a relay: of the store of this machine, or of one over HTTP, with the same words and answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..render.output import Output


@dataclass(frozen=True, kw_only=True)
class JobQuery:
    """Which jobs to list; `limit` None is all."""

    status: Sequence[str] = ()
    group: str | None = None
    since: str | None = None
    text: str | None = None
    dead: bool = False
    unacked: bool = False
    host: str | None = None
    limit: int | None = 50


class RelayClient(Protocol):
    """Everything is JSON as the API has it. Errors are those of `errors`."""

    def submit(self, body: Any) -> dict[str, Any]: ...
    def estimate(self, body: Any) -> dict[str, Any]: ...
    def submit_many(self, bodies: Sequence[Any]) -> Sequence[dict[str, Any]]: ...
    def status(self, request_id: str) -> dict[str, Any]: ...
    def result(self, request_id: str) -> bytes | None: ...
    def record(self, request_id: str) -> dict[str, Any]: ...
    def jobs(self, which: JobQuery) -> Iterator[dict[str, Any]]: ...
    def overview(self) -> dict[str, Any]: ...
    def cost(self, by: str, since: str | None) -> dict[str, Any]: ...
    def events(self, cursor: int | None, limit: int) -> tuple[Sequence[dict[str, Any]], int]: ...
    def cancel(self, request_id: str) -> dict[str, Any]: ...
    def retry(self, request_id: str, options: dict[str, Any] | None = None) -> dict[str, Any]: ...
    def redeliver(self, request_id: str, url: str | None = None) -> dict[str, Any]: ...
    def redeliver_many(self, request_ids: Sequence[str], url: str | None = None) -> Sequence[dict[str, Any]]: ...
    def pause(self, group: str | None) -> None: ...
    def resume(self, group: str | None) -> None: ...


@contextlib.contextmanager
def open_client(output: Output) -> Iterator[RelayClient]:
    """The desk that the settings name."""
    settings = output.settings
    if settings.url:
        from .http import HttpClient

        remote = HttpClient(settings.url, key=settings.api_key or settings.api_secret_key, owner=output.owner)
        try:
            yield remote
        finally:
            remote.close()
        return
    from ...wiring import intake_defaults, open_relay
    from .local import LocalClient

    with open_relay(settings) as relay:
        yield LocalClient(relay, defaults=lambda: intake_defaults(settings, relay), owner=output.owner)
