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

    Each state is read apart, as the index of a key and that of all have the newest jobs of one state side by side. Ids
    alone, as PostgreSQL would rather read all jobs along the primary key than complete rows in another order.
    """
    where, args = _conditions(which)
    one_owner = which.owner is not None or which.key is not None
    if not (which.states or one_owner):
        condition = f"WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT j.id FROM jobs j {condition} ORDER BY j.id DESC LIMIT ?", (*args, which.limit)
    index = "jobs_owner" if one_owner else "jobs_state"
    one_state = f"""SELECT j.id FROM jobs j /* index: {index} */ WHERE {" AND ".join(["j.state = ?", *where])}
                    ORDER BY j.id DESC LIMIT ?"""
    states = [state.value for state in which.states or JOB_STATES]
    each = " UNION ALL ".join(f"SELECT id FROM ({one_state}) AS of_{state}" for state in states)
    values = [value for state in states for value in (state, *args, which.limit)]

    return f"SELECT id FROM ({each}) AS of_all ORDER BY id DESC LIMIT ?", (*values, which.limit)


def _conditions(which: JobFilter) -> tuple[list[str], list[Any]]:
    """The conditions on `jobs j` apart from its states and its text, and their parameters."""
    where: list[str] = []
    args: list[Any] = []

    def add(condition: str, *values: Any) -> None:
        where.append(condition)
        args.extend(values)

    add(VISIBLE)
    if which.owner is not None:
        add("j.owner = ?", which.owner)
    for column, value in (("grp", which.group), ("owner", which.key), ("model", which.model)):
        if value is not None:
            add(f"j.{column} = ?", value)
    if which.errors:
        add(f"j.error_type IN ({placeholders(which.errors)})", *(error.value for error in which.errors))
    if which.since is not None:
        add("j.id >= ?", earliest_ulid(which.since))
    if which.until is not None:
        add("j.id < ?", earliest_ulid(which.until))
    if which.before is not None:
        add("j.id < ?", which.before)
    if which.dead:
        add(_DEAD)
    if which.unacked:
        add(_UNACKED)
    if which.host is not None:
        add(_HOST, *[which.host.lower()] * 4)

    return where, args
