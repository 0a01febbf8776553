"""What was spent, in SQL: a part of `ports.View` and of `ports.Unit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...core.jobs.change import Call
from ...core.jobs.job import Job
from ...core.money.spend import SpendSummary, spend_days

_COLUMNS = {"day": "day", "key": "owner", "model": "model", "group": "grp", "mode": "mode"}
_SUMS = ("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "usd", "unpriced")
# One more try of the same day, owner, group, model and mode. A sum of prices stays unknown until one is known.
_ADD = f"""
INSERT INTO costs (day, owner, grp, model, mode, {", ".join(_SUMS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, owner, grp, model, mode) DO UPDATE SET
    {", ".join(f"{name} = costs.{name} + excluded.{name}" for name in _SUMS if name != "usd")},
    usd = CASE WHEN costs.usd IS NULL THEN excluded.usd ELSE costs.usd + coalesce(excluded.usd, 0) END"""


class LedgerReads:
    """The questions."""

    _run: Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]

    def spent(self, day: str) -> dict[str, float]:
        """What each owner has spent that UTC day, in dollars."""
        found = self._run("SELECT owner, sum(usd) FROM costs WHERE day = ? GROUP BY owner", (day,))
        return {owner: usd or 0.0 for owner, usd in found}

    def reserved(self) -> dict[str, float]:
        """What the calls under way may come to, by owner."""
        sql = """SELECT j.owner, sum(c.reserved_usd) FROM jobs j JOIN calls c ON c.job_id = j.id AND c.number = j.calls
                 WHERE j.state IN ('running', 'batched') GROUP BY j.owner"""
        return {owner: usd or 0.0 for owner, usd in self._run(sql, ())}

    def costs(self, *, by: str, since: str | None = None, owner: str | None = None) -> Sequence[SpendSummary]:
        """The sums by day, key, model, group or mode, from that UTC day on, of one owner or of all."""
        column = _COLUMNS[by]
        sql = f"""SELECT {column}, {", ".join(f"sum({name})" for name in _SUMS)} FROM costs
                  WHERE (? IS NULL OR day >= ?) AND (? IS NULL OR owner = ?) GROUP BY {column} ORDER BY {column}"""
        found = self._run(sql, (since, since, owner, owner))
        return [SpendSummary(name=row[0], **dict(zip(_SUMS, row[1:], strict=True))) for row in found]


class LedgerWrites(LedgerReads):
    """And what is written."""

    def add_spend(self, day: str, job: Job, call: Call) -> None:
        """Add an ended try to the sums."""
        spent = spend_days(call)
        told = [getattr(spent, name) for name in _SUMS]
        self._run(_ADD, (day, job.owner, job.group, spent.name, call.mode, *told))
