"""The look-ups that a use case announces: see `lookahead`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .lookahead import NOW, Lookup
from .reads import Reads

if TYPE_CHECKING:
    from ...ports import Ahead
    from ..header_encryption import HeaderCipher
    from .query import Rows


def announced(ahead: Ahead, cipher: HeaderCipher, *, refuses_used_ids: bool = False) -> Sequence[Lookup]:
    """Those of `ahead`: it runs without a database, and its statements are recorded."""
    lookups: list[Lookup] = []

    def record(sql: str, args: Sequence[Any]) -> Rows:
        lookups.append((sql, tuple(args)))
        return ()

    reads = Reads(record, NOW, cipher)
    reads.refuses_used_ids = refuses_used_ids
    ahead(reads)

    return lookups
