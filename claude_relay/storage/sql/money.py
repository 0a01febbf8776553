"""The ledger of calls, and the sums of what they cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from ...core.money.spend import Span, SpendSummary, spend_days
from . import records
from .query import QueryBase, placeholders

if TYPE_CHECKING:
    from ...core.jobs.change import Call
    from ...core.jobs.job import Job
    from ...ports import JobFilter

# The mark of a live call in flight is in the job's row alone, and written into the entry as that ends.
_SENT = """CASE WHEN c.ended_at IS NULL AND EXISTS (
    SELECT 1 FROM jobs j WHERE j.id = c.job_id AND j.calls = c.number AND j.sent = 1) THEN 1 ELSE c.sent END"""
_CALLS = f"SELECT {records.columns(records.CALL, 'c.').replace('c.sent', _SENT)} FROM calls c"
_CALL = f"{_CALLS} WHERE c.job_id = ?"
_COLUMNS = {"day": "day", "key": "owner", "model": "model", "group": "grp", "mode": "mode", "template": "template"}
_KEY = ("day", "owner", "grp", "model", "mode", "template", "outcome")
_PART = "part"
_SUMS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "usd",
    "unpriced",
    "ended",
)
#: Sums by the key of their row.
Spend = dict[tuple[str, ...], list[Any]]
# A sum of prices stays NULL until one is known.
_ON_CONFLICT = f"""
ON CONFLICT ({", ".join((*_KEY, _PART))}) DO UPDATE SET
    {", ".join(f"{name} = costs.{name} + excluded.{name}" for name in _SUMS if name != "usd")},
    usd = CASE WHEN costs.usd IS NULL THEN excluded.usd ELSE costs.usd + coalesce(excluded.usd, 0) END"""
# More calls of the same day, owner, group, model, mode, template (empty: none) and outcome.
_ADD_SPEND = f"""
INSERT INTO costs ({", ".join((*_KEY, _PART, *_SUMS))}) VALUES ({placeholders((*_KEY, _PART, *_SUMS))}){_ON_CONFLICT}"""
#: The parts of all processes become one.
FOLD = (
    f"""INSERT INTO costs ({", ".join((*_KEY, _PART, *_SUMS))})
        SELECT {", ".join(_KEY)}, '', {", ".join(f"sum({name})" for name in _SUMS)} FROM costs /* index: costs_part */
        WHERE part <> '' GROUP BY {", ".join(_KEY)}{_ON_CONFLICT}""",
    "DELETE FROM costs WHERE part <> ''",
)


class MoneyReads(QueryBase):
    """Implements `ports.money.MoneyReads`."""

    def call(self, job_id: str, number: int) -> Call | None:
        """An entry of the ledger."""
        return self._fetch_first(records.to_call, f"{_CALL} AND c.number = ?", (job_id, number))

    def calls(self, job_id: str) -> Sequence[Call]:
        """The ledger of a job, oldest first."""
        return self._fetch_all(records.to_call, f"{_CALL} ORDER BY c.number", (job_id,))

    def spent(self, day: str) -> dict[str, float]:
        """Dollars spent by each owner on that UTC day."""
        sums = self._fetch_pairs("SELECT owner, sum(usd) FROM costs WHERE day = ? GROUP BY owner", (day,))
        return {owner: usd or 0.0 for owner, usd in sums.items()}

    def reserved(self) -> dict[str, float]:
        """Dollars that the calls in flight may cost, by owner."""
        sql = """SELECT j.owner, sum(c.reserved_usd) FROM jobs j JOIN calls c ON c.job_id = j.id AND c.number = j.calls
                 WHERE j.id IN (SELECT id FROM jobs WHERE state = 'running'
                                UNION ALL SELECT id FROM jobs WHERE state = 'batched' AND state <> 'running')
                 GROUP BY j.owner"""
        return {owner: usd or 0.0 for owner, usd in self._fetch_pairs(sql).items()}

    def calls_of(self, job_ids: Collection[str]) -> Sequence[Call]:
        """The ledgers of several jobs."""
        sql = f"{_CALLS} WHERE c.job_id IN ({placeholders(job_ids)})"
        return self._fetch_all(records.to_call, sql, tuple(job_ids))

    def costs(self, *, by: str, days: Span, which: JobFilter) -> Sequence[SpendSummary]:
        """The sums by one of `GROUPINGS` of those UTC days; of `which`, those that are summed apart."""
        limits = (
            ("day >= ?", days.first),
            ("day <= ?", days.last),
            ("owner = ?", which.owner),
            ("owner = ?", which.key),
            ("grp = ?", which.group),
            ("model = ?", which.model),
        )
        asked = [(condition, value) for condition, value in limits if value is not None]
        where = " AND ".join(condition for condition, _ in asked)
        column = _COLUMNS[by]
        sql = f"""SELECT {column}, {", ".join(f"sum({name})" for name in _SUMS)} FROM costs
                  {"WHERE " + where if where else ""} GROUP BY {column} HAVING sum(calls) > 0 ORDER BY {column}"""
        rows = self._run(sql, [value for _, value in asked])
        return [_summary(row) for row in rows]

    def costs_by_outcome(self) -> Sequence[tuple[str, SpendSummary]]:
        """The sums of every model and outcome, also of calls of which nothing was sent."""
        sql = f"""SELECT outcome, model, {", ".join(f"sum({name})" for name in _SUMS)} FROM costs
                  GROUP BY model, outcome ORDER BY model, outcome"""
        return [(row[0], _summary(row[1:])) for row in self._run(sql, ())]


class MoneyWrites(QueryBase):
    """Implements `ports.money.MoneyWrites`."""

    _spend: Spend

    def add_spend(self, day: str, job: Job, call: Call) -> None:
        """Add an ended call to the sums; written with those of the transaction's other calls."""
        spend = spend_days(call)
        sums = [getattr(spend, name) for name in _SUMS]
        key = (day, job.owner, job.group, spend.name, call.mode, job.template or "", call.outcome or "")
        self._spend[key] = [_add(a, b) for a, b in zip(self._spend.get(key, [None] * len(_SUMS)), sums, strict=True)]


def spend_rows(spend: Spend, part: str) -> Sequence[tuple[str, Sequence[Any]]]:
    """The statements that add those sums to that part, in one order for all machines."""
    return [(_ADD_SPEND, (*key, part, *sums)) for key, sums in sorted(spend.items())]


def _summary(row: Sequence[Any]) -> SpendSummary:
    name, *sums = row
    return SpendSummary(name=name, **dict(zip(_SUMS, sums, strict=True)))


def _add(a: Any, b: Any) -> Any:
    """The sum of two numbers; None counts nothing, and is the sum of none."""
    return b if a is None else a if b is None else a + b
