"""A parked queue: the reasons that are stored, and the cure of each."""

from __future__ import annotations

from .failure import ErrorType, Failure

SPEND_LIMIT = "spend_limit"
KEY_REFUSED = "key_refused"
ON_HOLD = "organization_on_hold"

_CURES = {
    SPEND_LIMIT: "raise the spend limit or add credit in the Claude Console (platform.claude.com, Limits and Billing)",
    KEY_REFUSED: "create a new key in the Claude Console (platform.claude.com), give it to the worker as "
    "ANTHROPIC_API_KEY and restart the worker",
    ON_HOLD: "follow the appeal that Anthropic names, or use the key of another organization",
}
_PROBED = "One job at a time tests whether it works again, at least once an hour; `resume` tests at once"


def park_reason(failure: Failure) -> str:
    """The stored reason for a failure that parks the queue."""
    if failure.reason == ON_HOLD:
        return ON_HOLD

    return SPEND_LIMIT if failure.type is ErrorType.BUDGET else KEY_REFUSED


def cure(reason: str) -> str:
    """The steps that end the cause, before the queue is resumed."""
    return _CURES.get(reason, _CURES[KEY_REFUSED])


def cure_in_words(reason: str) -> str:
    """The same as sentences for an alert."""
    steps = cure(reason)

    return f"{steps[0].upper()}{steps[1:]}. {_PROBED}."
