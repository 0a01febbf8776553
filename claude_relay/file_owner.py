"""Ownership of the files of the store: of those that root creates, and of those that a process cannot use."""

from __future__ import annotations

import codecs
import contextlib
import os
import pwd
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path


def give_to_owner(path: Path) -> None:
    """Make `path` belong to the owner of its folder, if this process is root's."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        folder = path.parent.stat()
        if folder.st_uid != 0:
            os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)


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
    try:
        paths: Sequence[Path] = [folder, *sorted(folder.glob("*.db*"))]
    except OSError:
        paths = [folder]
    blocked = next((path for path in paths if path.exists() and not _usable(path)), None)
    if blocked is None:
        return None
    owner, wanted = blocked.stat().st_uid, wanted_owner(folder)
    if blocked == folder and user_name(os.geteuid()).isdigit():  # in a container, with a --user of its own
        user, group = os.geteuid(), folder.stat().st_gid
        container = f"docker run --user {user}:{group}"
        detail = f"{folder} belongs to uid {owner} and group {group}, and this is uid {user}"
        return detail, f"run it as group {group} ({container}), or as root: chown -R {user} {folder}"
    if wanted is None or owner == wanted:
        detail = f"{blocked} belongs to {user_name(owner)}, and this is the user {user_name(os.geteuid())}"
        return detail, f"run it as {user_name(owner)} or with sudo"
    detail = f"{blocked} belongs to {user_name(owner)} instead of {user_name(wanted)}"

    return detail, f"chown {user_name(wanted)}: {shlex.quote(str(blocked))}"


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
