"""
A worker's memory, file handles and threads over many jobs with callbacks: `python -m benchmarks soak`, on request only.

100,000 jobs take about a quarter of an hour on an idle machine with two cores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import upstream
from .rows import Row
from .worker import Rig, rss

_PORTION = 1000


def run(folder: Path, *, jobs: int = 100_000, **_: int) -> Iterator[dict[str, Any] | Row]:
    """A line for each tenth, then the rows: what the last nine tenths added."""
    with upstream.running() as url:
        rig = Rig(folder / "soak", url)
        with rig.relay() as relay, rig.worker() as pid:
            marks: list[tuple[int, int]] = []
            began = time.monotonic()
            for done in range(_PORTION, jobs + 1, _PORTION):
                rig.finish(relay, _PORTION)
                if done % max(jobs // 10, _PORTION) == 0:
                    marks.append((rss(pid), _handles(pid)))
                    rate = done / (time.monotonic() - began)
                    yield {"jobs": done, "rss": marks[-1][0], "handles": marks[-1][1], "per_second": round(rate)}
    growth = marks[-1][0] / marks[0][0]
    yield Row(name=f"worker over {jobs:,} jobs: memory at the end / after a tenth", value=growth, target="<= 1.1")
    handles = marks[-1][1] - marks[0][1]
    yield Row(name=f"worker over {jobs:,} jobs: file handles added after a tenth", value=handles, target="<= 4")


def _handles(pid: int) -> int:
    """Open file handles of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
