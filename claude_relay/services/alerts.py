"""Alerts for the operator: raised once per cause, sent by one of several processes until the alert URL accepts them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from ..core import alerts as rules
from ..core import damage, wire
from ..core.alerts import Alert, AlertFacts, DeadDeliveries, ModelUsage
from ..core.jobs.holds import PARK, Holds
from ..core.lazy_dataclass import dataclass
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..core.models.catalog import ModelCatalog
    from ..ports import LostStore, ReadTransaction, Transaction
    from .context import Context

#: Models change by the month: their usage is read once in this many seconds.
_MODELS_EVERY = 60.0
#: Number of the latest jobs whose models count as used.
_LATEST = 1000
#: A process that claimed an alert and has not settled it after this many seconds is considered dead.
_SENDING_TIMEOUT = 120.0
#: The shared value with the machines whose API has failed, and since when.
_FAILED_APIS = "failed_apis"
#: The notice of an end is deleted after this many seconds: by then it was sent, or given up.
_NOTICE_KEPT = 4 * 3600.0


@dataclass(frozen=True, kw_only=True)
class PendingAlert:
    """An alert that this process sends. Its id and bytes are the same at every attempt."""

    cause: str
    id: str
    body: bytes = field(repr=False)
    attempts: int


@dataclass(frozen=True, kw_only=True)
class _Observations:
    """Facts from outside the transaction."""

    disk: str | None
    models: Sequence[ModelUsage]
    uptime: float


class Alerts:
    """Use cases of the alert sender."""

    def __init__(
        self,
        context: Context,
        *,
        disk_problem: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._store, self._disk_problem = context, context.store, disk_problem
        self._clock = clock
        self._models_at = float("-inf")
        self._models: Sequence[ModelUsage] = ()

    def evaluate(
        self,
        *,
        settings: Sequence[tuple[str, str]] = (),
        watched_for: float = 0.0,
        on_resolved: Callable[[Mapping[str, Any]], None] = lambda notice: None,
    ) -> Sequence[Alert]:
        """
        Compare the stored alerts with the current causes; returns the new ones.

        `settings` are pairs of a setting and the model it names, `watched_for` the uptime of this process in seconds.
        `on_resolved` is called with the notice of each alert whose cause has ended.
        """
        seen = _Observations(disk=self._disk_problem(), models=self._retiring(settings), uptime=watched_for)

        # Most evaluations find no change: they only read.
        if not self._has_changes(seen):
            return []
        new, ended = self._update(seen)
        for notice in ended:
            on_resolved(notice)

        return new

    @transaction
    def record_end(self, tx: Transaction, alert: Alert, name: str) -> None:
        """Store the notice that the cause of an alert, which was not stored, has ended."""
        raised = rules.body(alert, now=tx.now)
        tx.add_alert_notice(f"{name}_resolved", wire.encode(rules.end_body(raised, now=tx.now)))

    @transaction
    def record_api_failure(self, tx: Transaction, host: str, since: float) -> None:
        """Store that the API of a machine has failed, until it starts again."""
        failed = tx.shared_value(_FAILED_APIS) or {}
        tx.set_shared_value(_FAILED_APIS, {host: since, **failed})

    def record_api_start(self, host: str) -> None:
        """Store that the API of a machine runs."""
        if host in self._failed_apis():
            self._forget_api_failure(host)

    @query
    def living_workers(self, tx: ReadTransaction, host: str) -> Sequence[str]:
        """The ids of the workers of a machine that have sent a recent heartbeat."""
        return [
            worker.id for worker in tx.workers() if worker.host == host and rules.is_handled(tx.now, [worker.seen_at])
        ]

    def current(self, *, settings: Sequence[tuple[str, str]] = ()) -> Sequence[Alert]:
        """The causes that need a person now; stores nothing, and sends nothing."""
        seen = _Observations(disk=self._disk_problem(), models=self._retiring(settings), uptime=float("inf"))

        return self._current(seen)

    def lost_store(self) -> tuple[Alert, LostStore] | None:
        """The alert for a store that is no longer at its path, with its rescue; it is not stored."""
        if (lost := self._store.lost()) is None:
            return None

        return rules.store_gone(lost.message, since=lost.since, command=lost.command), lost

    def claim(self) -> PendingAlert | None:
        """An alert that is due, for this process alone until it is settled."""
        return self._claim() if self._is_due() else None

    @query
    def has_unsent(self, tx: ReadTransaction) -> bool:
        """Whether an alert is due and there is no worker to send it."""
        seen = [worker.seen_at for worker in tx.workers()]

        return tx.alert_due() is not None and not rules.is_handled(tx.now, seen)

    def record_sent(self, alert: PendingAlert, *, taken: bool) -> bool:
        """Record an attempt; returns whether there will be another one."""
        delay = None if taken else rules.repeat_at(alert.attempts)
        self._record_sent(alert, delay)

        return delay is not None

    @transaction
    def release(self, tx: Transaction, alert: PendingAlert) -> None:
        """Return an alert that could not be sent from here: another process may, and the attempt does not count."""
        tx.save_alert_sending(alert.cause, attempts=alert.attempts - 1, due_at=tx.now)

    @query
    def _failed_apis(self, tx: ReadTransaction) -> Mapping[str, float]:
        return tx.shared_value(_FAILED_APIS) or {}

    @transaction
    def _forget_api_failure(self, tx: Transaction, host: str) -> None:
        failed = tx.shared_value(_FAILED_APIS) or {}
        tx.set_shared_value(_FAILED_APIS, {name: since for name, since in failed.items() if name != host})

    @query
    def _current(self, tx: ReadTransaction, seen: _Observations) -> Sequence[Alert]:
        return list(_current(tx, seen).values())

    @query
    def _is_due(self, tx: ReadTransaction) -> bool:
        return tx.alert_due() is not None

    @transaction
    def _claim(self, tx: Transaction) -> PendingAlert | None:
        if (due := tx.alert_due()) is None:
            return None
        cause, name, body, attempts = due
        tx.save_alert_sending(cause, attempts=attempts + 1, due_at=tx.now + _SENDING_TIMEOUT)

        return PendingAlert(cause=cause, id=name, body=body, attempts=attempts + 1)

    @transaction
    def _record_sent(self, tx: Transaction, alert: PendingAlert, delay: float | None) -> None:
        due_at = None if delay is None else tx.now + delay
        tx.save_alert_sending(alert.cause, attempts=alert.attempts, due_at=due_at)

    @query
    def _has_changes(self, tx: ReadTransaction, seen: _Observations) -> bool:
        stored = tx.alerts()

        return set(_current(tx, seen)) != set(stored) or any(gone_at is not None for _, gone_at in stored.values())

    @transaction
    def _update(self, tx: Transaction, seen: _Observations) -> tuple[Sequence[Alert], Sequence[Mapping[str, Any]]]:
        current, stored, ended = _current(tx, seen), tx.alerts(), []
        tx.delete_alert_notices(tx.now - _NOTICE_KEPT)
        for cause, (kind, gone_at) in stored.items():
            if cause in current:
                if gone_at is not None:
                    tx.mark_alert(cause, gone_at=None)
            elif tx.now - (tx.now if gone_at is None else gone_at) >= rules.RESOLVE_AFTER.get(kind, 0.0):
                ended.append(self._end(tx, cause))
            elif gone_at is None:
                tx.mark_alert(cause, gone_at=tx.now)
        new = [alert for cause, alert in current.items() if cause not in stored]
        for alert in new:
            body = wire.encode(rules.body(alert, now=tx.now))
            tx.add_alert(alert.cause, alert.kind, name=f"alert_{self._context.new_id(tx.now)}", body=body)

        return new, ended

    def _end(self, tx: Transaction, cause: str) -> Mapping[str, Any]:
        """Replace an alert by the notice of its end, which also says what the alert said."""
        notice = rules.end_body(json.loads(tx.delete_alert(cause)), now=tx.now)
        tx.add_alert_notice(f"alert_{self._context.new_id(tx.now)}", wire.encode(notice))

        return notice

    @query
    def _latest_models(self, tx: ReadTransaction) -> Mapping[str, int]:
        return tx.latest_models(limit=_LATEST)

    def _retiring(self, settings: Sequence[tuple[str, str]]) -> Sequence[ModelUsage]:
        """Models in use that have a retirement date."""
        if (now := self._clock()) - self._models_at < _MODELS_EVERY:
            return self._models
        catalog = self._context.model_catalog()
        by_jobs = self._latest_models()
        by_setting = {model: setting for setting, model in reversed(settings)}
        self._models = [
            ModelUsage(
                model=model,
                last_day=last_day,
                jobs=by_jobs.get(model, 0),
                setting=by_setting.get(model),
                successor=_successor(catalog, model),
            )
            for model in dict.fromkeys((*by_setting, *by_jobs))
            if (last_day := catalog.end_of(model)) is not None
        ]
        self._models_at = now

        return self._models


def _current(tx: ReadTransaction, seen: _Observations) -> dict[str, Alert]:
    """The alerts that the current facts call for, by cause."""
    return {alert.cause: alert for alert in rules.evaluate(_facts(tx, seen))}


def _facts(tx: ReadTransaction, seen: _Observations) -> AlertFacts:
    park = Holds(tx.holds(), tx.now).get(PARK)
    slowed = [destination for destination in tx.destinations() if destination.slowed]
    names = {destination.name for destination in slowed}
    waits = [due.due_at for due in tx.due_destinations() if due.due_at <= tx.now and due.destination not in names]
    if (oldest := tx.oldest_waiting()) is not None:
        waits.append(oldest)
    dead = [
        DeadDeliveries(destination=destination, count=count, since=since, last=last)
        for destination, count, since, last in tx.dead_deliveries(since=tx.now - rules.FAILURE_WAVE)
    ]

    return AlertFacts(
        now=tx.now,
        uptime=seen.uptime,
        waiting=tx.waiting(),
        parked=None if park is None else (park.reason, park.since),
        park_detail="" if park is None else park.detail,
        slowed_destinations=[(destination, tx.waiting_for(destination.name)) for destination in slowed],
        dead_deliveries=dead,
        disk=seen.disk,
        damage=tx.shared_value(damage.KEY),
        workers_seen=[worker.seen_at for worker in tx.workers()],
        failed_apis=list((tx.shared_value(_FAILED_APIS) or {}).items()),
        overdue_since=min(waits, default=None),
        models=seen.models,
        previous=tx.alerts().keys(),
    )


def _successor(catalog: ModelCatalog, model: str) -> str | None:
    """The newest model of the same line, where an alias names one."""
    line = next((word for word in ("opus", "sonnet", "haiku") if word in model), None)
    newer = (name for name in catalog.aliases.values() if line is not None and line in name and name != model)

    return next(newer, None)
