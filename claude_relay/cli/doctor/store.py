"""Checks of the store: intact, watched by a worker, and its queues making progress."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...config import Settings
from ...core import damage
from ...core.models import catalog
from ...errors import RelayError, StoreRefused, StoreUnavailable
from ...file_owner import split_fault
from ...services import Relay
from . import postgres, queue
from .finding import Finding, failure, ok, warning
from .system import STOP, System

#: A warning is due for a backup that is older than this, in seconds.
_MAX_BACKUP_AGE = 8 * 86400.0
#: Damaged rows that are named one by one.
_MAX_NAMED = 20
#: A warning is due for a model that retires within this time, in seconds.
_RETIREMENT_NOTICE = 60 * 86400.0


def check(settings: Settings, system: System, *, deep: bool = False) -> Iterator[Finding]:
    """Check the server of the store, then everything that requires an open store."""
    from ...wiring import engine_of, lost_with_container, open_relay

    if engine_of(settings).shared:
        findings = list(postgres.check(settings, system))
        yield from findings
        if any(finding.check == "store" and finding.result == "fail" for finding in findings):
            return
    if (discarded := lost_with_container(settings)) is not None:
        detail, _, fix = discarded.rpartition(": ")
        yield warning("store", detail, f"on the host: {fix}")
    if (lost := engine_of(settings).lost_store()) is not None:
        yield failure("store", f"{lost.message}: nothing is accepted", _bring_back(lost.command, system))
        return
    try:
        with open_relay(settings) as relay:
            yield from _rescued(engine_of(settings).rescued(), system)
            yield _integrity(relay, settings, system, deep=deep)
            yield from _digests(relay, system, deep=deep)
            for found, fix in engine_of(settings).restore_problems():
                yield failure("restore", found, fix)
            yield _worker(relay, system)
            yield from queue.check(relay.queries.overview(), system, max_queue=settings.max_queue)
            yield from backup(relay.queries.shared_value("backup"), system.now())
            yield from models(relay.queries.shared_value("models"), settings, system)
    except RelayError as exc:
        yield _not_opened(exc, settings, system)


def _integrity(relay: Relay, settings: Settings, system: System, *, deep: bool) -> Finding:
    from ...wiring import engine_of

    if (problem := relay.queries.check(deep=deep)) is not None:
        return failure("store", f"{settings.store_shown} is corrupt: {problem}", _restore_command(system))

    return ok("store", f"{settings.store_shown}, {'reachable' if engine_of(settings).shared else 'intact'}")


def _digests(relay: Relay, system: System, *, deep: bool) -> Iterator[Finding]:
    """Content that differs from its digest: with `deep` all that is stored, otherwise what the daemons have met."""
    note = relay.queries.shared_value(damage.KEY)
    if not deep:
        if isinstance(note, dict):
            detail = f"the disk has changed stored content: {note.get('what')} ({note.get('count')} cases)"
            yield failure("digests", detail, "claude-relay doctor --deep")
        return
    count = 0
    for request_id, what in relay.queries.damaged():
        count += 1
        if count <= _MAX_NAMED:
            yield failure("digests", f"{request_id}: {what}", _restore_command(system))
    if count > _MAX_NAMED:
        yield failure("digests", f"{count} rows are damaged in all", _restore_command(system))
    if not count:
        yield ok("digests", "every stored request, answer and callback is what was written")
        if isinstance(note, dict):
            yield warning("digests", f"met earlier, and cleared now: {note.get('what')}", "claude-relay list")
            relay.maintenance.set_shared(damage.KEY, None)


def _not_opened(exc: RelayError, settings: Settings, system: System) -> Finding:
    """The fault of a store that could not be opened."""
    from ...wiring import engine_of

    engine, shown = engine_of(settings), settings.store_shown
    path = engine.file
    if path is not None and isinstance(exc, StoreRefused):
        return failure("store", str(exc), _refusal_fix(str(exc), path, system, engine.rescued()))
    if path is not None and (reason := _lost_by_the_api(settings, path)) is not None:
        where = "journalctl -u 'claude-relay*'" if system.under_systemd else "their log"
        fix = f"do not stop or start a daemon yet; the command that brings it back is in {where}, and in the alert"
        return failure("store", reason, fix)
    if isinstance(exc, StoreUnavailable) and engine.is_missing(exc):
        start = "systemctl start claude-relay.target" if system.under_systemd else "claude-relay serve"
        return failure("store", f"there is none at {shown} yet", start)
    if path is None:
        return failure("store", str(exc), f"read the server's log, and: psql '{shown}' -c 'SELECT 1'")

    if (cured := split_fault(str(exc))) is not None:  # names a file that cannot be used
        return failure("store", *cured)

    return failure("store", str(exc), f"ls -la {path.parent}")


def _refusal_fix(error: str, path: Path, system: System, copies: Sequence[Path]) -> str:
    if "was saved in" in error and copies:
        return _restore_command(system, copies[-1])
    if "newer version" in error:
        return "make install, in a checkout of the newer version"
    if "is not the one" in error:
        return f"rm {path}.id, if the store was replaced on purpose; otherwise: {_restore_command(system)}"

    return _restore_command(system)


def _rescued(copies: Sequence[Path], system: System) -> Iterator[Finding]:
    """A store that was removed under the daemons, and whose content they saved: another one is in use since."""
    for copy in copies:
        detail = f"{copy} is what a store held when it was removed or replaced under the daemons; it is not in use"
        yield warning("store", detail, f"{_restore_command(system, copy)}; or, if it is not wanted: rm {copy}")


def _restore_command(system: System, file: Path = Path("/path/of/the/latest/backup")) -> str:
    """Restore a backup; the current store is kept beside it."""
    return _around(f"claude-relay restore {file}", system)


def _bring_back(command: str, system: System) -> str:
    """The command of the daemons around their restart; files that only they have are copied before it."""
    if "/proc/" not in command:
        return _around(command, system)

    return f"before a daemon is stopped: {command}; then stop and start them"


def _lost_by_the_api(settings: Settings, path: Path) -> str | None:
    """The fault that the API of this machine reports, where the folder of its store is missing."""
    if path.parent.exists():
        return None
    import requests

    try:
        url = f"http://127.0.0.1:{settings.port}/health/ready"
        reasons = requests.get(url, timeout=2, allow_redirects=False).json()["reasons"]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return None

    return next((str(each).partition(". See: ")[0] for each in reasons if str(path) in str(each)), None)


def _around(restore: str, system: System) -> str:
    """A command between the stop and the start of the daemons."""
    if not system.under_systemd:
        return f"stop the daemons, then: {restore}"
    start = "systemctl start claude-relay-api.socket claude-relay.target"

    return f"{STOP}; {restore} && systemctl reset-failed 'claude-relay*'; {start}"


def _worker(relay: Relay, system: System) -> Finding:
    for problem in relay.queries.readiness_problems():
        if problem.field == "worker":
            start = "systemctl restart claude-relay-worker" if system.under_systemd else "claude-relay worker"
            if system.elsewhere("worker"):
                start = "on the host: docker compose up --detach worker"
            elif system.container is not None:
                start = f"on the host: docker restart {socket.gethostname()}"
            elif _is_failing(system):
                start = f"first fix what `units` names below, then: {start}"
            return failure("worker", str(problem).partition(":")[0], start)

    return ok("worker", "seen lately")


def _is_failing(system: System) -> bool:
    """Whether systemd tries to start the worker, and it fails: another restart changes nothing."""
    output = system.run(("systemctl", "show", "--property=ActiveState,SubState", "claude-relay-worker.service"))

    return any(word in (output or "") for word in ("ActiveState=failed", "SubState=auto-restart"))


def backup(last: Any, now: float) -> Iterator[Finding]:
    """Check the age of the last backup; nothing where none was ever made here."""
    at, file = (last.get("at"), last.get("file", "FILE")) if isinstance(last, dict) else (None, "")
    if not isinstance(at, int | float):
        return
    days = (now - at) / 86400
    if now - at > _MAX_BACKUP_AGE:
        new_file = f"{Path(file).parent}/relay-$(date +%F).db"
        yield warning("backup", f"the last one is {days:.0f} days old ({file})", f"claude-relay backup {new_file}")
    else:
        yield ok("backup", f"{days:.1f} days old ({file})")


def models(memo: Any, settings: Settings, system: System) -> Iterator[Finding]:
    """Check that no model in the settings retires soon, by the list of the upstream or else the built-in one."""
    other_provider = isinstance(memo, dict) and memo.get("provider", settings.provider) != settings.provider
    current = catalog.BUILT_IN if other_provider else catalog.from_memo(memo)
    today, notice = (_day(at) for at in (system.now(), system.now() + _RETIREMENT_NOTICE))
    configured = {"RELAY_MODEL": (settings.model,), "RELAY_FALLBACK_MODELS": settings.fallback_models}
    for setting, names in configured.items():
        for name in names:
            retired, last_day = current.is_retired(name, today=today), current.end_of(name)
            if not retired and (last_day is None or last_day > notice):
                continue
            replaced = ",".join(_replacement(each, current) if each == name else each for each in names)
            until = f": its last day is {last_day}" if last_day else ""
            detail = f"{name} ({setting}) {'is retired' if retired else 'retires soon'}{until}"
            yield (failure if retired else warning)("models", detail, system.set_command(f"{setting}={replaced}"))


def _replacement(name: str, current: catalog.ModelCatalog) -> str:
    """The newest model of the same family that stays."""
    family = next((word for word in ("opus", "sonnet", "haiku") if word in name), "sonnet")
    alias = {"opus": "smart", "haiku": "cheap"}.get(family, "fast")

    return current.aliases.get(alias) or catalog.BUILT_IN.aliases[alias]


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))
