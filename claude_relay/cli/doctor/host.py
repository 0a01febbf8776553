"""The machine under the relay: its clock, its disk, its SQLite."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ...config import Settings
from ...core.text.sizes import format_size
from .finding import Finding, failure, ok, warning
from .system import System

_2026 = 1_767_225_600
#: Less than this many floors free is worth a word.
_CLOSE = 2


def check(settings: Settings | None, machine: System) -> Iterator[Finding]:
    """What the daemons stand on."""
    yield clock(machine)
    from ...wiring import engine_of

    if settings is not None and (file := engine_of(settings).file) is not None:
        yield disk(file, settings.disk_floor)
        yield sqlite()
    if settings is not None and settings.log_dir is not None:
        yield log_dir(settings.log_dir)


def clock(machine: System) -> Finding:
    """Deadlines, retries and signatures go by it."""
    now = machine.now()
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _2026:
        return failure("clock", f"the clock stands at {said}, before 2026", "timedatectl set-ntp true")
    told = machine.run(("timedatectl", "show", "--property=NTP,NTPSynchronized")) or ""
    if "NTPSynchronized=no" in told:
        mend = "timedatectl set-ntp true" if "NTP=no" in told else "timedatectl timesync-status"
        mend += " (or: apt-get install systemd-timesyncd)"
        return warning("clock", f"{said}, and nothing keeps it right: signatures are refused where it is off", mend)

    return ok("clock", said)


def disk(path: Path, floor: int) -> Finding:
    """Room for what is accepted."""
    folder = next((each for each in path.parents if each.exists()), Path("/"))
    free, total = shutil.disk_usage(folder).free, shutil.disk_usage(folder).total
    room = f"{free // 2**20} MiB of {total // 2**20} free under {folder}"
    look = f"du -xh --max-depth=2 {folder} | sort -h | tail, and claude-relay purge"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return failure("disk", f"{folder} is read-only: nothing is accepted", f"mount -o remount,rw {_mount(folder)}")
    if free < floor:
        return failure("disk", f"{room}, RELAY_DISK_FLOOR is {format_size(floor)}: nothing is accepted", look)
    if free < _CLOSE * floor:
        return warning("disk", f"{room}: at {format_size(floor)} (RELAY_DISK_FLOOR) nothing is accepted any more", look)
    if (nodes := os.statvfs(folder)).f_files and nodes.f_favail < 1000:
        return failure(
            "disk", f"only {nodes.f_favail} files can still be made under {folder}", f"df -i {folder}, and {look}"
        )

    return ok("disk", room)


def sqlite() -> Finding:
    """The one that the store brings."""
    from ...storage.sqlite.store import sqlite_version

    version, safe = sqlite_version()
    if safe:
        return ok("sqlite", version)
    found = f"{version} has the WAL-reset bug: the store uses a rollback journal, which is slower"

    return warning("sqlite", found, "pip install --upgrade apsw, in the relay's own Python")


def log_dir(folder: Path) -> Finding:
    """Where error.log and combined.log go."""
    if not folder.is_dir():
        return failure("logs", f"RELAY_LOG_DIR {folder} is not there", f"install -d -o claude-relay -m 750 {folder}")

    return ok("logs", str(folder))


def _mount(folder: Path) -> Path:
    while not folder.is_mount() and folder != folder.parent:
        folder = folder.parent

    return folder
