"""The client for the store of this machine. It acts as the owner `admin`, who sees all jobs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...core.keys import ADMIN
from ...services import JobRef, Relay
from .query import JobQuery, read_pages

if TYPE_CHECKING:
    from ...core.intake import IntakeContext
    from ...events import StreamMessage
    from ...ports import TextSource
    from .local_tables import LocalTables


class LocalClient:
    """Implements `RelayClient` over an open `Relay`."""

    def __init__(
        self,
        relay: Relay,
        *,
        defaults: Callable[[], IntakeContext],
        owner: str | None = None,
        texts: Callable[[], TextSource] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._texts = texts
        self._relay, self._defaults, self._owner, self._clock = relay, defaults, owner, clock

    @functools.cached_property
    def tables(self) -> LocalTables:
        """The same for collections."""
        from .local_tables import LocalTables

        return LocalTables(self._relay, self._defaults, self._owner, self._clock)

    def submit(self, body: Any) -> dict[str, Any]:
        """Submit one job; the body of the 202."""
        submission = self._relay.templates.parse(body, owner=ADMIN, now=self._clock(), context=self._defaults())
        return self._relay.bulk.accepted_body(self._relay.submit(submission), now=self._clock())

    def estimate(self, body: Any) -> dict[str, Any]:
        """Tokens and cost of a request body, without submitting it."""
        return self._relay.estimates.estimate(body, self._defaults(), now=self._clock())

    def submit_many(self, bodies: Sequence[Any]) -> Sequence[dict[str, Any]]:
        """Submit several jobs; a verdict for each."""
        return self._relay.bulk.submit_bodies(bodies, self._defaults(), now=self._clock())

    def status(self, request_id: str) -> dict[str, Any]:
        """The status body of a job."""
        return self._relay.queries.status(self._ref(request_id))

    def result(self, request_id: str) -> bytes | None:
        """The bytes of the callback; None until the job has ended."""
        return self._relay.queries.result(self._ref(request_id))

    def record(self, request_id: str) -> dict[str, Any]:
        """The complete record of a job."""
        return self._relay.queries.job_details(self._ref(request_id))

    def jobs(self, query: JobQuery) -> Iterator[dict[str, Any]]:
        """The jobs, newest first, read page by page."""
        from ...core.intake.query import job_filter

        matching = job_filter(now=self._clock(), owner=self._owner, **query.filters())

        def read(cursor: str | None, limit: int) -> tuple[Sequence[dict[str, Any]], str | None]:
            page = self._relay.queries.jobs(replace(matching, limit=limit, before=cursor))
            return page.jobs, page.cursor

        return read_pages(read, query.limit)

    def readiness(self) -> Sequence[str]:
        """Reasons why jobs are accepted but not run."""
        return [str(problem) for problem in self._relay.queries.readiness_problems()]

    def overview(self) -> dict[str, Any]:
        """The state of the relay."""
        return self._relay.queries.overview()

    def cost(self, by: str, query: JobQuery) -> dict[str, Any]:
        """Spending, with totals by `by`."""
        from ...core.intake.query import job_filter

        which = job_filter(now=self._clock(), owner=self._owner, **query.filters())
        return self._relay.queries.cost(by=by, which=which)

    def events(self, limit: int) -> tuple[Sequence[dict[str, Any]], str]:
        """The latest events, and the cursor from which to follow the next ones."""
        from ...core.intake.query import parse_limit
        from ...core.jobs.feed import Cursor

        size = parse_limit(limit, default=100)
        events, last = self._relay.queries.events_after(None, limit=size, owner=self._owner)
        return events, str(Cursor(self._relay.event_feed.identity, last, ended=True))

    def follow(
        self, request_id: str | None, *, cursor: str | None = None, until: float | None = None
    ) -> Iterator[StreamMessage]:
        """The messages of a job up to its end, or of all jobs; `until` is a monotonic time."""
        from ...events import follow

        position = None if cursor is None else self._relay.event_feed.cursor(cursor)
        ref = None if request_id is None else self._ref(request_id)
        texts = None if self._texts is None else self._texts()
        return follow(self._relay, ref, owner=self._owner, cursor=position, until=until, texts=texts)

    def cancel(self, request_id: str) -> dict[str, Any]:
        """Cancel a job; its new status."""
        self._relay.cancel(self._ref(request_id))
        return self.status(request_id)

    def retry(self, request_id: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a job again; its new status."""
        from ...core.intake.query import parse_retry_options

        chosen = parse_retry_options(options, self._defaults(), now=self._clock())
        self._relay.retry(self._ref(request_id), options=chosen, model=(chosen or {}).get("model"))
        return self.status(request_id)

    def redeliver(self, request_id: str, url: str | None = None) -> dict[str, Any]:
        """Deliver a result again; its new status."""
        from ...core.intake.query import parse_redeliver_url

        parse_redeliver_url(url, self._defaults().check_url)
        self._relay.redeliver(self._ref(request_id), url=url)
        return self.status(request_id)

    def redeliver_many(self, request_ids: Sequence[str], url: str | None = None) -> Sequence[dict[str, Any]]:
        """Deliver several results again; a verdict for each."""
        from ...core.intake.query import parse_redeliver_url

        parse_redeliver_url(url, self._defaults().check_url)
        refs = [self._ref(request_id) for request_id in request_ids]
        return self._relay.bulk.redeliver_many(refs, url, now=self._clock())

    def save_template(self, name: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Store a template; on this machine it is shared with all keys unless `shared` says otherwise."""
        fields = {"shared": True, **fields}
        return self._relay.templates.save(name, fields, self._defaults(), now=self._clock())[0]

    def templates(self) -> Sequence[dict[str, Any]]:
        """The newest versions of all templates."""
        return self._relay.templates.all(owner=self._owner)

    def template(self, name: str) -> dict[str, Any]:
        """A template with its body."""
        return self._relay.templates.show(name, owner=self._owner or ADMIN)

    def delete_template(self, name: str) -> None:
        """Delete a template."""
        self._relay.templates.delete(name, owner=self._owner or ADMIN)

    def pause(self, group: str | None) -> None:
        """Pause a group, or all jobs."""
        self._relay.pause(group)

    def drain(self, *, run_waiting: bool) -> None:
        """Accept no more jobs."""
        self._relay.drain(run_waiting=run_waiting)

    def resume(self, group: str | None) -> None:
        """Resume a group, or all jobs."""
        self._relay.resume(group)

    def _ref(self, request_id: str) -> JobRef:
        return JobRef(request_id=request_id, owner=self._owner)
