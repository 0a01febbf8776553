"""How long to wait: delays as numbers, with the randomness handed in."""

from __future__ import annotations


def exponential(tries: int, *, base: float, cap: float, chance: float) -> float:
    """
    Seconds before the next try after `tries` failed ones: doubling from `base`, at most `cap`, half of it jittered.

    `chance` is a number in [0, 1). Equal jitter, so that a delay is never near nothing
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    full = min(cap, base * 2.0 ** min(max(tries - 1, 0), 30))

    return full / 2 + full / 2 * chance


def jittered(delay: float, *, chance: float, share: float = 0.2) -> float:
    """A scheduled delay, up to `share` longer: never shorter, since the schedule is a promise to the receiver."""
    return delay * (1 + share * chance)
