"""Whether a group's own limits, of calls at once and of starts a minute, hold its jobs up."""

from __future__ import annotations

#: Seconds that jobs may wait for their group's own limit, and rounds of it (minutes, for a rate), without a notice.
_LONG_WAIT, _ROUNDS = 60.0, 10


def is_full(concurrency: int | None, *, running: int, waiting: int) -> bool:
    """Whether jobs wait for a limit of calls at once."""
    return concurrency is not None and running >= concurrency and waiting > 0


def backs_up(concurrency: int | None, rate: float | None, *, running: int, waiting: int, waited: float) -> bool:
    """Whether jobs wait for longer than a person expects; `waited`: seconds since the oldest one was due."""
    if concurrency is not None and is_full(concurrency, running=running, waiting=waiting):
        return waited > _LONG_WAIT or waiting >= _ROUNDS * concurrency

    return rate is not None and waiting > rate * _ROUNDS
