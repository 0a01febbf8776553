"""Checks of file permissions: settings, credentials and the store. A secret that others can read is not secret."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from ...config import OPTIONS, Settings, secret_problem, store_passwords
from ...errors import ConfigError
from ...file_owner import access_fault, split_fault, user_name, wanted_owner
from .finding import Finding, failure, ok, warning
from .system import RESTART_FOR_SECRETS, System

#: The user that has to own the credentials: root.
_CREDENTIALS_OWNER = 0
#: Options that may be a credential; and those that both daemons need, which may be set in the settings file too.
_SECRETS = {row.name for row in OPTIONS if row.in_file}
_SHARED = {row.name for row in OPTIONS if row.may_hold_secret}
#: Without these a daemon does not start; the sandbox needs no Anthropic key.
_REQUIRED = ("ANTHROPIC_API_KEY", "API_SECRET_KEY")


def check(settings: Settings | None, system: System) -> Iterator[Finding]:
    """Check the files that hold settings and secrets, then the store."""
    from ...wiring import engine_of

    for path in (system.env_file, system.dotenv):
        yield from _env_file(path, system)
    if system.under_systemd or system.credentials.exists():
        yield from _credentials(settings, system)
    if settings is not None and (file := engine_of(settings).file) is not None:
        yield from _store(file)
        if system.container is None:  # there, files are of any uid, and the group of the volume writes them
            foreign = list(_owners(file.parent, system))
            yield from foreign or _as_daemon(system)
        elif (fault := access_fault(file)) is not None:
            yield failure("permissions", *fault)


def _env_file(path: Path, system: System) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
        content = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # missing, or not readable by us: the check of the settings reports that where it matters
    lines = (line.partition("=") for line in content.splitlines() if not line.lstrip().startswith("#"))
    values = {name.strip(): value.strip().strip("'\"") for name, _, value in lines}
    secrets = sorted(name for name in values.keys() & _SECRETS if _is_secret(name, values[name]))
    if secrets and mode & 0o007:
        detail = f"{path} can be read by everyone (mode {mode & 0o777:o}) and holds {', '.join(secrets)}"
        yield failure("permissions", detail, f"chmod {'640' if path == system.env_file else '600'} {path}")
    of_one_daemon = [name for name in secrets if name not in _SHARED]
    if of_one_daemon and path == system.env_file and system.under_systemd:
        name = of_one_daemon[0]
        credential = system.credentials / name
        move = f"sed -n 's/^{name}=//p' {path} | install -m 600 /dev/stdin {credential} && sed -i '/^{name}=/d' {path}"
        yield warning(
            "credentials",
            f"{name} is set in {path}: both daemons get it, and it hides the credential",
            f"{move} && {RESTART_FOR_SECRETS}",
        )


def _is_secret(name: str, value: str) -> bool:
    return bool(value) and (name not in _SHARED or bool(store_passwords(value)))


def _credentials(settings: Settings | None, system: System) -> Iterator[Finding]:
    folder = system.credentials
    sandbox = settings is not None and settings.provider == "sandbox"
    required = [name for name in _REQUIRED if not (sandbox and name == "ANTHROPIC_API_KEY")]
    try:
        files = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        yield failure("credentials", f"{folder} is missing", "claude-relay config init --system")
        return
    except PermissionError:
        yield warning("credentials", f"{folder} cannot be listed by this user", "sudo claude-relay doctor")
        return

    good = []
    encrypted = {name.removesuffix(".cred") for name in files if name.endswith(".cred")}  # LoadCredentialEncrypted=
    for name in sorted({*required, *files, *encrypted}):
        path = folder / name
        if name in encrypted and name not in files and name in _SECRETS:
            good.append(f"{name} (encrypted)")
            continue
        if name.removesuffix(".cred") in encrypted & _SECRETS and name not in _SECRETS:
            continue
        if name not in _SECRETS:
            detail = f"{path} is no secret of claude-relay: it is not used"
            fix = f"rm {path}, or give it one of the names {', '.join(sorted(_SECRETS))}"
            yield warning("credentials", detail, fix)
            continue
        fault = _credential(path, required=name in required)
        if fault is None:
            good.append(name)
        else:
            yield fault
    if good:
        yield ok("credentials", f"{', '.join(good)} in {folder}")


def _credential(path: Path, *, required: bool) -> Finding | None:
    write = _write_command(path)
    try:
        info = path.stat()
    except FileNotFoundError:
        daemon = "worker" if path.name == "ANTHROPIC_API_KEY" else "API"
        return failure("credentials", f"{path} is missing: the {daemon} does not start", write)
    if info.st_mode & 0o077 or info.st_uid != _CREDENTIALS_OWNER:
        access = f"mode {stat.S_IMODE(info.st_mode):o}, owner {info.st_uid}"
        fix = f"chown root: {path} && chmod 600 {path}"
        return failure("credentials", f"{path} can be read by other users than root ({access})", fix)
    if info.st_size == 0 or (os.access(path, os.R_OK) and not path.read_bytes().strip()):
        fault = failure if required else warning
        return fault("credentials", f"{path} is empty", write if required else f"rm {path}, or {write}")
    if os.access(path, os.R_OK):
        text = path.read_bytes().decode(errors="replace")
        if (problem := secret_problem(path.name, text)) is not None:
            return warning("credentials", f"{path}: {problem.partition(': ')[0]}", write)

    return None


def _write_command(path: Path) -> str:
    if path.name == "API_SECRET_KEY":
        return f"openssl rand -hex 32 | install -m 600 /dev/stdin {path} && {RESTART_FOR_SECRETS}"
    if path.name == "RELAY_WEBHOOK_SECRET":
        return f'echo "whsec_$(openssl rand -base64 32)" | install -m 600 /dev/stdin {path} && {RESTART_FOR_SECRETS}'

    value = "postgresql://USER:PASSWORD@HOST/NAME" if path.name == "RELAY_STORE" else "the key"

    return f"install -m 600 /dev/stdin {path}   (paste {value}, Enter, Ctrl-D), then: {RESTART_FOR_SECRETS}"


def _store(path: Path) -> Iterator[Finding]:
    for file in (path, path.with_name(path.name + "-wal")):
        try:
            mode = file.stat().st_mode & 0o777
        except OSError:
            continue
        if mode & 0o007:
            yield failure("permissions", f"{file} can be read by everyone (mode {mode:o})", f"chmod 640 {file}")
    folder = next((parent for parent in path.parents if parent.exists()), Path("/"))
    if not os.access(folder, os.W_OK | os.X_OK):
        detail = f"this user may not write in {folder}, where the store is"
        if folder != path.parent:
            fix = f"sudo claude-relay migrate, or name another store: RELAY_STORE=sqlite:///{Path.home()}/relay.db"
        else:
            fix = "run it with sudo, or join the group: sudo usermod -aG claude-relay $USER, and log in again"
        yield warning("permissions", detail, fix)


def _as_daemon(system: System) -> Iterator[Finding]:
    """Check as root that the daemons' user may read the settings, and use the store: root may do anything itself."""
    from ..verbs.configure import check_as_daemon

    try:
        check_as_daemon(system)
    except ConfigError as exc:
        for problem in exc.problems:
            yield failure("permissions", *(split_fault(problem) or (problem, "claude-relay config check")))


def _owners(folder: Path, system: System) -> Iterator[Finding]:
    """Check that the state directory and everything in it belong to the user of the daemons."""
    wanted = system.daemon_user()
    if wanted is None:
        wanted = wanted_owner(folder)
    try:
        paths = [folder, *sorted(folder.rglob("*"))]
    except OSError:
        return
    if not wanted:
        return
    foreign = []
    for path in paths:
        with contextlib.suppress(OSError):  # a file that a daemon has just removed
            if (owner := path.lstat().st_uid) != wanted:
                foreign.append((path, owner))
    if foreign:
        path, owner = foreign[0]
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        detail = (
            f"{path}{more} belongs to {user_name(owner)}, and must belong to {user_name(wanted)}, the daemons' user"
        )
        files = " ".join(shlex.quote(str(path)) for path, _ in foreign[:20])
        yield failure(
            "permissions", detail, f"chown {user_name(wanted)}: {files if len(foreign) <= 20 else f'-R {folder}'}"
        )
