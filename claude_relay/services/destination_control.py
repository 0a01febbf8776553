"""Pause and resume the deliveries to one destination, try it now, or send it a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.deliveries import destination as destinations
from ..core.deliveries import transitions as delivery_transitions
from ..core.deliveries.delivery import destination_of
from ..core.jobs import endings, transitions
from ..core.jobs.failure import Completion
from ..core.jobs.holds import HoldScope, QueueHold
from ..core.jobs.submission import StoredRequest, Submission
from ..core.text.ids import uuid7
from ..errors import Conflict, InvalidRequest
from . import outcomes
from .submit import new_job
from .transactions import transaction

if TYPE_CHECKING:
    from ..core.jobs.job import Job
    from ..ports import Transaction
    from .context import Context

#: The answer of a sample, and the prompt that stands in its record.
SAMPLE = "This is a sample callback of claude-relay. No call was made, and nothing was paid."
#: The model of a sample, which no call can name.
SAMPLE_MODEL = "sample"


class DestinationControl:
    """Actions of the operator on destinations."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store

    def pause(self, name: str) -> None:
        """Send nothing more to a destination; its deliveries wait, and none expires for it."""
        self._pause(_checked(name))

    def resume(self, name: str) -> None:
        """Send to a destination again, at once where it was failing."""
        self._resume(_checked(name))
        self._context.notifier.notify()

    def send_sample(self, url: str, *, owner: str) -> Job:
        """Send a callback like any other to a URL, which was checked before; the job is its record."""
        job = self._send_sample(url, owner)
        self._context.notifier.notify()

        return job

    @transaction
    def _pause(self, tx: Transaction, name: str) -> None:
        tx.save_hold(QueueHold(scope=HoldScope.destination(name), reason="paused", since=tx.now))

    @transaction
    def _resume(self, tx: Transaction, name: str) -> None:
        paused = tx.delete_hold(HoldScope.destination(name))
        destination = tx.destination(name)
        if destination is None and paused is None:
            raise Conflict(f"{name} is neither paused nor failing")
        if destination is None or not destination.slowed:
            return
        tx.save_destination(destinations.probe_soon(destination, now=tx.now))
        for delivery in tx.waiting_deliveries(name, opened_before=tx.now, limit=1):
            tx.save_delivery(delivery_transitions.redeliver(delivery, now=tx.now, url=delivery.url))

    @transaction
    def _send_sample(self, tx: Transaction, url: str, owner: str) -> Job:
        now = tx.now
        request_id = f"sample-{uuid7(now, self._context.rng.randbytes(10))}"
        sample = Submission(
            request_id=request_id,
            body_hash="",
            request={"prompt": SAMPLE},
            model=SAMPLE_MODEL,
            prompt_length=len(SAMPLE),
            webhook_url=url,
            metadata={"sample": True},
        )
        job = new_job(sample, self._context, owner=owner, request_id=request_id, now=now)
        tx.add(transitions.submit(job, now=now), StoredRequest.of(job.id, sample))
        done = Completion(
            text=SAMPLE, model=SAMPLE_MODEL, stop_reason="end_turn", usage={"input_tokens": 0, "output_tokens": 0}
        )
        change = endings.complete_sample(job, SAMPLE, now=now)

        return outcomes.save_transition(tx, change, self._context, done=done).job


def _checked(name: str) -> str:
    """The name, if it is that of a destination; raises `InvalidRequest`."""
    if not name.startswith(("http://", "https://")) or destination_of(name) != name or len(name) > 300:
        problem = "must be scheme, host and port of a webhook, such as https://hook.example"
        raise InvalidRequest.at("destination", problem)

    return name
