"""A stream inside this process, for the command line."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator

from ..core.jobs.feed import Cursor
from ..ports import TextSource
from ..services import JobRef, Relay
from .hub import Hub
from .messages import StreamMessage
from .opening import open_job, open_list
from .subscription import Filter


class QueueSink:
    """Implements `Sink`: messages for one reader; None at the end."""

    backlog, connected = 0, True

    def __init__(self) -> None:
        self.messages: queue.SimpleQueue[StreamMessage | None] = queue.SimpleQueue()

    def write(self, messages: Iterable[StreamMessage]) -> None:
        """Queue messages."""
        for message in messages:
            self.messages.put(message)

    def keep_alive(self) -> None:
        """Nothing: there is no connection to keep."""

    def close(self) -> None:
        """End the stream."""
        self.messages.put(None)


def follow(
    relay: Relay,
    ref: JobRef | None,
    *,
    owner: str | None = None,
    cursor: Cursor | None = None,
    until: float | None = None,
    texts: TextSource | None = None,
) -> Iterator[StreamMessage]:
    """The messages of a job, up to its end, or of all jobs; no longer than until that monotonic time."""
    stopping = threading.Event()
    hub = Hub(relay, limit=1, texts=texts, stopping=stopping)
    try:
        while True:
            if ref is not None:
                stream = open_job(relay.event_feed, ref, cursor)
            else:
                stream, cursor = open_list(relay.event_feed, Filter(owner=owner), cursor)
            if stream is None:
                return
            sink = QueueSink()
            hub.reserve()
            hub.add(stream, sink)
            while True:
                left = None if until is None else until - time.monotonic()
                try:
                    message = sink.messages.get(timeout=left) if left is None or left > 0 else None
                except queue.Empty:
                    return
                if message is None:
                    break
                if message.id is not None:
                    cursor = relay.event_feed.cursor(message.id)
                yield message
            if ref is not None or (until is not None and time.monotonic() >= until):
                return
    finally:
        stopping.set()
        hub.join()
