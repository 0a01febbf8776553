"""A delivery: the webhook of one outcome, its state, and the classes of replies (`CONTRACT.md` §2)."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ..jobs.job import Lease


class DeliveryState(str, Enum):
    """The state of a delivery."""

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    DEAD = "dead"

    @property
    def final(self) -> bool:
        """Whether nothing more is sent, unless a redelivery is requested."""
        return self in (DeliveryState.DELIVERED, DeliveryState.DEAD)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One webhook to send. Its body and `webhook_id` never change: the receiver drops repeats by the id."""

    id: str
    job_id: str
    run: int
    webhook_id: str
    url: str = field(repr=False)
    state: DeliveryState
    version: int
    created_at: float
    opened_at: float = 0.0  # when it was opened, or a redelivery was requested
    due_at: float
    body: bytes | None = field(default=None, repr=False)  # None: the outcome's own bytes
    attempts: int = 0  # all POSTs
    schedule_index: int = 0  # attempts that used up the schedule, since `opened_at`
    not_ready_since: float | None = None  # it has answered 404 or 409, and nothing else, since then
    lease: Lease | None = None
    last_status: int | None = None
    last_error: str | None = None
    finished_at: float | None = None
    acked_at: float | None = None
    group: str = "default"
    reminded_at: float | None = None
    intact: bool = True  # False: its URL is not the one that was written, and nothing may be sent there

    @property
    def destination(self) -> str:
        """Scheme, host and port: a slow or failing receiver affects all of its URLs."""
        return destination_of(self.url)


_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def destination_of(url: str) -> str:
    """The scheme, host and port of a URL: `https://hook.eu1.make.com:443/abc` gives `https://hook.eu1.make.com`."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))

    return f"{parts.scheme}://{host}"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The result of one POST: a status with the beginning of its body, or an error without one."""

    status: int | None = None
    ms: int = 0
    excerpt: str = field(default="", repr=False)
    location: str | None = field(default=None, repr=False)  # the URL that a redirect leads to
    retry_after: float | None = None
    error: str | None = None
    blocked: bool = False  # the SSRF guard refused the URL
    local_fault: bool = False  # the fault is, or may be, on this side: it says nothing of the receiver


@dataclass(frozen=True, kw_only=True)
class DeliveryAttempt:
    """One POST that was made for a delivery."""

    delivery_id: str
    number: int
    at: float
    url: str = field(repr=False)
    reply: Reply
    next_due: float | None = None  # None: it was the last


class ReplyClass(str, Enum):
    """The consequence of a reply."""

    DELIVERED = "delivered"
    RETRY = "again"  # on the schedule
    NOT_READY = "not_ready"  # every few seconds for two minutes
    DEAD = "dead"


def classify_reply(reply: Reply) -> ReplyClass:
    """Apply the table of replies in `CONTRACT.md` §2."""
    status = reply.status
    if reply.blocked:
        return ReplyClass.DEAD
    if status is None or status in (408, 425, 429) or status >= 500:
        return ReplyClass.RETRY
    if 200 <= status < 300:
        return ReplyClass.DELIVERED
    if status == 400 and "queue is full" in reply.excerpt.lower():  # Make's answer to a full scenario queue
        return ReplyClass.RETRY
    if status in (404, 409):
        return ReplyClass.NOT_READY

    return ReplyClass.DEAD
