"""Who may read what: settings files, credentials, the store. A secret that others can read is none."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ...config import OPTIONS, Settings, store_passwords
from .finding import Finding, failure, ok, warning
from .system import AGAIN_FOR_SECRETS, System

#: What may lie among the credentials; and of it, what both daemons need, so that it may stand in the settings too.
_SECRETS = {row.name for row in OPTIONS if row.in_file}
_SHARED = {row.name for row in OPTIONS if row.may_hold_secret}
#: Without these a daemon does not start; with the sandbox the first is not needed.
_NEEDED = ("ANTHROPIC_API_KEY", "API_SECRET_KEY")


def check(settings: Settings | None, machine: System) -> Iterator[Finding]:
    """The files that hold settings and secrets, then the store."""
    from ...wiring import engine_of

    for path in (machine.env_file, machine.dotenv):
        yield from _env_file(path, machine)
    if machine.under_systemd or machine.credentials.exists():
        yield from _credentials(settings, machine)
    if settings is not None and (file := engine_of(settings).file) is not None:
        yield from _store(file)


def _env_file(path: Path, machine: System) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
        written = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # not there, or not ours to read: the settings say so where that matters
    lines = (line.partition("=") for line in written.splitlines() if not line.lstrip().startswith("#"))
    values = {name.strip(): value.strip().strip("'\"") for name, _, value in lines}
    held = sorted(name for name in values.keys() & _SECRETS if _is_secret(name, values[name]))
    if held and mode & 0o007:
        found = f"{path} can be read by everyone (mode {mode & 0o777:o}) and holds {', '.join(held)}"
        yield failure("permissions", found, f"chmod {'640' if path == machine.env_file else '600'} {path}")
    apart = [name for name in held if name not in _SHARED]
    if apart and path == machine.env_file and machine.under_systemd:
        name = apart[0]
        into = machine.credentials / name
        move = f"sed -n 's/^{name}=//p' {path} | install -m 600 /dev/stdin {into} && sed -i '/^{name}=/d' {path}"
        yield warning(
            "credentials",
            f"{name} stands in {path}: both daemons get it, and it hides the credential",
            f"{move} && {AGAIN_FOR_SECRETS}",
        )


def _is_secret(name: str, value: str) -> bool:
    return bool(value) and (name not in _SHARED or bool(store_passwords(value)))


def _credentials(settings: Settings | None, machine: System) -> Iterator[Finding]:
    folder = machine.credentials
    sandbox = settings is not None and settings.provider == "sandbox"
    needed = [name for name in _NEEDED if not (sandbox and name == "ANTHROPIC_API_KEY")]
    try:
        there = {path.name: path for path in folder.iterdir()}
    except FileNotFoundError:
        yield failure("credentials", f"{folder} is missing", "claude-relay config init --system")
        return
    except PermissionError:
        yield warning("credentials", f"{folder} cannot be looked into by this user", "sudo claude-relay doctor")
        return

    good = []
    sealed = {name.removesuffix(".cred") for name in there if name.endswith(".cred")}  # LoadCredentialEncrypted=
    for name in sorted({*needed, *there, *sealed}):
        path = folder / name
        if name in sealed and name not in there and name in _SECRETS:
            good.append(f"{name} (encrypted)")
            continue
        if name.removesuffix(".cred") in sealed & _SECRETS and name not in _SECRETS:
            continue
        if name not in _SECRETS:
            found = f"{path} is no secret of claude-relay's: nobody reads it"
            yield warning("credentials", found, f"rm {path}, or give it one of the names {', '.join(sorted(_SECRETS))}")
            continue
        fault = _credential(path, needed=name in needed)
        if fault is None:
            good.append(name)
        else:
            yield fault
    if good:
        yield ok("credentials", f"{', '.join(good)} in {folder}")


def _credential(path: Path, *, needed: bool) -> Finding | None:
    write = _write(path)
    try:
        told = path.stat()
    except FileNotFoundError:
        daemon = "worker" if path.name == "ANTHROPIC_API_KEY" else "API"
        return failure("credentials", f"{path} is missing: the {daemon} does not start", write)
    if told.st_mode & 0o077 or told.st_uid != 0:
        who = f"mode {stat.S_IMODE(told.st_mode):o}, owner {told.st_uid}"
        mend = f"chown root: {path} && chmod 600 {path}"
        return failure("credentials", f"{path} can be read by others than root ({who})", mend)
    if told.st_size == 0 or (os.access(path, os.R_OK) and not path.read_bytes().strip()):
        say = failure if needed else warning
        return say("credentials", f"{path} is empty", write if needed else f"rm {path}, or {write}")

    return None


def _write(path: Path) -> str:
    if path.name == "API_SECRET_KEY":
        return f"openssl rand -hex 32 | install -m 600 /dev/stdin {path} && {AGAIN_FOR_SECRETS}"
    if path.name == "RELAY_WEBHOOK_SECRET":
        return f'echo "whsec_$(openssl rand -base64 32)" | install -m 600 /dev/stdin {path} && {AGAIN_FOR_SECRETS}'

    what = "postgresql://USER:PASSWORD@HOST/NAME" if path.name == "RELAY_STORE" else "the key"

    return f"install -m 600 /dev/stdin {path}   (paste {what}, Enter, Ctrl-D), then: {AGAIN_FOR_SECRETS}"


def _store(path: Path) -> Iterator[Finding]:
    for each in (path, path.with_name(path.name + "-wal")):
        try:
            mode = each.stat().st_mode & 0o777
        except OSError:
            continue
        if mode & 0o007:
            yield failure("permissions", f"{each} can be read by everyone (mode {mode:o})", f"chmod 640 {each}")
    folder = next((parent for parent in path.parents if parent.exists()), Path("/"))
    if not os.access(folder, os.W_OK | os.X_OK):
        found = f"this user may not write in {folder}, where the store is"
        if folder != path.parent:
            mend = f"sudo claude-relay migrate, or name another store: RELAY_STORE=sqlite:///{Path.home()}/relay.db"
        else:
            mend = "run it with sudo, or join the group: sudo usermod -aG claude-relay $USER, and log in again"
        yield warning("permissions", found, mend)
