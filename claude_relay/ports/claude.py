"""Anthropic: one call, the models, its files, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.failure import Completion, Failure, Partial, Repair, Step
from ..core.job import Job
from ..core.stored import StoredFile
from ..core.submission import Exchanged


class Stop(Protocol):
    """Asked at every stream event whether the call should end, and why: a Failure, or None to go on."""

    def __call__(self) -> Failure | None: ...


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One call to make: the stored request, with the model that will be asked."""

    job: Job
    request: dict[str, Any] = field(repr=False)
    before: Sequence[Exchanged] = field(default=(), repr=False)  # the conversation that it continues, oldest first
    repair: Repair | None = None  # what it answered before, to be mended
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
        prompt: Prompt,
        *,
        stop: Stop,
        sending: Callable[[], None],
        progress: Callable[[Partial], None],
        going_on: Callable[[Step], None] = ...,
    ) -> Completion | Failure: ...
    def open(self) -> None: ...
    def close(self) -> None: ...


class Catalogue(Protocol):
    """Knows which models there are: each as `core.models` reads it, or why the list cannot be had. Never raises."""

    def models(self) -> Sequence[dict[str, Any]] | Failure: ...


class Shelf(Protocol):
    """Which files Anthropic has from us already, by content."""

    def find(self, account: str, sha256: str) -> StoredFile | None: ...
    def keep(self, file: StoredFile) -> None: ...
    def drop(self, file: StoredFile) -> None: ...


@dataclass(frozen=True, kw_only=True)
class BatchSeen:
    """What Anthropic says of one batch."""

    id: str
    ended: bool
    count: int
    created_at: float
    expires_at: float | None = None
    erased: bool = False  # its results are no longer kept


@dataclass(frozen=True, kw_only=True)
class Parcel:
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

    def parcel(self, custom_id: str, prompt: Prompt) -> Parcel | Failure: ...
    def create(self, parcels: Sequence[Parcel], *, sending: Callable[[], None]) -> BatchSeen | Failure: ...
    def look(self, upstream_id: str) -> BatchSeen | Failure: ...
    def cancel(self, upstream_id: str) -> BatchSeen | Failure: ...
    def recent(self, *, since: float) -> Sequence[BatchSeen] | Failure: ...
    def results(self, upstream_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]: ...
    def outcome(self, result: Mapping[str, Any], prompt: Prompt) -> Completion | Failure: ...


class ResultsAway(Exception):
    """The results of a batch cannot be had, or not all of them. `failure` says why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
