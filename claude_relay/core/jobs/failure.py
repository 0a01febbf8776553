"""The result of a call: a `Completion`, or a `Failure` with its remedy."""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import Any

from ..lazy_dataclass import dataclass


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
    CHECKS = "checks"
    BUDGET = "budget"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    INTERNAL = "internal"


#: A model family is rate limited or overloaded: its jobs wait for the family, and another family may do better.
THROTTLES = (ErrorType.OVERLOADED, ErrorType.RATE_LIMIT)


class Remedy(str, Enum):
    """The consequence of a failed attempt (`CONTRACT.md` §5)."""

    RETRY = "soon"  # counts as an attempt; retried with backoff
    THROTTLE = "wait"  # throttled: does not count; the model family is held back
    PARK = "park"  # the key is refused or at its spend limit: the whole queue is held
    FAIL = "fail"  # a retry would fail the same way: the job fails


@dataclass(frozen=True, kw_only=True)
class RequestOutcome:
    """
    The end of a request that is followed at once by another of the same call.

    A ledger entry of its own.

    `paused`: Claude's server tools took long, and the call goes on. `invalid_request`: the schema is not accepted.
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
class Repair:
    """
    An answer that did not match its schema, or failed its checks, and the problem: Claude is shown both.

    `kinds`: what was asked for in this run, this time included; each is asked for once.
    """

    text: str = field(repr=False)
    problem: str
    kinds: tuple[ErrorType, ...]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """
    A complete call: `message_stop` was received. Some gateways send no counts or id.

    `usage` is the total of the call. Where it took several requests, `last_usage` and `cost_usd` are those of the last
    one: the others are in the ledger by then, each as a `RequestOutcome`. Likewise in `Failure` and `PartialResponse`;
    a checkpoint covers the last request only.
    """

    text: str = field(repr=False)
    model: str
    stop_reason: str
    usage: dict[str, int]
    message_id: str = ""
    upstream_request_id: str | None = None
    json: Any = field(default=None, repr=False)
    content: list[dict[str, Any]] = field(default_factory=list, repr=False)  # blocks besides text, e.g. tool_use
    blocks: list[dict[str, Any]] | None = field(
        default=None, repr=False
    )  # all of them, where the text alone is not the answer
    last_usage: dict[str, int] | None = None
    cost_usd: float | None = None
    saved_usd: float | None = None  # the extra cost of the same answer as a live call
    warnings: tuple[str, ...] = ()
    checks: tuple[dict[str, Any], ...] | None = field(default=None, repr=False)  # results of options.checks
    first_byte_at: float | None = None

    @property
    def truncated(self) -> bool:
        """Whether the answer was cut at its token limit."""
        return self.stop_reason in ("max_tokens", "model_context_window_exceeded")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """
    A failed call.

    `sent`: bytes may have reached Anthropic. `ambiguous`: it may have to be paid for, though its end was not seen.
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
    checks: tuple[dict[str, Any], ...] | None = field(default=None, repr=False)  # where they are why
    reason: str = ""  # one word for the ledger: http_529, stream_cut, first_byte_timeout …

    @property
    def shows_the_key_works(self) -> bool:
        """
        Whether this failure proves that the key is accepted and below its spend limit.

        Claude had begun to write, or the request or the key's rate limit was checked. A reply of the edge or of a
        failing server (413, 5xx, 529), and every timeout, may come before the key is checked.
        """
        if self.remedy is Remedy.PARK:
            return False
        checked = (ErrorType.INVALID_REQUEST, ErrorType.NOT_FOUND, ErrorType.RATE_LIMIT)

        return bool(self.usage) or (self.sent and self.type in checked)


def job_lost() -> Failure:
    """The end of a call whose job another worker has by now."""
    return Failure(type=ErrorType.INTERRUPTED, message="another worker has the job", remedy=Remedy.RETRY)


def worker_stopped(**fields: Any) -> Failure:
    """The end of a call because its worker stops."""
    return Failure(type=ErrorType.INTERRUPTED, message="the worker was stopped", remedy=Remedy.RETRY, **fields)


@dataclass(frozen=True, kw_only=True)
class PartialResponse:
    """
    The answer so far of a stream.

    Stored about once a second, so that it can be read after a crash.
    """

    text: str = field(default="", repr=False)
    usage: dict[str, int] | None = None
    last_usage: dict[str, int] | None = None
    cost_usd: float | None = None
    first_byte_at: float | None = None
    model: str | None = None
    upstream_request_id: str | None = None


_NO_ANSWER = PartialResponse()


def answer_fields(answer: Completion | PartialResponse) -> dict[str, Any]:
    """The fields of a `Failure` that keep the text and cost of an answer."""
    names = ("usage", "last_usage", "cost_usd", "model", "upstream_request_id", "first_byte_at")

    return {"partial": answer.text, **{name: getattr(answer, name) for name in names}}


def relay_fault(
    what: str,
    *,
    remedy: Remedy = Remedy.FAIL,
    sent: bool = True,
    answer: Completion | PartialResponse = _NO_ANSWER,
) -> Failure:
    """The failure of a call that a fault of the relay ended, with the text and cost of its `answer`."""
    return Failure(
        type=ErrorType.INTERNAL,
        message=f"the relay failed to {what}",
        remedy=remedy,
        sent=sent,
        reason="fault",
        **answer_fields(answer),
    )
