"""Checks of the machine: clock, disk, SQLite and the folder for logs."""

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
#: A warning is due while less than this many times RELAY_DISK_FLOOR is free.
_LOW_DISK = 2
_FEW_INODES = 1000


def check(settings: Settings | None, system: System) -> Iterator[Finding]:
    """Check the clock, and for a store in a file its disk and SQLite."""
    from ...wiring import engine_of

    yield clock(system)
    if settings is not None and (file := engine_of(settings).file) is not None:
        yield disk(file, settings.disk_floor)
        yield sqlite()
    if settings is not None and settings.log_dir is not None:
        yield log_dir(settings.log_dir)


def clock(system: System) -> Finding:
    """Check the clock, which deadlines, retries and signatures depend on."""
    now = system.now()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _2026:
        return failure("clock", f"the clock stands at {shown}, before 2026", "timedatectl set-ntp true")
    properties = system.run(("timedatectl", "show", "--property=NTP,NTPSynchronized")) or ""
    if "NTPSynchronized=no" in properties:
        fix = "timedatectl set-ntp true" if "NTP=no" in properties else "timedatectl timesync-status"
        fix += " (or: apt-get install systemd-timesyncd)"
        return warning("clock", f"{shown}, not synchronized: signatures are refused where the clock is off", fix)

    return ok("clock", shown)


def disk(path: Path, floor: int) -> Finding:
    """Check the free space for new jobs."""
    folder = next((parent for parent in path.parents if parent.exists()), Path("/"))
    usage, filesystem = shutil.disk_usage(folder), os.statvfs(folder)
    space = f"{usage.free // 2**20} MiB of {usage.total // 2**20} free under {folder}"
    clean_up = f"du -xh --max-depth=2 {folder} | sort -h | tail, and claude-relay purge"
    if filesystem.f_flag & os.ST_RDONLY:
        remount = f"mount -o remount,rw {_mount_point(folder)}"
        return failure("disk", f"{folder} is read-only: no job is accepted", remount)
    if usage.free < floor:
        return failure("disk", f"{space}, RELAY_DISK_FLOOR is {format_size(floor)}: no job is accepted", clean_up)
    if usage.free < _LOW_DISK * floor:
        detail = f"{space}: at {format_size(floor)} (RELAY_DISK_FLOOR) no more jobs are accepted"
        return warning("disk", detail, clean_up)
    if filesystem.f_files and filesystem.f_favail < _FEW_INODES:
        detail = f"only {filesystem.f_favail} more files can be created under {folder}"
        return failure("disk", detail, f"df -i {folder}, and {clean_up}")

    return ok("disk", space)


def sqlite() -> Finding:
    """Check the SQLite version of the store."""
    from ...storage.sqlite.store import sqlite_version

    version, safe = sqlite_version()
    if safe:
        return ok("sqlite", version)
    detail = f"{version} has the WAL-reset bug: the store uses a rollback journal, which is slower"

    return warning("sqlite", detail, "pip install --upgrade apsw, in the relay's own Python")


def log_dir(folder: Path) -> Finding:
    """Check the folder of error.log and combined.log."""
    if not folder.is_dir():
        return failure("logs", f"RELAY_LOG_DIR {folder} does not exist", f"install -d -o claude-relay -m 750 {folder}")

    return ok("logs", str(folder))


def _mount_point(folder: Path) -> Path:
    while not folder.is_mount() and folder != folder.parent:
        folder = folder.parent

    return folder
