"""The conditions of a `JobFilter`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...core.jobs.job import JOB_STATES
from ...core.text.ids import earliest_ulid
from ...ports import JobFilter
from .query import placeholders

# From the dead ones to their jobs: the other way round, a million jobs are read to list none.
_DEAD = (
    "(j.id, j.run) IN (SELECT d.job_id, d.run FROM deliveries d /* index: deliveries_dead */ WHERE d.state = 'dead')"
)
# Only in groups that send acks: in others a missing ack means nothing.
_UNACKED = (
    "(j.id, j.run) IN (SELECT d.job_id, d.run FROM deliveries d /* index: deliveries_unacked */"
    " WHERE d.state = 'delivered' AND d.acked_at IS NULL AND d.grp IN (SELECT name FROM ack_groups))"
)
_HOST = (
    "EXISTS (SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.run = j.run AND (d.destination = ?"
    " OR d.destination IN ('http://' || ?, 'https://' || ?) OR d.destination LIKE '%://' || ? || ':%'))"
)


#: Rows of collections, once all rows that came with them are stored; not the jobs of the collections themselves.
VISIBLE = (
    "(j.collection IS NULL OR j.row_no <= (SELECT k.total FROM collections k WHERE k.id = j.collection))"
    " AND j.state <> 'collection'"
)


def newest(which: JobFilter) -> tuple[str, Sequence[Any]]:
    """
    The query for the ids of the newest jobs that match, and its parameters.

    Ids alone, as PostgreSQL would rather read all jobs along the primary key than complete rows in another order.
    """
    (indexed, args), (others, more_args) = _indexed(which), _others(which)
    where, values = [*indexed, *others], [*args, *more_args]
    if which.dead or which.unacked:  # from the deliveries to their jobs, which are few beside all jobs
        if which.states:
            where.append(f"j.state IN ({placeholders(which.states)})")
            values += [state.value for state in which.states]
        return f"SELECT j.id FROM jobs j WHERE {' AND '.join(where)} ORDER BY j.id DESC LIMIT ?", (*values, which.limit)

    return _along_index(which, where, values, which.limit)


def window(which: JobFilter, rows: int) -> tuple[str, Sequence[Any]]:
    """
    The query for the newest `rows` jobs by index, as (id, whether the other conditions hold).

    The bound of what a page reads where no index has the jobs of a filter side by side.
    """
    others, args = _others(which)
    ids, values = _along_index(which, *_indexed(which), rows)
    # A subquery for each row, as PostgreSQL would join that many ids with all jobs.
    matches = f"SELECT CASE WHEN {' AND '.join(others)} THEN 1 ELSE 0 END FROM jobs j WHERE j.id = w.id"

    return f"SELECT w.id, ({matches}) FROM ({ids}) AS w ORDER BY w.id DESC", (*args, *values)


def _along_index(which: JobFilter, where: list[str], args: list[Any], limit: int) -> tuple[str, Sequence[Any]]:
    """
    Ids in the order of an index.

    Each state is read apart, as the index of a key and that of all have the newest jobs of one state side by side.
    """
    if not (which.states or _one_owner(which)):
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT j.id FROM jobs j {condition} ORDER BY j.id DESC LIMIT ?", (*args, limit)
    index = "jobs_owner" if _one_owner(which) else "jobs_state"
    one_state = f"""SELECT j.id FROM jobs j /* index: {index} */ WHERE {" AND ".join(["j.state = ?", *where])}
                    ORDER BY j.id DESC LIMIT ?"""
    states = [state.value for state in which.states or JOB_STATES]
    each = " UNION ALL ".join(f"SELECT id FROM ({one_state}) AS of_{state}" for state in states)
    values = [value for state in states for value in (state, *args, limit)]

    return f"SELECT id FROM ({each}) AS of_all ORDER BY id DESC LIMIT ?", (*values, limit)


def _one_owner(which: JobFilter) -> bool:
    return which.owner is not None or which.key is not None


def _indexed(which: JobFilter) -> tuple[list[str], list[Any]]:
    """The conditions on `jobs j` that an index serves, apart from the states, and their parameters."""
    conditions = [
        ("j.owner = ?", which.owner),
        ("j.owner = ?", which.key),
        ("j.grp = ?", None if which.states or _one_owner(which) else which.group),
        ("j.id >= ?", None if which.since is None else earliest_ulid(which.since)),
        ("j.id < ?", None if which.until is None else earliest_ulid(which.until)),
        ("j.id < ?", which.before),
    ]

    return [sql for sql, value in conditions if value is not None], [
        value for _, value in conditions if value is not None
    ]


def _others(which: JobFilter) -> tuple[list[str], list[Any]]:
    """The conditions that are tested row by row, apart from the text, and their parameters."""
    where: list[str] = [VISIBLE]
    args: list[Any] = []

    def add(condition: str, *values: Any) -> None:
        where.append(condition)
        args.extend(values)

    if which.group is not None and (which.states or _one_owner(which)):
        add("j.grp = ?", which.group)
    if which.model is not None:
        add("j.model = ?", which.model)
    if which.errors:
        add(f"j.error_type IN ({placeholders(which.errors)})", *(error.value for error in which.errors))
    if which.dead:
        add(_DEAD)
    if which.unacked:
        add(_UNACKED)
    if which.host is not None:
        add(_HOST, *[which.host.lower()] * 4)

    return where, args
