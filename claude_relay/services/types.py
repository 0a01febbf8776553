"""Values that the use cases take and return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ..core.jobs.job import Job, State
from ..core.jobs.submission import StoredRequest, WebhookTarget
from ..core.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ..core.deliveries.delivery import Delivery
    from ..core.jobs.change import Call
    from ..ports import BatchItem


@dataclass(frozen=True, kw_only=True)
class JobRef:
    """A job by the requestId that its caller knows. `owner` None: of any owner, for the admin."""

    request_id: str
    owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """
    A submission that is on disk. `duplicate`: it had been submitted before.

    `state_warnings` tell its state; `webhook_empty`: as in `Submission`.
    """

    job: Job
    warnings: tuple[str, ...] = ()
    state_warnings: tuple[str, ...] = ()
    duplicate: bool = False
    webhook_empty: bool = False


#: The result of a submission that is stored without a thread that waits for it.
Outcome = Accepted | BaseException


@dataclass(frozen=True, kw_only=True)
class PreparedSubmit:
    """
    A submission that was admitted, and whose answer is certain unless its requestId was used before.

    `store` writes it and returns at once: its argument is called with the outcome, in the thread of the store's writer.
    """

    request_id: str
    warnings: tuple[str, ...]
    webhook_empty: bool
    store: Callable[[Callable[[Outcome], None]], None]


@dataclass(frozen=True, kw_only=True)
class ClaimedJob:
    """A job that is leased to a worker, with the call that the worker makes for it."""

    job: Job
    call: Call
    request: StoredRequest = field(repr=False)

    @property
    def token(self) -> str:
        """The lease token, which proves that the worker still owns the job."""
        return self.job.lease.token if self.job.lease else ""


@dataclass(frozen=True, kw_only=True)
class BatchEntry:
    """One item of a batch, with the current state of its job and the ledger entry of its call."""

    item: BatchItem
    job: Job
    call: Call
    request: StoredRequest | None = field(repr=False)
    damage: str | None = None  # why the stored request cannot be used

    @property
    def as_claimed(self) -> ClaimedJob:
        """The item as a `ClaimedJob` without a lease, for code that loads attachments."""
        return ClaimedJob(
            job=self.job, call=self.call, request=self.request or StoredRequest(job_id=self.job.id, request={})
        )

    @property
    def awaited(self) -> bool:
        """Whether the job still waits for this very item."""
        return self.job.state is State.BATCHED and self.job.calls == self.call.number


@dataclass(frozen=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that is leased to a sender, who makes `at_once` POSTs to its destination at a time."""

    delivery: Delivery
    target: WebhookTarget
    body: bytes = field(repr=False)
    at_once: int

    @property
    def request_id(self) -> str:
        """The requestId of its job."""
        return self.target.request_id

    @property
    def headers(self) -> dict[str, str] | None:
        """The headers that the caller named for this destination; None if they can no longer be decrypted."""
        return self.target.headers


@dataclass(frozen=True, kw_only=True)
class Page:
    """Jobs, newest first, and the cursor of the next page (None: this is the last one)."""

    jobs: Sequence[dict[str, Any]]
    cursor: str | None
