"""The feed of events: its entries, the cursor that resumes it, and the status of a job after each event."""

from __future__ import annotations

import re

from ..lazy_dataclass import dataclass
from .events import Event, EventName
from .job import State

#: Characters of the store's identity in a cursor.
STORE_ID_LENGTH = 12
_CURSOR = re.compile(rf"([0-9a-f]{{{STORE_ID_LENGTH}}}):(\d{{1,18}})(e?)")

#: The events after which a job's status is certain. After any other it is the present one.
_STATES = {
    EventName.SUBMITTED: State.QUEUED,
    EventName.CLAIMED: State.RUNNING,
    EventName.RESUMED: State.RUNNING,
    EventName.COMPLETED: State.COMPLETED,
    EventName.DEFERRED: State.QUEUED,
    EventName.RELEASED: State.QUEUED,
    EventName.FAILED: State.FAILED,
    EventName.HELD: State.HELD,
    EventName.CANCELLED: State.CANCELLED,
    EventName.RETRIED: State.QUEUED,
    EventName.BATCHED: State.BATCHED,
    EventName.UNBATCHED: State.QUEUED,
    EventName.PROMOTED: State.QUEUED,
}


@dataclass(frozen=True)
class Cursor:
    """A position in the feed of one store. `ended`: also behind the `end` that follows the event at `seq`."""

    store: str
    seq: int
    ended: bool = False

    def __str__(self) -> str:
        return f"{self.store}:{self.seq}{'e' if self.ended else ''}"

    @classmethod
    def parse(cls, text: str, *, store: str) -> Cursor:
        """The cursor of that text; raises `ValueError` with the reason, also for one of another store."""
        match = _CURSOR.fullmatch(text.strip())
        if match is None:
            raise ValueError("must be the id of an event of this feed, unchanged")
        if match[1] != store:
            raise ValueError("belongs to another store than this one: begin again without it")

        return cls(match[1], int(match[2]), match[3] == "e")


@dataclass(frozen=True, kw_only=True)
class FeedEntry:
    """One event with its job as far as the feed needs it; `state` is the present one."""

    seq: int
    request_id: str
    owner: str
    group: str
    state: State
    event: Event
    collection: str | None = None  # of a row: the internal id of its collection

    @property
    def state_after(self) -> State:
        """The state of the job after this event."""
        return _STATES.get(self.event.name, self.state)

    @property
    def ends_run(self) -> bool:
        """Whether a run of the job ended with this event."""
        return self.event.subject == "job" and _STATES.get(self.event.name, State.QUEUED).final
