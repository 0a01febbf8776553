"""
One connection of the waitress server.

Of waitress 3.0.2 it overrides `received`, `readable`, `handle_read`, `handle_write` and `del_channel`, and of its tasks
`service` and `finish`. It relies on
`channel_request_lookahead=0`: nothing is read from a connection while `requests` holds one.
"""

from __future__ import annotations

import contextlib
import functools
import io
import socket
import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.task import WSGITask
from waitress.utilities import BadRequest, build_http_date

from ..services import Outcome
from .admission import ENVIRON
from .connections import IncompleteRequests
from .deferred_response import ENVIRON as DEFERRED
from .deferred_response import DeferredResponse, ResponseDeferred
from .event_streams import ENVIRON as STREAM
from .event_streams import StreamOpener
from .framing import JsonErrorTask, RequestParser
from .limits import network_of
from .stream_connection import StreamConnection

_READ = 65_536


class RequestTimeout(BadRequest):
    """The head or the body did not arrive in time."""

    code, reason = 408, "Request Timeout"


class RequestTask(WSGITask):
    """
    Passes a request to the app: complete, or its head alone while the body is on its way.

    To a head alone the app answers 100, which is sent if the client waits for it; any other status is the response.
    """

    wrote_header: bool

    def __init__(self, channel: Any, request: Any) -> None:
        super().__init__(channel, request)
        self._opener = StreamOpener()

    def service(self) -> None:
        """Answer the request, or send its deferred response; a stream that could not begin gives its place back."""
        deferred = self.request.deferred
        if deferred.content:
            self.close_on_finish = deferred.closes
            self.channel.write_soon(deferred.content)
            return
        try:
            super().service()
        finally:
            if self._opener.start is not None:
                self._opener.abandon()
        if deferred.store is not None:
            raise ResponseDeferred

    def finish(self) -> None:
        """End the response, or begin the stream that it opens: its connection stays, and this thread is free."""
        start = self._opener.start
        if start is None:
            super().finish()
            return
        self.write(b"")
        self.close_on_finish = False  # by its head the connection ends with the stream
        self._opener.start = None
        start(self.channel.begin_stream(chunked=self.chunked_response))

    def get_environment(self) -> dict[str, Any]:
        """The WSGI environment, with the admission."""
        environ: dict[str, Any] = super().get_environment()
        admission = environ[ENVIRON] = self.request.admission
        admission.head_only = not self.request.completed
        if self.request.completed:
            environ[STREAM], environ[DEFERRED] = self._opener, self.request.deferred
        if admission.head_only:
            environ["wsgi.input"] = io.BytesIO()

        return environ

    def write(self, data: bytes) -> None:
        """Write a part of the response; one that is complete leaves in one piece with its head."""
        deferred = self.request.deferred
        if not self.status.startswith("100"):
            if self.wrote_header or not data or self.content_length != len(data) or not self.has_body:
                if deferred.store is not None:  # it must not leave yet
                    deferred.store = None
                    raise RuntimeError("a response that is deferred is no more than one piece")
                super().write(data)
                return
            content = self.build_response_header() + data
            self.wrote_header, self.content_bytes_written = True, len(data)
            if deferred.store is None:
                self.channel.write_soon(content)
            else:
                deferred.content, deferred.closes = content, self.close_on_finish
        elif self.request.wants_continue:
            # While the request is still in `requests`, so that no response can overtake it.
            self.channel.write_soon(b"HTTP/1.1 100 Continue\r\n\r\n")

    def build_response_header(self) -> bytes:
        """The head of the response; the last one at a stop, and after a refusal: its body is not read."""
        stopping = getattr(self.channel.server, "stopping", None)
        if not self.request.completed:
            self.channel.discards_rest = True
        if self.channel.discards_rest or (stopping is not None and stopping.is_set()):
            self.set_close_on_finish()
        closes = self.close_on_finish or self.request.headers.get("CONNECTION", "").lower() == "close"
        has_length = any(name == "content-length" for name, _ in self.response_headers)
        if closes or self.version != "1.1" or not (has_length and self.has_body):
            header: bytes = super().build_response_header()
            return header
        lines = [f"{_canonical(name)}: {value}" for name, value in self.response_headers]
        head = "\r\n".join((f"HTTP/1.1 {self.status}", *lines, f"Date: {_http_date(int(self.start_time))}", "\r\n"))

        return head.encode("latin-1")


