"""
The exceptions of the package, by the reaction of the code that catches them.

RelayError
├── InvalidRequest      the caller's input is invalid: fix it, do not retry
│   ├── TooLarge        the body is over the limit
│   └── UnsupportedMedia the content type is not accepted
├── Unauthorized        no API key was sent
├── Forbidden           the key is wrong, or may not do this
├── NotFound            no such job, group, key or delivery (or it is another owner's)
├── Conflict            not possible in its present state
│   ├── IllegalTransition  no such transition from this state
│   ├── Ambiguous       several owners use that id: name the owner
│   └── LeaseLost       another worker has the job now: drop the work
├── Busy                not possible now: retry later
│   ├── RateLimited     too many requests of this client
│   ├── QueueFull       RELAY_MAX_QUEUE is reached
│   └── StoreUnavailable  the store is locked, full or cannot be reached
├── StoreRefused        the store must not be used: corrupt, missing, or from a newer version
├── Damaged             a stored row is not what was written: it is not used, and not sent
├── ConfigError         the settings are invalid: nothing starts before they are fixed
├── Unreachable         a relay that was called over HTTP did not answer
└── TimedOut            a condition was not met in time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem of one field, with the fix."""

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
    """The request is invalid."""

    status, kind, exit_code = 400, "invalid_request", 65

    def __init__(self, message: str | None = None, *, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message or "; ".join(map(str, problems)) or None)
        self.problems = tuple(problems)

    @classmethod
    def at(cls, field: str, problem: str) -> InvalidRequest:
        """The refusal with one problem."""
        return cls(problems=[Problem(field=field, problem=problem)])


class TooLarge(InvalidRequest):
    """The body is over the size limit."""

    status, kind = 413, "too_large"


class UnsupportedMedia(InvalidRequest):
    """The content type of the body is not accepted."""

    status, kind = 415, "unsupported_media_type"


class Unauthorized(RelayError):
    """An API key is required: send it in the X-API-Key header."""

    status, kind, exit_code = 401, "unauthorized", 4


class Forbidden(RelayError):
    """The API key is not valid for this."""

    status, kind, exit_code = 403, "forbidden", 4


class NotFound(RelayError):
    """No such job, group, key or delivery exists here."""

    status, kind, exit_code = 404, "not_found", 3


class Conflict(RelayError):
    """This is not possible in its present state."""

    status, kind, exit_code = 409, "conflict", 9


class IllegalTransition(Conflict):
    """The job has no such transition from its present state."""


class Ambiguous(Conflict):
    """Several owners use that requestId; name one with --owner."""


class LeaseLost(Conflict):
    """The lease was lost: another worker has the job now, and this result is refused."""


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


class Draining(Busy):
    """The relay is being drained for maintenance and takes no new jobs; send this again later."""

    def __init__(self, message: str | None = None, *, retry_after: float = 30.0) -> None:
        super().__init__(message, retry_after=retry_after)


class StoreUnavailable(Busy):
    """The store cannot be written now."""

    exit_code = 69


class StoreRefused(RelayError):
    """The store must not be used in its present state."""

    status, kind, exit_code = 503, "store_refused", 78


class Damaged(RelayError):
    """A stored row is not what was written."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} is damaged: the digest beside it does not match, and it is not used. claude-relay doctor --deep "
            f"lists what else is; a backup may have it intact"
        )


class ConfigError(RelayError):
    """The settings are invalid. `problems` has one sentence per fault."""

    exit_code = 78

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Unreachable(RelayError):
    """The relay did not answer."""

    exit_code = 69


class TimedOut(RelayError):
    """The condition was not met in time."""

    status, kind, exit_code = 504, "timeout", 124
