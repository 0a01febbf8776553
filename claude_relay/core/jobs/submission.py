"""What a caller asked for, parsed: inside the door everything is already a `Submission`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .job import OnInterrupt, Retain


@dataclass(frozen=True, kw_only=True)
class Submission:
    """
    One accepted body. Made by `intake.parse`, which is where every rule about its fields lives.

    `request` is what the call is made of, as it is stored: `prompt` or `messages`, `options` (camelCase as in the
    contract, with `model` resolved), `files`, `continueFrom`. Times are seconds since 1970.
    """

    request_id: str | None  # None: the relay makes one
    body_hash: str  # sha256 of the canonical body, for idempotency
    request: dict[str, Any] = field(repr=False)
    model: str
    prompt_length: int
    webhook_url: str | None = field(default=None, repr=False)
    failure_webhook_url: str | None = field(default=None, repr=False)
    webhook_headers: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    mode: str = "live"
    need_by: float | None = None
    run_at: float | None = None
    run_at_fixed: bool = False  # a point in time, not a delay
    deadline_at: float | None = None  # None: the default, which stands still while the job cannot run
    deadline_fixed: bool = False  # a point in time, not a length of time
    priority: float = 0.0
    group: str = "default"
    max_cost_usd: float | None = None
    chosen_model: bool = False  # the caller named one; a conversation keeps its own otherwise
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    retain: Retain = Retain.FULL
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """The run of another job that a job goes on from."""

    job_id: str
    run: int


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What was asked earlier in a conversation, and Claude's answer: a text, or blocks as they may be sent back."""

    request: dict[str, Any] = field(repr=False)
    answer: str | list[dict[str, Any]] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class StoredRequest:
    """The stored part of a submission that only the call and the callback need."""

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
    """For whom a job's callback is: the addresses that were named, and the headers that are meant for them alone."""

    request_id: str
    urls: Sequence[str] = field(repr=False)
    headers: dict[str, str] | None = field(repr=False)  # None: they cannot be read any more
