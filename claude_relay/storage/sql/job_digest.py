"""
The digest of a job's row, and the sum of its times: both show damage.

Transitions write the digest. Times that other statements move are covered by a sum, which SQL can move along.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ...core.digests import digest
from ...errors import Damaged

if TYPE_CHECKING:
    from .query import Row

#: The columns of a job.
COLUMNS = (
    "id owner request_id body_hash state version created_at updated_at due_at priority rank grp model family mode"
    " on_interrupt retain deadline_at deadline_asked deadline_fixed run_at has_webhook run run_started_at calls attempt"
    " failures interruptions unsent ambiguous lease_worker lease_token lease_expires_at sent cancel_requested_at"
    " waiting_for finished_at error_type error prompt_length response_length usage cost_usd lane give_up_at fallbacks"
    " waiting_error checks flow template collection row_no digest times"
).split()
#: Columns that `times` is the sum of. `rank` follows `due_at`; the end of a lease may be any.
_TIMES = "due_at run_started_at deadline_at finished_at sent".split()
_INDEX = {name: index for index, name in enumerate(COLUMNS)}
_NOT_IN_DIGEST = (*_TIMES, "rank", "lease_expires_at", "digest", "times")
_in_digest = itemgetter(*(_INDEX[name] for name in COLUMNS if name not in _NOT_IN_DIGEST))
#: One tuple: a union would be made for each value.
_NUMBERS = (int, float)
#: Seconds by which sums may differ after rounding.
_ROUNDING = 0.01


def of(row: Row) -> bytes:
    """The digest of a row. Engines differ in 1 and 1.0, and in -0.0."""
    text = repr([float(value) + 0.0 if isinstance(value, _NUMBERS) else value for value in _in_digest(row)])

    return digest(text.replace(r"\x00", "\ufffd"))  # as PostgreSQL stores a zero byte


def sum_of_times(row: Row) -> float:
    """The value of `times` for a row."""
    return float(sum(row[_INDEX[name]] or 0 for name in _TIMES))


def assignment(changed: Mapping[str, Any]) -> tuple[str, float]:
    """
    The part of an UPDATE that sets `times`, and its parameter.

    The statement adds the columns that do not change: others may have moved them since the row was read.
    """
    kept = "".join(f" + coalesce({name}, 0)" for name in _TIMES if name not in changed)

    return f"times = ?{kept}", float(sum(changed[name] or 0 for name in _TIMES if name in changed))


def check(row: Row) -> None:
    """Raise `Damaged` for a row that is not what was written."""
    due_at, priority, rank, times = (row[_INDEX[name]] for name in ("due_at", "priority", "rank", "times"))
    # Not "greater than": a damaged number may be none at all, and nothing is greater than that.
    plausible = abs(sum_of_times(row) - times) <= _ROUNDING and abs(due_at - priority - rank) <= _ROUNDING
    if not plausible or bytes(row[_INDEX["digest"]]) != of(row):
        raise Damaged(f"the row of job {row[_INDEX['request_id']]}")
