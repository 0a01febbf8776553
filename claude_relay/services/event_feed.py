"""The feed of events for streams: pages of it, one job's part of it, and the text of running calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from ..core.jobs.feed import STORE_ID_LENGTH, Cursor, FeedEntry
from ..core.lazy_dataclass import dataclass
from .collections import CollectionRef, get_collection
from .context import get_job
from .transactions import query

if TYPE_CHECKING:
    from ..core.collections.collection import Collection
    from ..core.jobs.job import Job
    from ..ports import ReadTransaction, RunningCall, Store
    from .types import JobRef

#: Events of one page.
PAGE = 500
#: Code points of one call that are read at once, and bytes of an outcome that is read for a list of jobs.
_MAX_TEXT, _MAX_FINAL = 65_536, 256 * 1024


@dataclass(frozen=True, kw_only=True)
class JobFeed:
    """The events of one job after a cursor; `job` as it is at the same moment."""

    job: Job
    entries: Sequence[FeedEntry]


@dataclass(frozen=True, kw_only=True)
class TextSoFar:
    """The text of a call from `offset` on, in code points."""

    call: int
    offset: int
    text: str = field(repr=False)


class EventFeed:
    """Reads of the event streams; none of them writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._identity: str | None = None

    @property
    def identity(self) -> str:
        """The part of a cursor that names this store."""
        if self._identity is None:
            self._identity = self._read_identity().replace("-", "")[:STORE_ID_LENGTH]

        return self._identity

    def cursor(self, text: str) -> Cursor:
        """The cursor of that text; raises `ValueError` with the reason."""
        return Cursor.parse(text, store=self.identity)

    @query
    def newest(self, tx: ReadTransaction) -> int:
        """The position of the newest event."""
        return tx.newest_event()

    @query
    def page(self, tx: ReadTransaction, position: int) -> Sequence[FeedEntry]:
        """The next events of all jobs, oldest first."""
        return tx.feed_after(position, limit=PAGE)

    @query
    def of_job(self, tx: ReadTransaction, ref: JobRef, position: int | None) -> JobFeed:
        """The events of a job after that position; with None its latest event alone, as its present state."""
        job = get_job(tx, ref)
        if position is None:
            return JobFeed(job=job, entries=tx.feed_of_job(job.id, position=0, latest=True))

        return JobFeed(job=job, entries=tx.feed_of_job(job.id, position=position))

    @query
    def of_collection(self, tx: ReadTransaction, ref: CollectionRef, position: int) -> tuple[Collection, bool]:
        """A collection, and whether it has events of its own after that position."""
        collection = get_collection(tx, ref)

        return collection, bool(tx.feed_of_job(collection.id, position=position))

    @query
    def texts(self, tx: ReadTransaction, positions: Mapping[str, tuple[int, int]]) -> dict[str, TextSoFar]:
        """The stored text of running calls beyond (call, offset), by job; of another call from its beginning."""
        texts = {}
        for job_id, number, text in tx.partials_after(positions, limit=_MAX_TEXT):
            call, offset = positions[job_id]
            if text:
                texts[job_id] = TextSoFar(call=number, offset=offset if number == call else 0, text=text)

        return texts

    @query
    def running_calls(self, tx: ReadTransaction, *, owner: str | None, group: str | None) -> Sequence[RunningCall]:
        """The calls in flight of an owner and a group, the longest running first."""
        return [call for call in tx.running_calls(limit=PAGE, owner=owner) if group in (None, call.group)]

    @query
    def final_text(self, tx: ReadTransaction, job_id: str) -> TextSoFar | None:
        """The complete text of a job whose run has ended; None where there is none, or it was erased."""
        job = tx.job(job_id)
        outcome = tx.outcome(job.id, job.run) if job is not None and job.state.final else None

        return None if job is None or outcome is None else _complete_text(job.calls, outcome.body)

    @query
    def final_texts(self, tx: ReadTransaction, job_ids: Sequence[str]) -> dict[str, TextSoFar]:
        """The complete texts of jobs whose runs have ended, without those of a long answer."""
        rows = tx.final_outcomes(job_ids, max_bytes=_MAX_FINAL)
        texts = {outcome.job_id: _complete_text(calls, outcome.body) for calls, outcome in rows}

        return {job_id: text for job_id, text in texts.items() if text is not None}

    @query
    def _read_identity(self, tx: ReadTransaction) -> str:
        return tx.store_identity()


def _complete_text(call: int, outcome: bytes) -> TextSoFar | None:
    """The text in the body of an outcome; None where there is none, or it was erased."""
    body = json.loads(outcome) if outcome else {}
    text = body.get("response") or body.get("partialResponse") or ""

    return TextSoFar(call=call, offset=0, text=text) if text else None
