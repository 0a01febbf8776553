"""Statements for a step of the calendar clock. Parameters: the seconds in `SHIFT_TIMES`, now in `CLAMP_END_TIMES`."""

from __future__ import annotations

#: Relative times move along. A start or a deadline that was asked for as a point in time stays where it is.
SHIFT_TIMES = (
    """UPDATE jobs SET due_at = due_at + CASE WHEN due_at = run_at THEN 0 ELSE ? END,
           rank = rank + CASE WHEN due_at = run_at THEN 0 ELSE ? END,
           deadline_at = deadline_at + CASE WHEN deadline_fixed = 1 THEN 0 ELSE ? END,
           run_started_at = run_started_at + ?,
           times = times + CASE WHEN due_at = run_at THEN 0 ELSE ? END
               + CASE WHEN deadline_fixed = 1 OR deadline_at IS NULL THEN 0 ELSE ? END + ?
       WHERE id IN (SELECT id FROM jobs WHERE state = 'running'
                    UNION ALL SELECT id FROM jobs WHERE state IN ('queued', 'batched') AND state <> 'running')""",
    """UPDATE calls SET started_at = started_at + ?, first_byte_at = first_byte_at + ?
       WHERE ended_at IS NULL AND job_id IN (
           SELECT id FROM jobs WHERE state = 'running'
           UNION ALL SELECT id FROM jobs WHERE state = 'batched' AND state <> 'running')""",
    """UPDATE deliveries SET due_at = due_at + ?, not_ready_since = not_ready_since + ?, opened_at = opened_at + ?
       WHERE state IN ('pending', 'sending')""",
    """UPDATE destinations SET failing_since = failing_since + ?, slowed_at = slowed_at + ?,
           not_before = not_before + ?""",
    "UPDATE alerts SET due_at = due_at + ?, gone_at = gone_at + ?",
    "UPDATE groups SET paused_at = paused_at + ?, next_at = next_at + ?",
    "UPDATE holds SET since = since + ?, until = until + ?",
    """UPDATE batches SET planned_at = planned_at + ?, next_at = next_at + ?, sent_at = sent_at + ?,
           ended_at = ended_at + ?, cancelled_at = cancelled_at + ?, held_until = held_until + ?
       WHERE state <> 'settled'""",
    "UPDATE workers SET seen_at = seen_at + ?",
    "UPDATE collections SET touched_at = touched_at + ? WHERE phase <> 'finished'",
)
#: After a step back: rows that ended in the future have ended now. Otherwise they would be kept until then.
CLAMP_END_TIMES = (
    "UPDATE jobs SET times = times + ? - finished_at, finished_at = ? WHERE finished_at > ?",
    "UPDATE deliveries SET finished_at = ? WHERE finished_at > ?",
    "UPDATE collections SET finished_at = ? WHERE finished_at > ?",
    "UPDATE tombstones SET purged_at = ? WHERE purged_at > ?",
    "UPDATE gone SET at = ? WHERE at > ?",
)
