"""How calls end that no error answer explains: what it is called, and whether it may be on the bill. Pure."""

from __future__ import annotations

from ..core.jobs.failure import ErrorType, Failure, Remedy
from .accumulator import MalformedStream, MessageAccumulator
from .classify import presentable
from .client import ConnectionBroken
from .deadlines import CallDeadlines


def connection_lost(exc: ConnectionBroken | MalformedStream, watch: CallDeadlines, *, open_: bool) -> Failure:
    """The connection broke, or what came over it was no sense. `open_`: Claude may have been at work."""
    said = presentable(str(exc))
    if watch.unrecorded is not None:
        message = "the call was not made, as it could not be written into the ledger first"
        # Only a call of which nothing went out may be handed back as if it had not been.
        reason = "not_recorded" if not watch.sent else "not_recorded_on"
        return Failure(type=ErrorType.INTERNAL, message=message, remedy=Remedy.RETRY, reason=reason)
    if isinstance(exc, ConnectionBroken) and exc.reason == "exhausted" and not watch.sent:
        # Nothing of it went out, and it is not the call's fault: it waits, and no try is counted.
        message = f"this machine could not make the call: {said}"
        return Failure(type=ErrorType.INTERNAL, message=message, remedy=Remedy.THROTTLE, reason="exhausted")
    if isinstance(exc, MalformedStream):
        return _upstream(f"Claude's answer broke off: {said}", "stream_malformed", ambiguous=open_)
    if watch.status is not None:
        return _upstream(f"Claude's answer broke off: {said}", exc.reason, ambiguous=open_)
    if not watch.sent:
        return _upstream(f"Anthropic could not be reached: {said}", "connect", ambiguous=open_)

    return _upstream(f"the connection to Anthropic broke: {said}", exc.reason, ambiguous=open_)


def incomplete_stream(answer: MessageAccumulator, watch: CallDeadlines) -> Failure:
    """The stream ended in good order, and that was not the end of a message: the client would call it a success."""
    kind = watch.headers.get("content-type", "no content type").partition(";")[0]
    if not answer.started and kind != "text/event-stream":
        message = f"the address in ANTHROPIC_BASE_URL answered, but not as Anthropic does ({presentable(kind)})"
        return _upstream(message, "not_a_stream", ambiguous=True)
    if answer.ended:
        return _upstream("Claude's answer came without its stop reason, id or usage", "incomplete", ambiguous=True)

    return _upstream("Claude's answer broke off before its end", "stream_cut", ambiguous=True)


def refusal(answer: MessageAccumulator) -> Failure:
    """Claude's own refusal, which came as a whole and with the status of a success."""
    category, explanation = answer.stop_details.get("category"), answer.stop_details.get("explanation")
    message = "Claude declined to answer" + (f" ({category})" if category else "")
    if explanation:
        message += f": {presentable(str(explanation))}"

    return Failure(type=ErrorType.REFUSED, message=message, remedy=Remedy.FAIL, reason="refusal")


def _upstream(message: str, reason: str, *, ambiguous: bool) -> Failure:
    return Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, ambiguous=ambiguous, reason=reason)
