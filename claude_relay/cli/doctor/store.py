"""The store: whole, watched by a worker, and its queues moving."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...config import Settings
from ...core.models import catalog
from ...errors import RelayError, StoreRefused, StoreUnavailable
from ...services import Relay
from . import postgres
from .finding import Finding, failure, ok, warning
from .system import System

#: A job that has been due for this long is worth a word, in seconds.
_LONG = 600.0
#: A backup that is older than this helps little, in seconds.
_OLD = 8 * 86400.0
#: A model that retires sooner than this is worth a word, in seconds.
_SOON = 60 * 86400.0


def check(settings: Settings, machine: System) -> Iterator[Finding]:
    """Everything that only an open store can tell."""
    from ...wiring import engine_of, open_relay

    if engine_of(settings).shared:
        yield from (found := list(postgres.check(settings, machine)))
        if any(one.check == "store" and one.result == "fail" for one in found):
            return
    try:
        with open_relay(settings) as relay:
            yield _whole(relay, settings, machine)
            yield from _workers(relay, machine)
            yield from moving(relay.queries.overview())
            yield from backup(relay.queries.shared_value("backup"), machine.now())
            yield from models(relay.queries.shared_value("models"), settings, machine)
    except RelayError as exc:
        yield _closed(exc, settings, machine)


def _whole(relay: Relay, settings: Settings, machine: System) -> Finding:
    from ...wiring import engine_of

    if (fault := relay.queries.check()) is not None:
        return failure("store", f"{settings.store_shown} is corrupt: {fault}", _restore(machine))

    return ok("store", f"{settings.store_shown}, {'at hand' if engine_of(settings).shared else 'whole'}")


def _closed(exc: RelayError, settings: Settings, machine: System) -> Finding:
    """Why it could not be opened; the sentence of a refusal names its cure."""
    from ...wiring import engine_of

    engine, where = engine_of(settings), settings.store_shown
    path = engine.file
    if path is not None and isinstance(exc, StoreRefused):
        return failure("store", str(exc), _refused(str(exc), path, machine))
    if isinstance(exc, StoreUnavailable) and engine.is_missing(exc):
        start = "systemctl start claude-relay.target" if machine.under_systemd else "claude-relay serve"
        return failure("store", f"there is none at {where} yet", start)
    if path is None:
        return failure("store", str(exc), f"look at the server's log, and: psql '{where}' -c 'SELECT 1'")

    return failure("store", str(exc), "sudo claude-relay doctor, as the store's owner or root")


def _refused(said: str, path: Path, machine: System) -> str:
    if "newer version" in said:
        return "make install, in a checkout of the newer version"
    if "is not the one" in said:
        return f"rm {path}.id, if it was put there on purpose; else: {_restore(machine)}"

    return _restore(machine)


def _restore(machine: System) -> str:
    """Put the latest backup back; what was there is kept beside it."""
    put_back = "claude-relay restore /path/of/the/latest/backup"
    if not machine.under_systemd:
        return f"stop the daemons, then: {put_back}"
    units = "claude-relay-api.socket claude-relay.target"

    return f"systemctl stop {units}; {put_back} && systemctl reset-failed 'claude-relay*'; systemctl start {units}"


def _workers(relay: Relay, machine: System) -> Iterator[Finding]:
    unready = relay.queries.readiness_problems()
    for problem in unready:
        if problem.field == "worker":
            start = "systemctl restart claude-relay-worker" if machine.under_systemd else "claude-relay worker"
            yield failure("worker", str(problem).partition(":")[0], start)
        else:
            yield warning(problem.field, str(problem).rpartition(":")[0], "claude-relay resume")
    if not any(problem.field == "worker" for problem in unready):
        yield ok("worker", "seen lately")


def moving(overview: dict[str, Any]) -> Iterator[Finding]:
    """Whether jobs and deliveries get on."""
    jobs, deliveries, oldest = overview["jobs"], overview["deliveries"], overview["oldestWaitingSeconds"]
    if oldest is not None and oldest > _LONG:
        found = f"{jobs['queued']} jobs wait, the oldest of those that are due for {oldest / 60:.0f} minutes"
        yield warning(
            "queue", found, "claude-relay status, and claude-relay why ID of the oldest says what it waits for"
        )
    if jobs["held"]:
        found = f"{jobs['held']} jobs are held: a crash broke off their call and they asked to wait for a person"
        yield warning("held", found, "claude-relay list --status pending, then: claude-relay retry ID, or cancel ID")
    for group in overview["paused"]:
        yield warning("groups", f"the group {group} is paused", f"claude-relay resume {group}")
    if deliveries["dead"]:
        found = f"{deliveries['dead']} callbacks were given up; the answers are kept"
        yield warning("deliveries", found, "claude-relay list --dead, then: claude-relay redeliver --dead")
    else:
        yield ok("deliveries", f"{deliveries['pending'] + deliveries['sending']} under way, none given up")


def backup(last: Any, now: float) -> Iterator[Finding]:
    """How old the last one is; nothing where none was ever made here."""
    at, file = (last.get("at"), last.get("file", "FILE")) if isinstance(last, dict) else (None, "")
    if not isinstance(at, int | float):
        return
    days = (now - at) / 86400
    if now - at > _OLD:
        fresh = f"{Path(file).parent}/relay-$(date +%F).db"
        yield warning("backup", f"the last one is {days:.0f} days old ({file})", f"claude-relay backup {fresh}")
    else:
        yield ok("backup", f"{days:.1f} days old ({file})")


def models(memo: Any, settings: Settings, machine: System) -> Iterator[Finding]:
    """Whether a model that the settings name is going away: by the list of the upstream, else by what we know."""
    other = isinstance(memo, dict) and memo.get("provider", settings.provider) != settings.provider
    known = catalog.BUILT_IN if other else catalog.from_memo(memo)
    today, soon = (_day(at) for at in (machine.now(), machine.now() + _SOON))
    named = {"RELAY_MODEL": (settings.model,), "RELAY_FALLBACK_MODELS": settings.fallback_models}
    for setting, names in named.items():
        for name in names:
            gone, last = known.is_gone(name, today=today), known.end_of(name)
            if not gone and (last is None or last > soon):
                continue
            others = ",".join(_instead(each, known) if each == name else each for each in names)
            found = (
                f"{name} ({setting}) {'is gone' if gone else 'goes away'}{f': its last day is {last}' if last else ''}"
            )
            yield (failure if gone else warning)("models", found, machine.put(f"{setting}={others}"))


def _instead(name: str, known: catalog.ModelCatalog) -> str:
    """The newest of its family that stays."""
    family = next((word for word in ("opus", "sonnet", "haiku") if word in name), "sonnet")
    word = {"opus": "smart", "haiku": "cheap"}.get(family, "fast")

    return known.aliases.get(word) or catalog.BUILT_IN.aliases[word]


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
