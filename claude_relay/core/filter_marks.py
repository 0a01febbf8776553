"""
Marks of the search index for filters: one for each value of a job, and one for each two.

So a list by any two filters reads the jobs that match both, and no others, however many jobs there are. As with marks
of texts, an entry may have too many of them, and never too few.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import TYPE_CHECKING

from .jobs.job import JOB_STATES, UNFINISHED, State
from .lazy_dataclass import dataclass

if TYPE_CHECKING:
    from .jobs.job_filter import JobFilter

#: Above the marks of texts, owners and eras.
_FILTER, _WINDOW = 1 << 27, (1 << 27) - 1
#: The most alternatives of one filter; of more errors none is asked for.
_ALTERNATIVES = 8
#: Sets of states, the smaller ones first. The index is told of changes between them, and of no others.
_ENDED = frozenset(state for state in JOB_STATES if state.final)
_CLASSES: Mapping[str, frozenset[State]] = {
    "held": frozenset({State.HELD}),
    "completed": frozenset({State.COMPLETED}),
    "failed": frozenset({State.FAILED, State.CANCELLED}),
    "unfinished": frozenset(UNFINISHED),
    "ended": _ENDED,
}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The values of a job that filters ask for. The delivery is that of its present run."""

    owner: str
    group: str
    model: str
    state: State
    error: str | None = None
    destination: str | None = None
    dead: bool = False


def marks_of(job: Facts) -> Iterator[int]:
    """The marks of a job; that of its owner alone is `search_index.owner_mark`."""
    values = {
        "owner": [job.owner],
        "group": [job.group],
        "model": [job.model],
        "state": [name for name, states in _CLASSES.items() if job.state in states],
        "error": [job.error] if job.error else [],
        "host": sorted(hosts(job.destination)) if job.destination else [],
        "dead": ["yes"] if job.dead else [],
    }
    for name, some in values.items():
        if name != "owner":
            yield from (_mark(f"{name}={value}") for value in some)
    for one, other in combinations(sorted(values), 2):
        yield from (_mark(f"{one}={value}", f"{other}={more}") for value in values[one] for more in values[other])


def asked_filters(which: JobFilter) -> Sequence[Sequence[int]]:
    """
    The marks of the jobs that a filter selects: each of them has all marks of one of the alternatives.

    An alternative is empty where no more is asked for than an owner.
    """
    states: list[str | None] = [
        _state(which.states or (_CLASSES["failed"] if which.errors else ()))
    ]  # no other has an error
    if which.states and states == [None]:
        states = [name for name in ("completed", "failed", "unfinished") if not _CLASSES[name].isdisjoint(which.states)]
    errors: list[str | None] = [error.value for error in which.errors]
    if not errors or len(states) * len(errors) > _ALTERNATIVES:
        errors = [None]
    values = {
        "owner": which.key if which.owner is None else which.owner,
        "group": which.group,
        "model": which.model,
        "host": None if which.host is None else which.host.lower(),
        "dead": "yes" if which.dead else None,
    }

    return [_asked({**values, "state": state, "error": error}) for state, error in product(states, errors)]


def _state(states: Collection[State]) -> str | None:
    """The smallest set that has all those states, if there is one."""
    return next((name for name, some in _CLASSES.items() if states and set(states) <= some), None)


def _asked(values: Mapping[str, str | None]) -> Sequence[int]:
    asked = [f"{name}={value}" for name, value in values.items() if value is not None]
    if len(asked) < 2:
        return [_mark(each) for each in asked if not each.startswith("owner=")]

    return [_mark(*two) for two in combinations(sorted(asked), 2)]


def hosts(destination: str) -> Collection[str]:
    """The names by which `host` finds a destination: itself, its host and port, and its host."""
    place = destination.lower().partition("://")[2]
    host, colon, port = place.rpartition(":")

    return {destination.lower(), place, host if colon and port.isdecimal() else place}


def _mark(*values: str) -> int:
    return _FILTER | zlib.crc32("\0".join(values).encode("utf-8", "surrogatepass")) & _WINDOW
