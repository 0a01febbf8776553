"""Acts on many jobs: each on its own, bounded in number and time, with the refusals counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from ..core.jobs.job import Job
from ..core.keys import Scope
from ..core.lazy_dataclass import dataclass
from ..errors import InvalidRequest, RelayError, StoreUnavailable
from ..services import JobRef, Relay

#: Jobs of one form, and the seconds after which it stops: the rest follows on request.
MAX_JOBS, MAX_SECONDS = 1000, 15.0
#: Refusals that are shown.
_SHOWN_REFUSALS = 10


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An act: its words, its price in words, and the scopes that it needs."""

    name: str
    verb: str
    past: str
    price: str
    scopes: tuple[Scope, ...]
    confirmed: bool  # asked about first


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="redeliver",
            verb="Redeliver",
            past="sent again",
            price="Free: the stored results are sent again.",
            scopes=(Scope.SUBMIT, Scope.READ),
            confirmed=False,
        ),
        Kind(
            name="retry",
            verb="Retry",
            past="started again",
            price="Costs tokens: each call is made again.",
            scopes=(Scope.SUBMIT, Scope.READ),
            confirmed=True,
        ),
        Kind(
            name="cancel",
            verb="Cancel",
            past="cancelled",
            price="Free, but what a running call has used so far is paid. Each calls back as failed.",
            scopes=(Scope.SUBMIT,),
            confirmed=True,
        ),
    )
}


@dataclass(kw_only=True)
class Report:
    """The effect of an act: how many jobs it changed, and why it did not change the others."""

    done: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    left: int = 0

    @property
    def examples(self) -> Sequence[tuple[str, str]]:
        """The first refusals."""
        return self.refused[:_SHOWN_REFUSALS]


def kind_of(name: str) -> Kind:
    """The act of that name; raises `InvalidRequest`."""
    if name not in KINDS:
        raise InvalidRequest(f"There is no act {name[:40]} for jobs.")

    return KINDS[name]


def perform(relay: Relay, kind: Kind, refs: Sequence[JobRef], *, clock: Callable[[], float] = time.monotonic) -> Report:
    """Act on each job; one that has moved meanwhile is refused and counted."""
    calls: Mapping[str, Callable[[JobRef], Any]] = {
        "redeliver": relay.redeliver,
        "retry": relay.retry,
        "cancel": relay.cancel,
    }
    report, give_up = Report(), clock() + MAX_SECONDS
    for number, ref in enumerate(refs):
        if clock() > give_up:
            report.left = len(refs) - number
            break
        try:
            calls[kind.name](ref)
            report.done += 1
        except StoreUnavailable:
            if not report.done:
                raise
            report.left = len(refs) - number
            break
        except RelayError as exc:
            report.refused.append((ref.request_id, str(exc)))

    return report


def costs(jobs: Sequence[Job]) -> float:
    """The cost of the jobs so far, which a retry of each is likely to double."""
    return sum(job.cost_usd or 0.0 for job in jobs)
