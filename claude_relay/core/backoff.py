"""Backoff delays, with the randomness as a parameter."""

from __future__ import annotations


def exponential(attempts: int, *, base: float, cap: float, chance: float) -> float:
    """
    Seconds before the next attempt after `attempts` failed ones: doubling from `base` up to `cap`, half of it jittered.

    `chance` is a number in [0, 1). Equal jitter, so that a delay is never close to zero
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    delay = min(cap, base * 2.0 ** min(max(attempts - 1, 0), 30))

    return delay / 2 + delay / 2 * chance


def jittered(delay: float, *, chance: float, share: float = 0.2) -> float:
    """A scheduled delay plus up to `share` of it: never less, since the schedule is a promise to the receiver."""
    return delay * (1 + share * chance)
