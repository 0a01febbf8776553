"""The beginning of a stream: what is read before it is added to the hub."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..core.collections.collection import Phase
from ..core.jobs.feed import Cursor, FeedEntry
from ..core.jobs.job import State
from ..services import CollectionRef, EventFeed, JobRef
from .subscription import Filter, Subscription


def open_job(feed: EventFeed, ref: JobRef, cursor: Cursor | None) -> Subscription | None:
    """
    The stream of one job; None if its run has ended and nothing follows the cursor.

    Without a cursor it begins with the job's latest event, which stands for its present state.
    """
    if cursor is None:
        present = feed.of_job(ref, None)
        cursor = Cursor(feed.identity, present.entries[-1].seq - 1 if present.entries else 0, ended=True)
    else:
        present = feed.of_job(ref, cursor.seq if cursor.ended else cursor.seq - 1)
        if present.job.state.final and not _has_news(present.entries, cursor):
            return None
    which = Filter(job_id=present.job.id, owner=present.job.owner)
    stream = Subscription(
        which, cursor=cursor, now=time.monotonic(), request_id=present.job.request_id, opening=present.entries
    )
    if present.job.state is State.RUNNING:
        stream.follow_text(present.job.id, present.job.request_id)

    return stream


def open_collection(feed: EventFeed, ref: CollectionRef, cursor: Cursor | None) -> tuple[Subscription | None, Cursor]:
    """
    The stream of a collection and its rows, and the cursor where it begins: without one, now.

    None if the collection has ended, and nothing follows the cursor.
    """
    begin = cursor or Cursor(feed.identity, feed.newest(), ended=True)
    collection, has_news = feed.of_collection(ref, begin.seq if begin.ended else begin.seq - 1)
    if collection.phase is Phase.FINISHED and not has_news:
        return None, begin

    return Subscription(Filter(collection=collection.id), cursor=begin, now=time.monotonic()), begin


def open_list(feed: EventFeed, which: Filter, cursor: Cursor | None) -> tuple[Subscription, Cursor]:
    """The stream of many jobs, and the cursor where it begins: without one, now."""
    cursor = cursor or Cursor(feed.identity, feed.newest(), ended=True)
    stream = Subscription(which, cursor=cursor, now=time.monotonic())
    if which.max_texts:
        for call in feed.running_calls(owner=which.owner, group=which.group):
            stream.follow_text(call.job_id, call.request_id)

    return stream, cursor


def _has_news(entries: Sequence[FeedEntry], cursor: Cursor) -> bool:
    """Whether there is something to send after that cursor: an event, or the end that follows the one at it."""
    return any(entry.seq > cursor.seq or entry.ends_run for entry in entries)
