"""The store of money: the ledger of calls, and the sums of what they cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..core.jobs.change import Call
    from ..core.jobs.job import Job
    from ..core.jobs.job_filter import JobFilter
    from ..core.money.spend import Span, SpendSummary


class MoneyReads(Protocol):
    """The ledger of calls, and the sums of what they cost."""

    def call(self, job_id: str, number: int) -> Call | None: ...
    def calls(self, job_id: str) -> Sequence[Call]: ...
    def spent(self, day: str) -> dict[str, float]: ...
    def reserved(self) -> dict[str, float]: ...
    def calls_of(self, job_ids: Collection[str]) -> Sequence[Call]: ...
    def costs(self, *, by: str, days: Span, which: JobFilter) -> Sequence[SpendSummary]: ...
    def costs_by_outcome(self) -> Sequence[tuple[str, SpendSummary]]: ...


class MoneyWrites(Protocol):
    """Additions to the sums."""

    def add_spend(self, day: str, job: Job, call: Call) -> None: ...
