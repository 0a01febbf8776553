"""`doctor`: what is wrong, and the command that mends it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from ..core.sizes import format_size
from ..errors import RelayError
from .output import Output, json_option, pass_output


@dataclass(frozen=True)
class Finding:
    """One check: `ok`, `warn` or `fail`, what was found and what mends it."""

    check: str
    result: str
    found: str
    mend: str = ""


@click.command()
@json_option
@pass_output
def doctor(output: Output) -> int:
    """Check settings, store, disk, clock, keys and worker; exit 1 if something is broken."""
    findings = list(_checks(output))
    if output.json:
        for finding in findings:
            output.record(asdict(finding))
    else:
        output.rows(
            ("", "CHECK", "FOUND", "MEND"), [(one.result, one.check, one.found, one.mend or "") for one in findings]
        )

    return 1 if any(one.result == "fail" for one in findings) else 0


def _checks(output: Output) -> Iterator[Finding]:
    settings = output.settings  # a fault here is exit 78, with a sentence for each
    yield Finding("settings", "ok", "all values are good")
    yield from _keys(output)
    if settings.public_url is None:
        yield Finding(
            "public url", "warn", "RELAY_PUBLIC_URL is not set: ackUrl is null, resultUrl has no host", "set it"
        )
    else:
        yield Finding("public url", "ok", settings.public_url)
    yield _clock()
    path = settings.store_path
    if path is not None:
        yield _disk(path, settings.disk_floor)
        yield from _store(output, path)


def _keys(output: Output) -> Iterator[Finding]:
    settings = output.settings
    if settings.provider == "sandbox":
        yield Finding("upstream", "warn", "the sandbox answers, not Claude", "RELAY_PROVIDER=anthropic")
    elif settings.anthropic_api_key is None:
        yield Finding("upstream", "fail", "ANTHROPIC_API_KEY is not set: the worker does not start", "set it")
    else:
        yield Finding("upstream", "ok", "a key is set")
    secret = settings.api_secret_key
    if secret is None:
        yield Finding(
            "api key", "fail", "API_SECRET_KEY is not set: the API does not start", "claude-relay config init"
        )
    elif len(secret) < 16:
        yield Finding(
            "api key", "warn", f"API_SECRET_KEY has {len(secret)} letters: it can be guessed", "use 32 or more"
        )
    else:
        yield Finding("api key", "ok", "set")
    if not settings.webhook_secret:
        yield Finding("signing", "warn", "RELAY_WEBHOOK_SECRET is not set: callbacks are not signed", "set it")
    else:
        yield Finding("signing", "ok", f"{len(settings.webhook_secret)} secret(s)")


def _clock() -> Finding:
    if time.time() < 1_767_225_600:  # 2026
        return Finding("clock", "fail", "the clock stands before 2026", "timedatectl set-ntp true")

    return Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _disk(path: Path, floor: int) -> Finding:
    folder = next((each for each in path.parents if each.exists()), Path("/"))
    free = shutil.disk_usage(folder).free
    if free < floor:
        found = (
            f"{free // 2**20} MiB free under {folder}, RELAY_DISK_FLOOR is {format_size(floor)}: nothing is accepted"
        )
        return Finding("disk", "fail", found, "make room")

    return Finding("disk", "ok", f"{free // 2**20} MiB free under {folder}")


def _store(output: Output, path: Path) -> Iterator[Finding]:
    from ..storage.sqlite import sqlite_version
    from ..wiring import open_relay

    version, safe = sqlite_version()
    if safe:
        yield Finding("sqlite", "ok", version)
    else:
        found = f"{version} has the WAL-reset bug: the store uses a rollback journal, which is slower"
        yield Finding("sqlite", "warn", found, "pip install --upgrade apsw")
    try:
        with open_relay(output.settings) as relay:
            fault = relay.read.check()
            unready = relay.read.unready()
    except RelayError as exc:
        yield Finding("store", "fail", str(exc), "claude-relay serve makes one where there is none")
        return
    if fault is not None:
        yield Finding("store", "fail", f"{path} is corrupt: {fault}", "restore the latest backup")
    else:
        yield Finding("store", "ok", str(path))
    if (mode := path.stat().st_mode & 0o777) & 0o007:
        yield Finding("permissions", "fail", f"{path} can be read by everyone (mode {mode:o})", f"chmod 640 {path}")
    for problem in unready:
        mend = "claude-relay worker" if problem.field == "worker" else "claude-relay resume"
        yield Finding(problem.field, "fail" if problem.field == "worker" else "warn", str(problem), mend)
    if not unready:
        yield Finding("worker", "ok", "seen lately")
