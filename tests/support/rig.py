"""
A relay on loopback: `serve` and `worker` as processes, with a local upstream and receiver.

    with Rig(tmp_path, upstream=fake.url) as rig:
        rig.start()
        rig.submit({"prompt": "Hei", "webhookUrl": hook.url("/x")})
        rig.worker.kill()

Tests check it from outside: at the callers, the upstream and the receiver.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from .eventually import eventually
from .ports import free_port

_ROOT = Path(__file__).parents[2]
KEY = "test-key-of-the-rig"


class Process:
    """One daemon, with its output."""

    def __init__(self, args: list[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                args, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        self._popen.kill()
        self._popen.wait(60)

    def stop(self, timeout: float = 60) -> int:
        """Send SIGTERM, wait, and return the exit code."""
        self._popen.terminate()
        return self._popen.wait(timeout)

    def wait(self, timeout: float = 60) -> int:
        return self._popen.wait(timeout)


class Rig:
    """A relay in its own folder."""

    #: Seconds until the API listens.
    patience = 60.0

    def __init__(self, folder: Path, *, upstream: str | None = None, **settings: str) -> None:
        self.folder = folder
        self._number = 0
        self._processes: list[Process] = []
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(_ROOT),  # this checkout, whatever is installed
            "PYTHONUNBUFFERED": "1",
            "PORT": "0",
            "RELAY_STORE": f"sqlite:///{folder / 'store' / 'relay.db'}",
            "API_SECRET_KEY": KEY,
            "ANTHROPIC_API_KEY": "sk-ant-nothing",
            "RELAY_ALLOW_PRIVATE_URLS": "127.0.0.1",
            "RELAY_RATE_LIMIT": "off",
            "RELAY_RATE_LIMIT_SUBMIT": "off",
            **({"ANTHROPIC_BASE_URL": upstream} if upstream else {"RELAY_PROVIDER": "sandbox"}),
            **settings,
        }
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["X-API-Key"] = KEY
        self.api: Process
        self.worker: Process
        self.url = ""

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.alive:
                process.kill()
        self.http.close()

    def start(self) -> Rig:
        """Start both daemons and wait until they are ready."""
        self.start_api()
        self.start_worker()
        return self

    def start_api(self, **settings: str) -> Process:
        """Start the API; on the same port after the first time."""
        port = self.url.rpartition(":")[2] or str(free_port())
        self.api = self._run("serve", **{"PORT": port, **settings})
        pattern = re.compile(r"http://127\.0\.0\.1:\d+")
        match = eventually(lambda: self._find_output(self.api, pattern), within=self.patience)
        self.url = match.group(0)
        return self.api

    def start_worker(self, *, wait: bool = True, **settings: str) -> Process:
        """Start a worker; `wait` until it holds its lock."""
        alive = len(self._live_workers())
        self.worker = self._run("worker", **settings)
        if wait:
            eventually(lambda: self._check_running(self.worker) and len(self._live_workers()) > alive, within=60)
        return self.worker

    def submit(self, body: dict[str, Any], **headers: str) -> requests.Response:
        return self.http.post(f"{self.url}/api/claude", json=body, headers=headers, timeout=60)

    def get(self, path: str, **params: str) -> Any:
        return self.http.get(f"{self.url}{path}", params=params, timeout=60).json()

    def post(self, path: str, body: Any = None) -> requests.Response:
        return self.http.post(f"{self.url}{path}", json=body, timeout=60)

    def status(self, request_id: str) -> dict[str, Any]:
        return self.get(f"/api/status/{request_id}")

    def finished(self, request_id: str, *, within: float = 60) -> dict[str, Any]:
        """Wait for the end of the run; returns the status."""

        def ended() -> dict[str, Any] | None:
            status = self.status(request_id)
            return status if status["status"] in ("completed", "failed") else None

        return eventually(ended, within=within)

    def command(self, *args: str, input: str | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run one command on this relay's store."""
        return subprocess.run(
            [sys.executable, "-m", "claude_relay", *args],
            env={**self.env, **settings},
            cwd=self.folder,
            input=input if input is not None else "",
            capture_output=True,
            text=True,
            timeout=200,
        )

    def _run(self, verb: str, **settings: str) -> Process:
        self._number += 1
        log = self.folder / f"{verb}-{self._number}.log"
        process = Process(
            [sys.executable, "-m", "claude_relay", verb], env={**self.env, **settings}, cwd=self.folder, log=log
        )
        self._processes.append(process)
        return process

    def _find_output(self, process: Process, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._check_running(process)
        return pattern.search(process.output())

    def _check_running(self, process: Process) -> bool:
        if not process.alive:
            raise AssertionError(f"the process ended by itself ({process.wait()}):\n{process.output()}")
        return True

    def _live_workers(self) -> list[dict[str, Any]]:
        """The workers that hold their lock, as the kernel has it, independent of the product."""
        import fcntl

        locks = []
        for path in (self.folder / "store" / "workers").glob("*.lock"):
            with contextlib.suppress(FileNotFoundError), path.open() as file:  # other workers delete those of dead ones
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    locks.append({"path": str(path)})
        return locks


def until(deadline: float, condition: Callable[[], Any]) -> Any:
    """`eventually`, by an absolute monotonic time."""
    return eventually(condition, within=max(0.1, deadline - time.monotonic()))


TERM, KILL, STOP, CONT = signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT
