"""Facts about the machine, for the page that a run writes."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from pathlib import Path


def facts(folder: Path) -> dict[str, str]:
    """What a reader must know to compare the figures with others; `folder` is on the disk of the stores."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    busy = os.getloadavg()[0]

    return {
        "processor": f"{os.cpu_count()} × {cpu[1] if cpu else platform.machine()}",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}",
        "fdatasync of 4 KiB": f"{sync_seconds(folder) * 1e3:.2f} ms at the median",
        "load before the run": f"{busy:.1f}" + (": busy, so that only ratios count" if busy > 0.5 else ""),
    }


def sync_seconds(folder: Path) -> float:
    """The median time of an append with fdatasync, in seconds."""
    path, samples = folder / "sync.probe", []
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for _ in range(200):
            began = time.perf_counter()
            os.write(descriptor, bytes(4096))
            os.fdatasync(descriptor)
            samples.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()

    return statistics.median(samples)
