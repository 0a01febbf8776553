"""The options of a write to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from .store import Ahead


class WriteOptions(TypedDict, total=False):
    """
    Options of a write.

    `paid`: it stores an answer that was paid for. `patient`: it may wait some milliseconds for others, to share their
    commit. `ahead` names look-ups of the work before it runs, as `Transaction.prefetch` does.
    """

    paid: bool
    patient: bool
    ahead: Ahead | None
