"""Named API keys: add, list, revoke and verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..core.jobs.fairness import DEFAULT_WEIGHT
from ..core.keys import ApiKey, Scope, check_budget, check_weight, key_id, matches, new_key
from ..errors import Conflict, InvalidRequest, NotFound
from .budgets import release_reservation
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.text.rates import Rate
    from ..ports import ReadTransaction, Transaction
    from .context import Context


class Keys:
    """Use cases around API keys."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    @transaction
    def add(
        self,
        tx: Transaction,
        name: str,
        scopes: frozenset[Scope],
        *,
        rate: Rate | None = None,
        daily_budget_usd: float | None = None,
        weight: float = DEFAULT_WEIGHT,
    ) -> tuple[ApiKey, str]:
        """Create a key; returns it with its secret, which is shown only this once. Names cannot be reused."""
        key, secret = new_key(
            name,
            scopes,
            rate=rate,
            daily_budget_usd=daily_budget_usd,
            weight=weight,
            now=tx.now,
            entropy=self._context.rng.randbytes(36),
        )
        if any(existing.name == name for existing in tx.api_keys()):
            raise Conflict(
                f"the key name {name} is already used, and names cannot be reused, not even of revoked keys: the jobs "
                "of a key belong to its name. Choose another one"
            )
        tx.save_key(key)

        return key, secret

    @query
    def all(self, tx: ReadTransaction) -> Sequence[ApiKey]:
        """All keys by name, revoked ones included."""
        return tx.api_keys()

    @transaction
    def revoke(self, tx: Transaction, name: str) -> ApiKey:
        """Refuse a key from now on; its jobs go on."""
        key = _named(tx, name)
        if key.revoked_at is not None:
            raise Conflict(f"the key {name} was revoked already")
        key = replace(key, revoked_at=tx.now)
        tx.save_key(key)

        return key

    @transaction
    def set_weight(self, tx: Transaction, name: str, weight: float) -> ApiKey:
        """Change a key's part of a contended queue; it holds from the next claim on."""
        if problems := check_weight(weight):
            raise InvalidRequest(problems=problems)
        key = replace(_named(tx, name), weight=weight)
        tx.save_key(key)

        return key

    @transaction
    def set_budget(self, tx: Transaction, name: str, daily_budget_usd: float | None) -> ApiKey:
        """Change a key's daily budget, None for none; what it has spent today counts."""
        if problems := check_budget(daily_budget_usd):
            raise InvalidRequest(problems=problems)
        key = _named(tx, name)
        if key.revoked_at is not None:
            raise Conflict(f"the key {name} is revoked")
        key = replace(key, daily_budget_usd=daily_budget_usd)
        tx.save_key(key)
        release_reservation(tx, self._context.prices)

        return key

    def find(self, secret: str) -> ApiKey | None:
        """The key with that secret; None for a wrong or revoked one, in the same time."""
        key = self._by_id(key_id(secret) or "")

        return key if matches(key, secret) else None

    def active(self, identity: str) -> ApiKey | None:
        """The key with that id, unless it is revoked."""
        key = self._by_id(identity)

        return None if key is None or key.revoked_at is not None else key

    @query
    def _by_id(self, tx: ReadTransaction, identity: str) -> ApiKey | None:
        return tx.key(identity)


def _named(tx: ReadTransaction, name: str) -> ApiKey:
    key = next((key for key in tx.api_keys() if key.name == name), None)
    if key is None:
        raise NotFound(f"There is no key named {name}: claude-relay keys list")

    return key
