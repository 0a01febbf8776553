"""Ownership of the files of the store: of those that root creates, and of those that a process cannot use."""

from __future__ import annotations

import codecs
import contextlib
import os
import pwd
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import container


def give_to_owner(path: Path) -> None:
    """Make `path` belong to the owner of its folder, if this process is root's."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        folder = path.parent.stat()
        if folder.st_uid != 0:
            os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)


def share_with_group(folder: Path) -> None:
    """
    Let the group write the files that this process creates, where it may write in `folder`, the state directory.

    In a container the next user may be another one of group 0, as on OpenShift.
    """
    with contextlib.suppress(OSError):
        if folder.stat().st_mode & 0o020:
            os.umask(0o007)


def wanted_owner(folder: Path) -> int | None:
    """The user that all files in the state directory belong to: its owner, or where that is root, the store's."""
    with contextlib.suppress(OSError):
        if owner := folder.stat().st_uid:
            return owner
        stores = (path.stat().st_uid for path in sorted(folder.glob("*.db")))
        return next((owner for owner in stores if owner), 0)

    return None


def access_fault(store: Path) -> tuple[str, str] | None:
    """The first file of a store that this process cannot use, with its owner and the cure."""
    folder = store.parent
    if (closed := closed_parent(folder)) is not None:
        mode = stat.S_IMODE(closed.stat().st_mode)
        detail = f"{closed} cannot be entered by {user_name(os.geteuid())} (mode {mode:o})"
        return detail, f"chmod o+x {shlex.quote(str(closed))}"
    try:
        paths: Sequence[Path] = [folder, *sorted(folder.glob("*.db*"))]
    except OSError:
        paths = [folder]
    blocked = next((path for path in paths if path.exists() and not _usable(path)), None)
    if blocked is None:
        return None
    owner, wanted, user = blocked.stat().st_uid, wanted_owner(folder), os.geteuid()
    if container.daemons() is not None or (blocked == folder and user_name(user).isdigit()):
        return _fault_in_container(folder, blocked)
    if not blocked.stat().st_mode & 0o777 and blocked.is_dir():
        detail = f"{blocked} is hidden from {user_name(user)}: it has mode 0, as with InaccessiblePaths= in a unit"
        return detail, f"take that line out of the unit, or: chmod 2770 {shlex.quote(str(blocked))}"
    if owner == user:
        return _own_fault(blocked)
    if owner == wanted and _shared(folder) and not blocked.is_dir() and os.access(folder, os.W_OK, effective_ids=True):
        mode = stat.S_IMODE(blocked.stat().st_mode)
        detail = f"{blocked} has mode {mode:o}, so that the group of its folder cannot read and write it"
        return detail, f"chmod g+rw {shlex.quote(str(blocked))}"
    if wanted is None or owner == wanted:
        detail = f"{blocked} belongs to {user_name(owner)}, and this is the user {user_name(os.geteuid())}"
        return detail, f"run it as {user_name(owner)} or with sudo"
    detail = f"{blocked} belongs to {user_name(owner)} instead of {user_name(wanted)}"

    return detail, f"chown {user_name(wanted)}: {shlex.quote(str(blocked))}"


def split_fault(message: str) -> tuple[str, str] | None:
    """A message that ends in what `access_fault` says, or `config check`, as (what is wrong, the cure)."""
    match = re.fullmatch(r"(.*?): ((?:chown|chmod|chgrp|lsattr|take|run it as) .*)", message)

    return (match[1], match[2]) if match else None


def _own_fault(blocked: Path) -> tuple[str, str]:
    """The same where the file belongs to this user: its mode, or else something above it forbids to write."""
    mode, name = stat.S_IMODE(blocked.stat().st_mode), shlex.quote(str(blocked))
    needed = 0o700 if blocked.is_dir() else 0o600
    if mode & needed != needed:
        detail = f"{blocked} has mode {mode:o}: {user_name(os.geteuid())}, its owner, cannot read and write it"
        who = "ug" if _shared(blocked if blocked.is_dir() else blocked.parent) else "u"
        return detail, f"chmod {who}+rw{'x' if blocked.is_dir() else ''} {name}"
    detail = (
        f"{blocked} is read-only here, though its owner and mode are right: by ReadOnlyPaths= or ProtectSystem= of the "
        f"unit, by its mount, or by an attribute"
    )

    return detail, f"lsattr -d {name}; findmnt -T {name} (then: chattr -i, mount -o remount,rw, or a drop-in less)"


def _shared(folder: Path) -> bool:
    """Whether the group of the folder works on the store, too."""
    return bool(folder.stat().st_mode & 0o020)


def closed_parent(folder: Path) -> Path | None:
    """The first folder above that one which this process may not enter."""
    above = list(reversed(folder.absolute().parents))

    return next((each for each in above if each.exists() and not os.access(each, os.X_OK, effective_ids=True)), None)


def _fault_in_container(folder: Path, blocked: Path) -> tuple[str, str]:
    """The same where users have no names, and root is outside."""
    info, user = blocked.stat(), os.geteuid()
    detail = f"{blocked} belongs to uid {info.st_uid} and group {info.st_gid}, and this is uid {user}"
    outside = f"as root: chown -R {user} {folder} (a directory of the host that is mounted there: on the host)"
    if not folder.stat().st_mode & 0o020:
        return detail, outside

    return detail, f"run it as group {folder.stat().st_gid} (docker run --user {user}:{info.st_gid}), or {outside}"


def user_name(number: int) -> str:
    """The name of a user; its number where it has none, as in a container."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _usable(path: Path) -> bool:
    mode = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)

    return os.access(path, mode, effective_ids=True)


@contextlib.contextmanager
def acting_as(account: pwd.struct_passwd) -> Iterator[None]:
    """
    Run the block with the rights of a user; only root may.

    Modules are imported before, and the codec of files.
    """
    codecs.lookup("utf-8-sig")
    group, groups = os.getegid(), os.getgroups()
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """
    Create files as the owner of `folder` if this is root, so that the daemons can still open them afterwards.

    They belong to the folder's group, too, if that may write there. Inside the block the process has the rights of that
    owner, who may not be able to read this program (installed in /root, it is root's alone): so modules are imported,
    and files of the package read, before the block.
    """
    try:
        owner = folder.stat() if os.geteuid() == 0 else None
    except OSError:
        owner = None
    if owner is None or owner.st_uid == 0:
        mask = os.umask(0o022)
        os.umask(mask)
        share_with_group(folder)
        try:
            yield
        finally:
            os.umask(mask)
        return
    group, mask = os.getegid(), os.umask(0o007 if owner.st_mode & 0o020 else 0o027)
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            os.seteuid(0)  # the owner cannot reach the folder: the files are root's then
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.umask(mask)
