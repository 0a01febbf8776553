"""Outcomes of jobs whose call or result met a fault of the relay, with their cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..core.jobs.failure import Completion, Failure, Remedy, relay_fault
from .inflight import InFlightCall


def during_call(running: InFlightCall, exc: Exception) -> Failure:
    """
    The failure of a call that an exception ended.

    Unsent, it is retried and counted, so that it ends. Sent, it may have been paid for, and is not sent again.
    """
    what = f"process the call ({type(exc).__name__})"
    remedy = Remedy.FAIL if running.sent else Remedy.RETRY

    return relay_fault(what, remedy=remedy, sent=running.sent, answer=running.partial)


def substitutes(end: Completion | Failure) -> Iterator[Completion | Failure]:
    """
    The outcomes to try to store, one after the other, until one is stored.

    First the outcome itself, twice, as the fault may be a passing one; then a failure with the text and cost of the
    answer; at last one without any text that came from outside.
    """
    yield end
    yield end
    if isinstance(end, Completion):
        end = relay_fault("store the answer, which is in partialResponse: it was paid for", answer=end)
        yield end
    yield replace(end, message=_plain(end.message), partial=_plain(end.partial), model=None, upstream_request_id=None)
    yield replace(relay_fault("store the outcome of the call", sent=end.sent), cost_usd=end.cost_usd)


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
