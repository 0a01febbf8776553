"""What an operator is told: once for each cause, by one process of several, until the alert URL has taken it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..core import alerts as rules
from ..core import wire
from ..core.alerts import Alert, Died, Facts, Used
from ..core.catalogue import Catalogue
from ..ports import Unit, View
from .values import Tools

#: Models change by the month: they are looked at once in so many seconds.
_MODELS_EVERY = 60.0
#: Jobs whose models are looked at.
_LATEST = 1000
#: A process that took it upon itself to tell, and is not back by then, has died over it.
_TELLING = 120.0


@dataclass(frozen=True, kw_only=True)
class ToTell:
    """An alert in the hands of whoever tells it. Its id and bytes are the same at every try."""

    cause: str
    id: str
    body: bytes = field(repr=False)
    tries: int


class Alarms:
    """The use cases of whoever watches."""

    def __init__(
        self,
        tools: Tools,
        *,
        known: Callable[[], Catalogue],
        room: Callable[[], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tools, self._store, self._known, self._room = tools, tools.store, known, room
        self._clock = clock
        self._models_at = float("-inf")
        self._models: Sequence[Used] = ()

    def look(self, *, settings: Sequence[tuple[str, str]] = (), watched_for: float = 0.0) -> Sequence[Alert]:
        """
        Hold what is told against what there is; answers the alerts that are new.

        `settings` are the models that are set, by the names of their settings.
        """
        models = self._retiring(settings)
        disk = self._room()

        def causes(view: View) -> dict[str, Alert]:
            facts = _facts(view, disk=disk, models=models, watched_for=watched_for)
            found = rules.present(facts)
            return {alert.cause: alert for alert in found}

        def differ(view: View) -> bool:
            known = view.alerts()
            present = set(causes(view))
            return present != set(known) or any(gone_at is not None for _, gone_at in known.values())

        # Most looks find nothing new: they only read.
        return self._store.write(lambda unit: self._note(unit, causes(unit))) if self._store.read(differ) else []

    def take(self) -> ToTell | None:
        """One that is to be told now; nobody else has it until it is settled."""
        if not self._store.read(lambda view: view.alert_due()):
            return None

        def claim(unit: Unit) -> ToTell | None:
            if (due := unit.alert_due()) is None:
                return None
            cause, name, body, tries = due
            unit.save_telling(cause, tries=tries + 1, due_at=unit.now + _TELLING)
            return ToTell(cause=cause, id=name, body=body, tries=tries + 1)

        return self._store.write(claim)

    def untold(self) -> bool:
        """Whether one is to be told now and no worker is there to do it."""

        def left_alone(view: View) -> bool:
            seen = [worker.seen_at for worker in view.workers()]
            return view.alert_due() is not None and not rules.attended(view.now, seen)

        return self._store.read(left_alone)

    def settle(self, told: ToTell, *, taken: bool) -> bool:
        """It was taken, or will be tried again a little later; answers whether there is a next try."""
        pause = None if taken else rules.tell_again(told.tries)

        def move(unit: Unit) -> None:
            unit.save_telling(told.cause, tries=told.tries, due_at=None if pause is None else unit.now + pause)

        self._store.write(move)

        return pause is not None

    def hand_back(self, told: ToTell) -> None:
        """It could not be tried from here: another process may, and the try does not count."""
        self._store.write(lambda unit: unit.save_telling(told.cause, tries=told.tries - 1, due_at=unit.now))

    def _note(self, unit: Unit, present: dict[str, Alert]) -> Sequence[Alert]:
        known = unit.alerts()
        for cause, (kind, gone_at) in known.items():
            if cause in present:
                if gone_at is not None:
                    unit.mark_alert(cause, gone_at=None)
            elif unit.now - (unit.now if gone_at is None else gone_at) >= rules.LINGER.get(kind, 0.0):
                unit.drop_alert(cause)
            elif gone_at is None:
                unit.mark_alert(cause, gone_at=unit.now)
        new = [alert for cause, alert in present.items() if cause not in known]
        for alert in new:
            body = wire.encode(rules.body(alert, now=unit.now))
            unit.add_alert(alert.cause, alert.kind, name=f"alert_{self._tools.new_id(unit.now)}", body=body)

        return new

    def _retiring(self, settings: Sequence[tuple[str, str]]) -> Sequence[Used]:
        """The models in use that have a last day."""
        if (now := self._clock()) - self._models_at < _MODELS_EVERY:
            return self._models
        catalogue = self._known()
        by_jobs = self._store.read(lambda view: view.latest_models(limit=_LATEST))
        named = {model: setting for setting, model in reversed(settings)}
        self._models = [
            Used(
                model=model,
                last_day=last_day,
                jobs=by_jobs.get(model, 0),
                setting=named.get(model),
                successor=_heir(catalogue, model),
            )
            for model in dict.fromkeys((*named, *by_jobs))
            if (last_day := catalogue.end_of(model)) is not None
        ]
        self._models_at = now

        return self._models


def _facts(view: View, *, disk: str | None, models: Sequence[Used], watched_for: float) -> Facts:
    park = next((hold for hold in view.holds() if hold.scope == "park"), None)
    slowed = [one for one in view.destinations() if one.slowed]
    names = {one.name for one in slowed}
    waits = [due.due_at for due in view.due_destinations() if due.due_at <= view.now and due.destination not in names]
    if (oldest := view.oldest_waiting()) is not None:
        waits.append(oldest)
    died = [
        Died(destination=destination, count=count, since=since, last=last)
        for destination, count, since, last in view.died_deliveries(since=view.now - rules.WAVE)
    ]

    return Facts(
        now=view.now,
        watched_for=watched_for,
        waiting=view.waiting(),
        parked=None if park is None else (park.reason, park.since),
        slowed=[(one, view.waiting_for(one.name)) for one in slowed],
        died=died,
        disk=disk,
        workers_seen=[worker.seen_at for worker in view.workers()],
        overdue_since=min(waits, default=None),
        models=models,
        told=view.alerts().keys(),
    )


def _heir(catalogue: Catalogue, model: str) -> str | None:
    """The newest of its line, where an alias names one."""
    line = next((word for word in ("opus", "sonnet", "haiku") if word in model), None)
    found = (name for name in catalogue.aliases.values() if line is not None and line in name and name != model)

    return next(found, None)
