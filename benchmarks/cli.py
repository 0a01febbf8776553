"""The start of the command line, as a multiple of importing Click: CPU of the processes, interleaved."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .rows import Row

_RELAY = ("-m", "claude_relay")


def run(folder: Path, *, rounds: int = 5) -> Iterator[dict[str, Any] | Row]:
    """The rows of `--help` and `status ID`."""
    folder = folder / "cli"
    folder.mkdir()
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "RELAY_STORE": f"sqlite:///{folder / 'relay.db'}",
        "API_SECRET_KEY": "benchmark-key",
    }
    _start((*_RELAY, "migrate"), env)
    _start((*_RELAY, "submit", "--id", "r1", "Hei"), env)
    commands = {"click": ("-c", "import click"), "--help": (*_RELAY, "--help"), "status ID": (*_RELAY, "status", "r1")}
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            samples[name].append(_start(command, env))
    for name, target in (("--help", "<= 1.5"), ("status ID", "<= 2")):
        # Without the first round, which compiles.
        ratios = [a / b for a, b in zip(samples[name][1:], samples["click"][1:], strict=True)]
        spread = min(ratios), max(ratios)
        yield Row(name=f"{name} / import click (CPU)", value=statistics.median(ratios), target=target, spread=spread)


def _start(command: tuple[str, ...], env: dict[str, str]) -> float:
    """Run a command; returns the seconds of CPU that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], env=env, check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
