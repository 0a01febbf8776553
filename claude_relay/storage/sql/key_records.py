"""Mapping between API keys and their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...core.keys import ApiKey, Scope
from ...core.text.rates import Rate

if TYPE_CHECKING:
    from .query import Row

KEY = "id name digest scopes rate_count rate_seconds daily_budget_usd created_at revoked_at weight".split()


def key_values(key: ApiKey) -> tuple[Any, ...]:
    """The row of a key, in the order of `KEY`."""
    scopes = ",".join(sorted(scope.value for scope in key.scopes))
    rate = (key.rate.count, key.rate.seconds) if key.rate else (None, None)

    return (
        key.id,
        key.name,
        key.digest,
        scopes,
        *rate,
        key.daily_budget_usd,
        key.created_at,
        key.revoked_at,
        key.weight,
    )


def to_key(row: Row) -> ApiKey:
    """A key from a row in the order of `KEY`."""
    values = dict(zip(KEY, row, strict=True))
    count, seconds = values.pop("rate_count"), values.pop("rate_seconds")
    scopes = frozenset(Scope(word) for word in values.pop("scopes").split(","))
    digest = bytes(values.pop("digest"))

    return ApiKey(**values, scopes=scopes, digest=digest, rate=None if count is None else Rate(count, seconds))
