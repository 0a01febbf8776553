"""Daily budgets: what each key has left today, and who waits for tomorrow."""

from __future__ import annotations

from ..core.jobs.job import Job
from ..core.jobs.submission import StoredRequest
from ..core.money.estimate import reservation
from ..core.money.prices import PriceList
from ..core.money.spend import day_of, next_day
from ..ports import QueueHold, ReadTransaction, Transaction
from . import holds

_SCOPE = "budget:"
#: What sums of fractions leave over is no money, in dollars.
_DUST = 1e-9
_TOKENS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
SPENT, IN_FLIGHT = "daily budget of its key", "daily budget of its key: its calls under way may use up the rest"


class Budgets:
    """
    A key's jobs start while what it has spent today, and what its calls under way may come to, is less than its budget.

    So it is passed by no more than one call, however many are ready at once. `shut`: the owners that start none now.
    """

    def __init__(self, tx: ReadTransaction, prices: PriceList) -> None:
        self._tx, self._prices = tx, prices
        self._left: dict[str, float] = {}
        budgets = {key.name: key.daily_budget_usd for key in tx.api_keys() if key.daily_budget_usd is not None}
        self.out: set[str] = set()
        if budgets:
            spent, reserved = tx.spent(day_of(tx.now)), tx.reserved()
            self.out = {owner for owner, budget in budgets.items() if spent.get(owner, 0.0) >= budget}
            self._left = {
                owner: budget - spent.get(owner, 0.0) - reserved.get(owner, 0.0) for owner, budget in budgets.items()
            }
        self.blocked_owners = {owner for owner, left in self._left.items() if left <= _DUST}

    def admits(self, job: Job) -> bool:
        """Whether that job may start."""
        return job.owner not in self.blocked_owners

    def binds(self, job: Job) -> bool:
        """Whether its key has a budget: of the others nothing needs to be reckoned."""
        return job.owner in self._left

    def reserve(self, job: Job, request: StoredRequest) -> float | None:
        """Set aside what its call may come to, where its key has a budget."""
        if not self.binds(job):
            return None
        before = self._said_before(job) if request.request.get("continueFrom") else 0
        amount = reservation(request.request, model=job.model, prices=self._prices, mode=job.lane, before=before) or 0.0
        if request.max_cost_usd is not None:
            amount = min(amount, request.max_cost_usd)
        self._left[job.owner] -= amount
        if self._left[job.owner] <= _DUST:
            self.blocked_owners.add(job.owner)

        return amount

    def _said_before(self, job: Job) -> int:
        """What the earlier job had read and written in tokens, which is all of the conversation until then."""
        earlier = self._tx.earlier(job.id)
        known = self._tx.job(earlier.job_id) if earlier is not None else None
        usage = known.usage if known is not None else None

        return sum((usage or {}).get(name, 0) for name in _TOKENS)

    def reason(self, job: Job) -> str | None:
        """Why it waits, if that is for its key's budget."""
        if job.owner in self.out:
            return SPENT

        return IN_FLIGHT if job.owner in self.blocked_owners else None


def changed(tx: ReadTransaction, prices: PriceList) -> bool:
    """Whether a key has used up its budget, or has one again, and `settle` has something to write."""
    known = {hold.scope for hold in tx.holds() if hold.scope.startswith(_SCOPE)}

    return known != {_SCOPE + owner for owner in Budgets(tx, prices).out}


def release_reservation(tx: Transaction, prices: PriceList) -> None:
    """
    Write down since when a key's jobs stand still, and give them that time back once they go on.

    A default deadline stands still meanwhile, as it does in a pause.
    """
    out = {_SCOPE + owner for owner in Budgets(tx, prices).out}
    known = {hold.scope: hold for hold in tx.holds() if hold.scope.startswith(_SCOPE)}
    for scope in out - set(known):
        tx.save_hold(QueueHold(scope=scope, reason=SPENT, since=tx.now, until=next_day(tx.now)))
    for scope in set(known) - out:
        tx.delete_hold(scope)
        holds.release_owner(tx, scope.removeprefix(_SCOPE), known[scope].since)
