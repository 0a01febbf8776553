"""
Entries of the search index, and the marks that a search asks it for.

A mark is a number: three bytes of a folded text, an owner, or a value that a filter asks for (`filter_marks`). A job is
a candidate where its entry has every mark of the needle; whether it matches is then decided by its texts. So the index
may have too many marks, and never too few.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from typing import Any

from .filter_marks import Facts, marks_of
from .jobs.job import Retain
from .lazy_dataclass import dataclass
from .search import answer_texts, fold, request_texts
from .text.ids import format_ulid, ulid_bytes

#: An entry of more marks is not worth its space: such a job is always a candidate.
MAX_MARKS = 20_000
#: The most marks that one search asks for: more of them hardly exclude a job.
_ASKED = 16
#: Characters that are folded at once. A mark begins in one piece and may take two characters of the next one.
_PIECE, _OVERLAP = 2**16, 2
_WINDOW = 0xFFFFFF
_OWNER, _ERA = 1 << 24, 1 << 25
#: An era has this many jobs before the next one begins, which takes the newest ones along: a machine whose clock is
#: ahead has a few jobs that are newer than those of the next hours.
ERA_JOBS, MOVED = 4_096, 64
#: A number of the index begins with the time of its job in eighths of a second, so that numbers sort by it.
_MS_SHIFT, NUMBERS_PER_TICK = 7, 1 << 16
_RANDOM_BITS = 80  # of an id, after those of its time


@dataclass(frozen=True, kw_only=True)
class Indexable:
    """The texts of a job as they are stored, and the values that filters ask for."""

    job_id: str
    request_id: str
    retain: Retain
    facts: Facts
    request: str | None = field(repr=False)
    outcome: bytes | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The marks of a job. `opaque`: those of its texts are left out, and it is always a candidate."""

    job_id: str
    marks: frozenset[int] = field(repr=False)
    opaque: bool = False


@dataclass(frozen=True, kw_only=True)
class Era:
    """
    The jobs whose numbers are from `first` up to the next era; each has the era's mark.

    PostgreSQL reads all entries of a text before it can sort them: it is asked for one era after the other.
    """

    first: int
    mark: int


def next_era(eras: Sequence[Era], newest: Sequence[int]) -> Era:
    """The era to begin after the full last one, whose last numbers are the `newest`, the largest one first."""
    if not eras:
        return Era(first=0, mark=_ERA)

    return Era(first=(newest[-1] // NUMBERS_PER_TICK + 1) * NUMBERS_PER_TICK, mark=eras[-1].mark + 1)


def era_mark(number: int, eras: Sequence[Era]) -> int:
    """The mark of the era of a number."""
    return eras[bisect_right(eras, number, key=lambda era: era.first) - 1].mark


def entry(job: Indexable) -> Entry:
    """The entry of a job. Texts that are erased after the delivery are never indexed."""
    own = {owner_mark(job.facts.owner), *marks_of(job.facts), *_marks([job.request_id])}
    if job.retain is Retain.METADATA:
        return Entry(job_id=job.job_id, marks=frozenset(own), opaque=True)
    texts = [
        *_texts(job.request, request_texts),
        *_texts(job.outcome.decode("utf-8", "replace") if job.outcome else None, answer_texts),
    ]
    marks = set(own)
    for some in _pieces(texts):
        marks |= _marks([some])
        if len(marks) > MAX_MARKS:
            return Entry(job_id=job.job_id, marks=frozenset(own), opaque=True)

    return Entry(job_id=job.job_id, marks=frozenset(marks))


def asked_marks(text: str, owner: str | None) -> Sequence[int]:
    """
    The marks of every job, of that owner or (None) of any, that contains the text.

    The text has three characters or more.
    """
    marks = sorted(_marks([text]))
    some = marks[:: -(-len(marks) // _ASKED)]

    return [*some, *([] if owner is None else [owner_mark(owner)])]


def owner_mark(owner: str) -> int:
    """The mark of the jobs of an owner, which a few other owners may share."""
    return _OWNER | zlib.crc32(owner.encode()) & _WINDOW


def first_number(job_id: str) -> int:
    """The first of the numbers for jobs of the same eighth of a second; numbers of later ones are larger."""
    milliseconds = int.from_bytes(ulid_bytes(job_id)[:6], "big")

    return (milliseconds >> _MS_SHIFT) * NUMBERS_PER_TICK


def first_id(number: int) -> str:
    """The smallest id of the jobs with such a number."""
    return format_ulid(number // NUMBERS_PER_TICK << _MS_SHIFT << _RANDOM_BITS)


def end_before(job_id: str) -> int:
    """A number that is above those of all jobs with a smaller id, and nearly the first such."""
    first = first_number(job_id)

    return first if job_id <= first_id(first) else first + NUMBERS_PER_TICK


def merge(*streams: tuple[Iterable[str], str | None]) -> tuple[list[str], str | None]:
    """
    Merge ids, newest first, as far down as all streams have been read.

    A stream, and the result, is its ids and the id down to which they are complete; None: these are all.
    """
    down_to = max((last for _, last in streams if last is not None), default=None)
    ids = {each for some, _ in streams for each in some if down_to is None or each >= down_to}

    return sorted(ids, reverse=True), down_to


def _texts(stored: str | None, texts: Callable[[dict[str, Any]], Iterator[str]]) -> list[str]:
    try:
        return list(texts(json.loads(stored))) if stored else []
    except ValueError:  # damaged: it matches nothing
        return []


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for start in range(0, len(text), _PIECE):
            yield text[start : start + _PIECE + _OVERLAP]


def _marks(texts: Iterable[str]) -> set[int]:
    """Each three bytes of the folded texts, as a number."""
    marks: set[int] = set()
    for text in texts:
        data = fold(text).encode("utf-8", "surrogatepass") + b"\0"  # four bytes are read for the last three, too
        for start in range(min(4, len(data) - 3)):
            windows = array("I", data[start : start + (len(data) - start) // 4 * 4])
            if sys.byteorder == "big":
                windows.byteswap()
            marks.update(window & _WINDOW for window in set(windows))

    return marks
