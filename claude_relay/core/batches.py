"""Batches as values, and the rules about them: which job takes that road, when a batch leaves, when to look at it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .policy import Policy

#: Bytes of stored requests in one batch. Anthropic takes 256 MB; less is kept in a worker's memory this way.
MOST_BYTES = 64_000_000
#: Jobs whose times to give up lie within so many seconds share a batch, as it can only be given up whole.
SUBMIT_WINDOW = 300.0
#: A batch is looked for among those that Anthropic made within so many seconds: clocks differ.
SKEW = 900.0
#: So often in a row, Anthropic may say that it does not know a batch, before that is believed.
EXPIRED_AFTER = 5
#: Results of an ended batch are asked for so long, in seconds.
RESULTS_PATIENCE = 86_400.0


class BatchState(str, Enum):
    """How far a batch is."""

    PLANNED = "planned"  # its jobs are gathered, nothing is sent
    CREATING = "creating"  # being sent; without an answer: to be looked for
    CREATED = "created"  # with Anthropic
    ENDED = "ended"  # its results are there to be read
    SETTLED = "settled"  # nothing of it is awaited any more


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch. `worker` has it in hand until `held_until`; `version` goes up with each change and fences."""

    id: str
    state: BatchState
    version: int
    planned_at: float
    count: int
    next_at: float
    looks: int = 0
    misses: int = 0  # looks in a row that did not find it, or reads that lacked something
    give_up_at: float | None = None
    upstream_id: str | None = None
    sent_at: float | None = None
    expires_at: float | None = None
    ended_at: float | None = None
    cancelled_at: float | None = None  # its cancelling was asked for
    worker: str | None = None
    held_until: float | None = None
    detail: str | None = None


def choose_lane(
    mode: str, *, need_by: float | None, deadline_at: float | None, now: float, policy: Policy
) -> tuple[str, float | None]:
    """
    Which lane a job takes, and until when a batch may keep it.

    `auto`: a batch where it would have as long as the margin is, before the job must be called live; without a time
    to be ready by, nothing speaks against a batch. `deadline_at`: one that was asked for.
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
    """How long a batch that is given up may take to end, so that nothing is paid twice."""
    return policy.batch_margin / 4


def is_ready(count: int, enough: int, *, waiting_since: float, now: float, linger: float) -> bool:
    """Whether a batch of so many should be sent off now."""
    return count >= enough or now - waiting_since >= linger


def next_poll_at(batch: Batch, *, now: float, policy: Policy) -> float:
    """When to look at it again: soon at first, then ever less often; in any case when it is to be given up."""
    first, longest = policy.batch_poll
    at = now + min(longest, first * 1.5 ** min(batch.looks, 30))
    if batch.cancelled_at is not None:
        at = min(at, now + first)
    elif batch.give_up_at is not None and batch.give_up_at > now:
        at = min(at, batch.give_up_at)

    return at


def custom_id(job_id: str, number: int) -> str:
    """An item's name upstream: one for each try of each job, letters and digits, well under 64."""
    return f"{job_id}-{number}"
