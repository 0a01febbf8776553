"""
What can go wrong, said for whoever catches it.

RelayError
├── InvalidRequest      the caller's input is wrong: mend it, do not repeat it
│   ├── TooLarge        it is more than is taken
│   └── UnsupportedMedia it is written in a form that is not taken
├── Unauthorized        no key was given
├── Forbidden           the key is wrong, or may not do this
├── NotFound            there is no such job, group, key or delivery (or it is another owner's)
├── Conflict            it is not in a state where this can be done
│   ├── IllegalTransition  the machine has no such move from here
│   ├── Ambiguous       several owners use that id: name the owner
│   └── LeaseLost       another worker holds the job now: drop the work
├── Busy                not now; the same again later will do
│   ├── RateLimited     this client asked too often
│   ├── QueueFull       RELAY_MAX_QUEUE is reached
│   └── StoreUnavailable  the store is locked, full or out of reach
├── StoreRefused        the store must not be used: corrupt, missing, or from a newer version
├── ConfigError         the settings are wrong: nothing starts before they are mended
├── Unreachable         a relay that was addressed over HTTP did not answer
└── TimedOut            what was waited for did not come in time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing wrong with one field, in words that name the cure."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field} {self.problem}" if self.field else self.problem


class RelayError(Exception):
    """The root. `status` is the HTTP status, `kind` the error's `type` on the wire, `exit_code` the command's."""

    status = 500
    kind = "internal"
    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])


class InvalidRequest(RelayError):
    """The request cannot be taken as it is."""

    status, kind, exit_code = 400, "invalid_request", 65

    def __init__(self, message: str | None = None, *, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message or "; ".join(map(str, problems)) or None)
        self.problems = tuple(problems)


class TooLarge(InvalidRequest):
    """The body is larger than is taken."""

    status, kind = 413, "too_large"


class UnsupportedMedia(InvalidRequest):
    """The body's content type is not taken."""

    status, kind = 415, "unsupported_media_type"


class Unauthorized(RelayError):
    """An API key is required: send it in the X-API-Key header."""

    status, kind, exit_code = 401, "unauthorized", 4


class Forbidden(RelayError):
    """The API key is not valid for this."""

    status, kind, exit_code = 403, "forbidden", 4


class NotFound(RelayError):
    """There is nothing by that name here."""

    status, kind, exit_code = 404, "not_found", 3


class Conflict(RelayError):
    """It is not in a state where this can be done."""

    status, kind, exit_code = 409, "conflict", 9


class IllegalTransition(Conflict):
    """The job cannot make that move from where it stands."""


class Ambiguous(Conflict):
    """Several owners use that requestId; name one with --owner."""


class LeaseLost(Conflict):
    """The lease was lost: another worker has this now, and this one's result is refused."""


class Busy(RelayError):
    """Not now; try again later. `retry_after` is in seconds."""

    status, kind, exit_code = 503, "unavailable", 75

    def __init__(self, message: str | None = None, *, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(Busy):
    """Too many requests from this client."""

    status, kind = 429, "rate_limit"


class QueueFull(Busy):
    """The queue is full."""


class StoreUnavailable(Busy):
    """The store cannot be written just now."""

    exit_code = 69


class StoreRefused(RelayError):
    """The store must not be used as it is."""

    status, kind, exit_code = 503, "store_refused", 78


class ConfigError(RelayError):
    """The settings are wrong. `problems` has one sentence per fault."""

    exit_code = 78

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Unreachable(RelayError):
    """The relay did not answer."""

    exit_code = 69


class TimedOut(RelayError):
    """It did not come in time."""

    status, kind, exit_code = 504, "timeout", 124
