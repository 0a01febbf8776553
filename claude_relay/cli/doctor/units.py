"""Checks of the systemd units: installed, enabled at boot, and running."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from ...config import OPTIONS, Settings
from .finding import Finding, failure, ok, warning
from .system import DAEMONS, UNITS, System

_PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "Result",
    "UnitFileState",
    "ExecMainStatus",
    "NRestarts",
    "NeedDaemonReload",
    "DropInPaths",
    "StatusText",
    "User",
    "Group",
    "PrivateNetwork",
    "Environment",
)
#: Set by the units themselves.
_EXPECTED = ("RELAY_ENV",)
_SHOW = {row.name: row.show for row in OPTIONS}
_NAMES = frozenset(_SHOW)
#: Number of restarts from which on a warning is due.
_RESTARTS = 5


def check(system: System, settings: Settings | None = None) -> Iterator[Finding]:
    """Check all units; nothing where systemd does not run this machine, since another supervisor is used there."""
    if not system.booted.is_dir():
        return
    if not system.under_systemd:
        detail = "the units of claude-relay are not installed: nothing starts it at boot"
        yield warning("units", detail, "sudo make install, in the checkout")
        return
    names = dict.fromkeys((*UNITS, *DAEMONS))
    output = system.run(("systemctl", "show", f"--property={','.join(_PROPERTIES)}", *names))
    if output is None:
        yield warning("units", "systemctl does not answer", "systemctl status claude-relay.target")
        return
    units = {unit.get("Id", ""): unit for unit in map(_properties, output.strip().split("\n\n"))}
    yield from views({name: units[name] for name in DAEMONS if name in units}, settings)
    if all(units.get(name, {}).get("ActiveState") == "inactive" for name in UNITS):
        yield failure("units", "claude-relay is not running", "systemctl start claude-relay.target")
        return
    findings = [
        finding
        for name in UNITS
        for finding in unit_faults(name, units.get(name, {}), lambda unit: _last_words(unit, system))
    ]
    yield from findings or [ok("units", "all are up and start at boot")]
    if drop_ins := [path for unit in units.values() for path in unit.get("DropInPaths", "").split()]:
        yield ok("drop-ins", ", ".join(drop_ins))


def unit_faults(
    name: str, unit: dict[str, str], last_words: Callable[[str], str] = lambda unit: ""
) -> Iterator[Finding]:
    """The faults of one unit, by its properties from `systemctl show` and the `last_words` of a unit in the journal."""
    load, state = unit.get("LoadState", "not-found"), unit.get("ActiveState", "")
    if load == "masked":
        fix = f"systemctl unmask {name} && systemctl start {name}"
        yield failure("units", f"{name} is masked: it cannot be started", fix)
        return
    if load in ("bad-setting", "error"):
        files = unit.get("DropInPaths", "")
        such, hint = "a second ExecStart=", "an empty ExecStart= comes before a new one"
        if name.endswith(".socket"):
            such, hint = "a ListenStream= that is no address", "ListenStream= takes a port, or an address and a port"
        detail = f"{name} cannot be loaded ({load}): {files or 'its file'} is wrong, such as {such}"
        fix = (
            f"systemd-analyze verify {name}; systemctl edit {name} ({hint}), then: "
            f"systemctl daemon-reload && systemctl start {name}"
        )
        yield failure("units", detail, fix)
        return
    if load != "loaded":
        yield failure("units", f"{name} is not installed ({load})", "sudo make install, in the checkout")
        return
    if unit.get("NeedDaemonReload") == "yes":
        yield warning("units", f"the file of {name} has changed since systemd read it", "systemctl daemon-reload")
    if state == "failed":
        yield _failed(name, unit, last_words(name))
    elif (state, unit.get("SubState")) == ("activating", "auto-restart"):
        yield _restarting(name, unit, last_words(name))
    elif state in ("inactive", "deactivating"):
        yield failure("units", f"{name} is not running", f"systemctl start {name}")
    elif int(unit.get("NRestarts") or 0) >= _RESTARTS:
        detail = f"{name} was restarted {unit['NRestarts']} times"
        yield warning("units", detail, f"journalctl -u {name} -p warning -n 50, then: systemctl reset-failed {name}")
    if name.endswith(".target") and unit.get("UnitFileState") in ("disabled", ""):
        yield warning("units", f"{name} does not start at boot", f"systemctl enable {name}")


def views(units: Mapping[str, dict[str, str]], settings: Settings | None) -> Iterator[Finding]:
    """The differences between what the daemons see (user, settings of their units) and what this command sees."""
    users = {name: unit.get("User") or "root" for name, unit in units.items() if unit.get("LoadState") == "loaded"}
    usual = Counter(users.values()).most_common(1)[0][0] if users else ""
    for name, user in users.items():
        if user != usual:
            detail = f"{name} runs as {user}, the others as {usual}{_drop_ins(units[name])}"
            yield failure("units", detail, _edit(name, f"take out User={user}"))
        group = units[name].get("Group") or usual
        if user == usual and group != usual:
            detail = f"{name} runs in the group {group}, and only {usual} may read the settings{_drop_ins(units[name])}"
            yield failure("units", detail, _edit(name, f"take out Group={group}"))
        if name != DAEMONS[0] and units[name].get("PrivateNetwork") == "yes":
            detail = f"{name} has no network{_drop_ins(units[name])}: it reaches neither Anthropic nor a webhook"
            yield failure("units", detail, _edit(name, "take out PrivateNetwork="))
    for name in users:
        for setting, value in _environment(units[name]).items():
            if setting in _EXPECTED or settings is None or setting not in _NAMES:
                continue
            here = settings.shown(setting)
            if _SHOW[setting](value) == here:
                continue
            detail = f"{setting} is {_SHOW[setting](value)} for {name}{_drop_ins(units[name])}, and {here} here"
            result = failure if setting == "RELAY_STORE" else warning
            yield result("units", detail, _edit(name, f"take out {setting}, and set it in the settings file, for all"))


def _of_operator(unit: Mapping[str, str]) -> str:
    """The drop-ins of the unit that `make install` has not laid."""
    return " ".join(path for path in unit.get("DropInPaths", "").split() if not path.startswith("/usr/"))


def _drop_ins(unit: Mapping[str, str]) -> str:
    return f" ({paths})" if (paths := _of_operator(unit)) else ""


def _edit(name: str, change: str) -> str:
    return f"systemctl edit {name}   ({change}), then: systemctl restart {name}"


def _environment(unit: Mapping[str, str]) -> dict[str, str]:
    """The values of `Environment=`, as systemd quotes them."""
    try:
        words = shlex.split(unit.get("Environment", ""))
    except ValueError:
        return {}

    return {name: value for name, separator, value in (word.partition("=") for word in words) if separator}


def _last_words(name: str, system: System) -> str:
    """The cause of a unit's last failure in the journal: a sentence of the program, or of systemd."""
    output = system.run(("journalctl", "--quiet", "--output=cat", "--lines=12", f"--unit={name}")) or ""
    causes = [line for line in output.splitlines() if re.match(r"claude-relay: |.*: Failed (?:to|at) ", line)]

    return (causes or [""])[-1].removeprefix("claude-relay: ")


