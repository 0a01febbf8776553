"""The search index: candidates for a search, and what is not indexed yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..core.search_index import Entry, Era, Indexable


class SearchIndexReads(Protocol):
    """Candidates of a search, and the changes that the index lacks."""

    def search_candidates(
        self, marks: Collection[int], *, below: str, limit: int
    ) -> tuple[Sequence[str], str | None] | None: ...
    def unindexed(self, *, limit: int) -> Sequence[str] | None: ...
    def search_position(self) -> int: ...
    def texts_changed(self, *, after: int, limit: int) -> tuple[Sequence[tuple[int, str]], int]: ...
    def indexable(self, job_id: str) -> Indexable | None: ...
    def search_numbers(self, job_ids: Sequence[str]) -> dict[str, int]: ...
    def search_eras(self) -> Sequence[Era]: ...
    def first_era_mark(self) -> int | None: ...
    def begin_era(self, eras: Sequence[Era]) -> tuple[Era | None, Sequence[str]]: ...
    def request_sizes(self, job_ids: Sequence[str]) -> dict[str, int]: ...
    def gone_from_search(self, *, limit: int) -> Sequence[int]: ...


class SearchIndexWrites(Protocol):
    """Changes of the index."""

    def index(
        self,
        entries: Sequence[Entry],
        numbers: Mapping[str, int],
        *,
        deleted: Sequence[int],
        era: Era | None,
        first_era: int | None,
        expects: int,
        position: int,
    ) -> None: ...
    def drop_search_index(self) -> None: ...
