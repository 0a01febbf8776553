"""Daily budgets: the remainder of each key's budget today, and the owners whose jobs wait for tomorrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.jobs.holds import HoldKind, HoldScope, QueueHold
from ..core.money.estimate import reservation
from ..core.money.spend import day_of, next_day, used_up
from .holds import load_holds, release_owner

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..core.jobs.submission import StoredRequest
    from ..core.money.prices import PriceList
    from ..ports import ReadTransaction, Transaction

_TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
_UNDER_WAY = "its calls under way may use up the rest"
SPENT, IN_FLIGHT = "daily budget of its key", f"daily budget of its key: {_UNDER_WAY}"
OF_COLLECTION = f"maxCostUsd of its collection: {_UNDER_WAY}"


class Budgets:
    """
    A key's jobs start while its spend of today plus the reservations of its running calls is below its budget.

    So a budget is exceeded by one call at most, however many are ready at once. `blocked_owners`: the owners that start
    no job now; `out`: those of them whose budget is spent.
    """

    def __init__(self, tx: ReadTransaction, prices: PriceList) -> None:
        self._tx, self._prices = tx, prices
        self._left: dict[str, float] = {}
        budgets = {key.name: key.daily_budget_usd for key in tx.api_keys() if key.daily_budget_usd is not None}
        self.out: set[str] = set()
        if budgets:
            spent, reserved = tx.spent(day_of(tx.now)), tx.reserved()
            self.out = {owner for owner, budget in budgets.items() if used_up(budget, spent.get(owner, 0.0))}
            self._left = {
                owner: budget - spent.get(owner, 0.0) - reserved.get(owner, 0.0) for owner, budget in budgets.items()
            }
        self.blocked_owners = {owner for owner, left in self._left.items() if used_up(left, 0.0)}
        self._left_of: dict[str, float | None] = {}  # by collection; None: it has no maximum
        self.blocked_collections: set[str] = set()

    def admits(self, job: Job) -> bool:
        """Whether that job may start."""
        self._left_of_collection(job)

        return job.owner not in self.blocked_owners and job.collection not in self.blocked_collections

    def binds(self, job: Job) -> bool:
        """Whether its key or its collection has a budget: for other jobs nothing needs to be calculated."""
        return job.owner in self._left or self._left_of_collection(job) is not None

    def reserve(self, job: Job, request: StoredRequest) -> float | None:
        """Reserve the possible cost of its call, where its key or its collection has a budget."""
        if not self.binds(job):
            return None
        earlier = self._earlier_tokens(job) if request.request.get("continueFrom") else 0
        amount = (
            reservation(request.request, model=job.model, prices=self._prices, mode=job.lane, before=earlier) or 0.0
        )
        if request.max_cost_usd is not None:
            amount = min(amount, request.max_cost_usd)
        if job.owner in self._left:
            self._left[job.owner] -= amount
            if used_up(self._left[job.owner], 0.0):
                self.blocked_owners.add(job.owner)
        if job.collection is not None and (left := self._left_of_collection(job)) is not None:
            self._left_of[job.collection] = left - amount
            if used_up(left, amount):
                self.blocked_collections.add(job.collection)

        return amount

    def _left_of_collection(self, job: Job) -> float | None:
        """The remainder of the maximum of its collection; None where there is no maximum."""
        if job.collection is None:
            return None
        if job.collection not in self._left_of:
            limit, used = self._tx.collection_budget(job.collection)
            self._left_of[job.collection] = left = None if limit is None else limit - used
            if left is not None and used_up(left, 0.0):
                self.blocked_collections.add(job.collection)

        return self._left_of[job.collection]

    def _earlier_tokens(self, job: Job) -> int:
        """Tokens that the earlier job read and wrote, which is the complete conversation up to then."""
        earlier = self._tx.earlier(job.id)
        earlier_job = self._tx.job(earlier.job_id) if earlier is not None else None
        usage = earlier_job.usage if earlier_job is not None else None

        return sum((usage or {}).get(name, 0) for name in _TOKENS)

    def reason(self, job: Job) -> str | None:
        """Why it waits, if that is its key's budget, or the maximum of its collection."""
        if job.owner in self.out:
            return SPENT
        if job.owner in self.blocked_owners:
            return IN_FLIGHT

        return None if self.admits(job) else OF_COLLECTION


def changed(tx: ReadTransaction, prices: PriceList) -> bool:
    """Whether a key has used up its budget, or has one again, so that `release_reservation` has something to write."""
    return load_holds(tx).of_kind(HoldKind.BUDGET).keys() != Budgets(tx, prices).out


def release_reservation(tx: Transaction, prices: PriceList) -> None:
    """
    Record since when a key's jobs wait for its budget, and give default deadlines that time back at the end.

    A default deadline does not run meanwhile, as in a pause.
    """
    out = Budgets(tx, prices).out
    current = load_holds(tx).of_kind(HoldKind.BUDGET)
    for owner in out - set(current):
        tx.save_hold(QueueHold(scope=HoldScope.budget(owner), reason=SPENT, since=tx.now, until=next_day(tx.now)))
    for owner in set(current) - out:
        tx.delete_hold(HoldScope.budget(owner))
        release_owner(tx, owner, current[owner].since)
