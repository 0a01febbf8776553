"""The store of `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..core.metrics import Series


class MetricReads(Protocol):
    """Sums that workers have counted, and what else `/metrics` shows."""

    def metrics(self) -> Sequence[tuple[Series, float]]: ...
    def ended_collections(self) -> dict[str, int]: ...


class MetricWrites(Protocol):
    """Additions to those sums."""

    def add_metrics(self, changes: Mapping[Series, float]) -> None: ...
    def set_metrics(self, values: Mapping[Series, float]) -> None: ...
