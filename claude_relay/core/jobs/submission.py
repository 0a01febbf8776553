"""A parsed request to run a job, and the parts of it that are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .job import OnInterrupt, Retain


@dataclass(frozen=True, kw_only=True)
class Submission:
    """
    One accepted body. Made by `intake.parse`, which has all the rules about its fields.

    `request` is the stored content of the call: `prompt` or `messages`, `options` (camelCase as in the contract, with
    `model` resolved), `files`, `continueFrom`. Times are seconds since 1970.
    """

    request_id: str | None  # None: the relay generates one
    body_hash: str  # sha256 of the canonical body, for idempotency
    request: dict[str, Any] = field(repr=False)
    model: str
    prompt_length: int
    webhook_url: str | None = field(default=None, repr=False)
    webhook_empty: bool = field(default=False, compare=False)  # the field was sent, and is blank: as if it were absent
    failure_webhook_url: str | None = field(default=None, repr=False)
    webhook_headers: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    mode: str = "live"
    need_by: float | None = None
    run_at: float | None = None
    run_at_fixed: bool = False  # a point in time, not a delay
    deadline_at: float | None = None  # None: the default, which does not run while the job cannot
    deadline_fixed: bool = False  # a point in time, not a duration
    priority: float = 0.0
    group: str = "default"
    max_cost_usd: float | None = None
    chosen_model: bool = False  # named by the caller; a conversation keeps its own otherwise
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    retain: Retain = Retain.FULL
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The run of another job that a job continues."""

    job_id: str
    run: int


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """An earlier request of a conversation and Claude's answer: a text, or blocks that can be sent back."""

    request: dict[str, Any] = field(repr=False)
    answer: str | list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    """The stored part of a submission that only the call and the callback use."""

    job_id: str
    request: dict[str, Any] = field(repr=False)
    webhook_url: str | None = field(default=None, repr=False)
    failure_webhook_url: str | None = field(default=None, repr=False)
    webhook_headers: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    max_cost_usd: float | None = None
    need_by: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WebhookTarget:
    """The receivers of a job's callback: the URLs that were named, and the headers that only they may get."""

    request_id: str
    urls: Sequence[str] = field(repr=False)
    headers: dict[str, str] | None = field(repr=False)  # None: they can no longer be decrypted
