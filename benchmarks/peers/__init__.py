"""
The peers of the accept benchmark, installed into an environment of their own (`build/benchmarks`).

A peer whose programs are missing is left out, with a line that says which.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_HERE = Path(__file__).parent
_HOME = _HERE.parents[1] / "build" / "benchmarks"
_LIBRARIES = ("fastapi>=0.115", "procrastinate>=3,<4", "psycopg[binary]>=3.2,<4", "uvicorn>=0.30")

#: The arguments of each peer's server; the services that it needs are started by `command`.
NAMES = ("bare", "express", "bullmq", "procrastinate")


class MissingPeerError(Exception):
    """A peer cannot be run here; the message says why."""


@contextlib.contextmanager
def command(name: str, folder: Path, database: Callable[[], str]) -> Iterator[list[str]]:
    """The command that runs a peer's server, while its services run; raises `MissingPeerError`."""
    with contextlib.ExitStack() as stack:
        if name == "bare":
            yield [sys.executable, str(_HERE / "falcon_app.py")]
        elif name == "express":
            yield [*_node(), "memory"]
        elif name == "bullmq":
            yield [*_node(), "bullmq", str(stack.enter_context(_redis(folder)))]
        else:
            python = _python()
            yield [str(python), str(_HERE / "fastapi_app.py"), database()]


def _node() -> list[str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise MissingPeerError("node or npm is not installed")
    home = _HOME / "node"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("express.js", "package.json"):
        shutil.copy(_HERE / name, home / name)
    if not (home / "node_modules" / "ioredis").is_dir():
        _install([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(home)])

    return [node, str(home / "express.js")]


def _python() -> Path:
    home = _HOME / "venv"
    python = home / "bin" / "python"
    if not (home / ".ready").exists():
        _install([sys.executable, "-m", "venv", str(home)])
        _install([str(python), "-m", "pip", "install", "--quiet", *_LIBRARIES])
        (home / ".ready").touch()

    return python


def _install(words: list[str]) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=600)
    except (subprocess.SubprocessError, OSError) as exc:
        output = getattr(exc, "stderr", None) or str(exc)
        raise MissingPeerError(f"{words[0]} failed: {output.strip().splitlines()[-1]}") from exc


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[int]:
    """A Redis of its own that syncs each write; gives its port."""
    program = shutil.which("redis-server")
    if program is None:
        raise MissingPeerError("redis-server is not installed: apt-get install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"]
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    process = subprocess.Popen([program, *where, *options], stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def postgres() -> Iterator[Callable[[], str]]:
    """A function that makes a database of one PostgreSQL, which syncs; that is started for the first of them."""
    from tests.support.postgres import Cluster

    clusters: list[Cluster] = []
    with contextlib.ExitStack() as stack:

        def database() -> str:
            if not clusters:
                try:
                    clusters.append(stack.enter_context(Cluster(durable=True)))
                    clusters[0].start()
                except BaseException as exc:  # pytest's skip, where there is no PostgreSQL
                    raise MissingPeerError(f"PostgreSQL cannot be started: {exc}") from exc
            return clusters[0].database()

        yield database
