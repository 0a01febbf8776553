"""Anthropic: one call, the models, its files, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from ..core.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ..core.files.uploaded import UploadedFile
    from ..core.jobs.failure import Completion, Failure, PartialResponse, Repair, RequestOutcome
    from ..core.jobs.job import Job
    from ..core.jobs.submission import Exchange


class Stop(Protocol):
    """Checked at every stream event: a Failure to end the call with, or None to go on."""

    def __call__(self) -> Failure | None: ...


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """One call to make: the stored request, with the job's present model."""

    job: Job
    request: dict[str, Any] = field(repr=False)
    history: Sequence[Exchange] = field(default=(), repr=False)  # the conversation it continues, oldest first
    repair: Repair | None = None  # the previous answer, to be fixed
    max_cost_usd: float | None = None
    traceparent: str | None = None  # sent with the call
    on_text: Callable[[str], None] | None = field(default=None, repr=False)  # each piece of text, as it arrives


class Claude(Protocol):
    """
    Makes one call, to its end.

    Calls `sending` once, before the first byte is sent, `accepted` once, when the headers of the first 2xx response
    arrive, and `progress` as text arrives (it throttles itself, so that it can be called for every event). A call that
    takes several requests calls `on_followup` before the first byte of each further one, with the outcome of the
    previous one. It enters `preparing` while it inspects and uploads files. Never raises: every error is a `Failure`.
    """

    def call(
        self,
        request: CallRequest,
        *,
        stop: Stop,
        sending: Callable[[], None],
        progress: Callable[[PartialResponse], None],
        on_followup: Callable[[RequestOutcome], None] = ...,
        accepted: Callable[[], None] = ...,
        preparing: Callable[[], AbstractContextManager[None]] = ...,
    ) -> Completion | Failure: ...
    def open(self) -> None: ...
    def close(self) -> None: ...


class ModelLister(Protocol):
    """Lists the models, each as `core.models` reads it, or the failure to do so. Never raises."""

    def models(self) -> Sequence[dict[str, Any]] | Failure: ...


class UploadCache(Protocol):
    """The files that are uploaded to Anthropic already, by content."""

    def find(self, account: str, sha256: str) -> UploadedFile | None: ...
    def save(self, file: UploadedFile) -> None: ...
    def delete(self, file: UploadedFile) -> None: ...


@dataclass(frozen=True, kw_only=True)
class BatchStatus:
    """The state of one batch at Anthropic."""

    id: str
    ended: bool
    count: int
    created_at: float
    expires_at: float | None = None
    erased: bool = False  # its results were deleted after their retention


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """
    A request as an item of a batch.

    Its bytes, its betas, and a hash of each long prefix, by its position.
    """

    custom_id: str
    body: bytes = field(repr=False)
    betas: tuple[str, ...] = ()
    begins: Mapping[str, str] = field(default_factory=dict)


class BatchApi(Protocol):
    """
    Message Batches at Anthropic. Never raises, except for `results`: every error is a `Failure`.

    A failed `create` is `ambiguous` where the batch may have been created all the same.
    """

    def prepare(self, custom_id: str, request: CallRequest) -> BatchRequest | Failure: ...
    def create(self, requests: Sequence[BatchRequest], *, sending: Callable[[], None]) -> BatchStatus | Failure: ...
    def status(self, upstream_id: str) -> BatchStatus | Failure: ...
    def cancel(self, upstream_id: str) -> BatchStatus | Failure: ...
    def recent(self, *, since: float) -> Sequence[BatchStatus] | Failure: ...
    def results(self, upstream_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]: ...
    def outcome(self, result: Mapping[str, Any], request: CallRequest) -> Completion | Failure: ...


class ResultsUnavailable(Exception):
    """The results of a batch, or some of them, cannot be read. `failure` is the reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
