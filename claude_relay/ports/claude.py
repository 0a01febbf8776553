"""Anthropic: one call, the models, its files, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.files.uploaded import UploadedFile
from ..core.jobs.failure import Completion, Failure, PartialResponse, RequestOutcome, SchemaRepair
from ..core.jobs.job import Job
from ..core.jobs.submission import Exchange


class Stop(Protocol):
    """Asked at every stream event whether the call should end, and why: a Failure, or None to go on."""

    def __call__(self) -> Failure | None: ...


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """One call to make: the stored request, with the model that will be asked."""

    job: Job
    request: dict[str, Any] = field(repr=False)
    history: Sequence[Exchange] = field(default=(), repr=False)  # the conversation that it continues, oldest first
    repair: SchemaRepair | None = None  # what it answered before, to be mended
    max_cost_usd: float | None = None


class Claude(Protocol):
    """
    Makes one call and sees it to its end.

    Calls `sending` once, before the first byte goes out, and `progress` as text arrives (it throttles itself: call it
    as often as you like). A call that takes several requests calls `going_on` before the first byte of each further
    one, with how the one before ended. Never raises: whatever goes wrong is a `Failure`.
    """

    def call(
        self,
        prompt: CallRequest,
        *,
        stop: Stop,
        sending: Callable[[], None],
        progress: Callable[[PartialResponse], None],
        going_on: Callable[[RequestOutcome], None] = ...,
    ) -> Completion | Failure: ...
    def open(self) -> None: ...
    def close(self) -> None: ...


class ModelLister(Protocol):
    """Knows which models there are: each as `core.models` reads it, or why the list cannot be had. Never raises."""

    def models(self) -> Sequence[dict[str, Any]] | Failure: ...


class UploadCache(Protocol):
    """Which files Anthropic has from us already, by content."""

    def find(self, account: str, sha256: str) -> UploadedFile | None: ...
    def save(self, file: UploadedFile) -> None: ...
    def delete(self, file: UploadedFile) -> None: ...


@dataclass(frozen=True, kw_only=True)
class BatchStatus:
    """What Anthropic says of one batch."""

    id: str
    ended: bool
    count: int
    created_at: float
    expires_at: float | None = None
    erased: bool = False  # its results are no longer kept


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """One request as it goes into a batch: its bytes, its betas, and a hash of each long beginning, by its place."""

    custom_id: str
    body: bytes = field(repr=False)
    betas: tuple[str, ...] = ()
    begins: Mapping[str, str] = field(default_factory=dict)


class BatchApi(Protocol):
    """
    Message Batches at Anthropic. Never raises, but for `results`: whatever goes wrong is a `Failure`.

    A failed `create` is `ambiguous` where the batch may have been made all the same.
    """

    def prepare(self, custom_id: str, prompt: CallRequest) -> BatchRequest | Failure: ...
    def create(self, parcels: Sequence[BatchRequest], *, sending: Callable[[], None]) -> BatchStatus | Failure: ...
    def status(self, upstream_id: str) -> BatchStatus | Failure: ...
    def cancel(self, upstream_id: str) -> BatchStatus | Failure: ...
    def recent(self, *, since: float) -> Sequence[BatchStatus] | Failure: ...
    def results(self, upstream_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]: ...
    def outcome(self, result: Mapping[str, Any], prompt: CallRequest) -> Completion | Failure: ...


class ResultsUnavailable(Exception):
    """The results of a batch cannot be had, or not all of them. `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
