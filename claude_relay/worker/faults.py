"""Outcomes of jobs whose call or result met a fault of the relay, with their cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..core.jobs.failure import Completion, ErrorType, Failure, Remedy
from .inflight import InFlightCall


def during_call(running: InFlightCall, exc: Exception) -> Failure:
    """
    The failure of a call that an exception ended.

    Unsent, it is retried and counted, so that it ends. Sent, it may have been paid for, and is not sent again.
    """
    partial, sent = running.partial, running.sent

    return Failure(
        type=ErrorType.INTERNAL,
        message=f"the relay failed to process the call ({type(exc).__name__})",
        remedy=Remedy.FAIL if sent else Remedy.RETRY,
        sent=sent,
        partial=partial.text,
        usage=partial.usage,
        last_usage=partial.last_usage,
        cost_usd=partial.cost_usd,
        model=partial.model,
        upstream_request_id=partial.upstream_request_id,
        first_byte_at=partial.first_byte_at,
        reason="fault",
    )


def substitutes(end: Completion | Failure) -> Iterator[Completion | Failure]:
    """
    The outcomes to try to store, one after the other, until one is stored.

    First the outcome itself, twice, as the fault may be a passing one; then a failure with the text and cost of the
    answer; at last one without any text that came from outside.
    """
    yield end
    yield end
    if isinstance(end, Completion):
        end = _not_stored(end)
        yield end
    yield replace(end, message=_plain(end.message), partial=_plain(end.partial), model=None, upstream_request_id=None)
    yield Failure(
        type=ErrorType.INTERNAL,
        message="the relay failed to store the outcome of the call",
        remedy=Remedy.FAIL,
        sent=end.sent,
        cost_usd=end.cost_usd,
        reason="fault",
    )


def _not_stored(done: Completion) -> Failure:
    return Failure(
        type=ErrorType.INTERNAL,
        message="the relay failed to store the answer, which is in partialResponse: it was paid for",
        remedy=Remedy.FAIL,
        partial=done.text,
        usage=done.usage,
        last_usage=done.last_usage,
        cost_usd=done.cost_usd,
        model=done.model,
        upstream_request_id=done.upstream_request_id,
        first_byte_at=done.first_byte_at,
        reason="fault",
    )


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
