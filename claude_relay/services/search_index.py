"""The search index, filled in small steps from the events: a submit or an outcome costs nothing for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..core.lazy_dataclass import dataclass
from ..core.search_index import Entry, Era, entry, era_mark
from ..errors import Damaged
from ..ports import ReadTransaction, Transaction
from .context import Context
from .transactions import query, transaction

log = logging.getLogger(__name__)

#: A step ends after this many events, deletions or marks: it occupies the writer for some hundredths of a second.
_EVENTS, _GONE, _MARKS = 500, 200, 6_000


@dataclass(frozen=True, kw_only=True)
class _Step:
    """Entries to write, made of the texts as they were up to an event."""

    entries: Sequence[Entry]
    numbers: Mapping[str, int]
    deleted: Sequence[int]
    era: Era | None
    first_era: int | None
    expects: int
    position: int
    more: bool


def _announce(_: SearchIndex, reads: ReadTransaction, step: _Step) -> None:
    reads.search_position()
    reads.first_era_mark()
    reads.request_sizes([each.job_id for each in step.entries])


class SearchIndex:
    """Fills the index. Several workers may do it: a step that another one has done is dropped."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    def step(self) -> bool:
        """Index the next jobs, and return whether there are more."""
        step = self._prepare()
        if step.position == step.expects and not step.deleted:
            return False
        try:
            self._save(step)
        except Damaged as exc:
            log.error("the search index is damaged and will be filled again", extra={"error": str(exc)})
            self._drop()

        return step.more

    @query
    def _prepare(self, tx: ReadTransaction) -> _Step:
        expects = tx.search_position()
        changed, position = tx.texts_changed(after=expects, limit=_EVENTS)
        more = position > expects
        entries: list[Entry] = []
        marks = 0
        for seq, job_id in changed:
            if marks >= _MARKS:
                break
            if (job := tx.indexable(job_id)) is not None:
                entries.append(entry(job))
                marks += len(entries[-1].marks)
            reached = seq
        else:
            reached = position
        deleted = tx.gone_from_search(limit=_GONE)
        eras, era = tx.search_eras() if entries else (), None
        if entries:
            era, moved = tx.begin_era(eras)
            done = {each.job_id for each in entries}
            entries += [entry(job) for each in moved if each not in done and (job := tx.indexable(each)) is not None]
        numbers = tx.search_numbers([each.job_id for each in entries])
        if entries:
            all_eras = [*eras, *([] if era is None else [era])]
            entries = [replace(each, marks=each.marks | {era_mark(numbers[each.job_id], all_eras)}) for each in entries]

        return _Step(
            entries=entries,
            numbers=numbers,
            deleted=deleted,
            era=era,
            first_era=eras[0].mark if eras else None,
            expects=expects,
            position=reached,
            more=more or len(deleted) == _GONE,
        )

    @transaction(patient=True, ahead=_announce)
    def _save(self, tx: Transaction, step: _Step) -> None:
        tx.index(
            step.entries,
            step.numbers,
            deleted=step.deleted,
            era=step.era,
            first_era=step.first_era,
            expects=step.expects,
            position=step.position,
        )

    @transaction
    def _drop(self, tx: Transaction) -> None:
        tx.drop_search_index()
