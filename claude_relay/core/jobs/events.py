"""Events: one row of the timeline for each transition of a job or a delivery, and their names."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Any

from ..lazy_dataclass import dataclass


class EventName(str, Enum):
    """The stored and public names of events (`CONTRACT.md`)."""

    # Jobs
    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    RESUMED = "resumed"  # the call goes on with another request
    COMPLETED = "completed"
    DEFERRED = "deferred"  # the attempt failed; it is retried later
    RELEASED = "released"
    FAILED = "failed"
    HELD = "held"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    RETRIED = "retried"  # a new run
    SWITCHED = "turned"  # another model is asked from now on
    FILE_FETCHED = "file_fetched"
    ACKED = "acked"

    # Jobs in batches
    BATCHED = "gathered"
    UNBATCHED = "ungathered"
    PROMOTED = "promoted"  # called live, as a batch is too slow
    LATE_RESULT = "late_result"

    # Deliveries
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    DELIVERY_DEFERRED = "delivery_deferred"
    DELIVERY_DEAD = "delivery_dead"
    DELIVERY_RELEASED = "delivery_released"
    REDELIVERED = "redelivered"
    ACK_REMINDED = "ack_reminded"


@dataclass(frozen=True, kw_only=True)
class Event:
    """One transition. `subject` is `job`, `file:N`, `ack:N` or a delivery's id; `version` is the subject's."""

    job_id: str
    subject: str
    version: int
    at: float
    name: EventName
    detail: dict[str, Any] = field(default_factory=dict)
