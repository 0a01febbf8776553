"""The search index, filled in small steps from the events: a submit or an outcome costs nothing for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ..core.lazy_dataclass import dataclass
from ..core.search_index import Entry, Era, Indexable, entry, era_mark
from ..errors import Damaged
from ..ports import ReadTransaction, Transaction
from .context import Context
from .transactions import query, transaction

log = logging.getLogger(__name__)

#: A step ends after this many events, deletions or marks: it occupies the writer for some hundredths of a second.
_EVENTS, _GONE, _MARKS = 500, 200, 6_000
#: Jobs that are read together, and the bytes of their texts.
_TOGETHER, _BYTES = 50, 2**20


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


def _look_ahead(_: SearchIndex, reads: ReadTransaction, step: _Step) -> None:
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
        for seq, job in self._texts(tx, changed):
            if marks >= _MARKS:
                break
            if job is not None:
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
            also = [(0, job_id) for job_id in moved if job_id not in done]
            entries += [entry(job) for _, job in self._texts(tx, also) if job is not None]
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

    def _texts(self, tx: ReadTransaction, changed: Sequence[tuple[int, str]]) -> Iterator[tuple[int, Indexable | None]]:
        """The texts of each of those jobs; small ones are read together."""
        sizes = tx.text_sizes([job_id for _, job_id in changed])
        while changed:
            count, size = 0, 0
            while count < min(_TOGETHER, len(changed)) and (not count or size <= _BYTES):
                size += sizes.get(changed[count][1], 0)
                count += 1
            count = max(1, count - (size > _BYTES))
            jobs = tx.indexable([job_id for _, job_id in changed[:count]])
            yield from ((seq, jobs.get(job_id)) for seq, job_id in changed[:count])
            changed = changed[count:]

    @transaction(patient=True, ahead=_look_ahead)
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
