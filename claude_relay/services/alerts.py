"""What an operator is told: once for each cause, by one process of several, until the alert URL has taken it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..core import alerts as rules
from ..core import wire
from ..core.alerts import Alert, AlertFacts, DeadDeliveries, ModelUsage
from ..core.jobs.holds import PARK, Holds
from ..core.models.catalog import ModelCatalog
from ..ports import ReadTransaction, Transaction
from .context import Context

#: Models change by the month: they are looked at once in so many seconds.
_MODELS_EVERY = 60.0
#: Jobs whose models are looked at.
_LATEST = 1000
#: A process that took it upon itself to tell, and is not back by then, has died over it.
_TELLING = 120.0


@dataclass(frozen=True, kw_only=True)
class PendingAlert:
    """An alert in the hands of whoever tells it. Its id and bytes are the same at every try."""

    cause: str
    id: str
    body: bytes = field(repr=False)
    attempts: int


class Alerts:
    """The use cases of whoever watches."""

    def __init__(
        self,
        context: Context,
        *,
        known: Callable[[], ModelCatalog],
        room: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._store, self._known, self._room = context, context.store, known, room
        self._clock = clock
        self._models_at = float("-inf")
        self._models: Sequence[ModelUsage] = ()

    def evaluate(self, *, settings: Sequence[tuple[str, str]] = (), watched_for: float = 0.0) -> Sequence[Alert]:
        """
        Hold what is told against what there is; answers the alerts that are new.

        `settings` are the models that are set, by the names of their settings.
        """
        models = self._retiring(settings)
        disk = self._room()

        def causes(tx: ReadTransaction) -> dict[str, Alert]:
            facts = _facts(tx, disk=disk, models=models, watched_for=watched_for)
            found = rules.evaluate(facts)
            return {alert.cause: alert for alert in found}

        def differ(tx: ReadTransaction) -> bool:
            known = tx.alerts()
            present = set(causes(tx))
            return present != set(known) or any(gone_at is not None for _, gone_at in known.values())

        # Most looks find nothing new: they only read.
        return self._store.write(lambda tx: self._note(tx, causes(tx))) if self._store.read(differ) else []

    def claim(self) -> PendingAlert | None:
        """One that is to be told now; nobody else has it until it is settled."""
        if not self._store.read(lambda tx: tx.alert_due()):
            return None

        def claim(tx: Transaction) -> PendingAlert | None:
            if (due := tx.alert_due()) is None:
                return None
            cause, name, body, tries = due
            tx.save_alert_sending(cause, tries=tries + 1, due_at=tx.now + _TELLING)
            return PendingAlert(cause=cause, id=name, body=body, attempts=tries + 1)

        return self._store.write(claim)

    def has_unsent(self) -> bool:
        """Whether one is to be told now and no worker is there to do it."""

        def left_alone(tx: ReadTransaction) -> bool:
            seen = [worker.seen_at for worker in tx.workers()]
            return tx.alert_due() is not None and not rules.is_handled(tx.now, seen)

        return self._store.read(left_alone)

    def record_sent(self, told: PendingAlert, *, taken: bool) -> bool:
        """It was taken, or will be tried again a little later; answers whether there is a next try."""
        pause = None if taken else rules.repeat_at(told.attempts)

        def move(tx: Transaction) -> None:
            tx.save_alert_sending(told.cause, tries=told.attempts, due_at=None if pause is None else tx.now + pause)

        self._store.write(move)

        return pause is not None

    def release(self, told: PendingAlert) -> None:
        """It could not be tried from here: another process may, and the try does not count."""
        self._store.write(lambda tx: tx.save_alert_sending(told.cause, tries=told.attempts - 1, due_at=tx.now))

    def _note(self, tx: Transaction, present: dict[str, Alert]) -> Sequence[Alert]:
        known = tx.alerts()
        for cause, (kind, gone_at) in known.items():
            if cause in present:
                if gone_at is not None:
                    tx.mark_alert(cause, gone_at=None)
            elif tx.now - (tx.now if gone_at is None else gone_at) >= rules.RESOLVE_AFTER.get(kind, 0.0):
                tx.delete_alert(cause)
            elif gone_at is None:
                tx.mark_alert(cause, gone_at=tx.now)
        new = [alert for cause, alert in present.items() if cause not in known]
        for alert in new:
            body = wire.encode(rules.body(alert, now=tx.now))
            tx.add_alert(alert.cause, alert.kind, name=f"alert_{self._context.new_id(tx.now)}", body=body)

        return new

    def _retiring(self, settings: Sequence[tuple[str, str]]) -> Sequence[ModelUsage]:
        """The models in use that have a last day."""
        if (now := self._clock()) - self._models_at < _MODELS_EVERY:
            return self._models
        catalogue = self._known()
        by_jobs = self._store.read(lambda tx: tx.latest_models(limit=_LATEST))
        named = {model: setting for setting, model in reversed(settings)}
        self._models = [
            ModelUsage(
                model=model,
                last_day=last_day,
                jobs=by_jobs.get(model, 0),
                setting=named.get(model),
                successor=_successor(catalogue, model),
            )
            for model in dict.fromkeys((*named, *by_jobs))
            if (last_day := catalogue.end_of(model)) is not None
        ]
        self._models_at = now

        return self._models


def _facts(tx: ReadTransaction, *, disk: str | None, models: Sequence[ModelUsage], watched_for: float) -> AlertFacts:
    park = Holds(tx.holds(), tx.now).get(PARK)
    slowed = [one for one in tx.destinations() if one.slowed]
    names = {one.name for one in slowed}
    waits = [due.due_at for due in tx.due_destinations() if due.due_at <= tx.now and due.destination not in names]
    if (oldest := tx.oldest_waiting()) is not None:
        waits.append(oldest)
    died = [
        DeadDeliveries(destination=destination, count=count, since=since, last=last)
        for destination, count, since, last in tx.dead_deliveries(since=tx.now - rules.FAILURE_WAVE)
    ]

    return AlertFacts(
        now=tx.now,
        uptime=watched_for,
        waiting=tx.waiting(),
        parked=None if park is None else (park.reason, park.since),
        slowed_destinations=[(one, tx.waiting_for(one.name)) for one in slowed],
        dead_deliveries=died,
        disk=disk,
        workers_seen=[worker.seen_at for worker in tx.workers()],
        overdue_since=min(waits, default=None),
        models=models,
        previous=tx.alerts().keys(),
    )


def _successor(catalogue: ModelCatalog, model: str) -> str | None:
    """The newest of its line, where an alias names one."""
    line = next((word for word in ("opus", "sonnet", "haiku") if word in model), None)
    found = (name for name in catalogue.aliases.values() if line is not None and line in name and name != model)

    return next(found, None)
