"""Failures of calls that ended without an error response, and whether they may have been billed. Pure."""

from __future__ import annotations

from ..core.jobs.failure import ErrorType, Failure, Remedy
from ..errors import RelayError
from .accumulator import MalformedStream, MessageAccumulator
from .classify import presentable
from .client import ConnectionBroken
from .deadlines import CallDeadlines


def connection_lost(exc: ConnectionBroken | MalformedStream, deadlines: CallDeadlines, *, open_: bool) -> Failure:
    """The connection broke, or its data was malformed. `open_`: Claude may have been working on the request."""
    text = presentable(str(exc))
    if isinstance(exc, ConnectionBroken) and exc.reason == "answer_too_large":
        return too_large()
    if deadlines.unrecorded is not None:
        message = "the call was not made because it could not be recorded in the ledger first"
        # Only a call of which nothing was sent may be released as if it had not happened.
        reason = "not_recorded" if not deadlines.sent else "not_recorded_on"
        if not isinstance(deadlines.unrecorded, RelayError):
            # A fault of the relay. Unsent, the attempt counts, so that the job ends; sent, it is not paid for again.
            remedy = Remedy.FAIL if deadlines.sent else Remedy.RETRY
            return Failure(type=ErrorType.INTERNAL, message=message, remedy=remedy, reason="not_recordable")
        return Failure(type=ErrorType.INTERNAL, message=message, remedy=Remedy.RETRY, reason=reason)
    if isinstance(exc, ConnectionBroken) and exc.reason == "exhausted" and not deadlines.sent:
        # Nothing was sent, and the call is not at fault: it waits, and the attempt does not count.
        message = f"this machine could not make the call: {text}"
        return Failure(type=ErrorType.INTERNAL, message=message, remedy=Remedy.THROTTLE, reason="exhausted")
    if isinstance(exc, MalformedStream):
        return _upstream(f"Claude's answer broke off: {text}", "stream_malformed", ambiguous=open_)
    if deadlines.status is not None:
        return _upstream(f"Claude's answer broke off: {text}", exc.reason, ambiguous=open_)
    if not deadlines.sent:
        return _upstream(f"Anthropic could not be reached: {text}", "connect", ambiguous=open_)

    return _upstream(f"the connection to Anthropic broke: {text}", exc.reason, ambiguous=open_)


def incomplete_stream(answer: MessageAccumulator, deadlines: CallDeadlines) -> Failure:
    """The stream closed cleanly before the end of the message, which the SDK would treat as a success."""
    kind = deadlines.headers.get("content-type", "no content type").partition(";")[0]
    if not answer.started and kind != "text/event-stream":
        message = f"the server at ANTHROPIC_BASE_URL answered, but not as Anthropic does ({presentable(kind)})"
        return _upstream(message, "not_a_stream", ambiguous=True)
    if answer.ended:
        return _upstream("Claude's answer ended without any content or stop reason", "incomplete", ambiguous=True)

    return _upstream("Claude's answer broke off before its end", "stream_cut", ambiguous=True)


def too_large() -> Failure:
    """An answer that is longer than the relay takes; another attempt would cost the same again."""
    message = "Claude's answer was ended because it is longer than RELAY_MAX_ANSWER: see partialResponse"

    return Failure(type=ErrorType.TOO_LARGE, message=message, remedy=Remedy.FAIL, reason="answer_too_large")


def refusal(answer: MessageAccumulator) -> Failure:
    """Claude's refusal: a complete message with the status of a success."""
    category, explanation = answer.stop_details.get("category"), answer.stop_details.get("explanation")
    message = "Claude declined to answer" + (f" ({presentable(str(category))})" if category else "")
    if explanation:
        message += f": {presentable(str(explanation))}"

    return Failure(type=ErrorType.REFUSED, message=message, remedy=Remedy.FAIL, reason="refusal")


def _upstream(message: str, reason: str, *, ambiguous: bool) -> Failure:
    return Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, ambiguous=ambiguous, reason=reason)
