"""Ownership of files that root creates in the folder of another user."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def give_to_owner(path: Path) -> None:
    """Make `path` belong to the owner of its folder, if this process is root's."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        folder = path.parent.stat()
        if folder.st_uid != 0:
            os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)
