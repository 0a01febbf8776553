"""A parsed request to run a job, and the parts of it that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from typing import Any

from ..lazy_dataclass import dataclass
from ..text.json_bytes import LONG, encode
from .job import OnInterrupt, Retain


@dataclass(frozen=True, kw_only=True)
class RequestFields:
    """
    The part of a submission that only the call and the callback use.

    `request` is the content of the call: `prompt` or `messages`, `options` (camelCase as in the contract, with `model`
    resolved), `files`, `continueFrom`. Times are seconds since 1970.
    """

    request: dict[str, Any] = field(repr=False)
    webhook_url: str | None = field(default=None, repr=False)
    failure_webhook_url: str | None = field(default=None, repr=False)
    webhook_headers: dict[str, str] = field(default_factory=dict, repr=False)
    metadata: dict[str, Any] | None = field(default=None, repr=False)
    max_cost_usd: float | None = None
    need_by: float | None = None
    warnings: tuple[str, ...] = ()
    variables: dict[str, Any] | None = field(default=None, repr=False)  # of a row of a collection
    traceparent: str | None = None  # of the request that brought it, or of the span made for it


_REQUEST_FIELDS = tuple(each.name for each in fields(RequestFields))


@dataclass(frozen=True, kw_only=True)
class Submission(RequestFields):
    """One accepted body. Made by `intake.parse`, which has all the rules about its fields."""

    request_id: str | None  # None: the relay generates one
    body_hash: str  # sha256 of the canonical body, for idempotency
    model: str
    prompt_length: int
    webhook_empty: bool = field(default=False, compare=False)  # the field was sent, and is blank: as if it were absent
    mode: str = "live"
    run_at: float | None = None
    run_at_fixed: bool = False  # a point in time, not a delay
    deadline_at: float | None = None  # None: the default, which does not run while the job cannot
    deadline_fixed: bool = False  # a point in time, not a duration
    priority: float = 0.0
    group: str = "default"
    chosen_model: bool = False  # named by the caller; a conversation keeps its own otherwise
    on_interrupt: OnInterrupt = OnInterrupt.RETRY
    retain: Retain = Retain.FULL
    template: str | None = None  # the version that it was made of, such as invoice@3


class EncodedRequest(dict[str, Any]):
    """The content of a call without its prompt, and all of it as JSON, which takes less memory."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        super().__init__((name, value) for name, value in request.items() if name != "prompt")
        self.json = memoryview(encode(request))


def encode_long_prompt(submission: Submission) -> Submission:
    """The same with an `EncodedRequest` where its prompt is long, which nothing needs before the call."""
    request = submission.request
    if submission.prompt_length <= LONG or "prompt" not in request or "continueFrom" in request:
        return submission

    return replace(submission, request=EncodedRequest(request))


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
class StoredRequest(RequestFields):
    """The request of a job, as stored beside it."""

    job_id: str

    @classmethod
    def of(cls, job_id: str, submission: Submission) -> StoredRequest:
        """The part of `submission` to store for that job."""
        return cls(job_id=job_id, **{name: getattr(submission, name) for name in _REQUEST_FIELDS})


@dataclass(frozen=True, kw_only=True)
class WebhookTarget:
    """The receivers of a job's callback: the URLs that were named, and the headers that only they may get."""

    request_id: str
    urls: Sequence[str] = field(repr=False)
    headers: dict[str, str] | None = field(repr=False)  # None: they can no longer be decrypted
    traceparent: str | None = None

    @classmethod
    def of(cls, request_id: str, request: RequestFields, headers: dict[str, str] | None) -> WebhookTarget:
        """The webhook of a stored request, with its decrypted headers."""
        urls = [url for url in (request.webhook_url, request.failure_webhook_url) if url is not None]

        return cls(request_id=request_id, urls=urls, headers=headers, traceparent=request.traceparent)
