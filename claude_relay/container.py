"""The container of this process: the daemons that its main process runs, and whether the files in it are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

_PROC = Path("/proc")
#: Daemons by the verb of the main process; `--with-worker` adds the worker.
_DAEMONS = {"serve": "api", "worker": "worker"}


def daemons(proc: Path = _PROC) -> frozenset[str] | None:
    """
    The daemons that get the settings of this container, "api" and "worker"; None if this is no container of ours.

    Process 1 is `tini -- claude-relay serve` there, as the image's entry point has it. A command in it, such as
    `docker exec NAME claude-relay doctor`, has the environment of that process.
    """
    arguments = _main_process(proc)
    program = next((index for index, each in enumerate(arguments) if Path(each).name == "claude-relay"), None)
    if program is None:
        return None
    found = {_DAEMONS[each] for each in arguments[program + 1 :] if each in _DAEMONS}
    if "--with-worker" in arguments[program + 1 :]:
        found.add("worker")

    return frozenset(found)


def discarded_with_container(folder: Path, proc: Path = _PROC) -> bool:
    """Whether files in `folder` are deleted with the container: no volume is mounted there, or one in memory is."""
    if daemons(proc) is None:
        return False
    mounts: dict[Path, str] = {}
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "mountinfo").read_text(encoding="utf-8").splitlines():
            mount, _, source = line.partition(" - ")  # proc(5): the mount point is the fifth field
            mounts[Path(mount.split()[4].encode().decode("unicode_escape"))] = source.split()[0]
    resolved = folder.resolve()
    nearest = next((path for path in (resolved, *resolved.parents) if path in mounts), None)

    return nearest is not None and (nearest == Path("/") or mounts[nearest] == "tmpfs")


def _main_process(proc: Path) -> Sequence[str]:
    try:
        return (proc / "1" / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return ()