@functools.lru_cache(maxsize=256)
def _canonical(name: str) -> str:
    """A header's name as it is sent: `X-Api-Key`."""
    return "-".join(part.capitalize() for part in name.split("-"))


@functools.lru_cache(maxsize=2)
def _http_date(second: int) -> str:
    """The value of Date."""
    text: str = build_http_date(second)
    return text


class Channel(HTTPChannel):
    """A connection whose incomplete requests are bounded, and whose heads are checked before their bodies are read."""

    task_class = RequestTask
    error_task_class = JsonErrorTask
    parser_class = RequestParser

    #: Set by a response that is sent before the request was read.
    discards_rest = False
    close_when_flushed = False
    #: Whether the response is sent and what still arrives is thrown away.
    discarding = False
    #: Whether it carries a stream, which another thread writes.
    streaming = False
    #: Whether its response waits for the store, which releases it.
    deferring = False

    def __init__(
        self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: dict[int, Any] | None = None
    ) -> None:
        self.client = network_of(str(addr[0]))
        self._incomplete: IncompleteRequests = server.incomplete
        self._counted, self._served = False, False
        self._began = time.monotonic()
        super().__init__(server, sock, addr, adj, map)
        if len(self._map) > self._incomplete.limits.connections:
            self._make_room()

    @property
    def evictable(self) -> bool:
        """Whether its request is still incomplete; true for an idle connection, too."""
        return not (self.requests or self.total_outbufs_len or self.close_when_flushed or self.streaming)

    @property
    def settled(self) -> bool:
        """Whether it waits for bytes of its client or for the store, and nothing else: see `EventLoop`."""
        return not self.will_close and (self.deferring or self.evictable)

    @property
    def is_counted(self) -> bool:
        """Whether a request has begun to arrive."""
        return self._counted

    @property
    def admitted(self) -> bool:
        """Whether the key of the request that is arriving was checked."""
        return self.request is not None and self.request.admission.decided

    def begin_stream(self, *, chunked: bool) -> StreamConnection:
        """Leave the connection to a stream: requests that came behind it or follow are thrown away."""
        with self.requests_lock:  # answered, they would be in the middle of the stream
            for request in self.requests[1:]:
                request.close()
            del self.requests[1:]
            self.streaming = True

        return StreamConnection(self, chunked=chunked)

    def service(self) -> None:
        """Answer the next request; a response that is deferred leaves its connection as it is."""
        try:
            super().service()
        except ResponseDeferred:
            request = self.requests[0]
            request.close()  # its body was read
            self.deferring = True
            request.deferred.store(functools.partial(self._settle, request.deferred))

    def send_deferred(self) -> None:
        """
        Send the response that was deferred, in the main loop; or have the app answer again.

        The usual one is sent from here: waitress would make a task, a buffer and one more round of the loop for it.
        """
        self.deferring = False
        self.server.event_loop.touch(self._fileno)
        deferred: DeferredResponse = self.requests[0].deferred
        if not deferred.content:
            self.server.add_task(self)
        elif deferred.closes or len(self.requests) > 1 or self.total_outbufs_len or not self.connected:
            super().service()
            if self.connected:
                self.handle_write()
        else:
            self._send_at_once(deferred.content)

    def _send_at_once(self, content: bytes) -> None:
        """End the only request of a connection whose buffers are empty."""
        with self.requests_lock:
            self.requests.clear()
        self.last_activity = time.time()
        try:
            sent = self.send(content)
        except OSError:
            self.will_close = True
            return
        if sent < len(content) and self.connected:
            self.write_soon(content[sent:])

    def _settle(self, deferred: DeferredResponse, outcome: Outcome) -> None:
        """In the thread of the store's writer: the response may leave, or the app answers again."""
        deferred.settle(outcome)
        self.server.trigger.release(self)

    def evict(self) -> None:
        """Close the connection in the next round of the main loop."""
        self.will_close = True
        self.server.event_loop.touch(self._fileno)
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the loop, however full the buffers are

    def received(self, data: bytes) -> bool:
        """Take bytes; a request is handed to a thread once it is complete, and before that once its head is."""
        accepted: bool = super().received(data)
        with self.requests_lock:
            if self.requests:
                self._served = True
                self._uncount()
            request = self.request
            if request is None or self.will_close or self.close_when_flushed:
                return accepted
            self._count()
            if self._more_waits(request, len(data)):
                return accepted
            if request.headers_finished and not request.admission.decided:
                # All bytes were taken, so that no more of the body is read before the app has seen the head.
                self.requests.append(request)
                if len(self.requests) == 1:
                    self.server.add_task(self)

        return accepted

    def _more_waits(self, request: Any, taken: int) -> bool:
        """Whether the next read may bring all of the rest, which saves the pass over the head."""
        rest = request.content_length - request.body_bytes_received

        return bool(taken == self.adj.recv_bytes and not request.chunked and 0 < rest <= taken)

    def readable(self) -> bool:
        """Whether to read on; also the place where the deadlines are checked, once in each round of the main loop."""
        now = time.monotonic()
        if self.requests or self.total_outbufs_len or self.streaming:
            self._began = now  # nothing is read meanwhile, so that this time is not the client's
        elif (self._counted or not self._served) and not self.will_close and now - self._began > self._allowed():
            self._time_out()

        return not self.will_close if self.discarding or self.streaming else bool(super().readable())

    def handle_read(self) -> None:
        """Read, or throw away."""
        if not (self.discarding or self.streaming):
            super().handle_read()
            return
        try:
            self.recv(_READ)  # closes at the end
        except OSError:
            self.handle_close()

    def handle_write(self) -> None:
        """
        Send; after an early response end the sending only.

        Closing while the client still sends would reset the connection, and the client would never see the response.
        """
        if self.discards_rest and self.close_when_flushed and not self.requests:
            self._flush_exception(self._flush_some)
            if not (self.total_outbufs_len or self.will_close):
                try:
                    self.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    self.handle_close()
                    return
                self.request, self.close_when_flushed, self.discarding = None, False, True
                self._count()
                return
        if not self.streaming:
            super().handle_write()
            return
        with self.outbuf_lock:
            if self.connected:  # the same round of the loop may have seen the client leave
                super().handle_write()

    def add_channel(self, map: Any = None) -> None:
        """Have the main loop look at a new connection."""
        super().add_channel(map)
        self.server.event_loop.touch(self._fileno)

    def del_channel(self, map: Any = None) -> None:
        """Forget a closed connection."""
        self._uncount()
        if self._fileno is not None:
            self.server.event_loop.forget(self._fileno)
        super().del_channel(map)

    def _count(self) -> None:
        if not self._counted:
            self._counted, self._began = True, time.monotonic()
            self._incomplete.add(self)

    def _uncount(self) -> None:
        if self._counted:
            self._counted = False
            self._incomplete.discard(self)

    def _make_room(self) -> None:
        """
        Close a connection: the one that was idle for longest, or else one whose client does not read its response.

        If there is none, close the oldest incomplete request. Requests that are being answered are never closed.
        """
        others = [each for each in self.server.active_channels.values() if each is not self and not each.will_close]
        idle = [each for each in others if each.evictable and not each.is_counted]
        unread = [each for each in others if each.total_outbufs_len and not each.requests]
        if idle:
            min(idle, key=lambda each: float(each.last_activity)).evict()
        elif unread:
            min(unread, key=lambda each: float(each.creation_time)).evict()
        else:
            self._incomplete.evict_oldest()

    def _allowed(self) -> float:
        """Seconds that the part of a request which is arriving may take."""
        limits = self._incomplete.limits
        if self.discarding:
            return limits.body
        if self.request is None or not self.request.headers_finished:
            return limits.head

        return limits.body + float(self.request.body_bytes_received) / limits.rate

    def _time_out(self) -> None:
        """Answer 408 if a request had begun, else close."""
        with self.requests_lock:
            request, self.request = self.request, None
            if request is None:
                self.evict()
                return
            self._uncount()
            request.error, request.completed = RequestTimeout("it did not arrive in time"), True
            self.requests.append(request)
            self.server.add_task(self)
