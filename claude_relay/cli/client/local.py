"""The verbs on the store of this machine: the owner `admin`, who sees all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ...core.intake import IntakeContext, parse
from ...core.intake.query import (
    job_filter,
    parse_limit,
    parse_redeliver_url,
    parse_retry_options,
    parse_time_or_age,
)
from ...services import JobRef, Relay
from . import JobQuery

_PAGE = 200


class LocalClient:
    """Implements `Desk` over an open `Relay`."""

    def __init__(
        self,
        relay: Relay,
        *,
        defaults: Callable[[], IntakeContext],
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._relay, self._defaults, self._owner, self._clock = relay, defaults, owner, clock

    def submit(self, body: Any) -> dict[str, Any]:
        """The body of the 202."""
        submission = parse(body, now=self._clock(), context=self._defaults())
        return self._relay.bulk.accepted_body(self._relay.submit(submission), now=self._clock())

    def estimate(self, body: Any) -> dict[str, Any]:
        """What it would come to."""
        return self._relay.estimates.estimate(body, self._defaults(), now=self._clock())

    def submit_many(self, bodies: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """A verdict each."""
        return self._relay.bulk.submit_bodies(bodies, self._defaults(), now=self._clock())

    def status(self, request_id: str) -> dict[str, Any]:
        """Where it stands."""
        return self._relay.queries.status(self._ref(request_id))

    def result(self, request_id: str) -> bytes | None:
        """The callback's bytes, once there are any."""
        return self._relay.queries.result(self._ref(request_id))

    def record(self, request_id: str) -> dict[str, Any]:
        """All that is known of it."""
        return self._relay.queries.job_details(self._ref(request_id))

    def jobs(self, which: JobQuery) -> Iterator[dict[str, Any]]:
        """Newest first, page by page."""
        wanted = job_filter(
            now=self._clock(),
            owner=self._owner,
            status=which.status,
            group=which.group,
            since=which.since,
            text=which.text,
            dead=which.dead,
            unacked=which.unacked,
            host=which.host,
        )
        left = which.limit
        while left is None or left > 0:
            page = self._relay.queries.jobs(replace(wanted, limit=_PAGE if left is None else min(_PAGE, left)))
            yield from page.jobs
            if page.cursor is None:
                return
            wanted = replace(wanted, before=page.cursor)
            left = None if left is None else left - len(page.jobs)

    def overview(self) -> dict[str, Any]:
        """The whole relay."""
        return self._relay.queries.overview()

    def cost(self, by: str, since: str | None) -> dict[str, Any]:
        """What was spent."""
        since_at = parse_time_or_age("since", since, now=self._clock())
        return self._relay.queries.cost(by=by, since=since_at, owner=self._owner)

    def events(self, cursor: int | None, limit: int) -> tuple[Sequence[dict[str, Any]], int]:
        """What moved after `cursor`."""
        return self._relay.queries.events_after(cursor, limit=parse_limit(limit, default=100), owner=self._owner)

    def cancel(self, request_id: str) -> dict[str, Any]:
        """Its status afterwards."""
        self._relay.cancel(self._ref(request_id))
        return self.status(request_id)

    def retry(self, request_id: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Its status afterwards."""
        chosen = parse_retry_options(options, self._defaults(), now=self._clock())
        self._relay.retry(self._ref(request_id), options=chosen, model=(chosen or {}).get("model"))
        return self.status(request_id)

    def redeliver(self, request_id: str, url: str | None = None) -> dict[str, Any]:
        """Its status afterwards."""
        parse_redeliver_url(url, self._defaults().check_url)
        self._relay.redeliver(self._ref(request_id), url=url)
        return self.status(request_id)

    def redeliver_many(self, request_ids: Sequence[str], url: str | None = None) -> Sequence[dict[str, Any]]:
        """A verdict each."""
        parse_redeliver_url(url, self._defaults().check_url)
        refs = [self._ref(request_id) for request_id in request_ids]
        return self._relay.bulk.redeliver_many(refs, url, now=self._clock())

    def pause(self, group: str | None) -> None:
        """A group, or all."""
        self._relay.pause(group)

    def resume(self, group: str | None) -> None:
        """A group, or all."""
        self._relay.resume(group)

    def _ref(self, request_id: str) -> JobRef:
        return JobRef(request_id=request_id, owner=self._owner)
