"""One subscription: its filter, its position in the feed, and the text that it has sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Protocol

from ..core import wire
from ..core.jobs.feed import Cursor, FeedEntry
from ..core.jobs.job import State
from ..core.lazy_dataclass import dataclass
from ..services import TextSoFar
from .messages import StreamMessage, end_message, event_message, text_messages

#: A client that has this many bytes to read gets no more until it has read some.
MAX_BACKLOG = 256 * 1024
#: A client that reads nothing for this long is disconnected, in seconds.
MAX_STALL = 10.0
#: A list stream is closed after this many seconds, and can be resumed.
MAX_AGE = 300.0
#: Running calls of which a list stream sends the text at a time.
MAX_TEXTS = 64


class Places(Enum):
    """Streams that are counted together: many open dashboards take none from programs."""

    API = "api"
    DASHBOARD = "dashboard"


class Sink(Protocol):
    """The client's end. `write` and `keep_alive` never wait and never raise."""

    @property
    def backlog(self) -> int: ...
    @property
    def connected(self) -> bool: ...
    def write(self, messages: Iterable[StreamMessage]) -> None: ...
    def keep_alive(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Filter:
    """
    Selects the events of a stream: one job, a collection, or all jobs of an owner, group and status.

    `texts`: such a list also has the text of running calls. The stream of one job always does.
    """

    job_id: str | None = None
    collection: str | None = None
    owner: str | None = None
    group: str | None = None
    statuses: frozenset[str] = frozenset()
    texts: bool = False

    def matches(self, entry: FeedEntry) -> bool:
        """Whether the stream has that event."""
        if self.job_id is not None:
            return entry.event.job_id == self.job_id
        if self.collection is not None:
            return self.collection in (entry.event.job_id, entry.collection)

        return (
            (self.owner is None or entry.owner == self.owner)
            and (self.group is None or entry.group == self.group)
            and (not self.statuses or wire.STATUS[entry.state_after] in self.statuses)
        )

    @property
    def max_texts(self) -> int:
        """Running calls of which the stream sends the text at a time."""
        if self.job_id is not None:
            return 1
        wanted = self.texts and (not self.statuses or "processing" in self.statuses)

        return MAX_TEXTS if wanted else 0

    @property
    def ends_with(self) -> str | None:
        """The job whose end is that of the stream; None for a list, which has none."""
        return self.job_id or self.collection


@dataclass
class SentText:
    """How far the text of a running call was sent; its stored text is read again at `due`."""

    request_id: str
    call: int = 0
    offset: int = 0
    due: float = 0.0


class Subscription:
    """
    A stream to one client. Used by the hub's thread alone, once it is added.

    `cursor` is where it begins: behind that event, or before the `end` that follows it. `opening` are events that were
    read already; they come first. A stream of one job is closed by the end of its run.
    """

    def __init__(
        self, which: Filter, *, cursor: Cursor, now: float, request_id: str = "", opening: Sequence[FeedEntry] = ()
    ) -> None:
        self.which, self.request_id, self.opening = which, request_id, opening
        self._store = cursor.store
        # Without `ended` the event at the cursor is read again, for the end that may follow it.
        self._sent = cursor.seq
        self.seq = cursor.seq if cursor.ended else cursor.seq - 1
        self.behind = True  # its next events are read for it alone
        self.closed = False
        self.texts: dict[str, SentText] = {}  # of running calls, by job
        self.places = Places.API
        self.sink: Sink
        self._age_from = self._written_at = self._stalled_at = now
        self._backlog, self._wrote = 0, False

    def deliver(self, entry: FeedEntry, last_text: TextSoFar | None) -> None:
        """Send an event of this stream, once; `last_text` comes before the end of a run."""
        if entry.seq <= self.seq or self.closed:
            return
        self.seq, job_id = entry.seq, entry.event.job_id
        sent = self.texts.get(job_id) or SentText(entry.request_id)
        if self.which.job_id is None and entry.state_after is not State.RUNNING:  # its place is for another call
            self.texts.pop(job_id, None)
        if not self.which.matches(entry):
            return
        messages = [event_message(entry, self._store)] if entry.seq > self._sent else []
        if entry.state_after is State.RUNNING:
            self.follow_text(job_id, entry.request_id)
        if entry.ends_run:
            if last_text is not None:
                messages.extend(_new_text(sent, last_text))
            # The stream of a collection has one `end`: readers stop there. The event of a row says that it has ended.
            if self.which.collection in (None, job_id):
                messages.append(end_message(entry, self._store))
        self._write(messages)
        if entry.ends_run and self.which.ends_with == job_id:
            self.close()

    def follow_text(self, job_id: str, request_id: str) -> None:
        """Send the text of that job's call from now on, if there is room for one more."""
        if self.which.collection is None and len(self.texts) < self.which.max_texts:
            self.texts.setdefault(job_id, SentText(request_id))

    def takes_last_text(self, entry: FeedEntry) -> bool:
        """Whether that event ends a run, and the rest of its text is to be sent before the end."""
        if not entry.ends_run or entry.seq <= self.seq or self.closed or not self.which.matches(entry):
            return False

        return entry.event.job_id in self.texts or len(self.texts) < self.which.max_texts

    def deliver_text(self, job_id: str, text: TextSoFar) -> bool:
        """Send what is new of the text of a running call; whether there was something, and room for it."""
        if self.closed or self.full:
            return False
        messages = list(_new_text(self.texts[job_id], text))
        self._write(messages)

        return bool(messages)

    @property
    def full(self) -> bool:
        """Whether the client has to read before it gets more."""
        return self.sink.backlog > MAX_BACKLOG

    def ready(self, now: float) -> bool:
        """Whether it takes more now. Disconnects a client that reads nothing, and ends a list stream by its age."""
        backlog = self.sink.backlog
        if not self.sink.connected or (self.which.ends_with is None and now - self._age_from > MAX_AGE):
            self.close()
        elif backlog <= MAX_BACKLOG or backlog < self._backlog:
            self._stalled_at = now
        elif now - self._stalled_at > MAX_STALL:
            self.close()
        self._backlog = backlog
        if backlog > MAX_BACKLOG:
            self.behind = True  # its cursor is kept, and the store keeps the rest

        return not self.closed and backlog <= MAX_BACKLOG

    def keep_alive(self, now: float, interval: float) -> None:
        """Send a comment after a silence, so that neither a proxy nor the client gives up."""
        if self._wrote:
            self._wrote, self._written_at = False, now
        elif now - self._written_at >= interval:
            self._written_at = now
            self.sink.keep_alive()

    def close(self) -> None:
        """End the stream."""
        if not self.closed:
            self.closed = True
            self.sink.close()

    def _write(self, messages: Sequence[StreamMessage]) -> None:
        if messages:
            self._wrote = True
            self.sink.write(messages)


def _new_text(sent: SentText, text: TextSoFar) -> Iterable[StreamMessage]:
    """The messages for what is new in the text: another call replaces it, and begins at 0."""
    if text.call < sent.call or (text.call > sent.call and text.offset):
        return
    start = sent.offset - text.offset if text.call == sent.call else 0
    piece = text.text[start:] if start >= 0 else ""
    if not piece:
        return
    offset = text.offset + start
    sent.call, sent.offset = text.call, offset + len(piece)
    yield from text_messages(sent.request_id, text.call, offset, piece)
