"""Cut-offs and eligibility by time: purge, given-back deadlines, reminders, uploaded files."""

from __future__ import annotations

from .deliveries.delivery import DeliveryState
from .jobs.job import Retain, State
from .lazy_dataclass import dataclass

#: An uploaded file that expires sooner than this is not used any more: the call must reach it first. In seconds.
UPLOAD_MARGIN = 900.0

#: Only a result whose content is still stored can be sent again, and so be the subject of a reminder.
REMINDABLE = (Retain.FULL,)

#: A job with such a delivery is never purged: its result is still on the way.
OPEN_DELIVERIES = (DeliveryState.PENDING, DeliveryState.SENDING)


@dataclass(frozen=True, kw_only=True)
class PurgeCutoffs:
    """
    Cut-offs of the purge: the time before which a job must have ended, by how it ended.

    Completed jobs have the short retention. Failed and cancelled ones have the long one, and so does a completed job
    whose delivery is dead: its result has not arrived yet. Retention runs from the end of the delivery.
    """

    done_before: float
    failed_before: float

    #: States with the short retention, and the deliveries that exclude a job from it.
    done_states = (State.COMPLETED,)
    undelivered = (DeliveryState.DEAD,)

    @property
    def latest(self) -> float:
        """A job that ended after this is not purged, however it ended."""
        return max(self.done_before, self.failed_before)

    def is_purgeable(
        self, state: State, *, finished_at: float, delivery: DeliveryState | None, delivered_at: float | None
    ) -> bool:
        """Whether an ended job is past its retention; `delivery` is that of its latest run."""
        if delivery in OPEN_DELIVERIES or finished_at > self.latest:
            return False
        short = state in self.done_states and delivery not in self.undelivered
        ended_at = finished_at if delivered_at is None else delivered_at

        return ended_at <= (self.done_before if short else self.failed_before)


@dataclass(frozen=True, kw_only=True)
class DeadlineExtension:
    """Time that waiting jobs could not use, from `since` to `until`, and that their default deadlines get back."""

    since: float
    until: float

    @property
    def seconds(self) -> float:
        """The full length of the interruption."""
        return max(0.0, self.until - self.since)

    def seconds_for(self, run_started_at: float) -> float:
        """The part of it in which a run that started then was waiting."""
        return max(0.0, self.until - max(self.since, run_started_at))


def upload_usable_after(now: float) -> float:
    """The time that an uploaded file must outlive to be used in a call that starts now."""
    return now + UPLOAD_MARGIN
