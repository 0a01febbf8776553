"""The messages of a stream, and their form as Server-Sent Events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import Any

from ..core import wire
from ..core.collections.collection import MARK
from ..core.jobs.feed import Cursor, FeedEntry
from ..core.lazy_dataclass import dataclass

#: Milliseconds after which a client connects again.
RETRY = 3000
KEEP_ALIVE = b": keep-alive\n\n"
#: Code points of one `text` message.
TEXT_SIZE = 16_384


@dataclass(frozen=True, kw_only=True)
class StreamMessage:
    """A message: `job`, `text` or `end`, or without a name the cursor alone. `id` is a cursor."""

    name: str = ""
    data: dict[str, Any] = field(default_factory=dict, repr=False)
    id: str | None = None

    def encode(self) -> bytes:
        """The message as a Server-Sent Event. JSON has no line break, so that one data line is enough."""
        lines = [f"id: {self.id}\n"] if self.id is not None else []
        if self.name:
            lines.append(f"event: {self.name}\ndata: ")
            return "".join(lines).encode() + wire.encode(self.data) + b"\n\n"

        return (f"retry: {RETRY}\n" + "".join(lines) + "\n").encode()


def event_message(entry: FeedEntry, store: str) -> StreamMessage:
    """An event of a job, or of a collection as a whole, with its status after it."""
    if entry.request_id.endswith(MARK):
        return _collection_message(entry, store)
    body = wire.event_body(entry.event, request_id=entry.request_id)
    data = {
        "requestId": body.pop("requestId"),
        "event": body.pop("event"),
        "status": wire.STATUS[entry.state_after],
        **body,
    }

    return StreamMessage(name="job", data=data, id=str(Cursor(store, entry.seq)))


def end_message(entry: FeedEntry, store: str) -> StreamMessage:
    """The end of a run, after the event that ended it."""
    data: dict[str, Any] = {"requestId": entry.request_id, "status": wire.STATUS[entry.state_after]}
    if entry.request_id.endswith(MARK):
        data = {"collectionId": entry.request_id.removesuffix(MARK), "status": entry.event.detail.get("status")}

    return StreamMessage(name="end", data=data, id=str(Cursor(store, entry.seq, ended=True)))


def _collection_message(entry: FeedEntry, store: str) -> StreamMessage:
    body = wire.event_body(entry.event, request_id="")
    del body["requestId"]
    data = {"collectionId": entry.request_id.removesuffix(MARK), "event": body.pop("event"), **body}

    return StreamMessage(name="collection", data=data, id=str(Cursor(store, entry.seq)))


def text_messages(request_id: str, call: int, offset: int, text: str) -> Iterator[StreamMessage]:
    """A text in pieces of a bounded size."""
    for start in range(0, len(text), TEXT_SIZE):
        piece = text[start : start + TEXT_SIZE]
        yield StreamMessage(
            name="text", data={"requestId": request_id, "call": call, "offset": offset + start, "text": piece}
        )


def decode(lines: Iterable[str]) -> Iterator[StreamMessage]:
    """The messages of a stream of Server-Sent Events, from its lines without their ends."""
    name, data, last_id = "", "", None
    for line in lines:
        if not line:
            if data:
                yield StreamMessage(name=name, data=json.loads(data), id=last_id)
            elif last_id is not None:
                yield StreamMessage(id=last_id)
            name, data, last_id = "", "", None
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "data":
            data += value
        elif key == "id":
            last_id = value
