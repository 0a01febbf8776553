"""The units: whether systemd knows them, starts them at boot, and keeps them up."""

from __future__ import annotations

from collections.abc import Iterator

from .finding import Finding, failure, ok, warning
from .system import UNITS, System

_ASKED = (
    "Id",
    "LoadState",
    "ActiveState",
    "Result",
    "UnitFileState",
    "ExecMainStatus",
    "NRestarts",
    "NeedDaemonReload",
    "DropInPaths",
    "StatusText",
)
#: From so many on it is worth a look why.
_RESTARTS = 5


def check(machine: System) -> Iterator[Finding]:
    """Nothing where systemd does not run this machine: there somebody else keeps the daemons up."""
    if not machine.booted.is_dir():
        return
    if not machine.under_systemd:
        found = "systemd does not know claude-relay: nothing starts it at boot"
        yield warning("units", found, "sudo make install, in the checkout")
        return
    told = machine.run(("systemctl", "show", f"--property={','.join(_ASKED)}", *UNITS))
    if told is None:
        yield warning("units", "systemctl does not answer", "systemctl status claude-relay.target")
        return
    units = {one.get("Id", ""): one for one in map(_properties, told.strip().split("\n\n"))}
    if all(units.get(name, {}).get("ActiveState") == "inactive" for name in UNITS):
        yield failure("units", "claude-relay is not running", "systemctl start claude-relay.target")
        return
    findings = [finding for name in UNITS for finding in judge(name, units.get(name, {}))]
    yield from findings or [ok("units", "all are up and start at boot")]
    if changed := [path for one in units.values() for path in one.get("DropInPaths", "").split()]:
        yield ok("drop-ins", ", ".join(changed))


def judge(name: str, unit: dict[str, str]) -> Iterator[Finding]:
    """What is wrong with one of them, by what `systemctl show` says of it."""
    load, state = unit.get("LoadState", "not-found"), unit.get("ActiveState", "")
    if load == "masked":
        yield failure(
            "units", f"{name} is masked: it cannot be started", f"systemctl unmask {name} && systemctl start {name}"
        )
        return
    if load != "loaded":
        yield failure("units", f"{name} is not installed ({load})", "sudo make install, in the checkout")
        return
    if unit.get("NeedDaemonReload") == "yes":
        yield warning("units", f"the file of {name} has changed since systemd read it", "systemctl daemon-reload")
    if state == "failed":
        yield _failed(name, unit)
    elif state in ("inactive", "deactivating"):
        yield failure("units", f"{name} is not running", f"systemctl start {name}")
    elif int(unit.get("NRestarts") or 0) >= _RESTARTS:
        found = f"{name} has been started again {unit['NRestarts']} times"
        yield warning("units", found, f"journalctl -u {name} -p warning -n 50, then: systemctl reset-failed {name}")
    if name.endswith(".target") and unit.get("UnitFileState") in ("disabled", ""):
        yield warning("units", f"{name} does not start at boot", f"systemctl enable {name}")


def _failed(name: str, unit: dict[str, str]) -> Finding:
    result, status = unit.get("Result", ""), unit.get("ExecMainStatus", "")
    again = f"systemctl reset-failed {name} && systemctl start {name}"
    if name.endswith(".socket"):
        found = f"{name} cannot listen: another program has its address, most likely"
        return failure(
            "units", found, f"systemctl status {name} and ss -ltnp show whose it is; stop that, then: {again}"
        )
    if status == "78":
        found = f"{name} ended with 78: settings, secrets or store are not good"
        return failure("units", found, f"mend what stands above (or: journalctl -u {name} -n 20), then: {again}")
    if status == "243":
        found = f"{name} has not got its credentials (243)"
        return failure("units", found, f"mend the credentials that stand above, then: {again}")
    why = {
        "watchdog": "systemd shot it, as it hung",
        "oom-kill": "the kernel shot it for its memory",
        "start-limit-hit": "it ended too often in a short time",
        "timeout": "it did not start or stop in time",
    }.get(result, f"{result or 'it failed'}, status {status}")

    return failure("units", f"{name} has failed: {why}", f"journalctl -u {name} -n 50, then: {again}")


def _properties(block: str) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in block.splitlines())}
