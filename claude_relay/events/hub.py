"""The one reader of the store for all streams of a process."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import field

from ..core.jobs.feed import FeedEntry
from ..core.lazy_dataclass import dataclass
from ..errors import Busy, NotFound, RelayError
from ..ports import TextPiece, TextSource
from ..services import FEED_PAGE, EventFeed, JobRef, Relay, TextSoFar
from .subscription import Places, Sink, Subscription

log = logging.getLogger(__name__)

#: Seconds between two reads of the feed, of the stored text of a running call, and between signs of life.
_POLL, _TEXT_POLL, _KEEP_ALIVE = 0.1, 0.1, 15.0
#: The stored text is read this long after a piece came directly, in seconds: it fills what the pieces have lost.
_TEXT_FALLBACK = 1.0
#: Code points of one call that are kept until the stored text reaches them; pieces that wait for the thread.
_MAX_TAIL, _MAX_PIECES = 100_000, 10_000
#: Seconds for which pieces of other calls are kept: their event may be read later.
_UNWATCHED = 1.0
#: Jobs of a page of events whose texts are read for lists.
_MAX_FINALS = 100
_PAUSE_AFTER_FAULT = 1.0


@dataclass
class _Tail:
    """The latest text of a call, as it came directly: from `start` on without a gap."""

    call: int
    start: int
    since: float
    text: str = field(default="", repr=False)

    def add(self, piece: TextPiece) -> None:
        """Append a piece; begin again where one was lost or a new call began."""
        joins = piece.call == self.call and piece.offset == self.start + len(self.text)
        if not joins or len(self.text) > _MAX_TAIL:
            self.call, self.start, self.text = piece.call, piece.offset, ""
        self.text += piece.text

    def so_far(self) -> TextSoFar:
        return TextSoFar(call=self.call, offset=self.start, text=self.text)


class _LastTexts:
    """The complete texts of the jobs that end in a page of events, read once for all lists."""

    def __init__(self, feed: EventFeed, entries: Sequence[FeedEntry]) -> None:
        self._feed, self._entries = feed, entries
        self._texts: dict[str, TextSoFar] | None = None

    def find(self, each: Subscription, entry: FeedEntry) -> TextSoFar | None:
        """The text to be sent before the end of that job, if the stream takes it."""
        if not each.takes_last_text(entry):
            return None
        if each.which.job_id is not None:
            return self._feed.final_text(entry.event.job_id)
        if self._texts is None:
            ended = [other.event.job_id for other in self._entries if other.ends_run]
            self._texts = self._feed.final_texts(ended[:_MAX_FINALS])

        return self._texts.get(entry.event.job_id)


class Hub:
    """
    Sends the events of the feed to its subscriptions, and the text of running calls.

    It reads each new event once for all of them; a subscription that is behind reads its own page. Its thread runs
    while there are subscriptions. `texts` brings text of workers on this machine before it is stored.
    """

    def __init__(
        self,
        relay: Relay,
        *,
        limit: int,
        dashboard_limit: int = 0,
        texts: TextSource | None = None,
        stopping: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed, self._texts, self._clock = relay.event_feed, texts, clock
        self._limits = {Places.API: limit, Places.DASHBOARD: dashboard_limit}
        self._stopping = stopping or threading.Event()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._reserved = dict.fromkeys(Places, 0)
        self._added: list[Subscription] = []
        self._active: list[Subscription] = []
        self._thread: threading.Thread | None = None
        self._ended: threading.Thread | None = None
        self._seq, self._read_at = 0, 0.0
        self._pieces: deque[TextPiece] = deque(maxlen=_MAX_PIECES)
        self._tails: dict[str, _Tail] = {}

    def reserve(self, places: Places = Places.API) -> None:
        """Take one of those places for a stream; raises `Busy` if there is none, or at a stop."""
        with self._lock:
            limit = self._limits[places]
            if self._reserved[places] >= limit or self._stopping.is_set():
                setting = " (RELAY_STREAMS)" if places is Places.API else " of the dashboard"
                raise Busy(f"All {limit} event streams are taken{setting}. Try again soon.", retry_after=5)
            self._reserved[places] += 1

    def release(self, places: Places = Places.API) -> None:
        """Give back a place that no stream took."""
        with self._lock:
            self._reserved[places] -= 1

    def add(self, subscription: Subscription, sink: Sink) -> None:
        """Begin a stream, in the place that was reserved for it."""
        subscription.sink = sink
        with self._lock:
            self._added.append(subscription)
            if self._thread is None:
                run = functools.partial(self._run, self._ended)
                self._thread = threading.Thread(target=run, name="event streams", daemon=True)
                self._thread.start()
        self._wake.set()

    def join(self, timeout: float = 5.0) -> None:
        """Wait for the thread, after `stopping` was set."""
        self._wake.set()
        thread = self._thread or self._ended
        if thread is not None:
            thread.join(timeout)

    def _run(self, previous: threading.Thread | None) -> None:
        if previous is not None:
            previous.join()  # it may still be closing `texts`
        if self._texts is not None:
            self._texts.open(self._receive)
        fresh = True
        try:
            while self._collect():
                try:
                    if fresh:
                        self._seq, fresh = self._feed.newest(), False
                    self._turn()
                    self._wake.wait(_POLL)
                    self._wake.clear()
                except RelayError as exc:
                    log.warning("event streams wait for the store", extra={"error": str(exc)})
                    self._stopping.wait(_PAUSE_AFTER_FAULT)
                except Exception:
                    log.exception("a round of the event streams failed; going on")
                    self._stopping.wait(_PAUSE_AFTER_FAULT)
        finally:
            if self._texts is not None:
                self._texts.close()
            self._pieces.clear()
            self._tails.clear()

    def _collect(self) -> bool:
        """Take in new subscriptions and drop closed ones; whether the thread goes on. At a stop all are closed."""
        with self._lock:
            self._active.extend(self._added)
            self._added.clear()
            if self._stopping.is_set():
                for each in self._active:
                    each.close()
            ended = [each for each in self._active if each.closed]
            self._active = [each for each in self._active if not each.closed]
            for each in ended:
                self._reserved[each.places] -= 1
            if not self._active:
                self._thread, self._ended = None, self._thread

            return bool(self._active)

    def _turn(self) -> None:
        now = self._clock()
        ready = [each for each in self._active if each.ready(now)]
        entries = self._new_entries(now)
        last_texts = _LastTexts(self._feed, entries)
        for each in ready:
            try:
                self._catch_up(each) if each.behind else self._send(each, entries, last_texts)
            except NotFound:  # purged meanwhile
                each.close()
        if entries:
            self._seq = entries[-1].seq
        self._take_pieces(now)
        self._send_texts([each for each in ready if each.texts and not each.closed], now)
        for each in ready:
            if not each.closed:
                each.keep_alive(now, _KEEP_ALIVE)

    def _new_entries(self, now: float) -> Sequence[FeedEntry]:
        """The events since the last read; none where a piece of text has woken the thread before the next one."""
        if now < self._read_at:
            return ()
        self._read_at = now + 0.9 * _POLL

        return self._feed.page(self._seq)

    def _send(self, each: Subscription, entries: Sequence[FeedEntry], last_texts: _LastTexts) -> None:
        for entry in entries:
            if each.full:  # it goes on from here once the client has read
                each.behind = True
                return
            each.deliver(entry, last_texts.find(each, entry))

    def _catch_up(self, each: Subscription) -> None:
        """Read the events that one subscription has missed: one page, so that the others do not wait."""
        self._send(each, each.opening, _LastTexts(self._feed, each.opening))
        each.opening = ()
        if each.closed:
            return
        if each.which.job_id is not None:
            feed = self._feed.of_job(JobRef(request_id=each.request_id, owner=each.which.owner), each.seq)
            entries, complete = feed.entries, True
        else:
            entries = self._feed.page(each.seq)
            complete = len(entries) < FEED_PAGE
        each.behind = not complete
        self._send(each, entries, _LastTexts(self._feed, entries))
        if each.which.job_id is not None and not each.closed and not each.behind and feed.job.state.final:
            each.close()  # resumed behind the end of its run

    def _send_texts(self, watching: Sequence[Subscription], now: float) -> None:
        """Send new text: the pieces that came directly, and the stored text where they do not join."""
        waiting = []
        positions: dict[str, tuple[int, int]] = {}
        for each in watching:
            for job_id, sent in each.texts.items():
                tail = self._tails.get(job_id)
                if tail is not None and each.deliver_text(job_id, tail.so_far()):
                    sent.due = now + _TEXT_FALLBACK
                if now >= sent.due and not each.full:
                    waiting.append((each, job_id))
                    position = (sent.call, sent.offset)
                    positions[job_id] = min(positions.get(job_id, position), position)
        stored = self._feed.texts(positions) if positions else {}
        for each, job_id in waiting:
            each.texts[job_id].due = now + _TEXT_POLL
            if (text := stored.get(job_id)) is not None:
                each.deliver_text(job_id, text)

    def _take_pieces(self, now: float) -> None:
        """Join the pieces that have come to the texts so far, and drop those that no stream sends."""
        wanted = any(each.which.max_texts for each in self._active)
        while self._pieces:
            piece = self._pieces.popleft()
            if wanted:
                self._tails.setdefault(piece.job_id, _Tail(piece.call, piece.offset, now)).add(piece)
        watched = {job_id for each in self._active for job_id in each.texts}
        for job_id, tail in list(self._tails.items()):
            if job_id not in watched and now - tail.since > _UNWATCHED:
                del self._tails[job_id]

    def _receive(self, piece: TextPiece) -> None:
        self._pieces.append(piece)
        self._wake.set()
