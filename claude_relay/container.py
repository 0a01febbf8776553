"""The container of this process: the daemons that its main process runs, and whether the files in it are kept."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

_PROC = Path("/proc")
#: Daemons by the verb of the main process; `--with-worker` adds the worker.
_DAEMONS = {"serve": "api", "worker": "worker"}
#: Spaces and other characters of a path in mountinfo.
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_MEMORY = (b"tmpfs", b"ramfs")
#: The folder on the host of a volume that ends with its container or pod.
_BRIEF = re.compile(rb"/volumes/([0-9a-f]{64}/_data|kubernetes\.io~empty-dir/)")


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
    """
    Whether files in `folder` are deleted with the container.

    No volume is mounted there, or one that ends with it: in memory, without a name (`docker run -v PATH`), or the
    emptyDir of a pod.
    """
    if daemons(proc) is None:
        return False
    brief: dict[Path, bool] = {}
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "mountinfo").read_bytes().splitlines():
            mount, _, source = line.partition(b" - ")  # proc(5): what is mounted, and where
            origin, point = (_OCTAL.sub(lambda match: bytes((int(match[1], 8),)), text) for text in mount.split()[3:5])
            brief[Path(os.fsdecode(point))] = source.split()[0] in _MEMORY or bool(_BRIEF.search(origin))
    resolved = folder.resolve()
    nearest = next((path for path in (resolved, *resolved.parents) if path in brief), None)

    return nearest is not None and (nearest == Path("/") or brief[nearest])


def _main_process(proc: Path) -> Sequence[str]:
    try:
        return (proc / "1" / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    except OSError:
        return ()
