"""How a call ended: with a `Completion`, or with a `Failure` that says what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class ErrorType(str, Enum):
    """`errorType` on the wire."""

    INVALID_REQUEST = "invalid_request"
    PERMISSION = "permission"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    UPSTREAM = "upstream"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    SCHEMA = "schema"
    BUDGET = "budget"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


class Remedy(str, Enum):
    """What a failed try asks for (`CONTRACT.md` §5)."""

    RETRY = "soon"  # counts as an attempt; again, backing off
    THROTTLE = "wait"  # throttled: counts nothing; the whole model family slows down
    PARK = "park"  # the key or its budget is the matter: the whole queue stands still
    FAIL = "fail"  # nothing will change: the job has failed


@dataclass(frozen=True, kw_only=True)
class RequestOutcome:
    """
    How one request ended that another of the same call follows at once: an entry in the ledger of its own.

    `paused`: Claude's own tools took long, and it is asked to go on. `invalid_request`: it does not take the schema.
    """

    outcome: str
    detail: str | None = None
    usage: dict[str, int] | None = None
    cost_usd: float | None = None
    model: str | None = None
    upstream_request_id: str | None = None
    first_byte_at: float | None = None
    text_length: int = 0


@dataclass(frozen=True, kw_only=True)
class SchemaRepair:
    """An answer that did not fit its schema, and what was wrong with it: Claude is shown both, once."""

    text: str = field(repr=False)
    problem: str


@dataclass(frozen=True, kw_only=True)
class Completion:
    """
    A call that was seen to its end: `message_stop`, with a stop reason, an id and usage.

    `usage` is the whole call's. Where several requests made it, `last_usage` is the last one's, and so is `cost_usd`:
    the others are in the ledger by then, each as a `Step`. Likewise in `Failure` and `Partial`; a checkpoint is of the
    last one alone.
    """

    text: str = field(repr=False)
    model: str
    stop_reason: str
    usage: dict[str, int]
    message_id: str = ""
    upstream_request_id: str | None = None
    json: Any = field(default=None, repr=False)
    content: list[dict[str, Any]] = field(default_factory=list, repr=False)  # blocks besides text, e.g. tool_use
    blocks: list[dict[str, Any]] | None = field(default=None, repr=False)  # all of them, where the text does not say it
    last_usage: dict[str, int] | None = None
    cost_usd: float | None = None
    saved_usd: float | None = None  # what the same answer would have cost more as a live call
    warnings: tuple[str, ...] = ()
    first_byte_at: float | None = None

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut at its token limit."""
        return self.stop_reason in ("max_tokens", "model_context_window_exceeded")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """
    A call that did not end well.

    `sent`: bytes may have reached Anthropic. `ambiguous`: it may have been paid for, though the end was not seen.
    `retry_after` is in seconds from now, where the upstream named a time.
    """

    type: ErrorType
    message: str
    remedy: Remedy
    retry_after: float | None = None
    sent: bool = True
    ambiguous: bool = False
    partial: str = field(default="", repr=False)
    usage: dict[str, int] | None = None
    last_usage: dict[str, int] | None = None
    cost_usd: float | None = None
    model: str | None = None
    upstream_request_id: str | None = None
    first_byte_at: float | None = None
    reason: str = ""  # one word for the ledger: http_529, stream_cut, first_byte_timeout …

    @property
    def shows_the_key_works(self) -> bool:
        """
        Whether only a key that is accepted and may spend is answered like this.

        Claude had begun to write, or has looked at the request or at the key's rate. What the edge or a server in
        trouble says (413, 5xx, 529), and every silence, may come before anyone has looked at the key.
        """
        if self.remedy is Remedy.PARK:
            return False
        looked_at = (ErrorType.INVALID_REQUEST, ErrorType.NOT_FOUND, ErrorType.RATE_LIMIT)

        return bool(self.usage) or (self.sent and self.type in looked_at)


@dataclass(frozen=True, kw_only=True)
class PartialResponse:
    """What a stream has brought so far: kept about once a second, so that a crash leaves it readable."""

    text: str = field(default="", repr=False)
    usage: dict[str, int] | None = None
    last_usage: dict[str, int] | None = None
    cost_usd: float | None = None
    first_byte_at: float | None = None
    model: str | None = None
    upstream_request_id: str | None = None
