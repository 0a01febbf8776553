"""
A throw-away PostgreSQL: one cluster for a test session, one database for a test.

    with Cluster() as cluster:
        cluster.start()
        url = cluster.database()

It listens on 127.0.0.1 with a password, and on a socket in its own folder; it belongs to `postgres` where root starts
it, as PostgreSQL refuses root. It ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .eventually import eventually
from .needs import lacks, needs
from .ports import free_port

if TYPE_CHECKING:
    from claude_relay.storage.postgres import PostgresStore


class Cluster:
    """
    A server of its own. `durable`: it syncs as a real one does, for tests that pull the plug.

    `primary`: it is a standby, and follows that server by streaming replication. `env`: more of its environment.
    """

    def __init__(
        self, *, durable: bool = False, primary: Cluster | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self._env = os.environ | dict(env or {})
        self._bin = _programs()
        self._durable = durable
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._folder / "data"
        self._server: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._empty: list[str] = []
        self.password = secrets.token_hex(8)
        self.port = free_port()
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:
            try:
                them = pwd.getpwnam("postgres")
            except KeyError:
                lacks("PostgreSQL refuses root and there is no user postgres: apt-get install postgresql")
            self._account = {"user": them.pw_uid, "group": them.pw_gid, "extra_groups": []}
            os.chown(self._folder, them.pw_uid, them.pw_gid)
        if primary is None:
            self._init()
        else:
            self.password = primary.password
            command = [self._bin / "pg_basebackup", "-D", self._data, "-R", "-c", "fast", "-d", primary.url()]
            self._run(command)
        self._configure()

    @property
    def folder(self) -> Path:
        """The folder of its files, which belongs to the account of the server."""
        return self._folder

    def own(self, path: Path) -> None:
        """Give a folder to the account of the server."""
        if self._account:
            os.chown(path, self._account["user"], self._account["group"])

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> Cluster:
        """Returns when it takes connections."""
        self._server = self._popen(
            [needs("setpriv", "util-linux"), "--pdeathsig", "INT", self._bin / "postgres", "-D", self._data]
        )
        eventually(self._answers, within=60)
        return self

    def stop(self, how: str = "fast") -> None:
        """`fast` ends every connection and stops cleanly; `immediate` is a crash."""
        if self._server is None:
            return
        number = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[how]
        with contextlib.suppress(ProcessLookupError):
            self._server.send_signal(number)
        self._server.wait(60)
        self._server = None

    def restart(self, how: str = "fast") -> None:
        """Away, and there again."""
        self.stop(how)
        self.start()

    def database(self, template: str = "template0") -> str:
        """A new, empty database; answers its address, password and all."""
        self._count += 1
        name = f"relay_{self._count}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        return self.url(name)

    @contextlib.contextmanager
    def store(self, *, clock: Callable[[], float] | None = None) -> Iterator[PostgresStore]:
        """An open store in a database that nobody else uses meanwhile."""
        from claude_relay.storage.postgres import PostgresStore

        with self.place() as url:
            store = PostgresStore(url, where="the test's", clock=clock)
            try:
                yield store
            finally:
                store.close()

    @contextlib.contextmanager
    def place(self) -> Iterator[str]:
        """The address of an empty store that was used before: a new database takes longer."""
        from claude_relay.storage.postgres import PostgresStore

        if not self._empty:
            self._empty.append(self.database())
            PostgresStore(self._empty[-1], where="the test's").close()
        url = self._empty.pop()
        yield url
        self._wipe(url)
        self._empty.append(url)

    def cpu_seconds(self) -> float:
        """Seconds of CPU that the server has used, without those of connections that were closed."""
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        ticks = 0
        for pid in (self._server.pid, *children):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def drop(self, url: str) -> None:
        """Away with it, whoever is connected."""
        self.run(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def url(self, name: str = "postgres") -> str:
        """How a database is reached over TCP."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{name}"

    def run(self, sql: str, *args: Any, url: str | None = None) -> Sequence[Sequence[Any]]:
        """One statement by the superuser."""
        import psycopg

        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(sql, args or None)
            return cursor.fetchall() if cursor.description else []

    def _wipe(self, url: str) -> None:
        """Every row, in whatever order: much faster than TRUNCATE, which makes a hundred files anew."""
        found = self.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'meta'", url=url)
        deletes = "; ".join(f"DELETE FROM {name}" for (name,) in found)
        self.run(f"SET session_replication_role = replica; {deletes}", url=url)

    def _init(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self.password)
        if self._account:
            os.chown(secret, self._account["user"], self._account["group"])
        self._run(
            [self._bin / "initdb", "-D", self._data, "-U", "postgres", "--pwfile", secret, "--no-sync", "-E", "UTF8",
             "--locale", "C.UTF-8", "--auth-local", "trust", "--auth-host", "scram-sha-256"]
        )  # fmt: skip

    def _configure(self) -> None:
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": f"'{self._folder}'",
            "shared_buffers": "16MB",
            "max_connections": "200",
            "log_min_messages": "fatal",
            "wal_keep_size": "1GB",  # a checkpoint removes no part of the log that a benchmark reads
            **({} if self._durable else {"fsync": "off", "full_page_writes": "off"}),
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def _run(self, command: Sequence[Any]) -> None:
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=120, **self._account)
        if done.returncode:
            raise AssertionError(f"{command[0]} answered {done.returncode}:\n{done.stdout}{done.stderr}")

    def _popen(self, command: Sequence[Any]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=self._env, **self._account,
            )  # fmt: skip

    def _answers(self) -> bool:
        assert self._server is not None
        if self._server.poll() is not None:
            raise AssertionError(f"PostgreSQL ended by itself:\n{(self._folder / 'log').read_text()}")
        import psycopg

        try:
            self.run("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def _programs() -> Path:
    """Where the newest server's programs are; Debian keeps them off the PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda folder: float(folder.parent.name))

    return Path(needs("initdb", "postgresql")).parent
