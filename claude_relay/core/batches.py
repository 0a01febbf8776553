"""
Batches as values, and their rules.

The lane of a job, and when a batch is sent, polled and given up.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from .lazy_dataclass import dataclass

if TYPE_CHECKING:
    from .policy import Policy

#: Bytes of stored requests in one batch. Anthropic accepts 256 MB; a smaller limit saves memory in the worker.
MOST_BYTES = 64_000_000
#: Rows of a collection in one batch. Anthropic accepts 100,000; the worker reads all of them at once.
MOST_ROWS = 10_000
#: Seconds within which the times to give up of a batch's jobs lie, as a batch can only be given up as a whole.
SUBMIT_WINDOW = 300.0
#: Seconds around its creation within which an unanswered batch is looked for at Anthropic: clocks differ.
SKEW = 900.0
#: Replies in a row that Anthropic does not know a batch, before the batch is given up.
EXPIRED_AFTER = 5
#: Seconds for which the results of an ended batch are requested.
RESULTS_PATIENCE = 86_400.0


class BatchState(str, Enum):
    """The state of a batch."""

    PLANNED = "planned"  # its jobs are chosen, nothing is sent
    CREATING = "creating"  # being sent; without an answer it is looked for
    CREATED = "created"  # accepted by Anthropic
    ENDED = "ended"  # its results can be read
    SETTLED = "settled"  # no item is awaited any more


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch. `worker` has it leased until `held_until`; `version` is incremented by each change and fences."""

    id: str
    state: BatchState
    version: int
    planned_at: float
    count: int
    next_at: float
    looks: int = 0  # polls in the present state
    misses: int = 0  # polls in a row without the batch, or reads of incomplete results
    give_up_at: float | None = None
    upstream_id: str | None = None
    sent_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    cancelled_at: float | None = None  # its cancellation was requested
    worker: str | None = None
    held_until: float | None = None
    detail: str | None = None
    collection: str | None = None  # the internal id, where all its jobs are rows of one
    growing: bool = False  # more rows are being put into it: it is not sent yet
    size: int = 0  # bytes of the requests of those rows


def choose_lane(
    mode: str, *, need_by: float | None, deadline_at: float | None, now: float, policy: Policy
) -> tuple[str, float | None]:
    """
    The lane of a job, and the time when its batch is to be given up.

    `auto`: a batch if it has at least the margin before the job must be called live; always, without a time to be
    ready by. `deadline_at`: only a requested one.
    """
    times = [at for at in (need_by, deadline_at) if at is not None]
    if mode == "batch":
        return "batch", None
    if mode != "auto":
        return "live", None
    if not times:
        return "batch", None
    give_up_at = min(times) - policy.batch_margin - grace(policy)

    return ("batch", give_up_at) if give_up_at - now >= policy.batch_margin else ("live", None)


def grace(policy: Policy) -> float:
    """Seconds that a batch may take to end after it was given up, so that no job is paid twice."""
    return policy.batch_margin / 4


def is_ready(count: int, size: int, *, waiting_since: float, now: float, linger: float) -> bool:
    """
    Whether a batch of `count` jobs should be sent now.

    It has its size, or its first job has waited long enough.
    """
    return count >= size or now - waiting_since >= linger


def next_poll_at(batch: Batch, *, now: float, policy: Policy) -> float:
    """
    The next time to poll a batch.

    Soon at first, then less and less often; always when it is to be given up.
    """
    first, longest = policy.batch_poll
    at = now + min(longest, first * 1.5 ** min(batch.looks, 30))
    if batch.cancelled_at is not None:
        at = min(at, now + first)
    elif batch.give_up_at is not None and batch.give_up_at > now:
        at = min(at, batch.give_up_at)

    return at


def custom_id(job_id: str, number: int) -> str:
    """An item's name at Anthropic, unique to an attempt of a job: letters, digits and `-`, well under 64 characters."""
    return f"{job_id}-{number}"