def _restarting(name: str, unit: Mapping[str, str], words: str) -> Finding:
    """The fault of a unit that fails at each start, and is started again and again."""
    status = unit.get("ExecMainStatus", "")
    cause = words or f"{unit.get('Result') or 'it fails'}, status {status}"
    where = f"correct {paths} if it is the cause, then: " if (paths := _of_operator(unit)) else ""
    fix = f"journalctl -u {name} -n 20; {where}systemctl daemon-reload && systemctl restart {name}"

    return failure("units", f"{name} fails at each start{_drop_ins(unit)}: {cause}", fix)


def _failed(name: str, unit: dict[str, str], words: str) -> Finding:
    result, status = unit.get("Result", ""), unit.get("ExecMainStatus", "")
    restart = f"systemctl reset-failed {name} && systemctl start {name}"
    if name.endswith(".socket"):
        cause = f" ({words.partition(': ')[2]})" if words else ""
        detail = f"{name} cannot listen{cause}: most likely another program uses its address"
        fix = f"systemctl status {name} and ss -ltnp show which one; stop that, then: {restart}"
        if paths := _of_operator(unit):
            detail = f"{detail}, or {paths} names one that is not this machine's"
            fix = f"{fix}; or correct ListenStream= (ip address), then: systemctl daemon-reload && {restart}"
        return failure("units", detail, fix)
    if status == "78":
        detail = f"{name} exited with 78{_drop_ins(unit)}: {words or 'settings, secrets or store are wrong'}"
        paths = _of_operator(unit)
        first = f"correct {paths}, or the faults" if paths else "fix the faults"
        reload = "systemctl daemon-reload && " if paths else ""
        fix = f"{first} above (or: journalctl -u {name} -n 20), then: {reload}{restart}"
        return failure("units", detail, fix)
    if status == "243":
        return failure(
            "units", f"{name} did not get its credentials (243)", f"fix the credentials above, then: {restart}"
        )
    reason = {
        "watchdog": "systemd killed it, as it hung",
        "oom-kill": "the kernel killed it for its use of memory",
        "start-limit-hit": "it exited too often in a short time",
        "timeout": "it did not start or stop in time",
    }.get(result, f"{result or 'it failed'}, status {status}")

    return failure("units", f"{name} has failed: {reason}", f"journalctl -u {name} -n 50, then: {restart}")


def _properties(block: str) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}
