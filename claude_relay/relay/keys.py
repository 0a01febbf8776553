"""Named keys: added, listed, revoked, known again; and who has spent the day's budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..core.keys import ApiKey, Scope, fits, key_id, new_key
from ..core.rates import Rate
from ..errors import Conflict, NotFound
from ..ports import Unit
from .values import Tools


class Keys:
    """The use cases around API keys."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._store = tools.store

    def add(
        self,
        name: str,
        scopes: frozenset[Scope],
        *,
        rate: Rate | None = None,
        daily_budget_usd: float | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its text, which is told this once. A name is used once, also after it was revoked."""

        def keep(unit: Unit) -> tuple[ApiKey, str]:
            key, text = new_key(
                name,
                scopes,
                rate=rate,
                daily_budget_usd=daily_budget_usd,
                now=unit.now,
                entropy=self._tools.random.randbytes(36),
            )
            if any(known.name == name for known in unit.api_keys()):
                raise Conflict(f"a key named {name} is or was there: its jobs belong to that name, so choose another")
            unit.save_key(key)
            return key, text

        return self._store.write(keep)

    def all(self) -> Sequence[ApiKey]:
        """Every key there is or was, by name."""
        return self._store.read(lambda view: view.api_keys())

    def revoke(self, name: str) -> ApiKey:
        """From now on it is refused; its jobs run on."""

        def revoke(unit: Unit) -> ApiKey:
            key = next((key for key in unit.api_keys() if key.name == name), None)
            if key is None:
                raise NotFound(f"There is no key named {name}: claude-relay keys list")
            if key.revoked_at is not None:
                raise Conflict(f"the key {name} was revoked already")
            key = replace(key, revoked_at=unit.now)
            unit.save_key(key)
            return key

        return self._store.write(revoke)

    def known(self, text: str) -> ApiKey | None:
        """Whose key that is; None for a wrong or revoked one, in the same time."""
        identity = key_id(text)
        key = self._store.read(lambda view: view.key(identity or ""))

        return key if fits(key, text) else None
