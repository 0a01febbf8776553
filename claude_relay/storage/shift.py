"""What moves along when the calendar is set: ?1 is by how many seconds, ?2 the time it is now."""

from __future__ import annotations

#: A start that was asked for as a point in time stays, and so does such a deadline.
SHIFT = (
    """UPDATE jobs SET due_at = due_at + CASE WHEN due_at = run_at THEN 0 ELSE ?1 END,
           rank = rank + CASE WHEN due_at = run_at THEN 0 ELSE ?1 END,
           deadline_at = deadline_at + CASE WHEN deadline_fixed = 1 THEN 0 ELSE ?1 END,
           run_started_at = run_started_at + ?1
       WHERE state IN ('queued', 'running', 'batched')""",
    """UPDATE calls SET started_at = started_at + ?1, first_byte_at = first_byte_at + ?1
       WHERE ended_at IS NULL AND job_id IN (SELECT id FROM jobs WHERE state IN ('running', 'batched'))""",
    """UPDATE deliveries SET due_at = due_at + ?1, since = since + ?1, opened_at = opened_at + ?1
       WHERE state IN ('pending', 'sending')""",
    """UPDATE destinations SET failing_since = failing_since + ?1, slowed_at = slowed_at + ?1,
           not_before = not_before + ?1""",
    "UPDATE alerts SET due_at = due_at + ?1, gone_at = gone_at + ?1",
    "UPDATE groups SET paused_at = paused_at + ?1, next_at = next_at + ?1",
    "UPDATE holds SET since = since + ?1, until = until + ?1",
    """UPDATE batches SET planned_at = planned_at + ?1, next_at = next_at + ?1, sent_at = sent_at + ?1,
           ended_at = ended_at + ?1, cancelled_at = cancelled_at + ?1, held_until = held_until + ?1
       WHERE state <> 'settled'""",
    "UPDATE workers SET seen_at = seen_at + ?1",
)
#: Back from a future that was a mistake: what ended there has ended now, or it would be kept until then.
ENDED = (
    "UPDATE jobs SET finished_at = ?2 WHERE finished_at > ?2",
    "UPDATE deliveries SET finished_at = ?2 WHERE finished_at > ?2",
    "UPDATE tombstones SET purged_at = ?2 WHERE purged_at > ?2",
    "UPDATE gone SET at = ?2 WHERE at > ?2",
)
