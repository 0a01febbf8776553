"""Named keys: added, listed, revoked, known again; and who has spent the day's budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.keys import ApiKey, Scope, key_id, matches, new_key
from ..core.text.rates import Rate
from ..errors import Conflict, NotFound
from ..ports import Transaction
from .context import Context


class Keys:
    """The use cases around API keys."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def add(
        self,
        name: str,
        scopes: frozenset[Scope],
        *,
        rate: Rate | None = None,
        daily_budget_usd: float | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is told this once. A name is used once, also after it was revoked."""

        def keep(tx: Transaction) -> tuple[ApiKey, str]:
            key, text = new_key(
                name,
                scopes,
                rate=rate,
                daily_budget_usd=daily_budget_usd,
                now=tx.now,
                entropy=self._context.rng.randbytes(36),
            )
            if any(known.name == name for known in tx.api_keys()):
                raise Conflict(f"a key named {name} is or was there: its jobs belong to that name, so choose another")
            tx.save_key(key)
            return key, text

        return self._store.write(keep)

    def all(self) -> Sequence[ApiKey]:
        """Every key there is or was, by name."""
        return self._store.read(lambda tx: tx.api_keys())

    def revoke(self, name: str) -> ApiKey:
        """From now on it is refused; its jobs run on."""

        def revoke(tx: Transaction) -> ApiKey:
            key = next((key for key in tx.api_keys() if key.name == name), None)
            if key is None:
                raise NotFound(f"There is no key named {name}: claude-relay keys list")
            if key.revoked_at is not None:
                raise Conflict(f"the key {name} was revoked already")
            key = replace(key, revoked_at=tx.now)
            tx.save_key(key)
            return key

        return self._store.write(revoke)

    def find(self, text: str) -> ApiKey | None:
        """Whose key that is; None for a wrong or revoked one, in the same time."""
        identity = key_id(text)
        key = self._store.read(lambda tx: tx.key(identity or ""))

        return key if matches(key, text) else None
