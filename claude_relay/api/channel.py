"""
One connection of the waitress server.

Of waitress 3.0.2 it overrides `received`, `readable`, `recv`, `handle_read`, `handle_write` and `del_channel`. It
relies on `channel_request_lookahead=0`: nothing is read from a connection while `requests` holds one.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.utilities import BadRequest

from ..services import Outcome
from .connections import IncompleteRequests
from .deferred_response import DeferredResponse, ResponseDeferred
from .framing import JsonErrorTask, RequestParser
from .limits import network_of
from .request_task import RequestTask
from .stream_connection import StreamConnection

_READ = 65_536
#: Bytes of a chunked body that are read at once: its chunks may be tiny, and others wait while they are parsed.
_READ_CHUNKS = 4_096


class RequestTimeout(BadRequest):
    """The head or the body did not arrive in time."""

    code, reason = 408, "Request Timeout"


class Channel(HTTPChannel):
    """A connection whose incomplete requests are bounded, and whose heads are checked before their bodies are read."""

    task_class = RequestTask
    error_task_class = JsonErrorTask
    parser_class = RequestParser

    #: Set by a response that is sent before the request was read.
    discards_rest = False
    #: The request that is arriving.
    request: RequestParser | None
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
        self._unparsed = b""  # what came behind the request that is being answered
        self._began = self._read_at = time.monotonic()
        self._unread = 0  # bytes of the response that were waiting at `_read_at`
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
        return not (self.will_close or self._unparsed) and (self.deferring or self.evictable)

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
            self.streaming, self._unparsed = True, b""

        return StreamConnection(self, chunked=chunked)

    def _flush_outbufs_below_high_watermark(self) -> None:
        """
        Wait until a client that reads slowly has read, or is gone; the thread of the streams never waits.

        waitress would send here, too, and wait for ever where the main loop has just closed the connection.
        """
        with self.outbuf_lock:
            while self.connected and not self.streaming and self.total_outbufs_len > self.adj.outbuf_high_watermark:
                self.server.pull_trigger()
                self.outbuf_lock.wait(1.0)

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
        elif deferred.closes or self.total_outbufs_len or not self.connected:
            super().service()
            if self.connected:
                self.handle_write()
        else:
            self._send_at_once(deferred.content)

    def _send_at_once(self, content: bytes) -> None:
        """End the request of a connection whose buffers are empty."""
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
        """
        Take bytes; a request is handed to a thread once it is complete, and before that once its head is.

        The bytes behind a complete request stay as they are until its response was sent: a read may have a thousand
        requests, and their responses would fill the memory, and stop threads, where the client reads none.
        """
        if not data:
            return False
        with self.requests_lock:
            if self.will_close or self.close_when_flushed:
                return False
            taken = self._parse(data)
            if self.requests:
                self._served = True
                self._uncount()
                self.server.add_task(self)
                return True
            request = self.request
            if request is None:
                return True
            self._count()
            if request.headers_finished and not request.admission.decided and not self._more_waits(request, taken):
                # All bytes were taken, so that no more of the body is read before the app has seen the head.
                self.requests.append(request)
                self.server.add_task(self)

        return True

    def _parse(self, data: bytes) -> int:
        """Give bytes to the parsers up to the end of a request; the others wait. Returns how many were taken."""
        rest = data
        while rest and not self.requests:
            if self.request is None:
                self.request = self.parser_class(self.adj)
            rest = rest[self.request.received(rest) :]
            if self.request.completed:
                if not self.request.empty:
                    self.requests.append(self.request)
                self.request = None
        self._unparsed = rest

        return len(data) - len(rest)

    def _more_waits(self, request: Any, taken: int) -> bool:
        """Whether the next read may bring all of the rest, which saves the pass over the head."""
        rest = request.content_length - request.body_bytes_received

        return bool(taken == self.adj.recv_bytes and not request.chunked and 0 < rest <= taken)

    def readable(self) -> bool:
        """Whether to read on; also the place where the deadlines are checked, once in each round of the main loop."""
        now = time.monotonic()
        if self.requests or self.total_outbufs_len or self.streaming:
            self._began = now  # nothing is read meanwhile, so that this time is not the client's
            self._check_reader(now)
        elif (self._counted or not self._served) and not self.will_close and now - self._began > self._allowed():
            self._time_out()

        if self.discarding or self.streaming:
            self._unparsed = b""
            return not self.will_close
        if self._unparsed and super().readable():
            self.received(self._unparsed)

        return bool(super().readable())

    def _check_reader(self, now: float) -> None:
        """Close the connection if a thread has a response for it and the client does not read."""
        limits, unread = self._incomplete.limits, int(self.total_outbufs_len)
        waits = self.requests and unread and not self.streaming
        if not waits or abs(unread - self._unread) >= limits.read_bytes:
            self._read_at, self._unread = now, unread
        elif now - self._read_at > limits.read and not self.will_close:
            self.evict()

    def handle_read(self) -> None:
        """Read, or throw away."""
        if not (self.discarding or self.streaming):
            super().handle_read()
            return
        try:
            self.recv(_READ)  # closes at the end
        except OSError:
            self.handle_close()

    def recv(self, buffer_size: int) -> bytes:
        """Read from the socket: less at once of a body in chunks."""
        chunked = self.request is not None and self.request.chunked
        data: bytes = super().recv(min(buffer_size, _READ_CHUNKS) if chunked else buffer_size)

        return data

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
