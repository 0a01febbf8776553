"""The conditions of a `JobFilter`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...core.jobs.job import JOB_STATES, State
from ...core.text.ids import earliest_ulid
from .query import placeholders

if TYPE_CHECKING:
    from ...ports import JobFilter

# From the dead ones to their jobs: the other way round, a million jobs are read to list none.
_DEAD = (
    "(j.id, j.run) IN (SELECT d.job_id, d.run FROM deliveries d /* index: deliveries_dead */ WHERE d.state = 'dead')"
)
# Only in groups that send acks: in others a missing ack means nothing.
_UNACKED = (
    "(j.id, j.run) IN (SELECT d.job_id, d.run FROM deliveries d /* index: deliveries_unacked */"
    " WHERE d.state = 'delivered' AND d.acked_at IS NULL AND d.grp IN (SELECT name FROM ack_groups))"
)
# The same of one job, whose deliveries are few. No EXISTS, for which PostgreSQL may read all deliveries once.
_IS_DEAD = "(SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.run = j.run AND d.state = 'dead' LIMIT 1) = 1"
_IS_HOST = (
    "(d.destination = ? OR d.destination IN ('http://' || ?, 'https://' || ?)"
    " OR d.destination LIKE '%://' || ? || ':%' ESCAPE '!')"
)
_HOST = f"(SELECT 1 FROM deliveries d WHERE d.job_id = j.id AND d.run = j.run AND {_IS_HOST} LIMIT 1) = 1"

#: The condition of the indexes by state: a claim writes none of them.
_NOT_RUNNING = "j.state <> 'running'"
_RUNNING = State.RUNNING.value
#: After every id, which are of digits and capital letters.
_LAST_ID = "~"
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
    if which.dead and not _one_owner(which):  # the index of the dead ones has them in the order of their jobs
        where, values = _all(replace(which, dead=False))
        sql = f"""SELECT j.id FROM deliveries d /* index: deliveries_dead_jobs */
                  JOIN jobs j ON j.id = d.job_id AND j.run = d.run
                  WHERE d.state = 'dead' AND d.job_id < ? AND {" AND ".join(where)} ORDER BY d.job_id DESC LIMIT ?"""
        return sql, (which.before or _LAST_ID, *values, which.limit)
    if which.dead or which.unacked:  # from the deliveries to their jobs, which are few beside all jobs
        where, values = _all(which)
        where = [_NOT_RUNNING, *where]  # as they had a result; the indexes of a key are without the running ones
        return f"SELECT j.id FROM jobs j WHERE {' AND '.join(where)} ORDER BY j.id DESC LIMIT ?", (*values, which.limit)

    return _along_index(which, *_others(which), which.limit)


def among(which: JobFilter, job_ids: Sequence[str]) -> tuple[str, Sequence[Any]]:
    """The query for those of some ids whose jobs match, and its parameters."""
    where, values = _all(which, dead=_IS_DEAD)
    sql = f"SELECT j.id FROM jobs j WHERE j.id IN ({placeholders(job_ids)}) AND {' AND '.join(where)}"

    return f"{sql} ORDER BY j.id DESC", (*job_ids, *values)


def window(which: JobFilter, rows: int) -> tuple[str, Sequence[Any]]:
    """
    The query for the newest `rows` jobs by index, as (id, whether the other conditions hold).

    The bound of what a page reads where no index has the jobs of a filter side by side.
    """
    others, args = _others(which, dead=_IS_DEAD)
    ids, values = _along_index(which, [], [], rows)
    # A subquery for each row, as PostgreSQL would join that many ids with all jobs.
    matches = f"(SELECT CASE WHEN {' AND '.join(others)} THEN 1 ELSE 0 END FROM jobs j WHERE j.id = w.id)"
    if which.host is not None:  # hardly any, and their rows are not read for the others
        has_host = f"(SELECT 1 FROM deliveries d WHERE d.job_id = w.id AND {_IS_HOST} LIMIT 1) = 1"
        matches = f"CASE WHEN {has_host} THEN {matches} END"
        args = [*_host_values(which.host), *args]

    return f"SELECT w.id, {matches} FROM ({ids}) AS w ORDER BY w.id DESC", (*args, *values)


def _along_index(which: JobFilter, where: list[str], args: list[Any], limit: int) -> tuple[str, Sequence[Any]]:
    """
    Ids in the order of an index.

    Each state is read apart, as the index of a key and that of all have the newest jobs of one state side by side.
    """
    if which.owner is not None and which.key not in (None, which.owner):
        where, args = [*where, "j.owner = ?"], [*args, which.key]
    if not (which.states or _one_owner(which)):
        group = {} if which.group is None else {"grp": which.group}
        sql, values = _one_range(which, "jobs_group" if group else "", group, where, args)
        return sql, (*values, limit)
    owner = which.key if which.owner is None else which.owner
    index, one_owner = ("jobs_state", {}) if owner is None else ("jobs_owner", {"owner": owner})
    states = [state.value for state in which.states or JOB_STATES]
    ranges = {
        state: _running(which, one_owner, where, args)
        if state == _RUNNING
        else _one_range(which, index, one_owner | {"state": state}, [_NOT_RUNNING, *where], args)
        for state in states
    }
    each = " UNION ALL ".join(f"SELECT id FROM ({sql}) AS of_{state}" for state, (sql, _) in ranges.items())
    values = [value for _, values in ranges.values() for value in (*values, limit)]

    return f"SELECT id FROM ({each}) AS of_all ORDER BY id DESC LIMIT ?", (*values, limit)


def _running(which: JobFilter, equal: dict[str, str], where: list[str], args: list[Any]) -> tuple[str, list[Any]]:
    """The few running jobs, of a key or of all, which the indexes by state do not contain."""
    lowest, end = _bounds(which)
    conditions = ["j.state = 'running'", *(f"j.{column} = ?" for column in equal), "j.id >= ?", "j.id < ?", *where]
    sql = (
        f"SELECT j.id FROM jobs j /* index: jobs_running */ WHERE {' AND '.join(conditions)} ORDER BY j.id DESC LIMIT ?"
    )

    return sql, [*equal.values(), lowest, end, *args]


def _bounds(which: JobFilter) -> tuple[str, str]:
    """The first id that a list may have, and the one before which it ends."""
    before = [
        each for each in (which.before, None if which.until is None else earliest_ulid(which.until)) if each is not None
    ]

    return "" if which.since is None else earliest_ulid(which.since), min(before, default=_LAST_ID)


def _one_range(
    which: JobFilter, index: str, equal: dict[str, str], where: list[str], args: list[Any]
) -> tuple[str, list[Any]]:
    """
    A range of an index, whose first columns are `equal` to those values; the limit is the caller's to add.

    The last of these and the id are compared as a row, and sorted by both, as only that index then has the order: with
    equalities PostgreSQL walked along the primary key, *measured* over 150,000 jobs of other states to the newest
    completed one. A column before them is an equality: of a row PostgreSQL ends a scan by the first column alone, and
    read all jobs of a key to find none in a state (100 ms with a million).
    """
    lowest, end = _bounds(which)
    fixed, compared = list(equal.items())[:-1], list(equal.items())[-1:]
    columns = [f"j.{column}" for column, _ in compared] + ["j.id"]
    row, marks = ", ".join(columns), placeholders(columns)
    conditions = [*(f"j.{column} = ?" for column, _ in fixed), f"({row}) >= ({marks})", f"({row}) < ({marks})", *where]
    hint = f"/* index: {index} */ " if index else ""
    order = ", ".join(f"j.{column} DESC" for column in (*equal, "id"))
    sql = f"SELECT j.id FROM jobs j {hint}WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?"
    last = [value for _, value in compared]

    return sql, [*(value for _, value in fixed), *last, lowest, *last, end, *args]


def _one_owner(which: JobFilter) -> bool:
    return which.owner is not None or which.key is not None


def _indexed(which: JobFilter) -> tuple[list[str], list[Any]]:
    """The conditions on `jobs j` apart from the states where deliveries select the jobs, and their parameters."""
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


def _host_values(host: str) -> list[str]:
    """The parameters of `_IS_HOST`."""
    name = host.lower()
    escaped = name.replace("!", "!!").replace("%", "!%").replace("_", "!_")

    return [name, name, name, escaped]


def _all(which: JobFilter, dead: str = _DEAD) -> tuple[list[str], list[Any]]:
    """All conditions apart from the text, and their parameters."""
    bounds, values = _indexed(which)
    others, args = _others(which, dead)
    where, values = [*bounds, *others], [*values, *args]
    if which.states:
        where.append(f"j.state IN ({placeholders(which.states)})")
        values += [state.value for state in which.states]

    return where, values


def _others(which: JobFilter, dead: str = _DEAD) -> tuple[list[str], list[Any]]:
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
        add(dead)
    if which.unacked:
        add(_UNACKED)
    if which.host is not None:
        add(_HOST, *_host_values(which.host))

    return where, args
