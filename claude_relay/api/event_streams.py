"""Event streams: `GET /api/events`, and those of one job and of one collection."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import falcon

from ..core import wire
from ..core.intake.query import collected, raise_problems
from ..core.jobs.feed import Cursor
from ..errors import InvalidRequest, Problem
from ..events import Filter, Hub, Places, Sink, StreamMessage, Subscription, open_collection, open_job, open_list
from ..events.messages import KEEP_ALIVE
from ..services import Relay
from .auth import Caller
from .collections import collection_ref
from .jobs import ref_of

#: Key of the stream's opener in the WSGI environment: set by a server that can keep a connection without a thread.
ENVIRON = "claude_relay.stream"
EVENT_STREAM = "text/event-stream; charset=utf-8"
_FLAGS = {"0": False, "1": True}


class Connection(Protocol):
    """The server's end of a stream, after the head of the response. Its methods never wait and never raise."""

    @property
    def backlog(self) -> int: ...
    @property
    def connected(self) -> bool: ...
    def send(self, data: bytes) -> None: ...
    def close(self) -> None: ...


class StreamOpener:
    """
    The way of a stream from the app to the server.

    The app sets `start`, and the server calls it once the head is sent.

    `abandon` gives its place back where that never happens.
    """

    def __init__(self) -> None:
        self.start: Callable[[Connection], None] | None = None
        self.abandon: Callable[[], None] = lambda: None


class JobEvents:
    """`GET /api/jobs/{requestId}/events`: the moves of one job and its text, until its run has ended."""

    def __init__(self, relay: Relay, hub: Hub, places: Places = Places.API) -> None:
        self._relay, self._hub, self._places = relay, hub, places

    def on_get(self, req: falcon.Request, resp: falcon.Response, request_id: str) -> None:
        ref = ref_of(req, request_id)
        stream = open_job(self._relay.event_feed, ref, parse_cursor(req, self._relay))
        if stream is None:
            resp.status = falcon.HTTP_204  # which also ends the attempts of a browser to connect again
            return
        stream.places = self._places
        _open(req, resp, self._hub, stream, StreamMessage())


class Events:
    """`GET /api/events?group=&status=`: the moves of all jobs that the key may see, and the text of their calls."""

    def __init__(self, relay: Relay, hub: Hub, places: Places = Places.API) -> None:
        self._relay, self._hub, self._places = relay, hub, places

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        problems: list[Problem] = []
        words = frozenset(word for word in (req.get_param("status") or "").split(",") if word)
        if words - set(wire.STATES):
            problems.append(Problem(field="status", problem=f"must be one of {', '.join(wire.STATES)}"))
        if (wants_text := _FLAGS.get(req.get_param("text") or "1")) is None:
            problems.append(Problem(field="text", problem="must be 0 or 1"))
        position = None
        with collected(problems):
            position = parse_cursor(req, self._relay)
        raise_problems(problems)
        which = Filter(
            owner=req.get_param("owner") if caller.sees_all else caller.owner,
            group=req.get_param("group") or None,
            statuses=words,
            texts=self._places is Places.API and bool(wants_text),
        )
        stream, cursor = open_list(self._relay.event_feed, which, position)
        stream.places = self._places
        _open(req, resp, self._hub, stream, StreamMessage(id=str(cursor)))


class CollectionEvents:
    """`GET /api/collections/{collectionId}/events`: its status, the moves of its rows, and its end."""

    def __init__(self, relay: Relay, hub: Hub, places: Places = Places.API) -> None:
        self._relay, self._hub, self._places = relay, hub, places

    def on_get(self, req: falcon.Request, resp: falcon.Response, collection_id: str) -> None:
        ref = collection_ref(req, collection_id)
        given = parse_cursor(req, self._relay)
        stream, cursor = open_collection(self._relay.event_feed, ref, given)
        status = self._relay.collections.show(ref)
        present = StreamMessage(name="collection", data=status, id=str(cursor))
        first = (StreamMessage(), present) if given is None else (StreamMessage(),)
        if stream is not None:
            stream.places = self._places
            _open(req, resp, self._hub, stream, *first)
        elif given is not None:
            resp.status = falcon.HTTP_204
        else:
            ended = {"collectionId": ref.collection_id, "status": status["status"]}
            resp.content_type = EVENT_STREAM
            last = StreamMessage(name="end", data=ended, id=str(cursor))
            resp.data = b"".join(message.encode() for message in (*first, last))


def parse_cursor(req: falcon.Request, relay: Relay) -> Cursor | None:
    """
    The position to go on from; raises `InvalidRequest` for one that this store has not given.

    The header goes before the query: a browser that connects again sends its latest id to the first URL.
    """
    header = req.get_header("Last-Event-ID")
    text, field = (header, "Last-Event-ID") if header else (req.get_param("after") or "", "after")
    if not text:
        return None
    try:
        return relay.event_feed.cursor(text)
    except ValueError as exc:
        raise InvalidRequest.at(field, str(exc)) from None


class ConnectionSink:
    """Implements `events.Sink`: messages as Server-Sent Events on a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def backlog(self) -> int:
        """Bytes that the client has not read."""
        return self._connection.backlog

    @property
    def connected(self) -> bool:
        """Whether the client is still there."""
        return self._connection.connected

    def write(self, messages: Iterable[StreamMessage]) -> None:
        """Send messages."""
        self._connection.send(b"".join(message.encode() for message in messages))

    def keep_alive(self) -> None:
        """Send a comment."""
        self._connection.send(KEEP_ALIVE)

    def close(self) -> None:
        """End the response."""
        self._connection.close()


def _open(req: falcon.Request, resp: falcon.Response, hub: Hub, stream: Subscription, *first: StreamMessage) -> None:
    resp.content_type = EVENT_STREAM
    resp.set_header("X-Accel-Buffering", "no")  # nginx would gather the events
    opener: StreamOpener | None = req.env.get(ENVIRON)
    if opener is None or req.method == "HEAD":  # no connection to keep
        resp.data = b"".join(message.encode() for message in first)
        return

    def start(connection: Connection) -> None:
        sink: Sink = ConnectionSink(connection)
        sink.write(first)
        hub.add(stream, sink)

    hub.reserve(stream.places)
    opener.start, opener.abandon = start, functools.partial(hub.release, stream.places)
    empty: Any = ()
    resp.stream = empty
