"""
Storage engines: one `Engine` per URL scheme of RELAY_STORE, found with `engine_of`.

Everything that depends on the kind of store is asked here: how it is opened, backed up, completed in a shell and
checked, and how workers are notified. The imports are lazy: completion in a shell must not load a driver.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..core.lazy_dataclass import dataclass
from ..errors import ConfigError, RelayError, StoreUnavailable

if TYPE_CHECKING:
    from ..config import Settings
    from ..core.clock_step import Clocks
    from ..ports import LostStore, Notifier, ReadyQueue, Store
    from ..services import Relay
    from ..storage.postgres import PostgresStore
    from ..storage.sqlite.disk_reserve import DiskReserve


@dataclass(frozen=True, kw_only=True)
class OpenStore:
    """An open store with its ready queue and notifier; `disk_problem` and `clocks` only if it is on this machine."""

    store: Store
    ready: ReadyQueue
    notifier: Notifier
    disk_problem: Callable[[], str | None]
    clocks: Callable[[], Clocks] | None


class Engine(ABC):
    """The store of some settings, not yet opened."""

    #: The folder of its migrations.
    name: ClassVar[str]
    #: Whether workers on other machines share it.
    shared: ClassVar[bool]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def file(self) -> Path | None:
        """The file that contains the store, if this machine has it."""
        return None

    @property
    def key_file(self) -> Path | None:
        """The file with the key of the webhook headers, which a backup does not contain."""
        return None

    @abstractmethod
    def require(self) -> None:
        """Raise `ConfigError` if this installation cannot use such a store."""

    @abstractmethod
    def open(self, *, create: bool, reserve: DiskReserve | None = None) -> OpenStore:
        """Open the store; a missing one is created, or an error that names the next command."""

    def open_for_reading(self) -> Store | None:
        """The store for one command that only reads, opened at less cost; None where it must be opened completely."""
        return None

    @abstractmethod
    def space_check(self) -> Callable[[], str | None]:
        """A check that returns the problem if the disk under the store has less space than the floor."""

    @abstractmethod
    def disk_reserve(self) -> DiskReserve | None:
        """The reserve of disk space for results that are paid for, where the disk is this machine's."""

    @abstractmethod
    def schema(self) -> int | None:
        """The schema version; None without a readable store."""

    @abstractmethod
    def is_missing(self, fault: StoreUnavailable) -> bool:
        """Whether opening failed because there is no store yet."""

    def lost_store(self) -> LostStore | None:
        """The loss of the store, as a living daemon has noticed it."""
        return None

    def rescued(self) -> Sequence[Path]:
        """Copies that daemons have saved of a store that was removed under them."""
        return ()

    def restore_problems(self) -> Sequence[tuple[str, str]]:
        """Consequences of a restore that need the operator, each with the command or step for it."""
        return ()

    def warnings(self) -> Sequence[str]:
        """Faults of the store that a daemon can start with, a sentence each with the cure."""
        return ()

    def check_server(self) -> Sequence[str]:
        """Connect to the server of the store, if it has one: raises where a daemon would end, else as `warnings`."""
        return ()

    @abstractmethod
    def check_backups(self, file: Path, *, restoring: bool = False) -> None:
        """Raise `ConfigError` with the right commands if the relay cannot back up to or restore from `file`."""

    @abstractmethod
    def backup(self, relay: Relay, file: Path) -> None:
        """Write a consistent copy of the open store to `file`."""

    @abstractmethod
    def restore(self, file: Path) -> Path | None:
        """Replace the store by a backup; returns where the old one is kept, if there was one."""

    @abstractmethod
    def complete_request_ids(self, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
        """RequestIds with that prefix and their job's state."""

    @abstractmethod
    def complete_groups(self) -> Sequence[str]:
        """The groups with jobs or settings."""

    @abstractmethod
    def complete_key_names(self) -> Sequence[str]:
        """The API keys that are not revoked."""


class SqliteEngine(Engine):
    """A file on this machine; its daemons notify each other with datagrams."""

    name = "sqlite"
    shared = False

    @property
    def path(self) -> Path:
        """The store's file."""
        path = self._settings.store_path
        assert path is not None  # by the scheme

        return path

    @property
    def file(self) -> Path:
        return self.path

    @property
    def key_file(self) -> Path:
        from ..storage.header_encryption import key_path

        return key_path(self.path)

    def require(self) -> None:
        """Nothing: the driver is always installed."""

    def open(self, *, create: bool, reserve: DiskReserve | None = None) -> OpenStore:
        from ..file_owner import as_owner
        from ..notify.background import BackgroundNotifier
        from ..notify.disk_queue import DiskQueue
        from ..notify.wakeup_socket import WakeupSender
        from ..services.clock_step import read_clocks
        from ..storage import migrate
        from ..storage.sqlite.errors import translating
        from ..storage.sqlite.integrity import refuse_lost
        from ..storage.sqlite.store import SqliteStore

        refuse_lost(self.path)
        migrate.steps(self.name)  # see `as_owner`
        with as_owner(self.path.parent), translating(self.path):  # the ready queue's file may be another user's, too
            store = SqliteStore(self.path, create=create, reserve=reserve)
            folder = self.path.parent / "workers"
            folder.mkdir(mode=0o770, exist_ok=True)
            ready = DiskQueue(self.path.with_name("ready.db"))
            notifier = BackgroundNotifier(ready, WakeupSender(folder))

        return OpenStore(
            store=store, ready=ready, notifier=notifier, disk_problem=self.space_check(), clocks=read_clocks
        )

    def open_for_reading(self) -> Store | None:
        from ..storage.sqlite.integrity import refuse_lost
        from ..storage.sqlite.reader import open_reader

        refuse_lost(self.path)
        if os.geteuid() == 0 and self.path.exists() and self.path.parent.stat().st_uid != 0:
            return None  # opened with the rights of its owner, so that faults of ownership show

        return open_reader(self.path)

    def space_check(self) -> Callable[[], str | None]:
        from ..storage.sqlite.disk_reserve import DiskSpaceCheck

        return DiskSpaceCheck(self.path.parent, self._settings.disk_floor)

    def disk_reserve(self) -> DiskReserve:
        from ..storage.sqlite.disk_reserve import DiskReserve

        return DiskReserve(self.path.with_suffix(".ballast"))

    def schema(self) -> int | None:
        from ..storage.sqlite import completion_reads

        return completion_reads.schema(self.path)

    def is_missing(self, fault: StoreUnavailable) -> bool:
        return not self.path.exists()

    def lost_store(self) -> LostStore | None:
        from ..storage.sqlite.rescue import read_notice

        return read_notice(self.path)

    def rescued(self) -> Sequence[Path]:
        from ..storage.sqlite.integrity import rescued

        return rescued(self.path)

    def restore_problems(self) -> Sequence[tuple[str, str]]:
        from ..storage.sqlite import restored

        problems = []
        if names := restored.revalidated_keys(self.path):
            shown = ", ".join(names[:10]) + (" and more" if len(names) > 10 else "")
            found = f"{len(names)} API keys that had been revoked are valid again since the restore: {shown}"
            problems.append((found, "; ".join(f"claude-relay keys revoke {name}" for name in names[:10])))
        if count := restored.unreadable_headers(self.path):
            found = f"{count} jobs have webhookHeaders that {self.key_file} cannot decrypt: their callbacks wait"
            problems.append((found, f"put the key file that was kept with the backup at {self.key_file}"))

        return problems

    def check_backups(self, file: Path, *, restoring: bool = False) -> None:
        """Nothing: the relay backs up and restores such a store."""

    def backup(self, relay: Relay, file: Path) -> None:
        from ..file_owner import give_to_owner

        relay.backup(file)
        if file.absolute().parent == self.path.absolute().parent:  # there all belongs to the daemons' user
            give_to_owner(file)

    def restore(self, file: Path) -> Path | None:
        from ..storage.sqlite.restore import restore

        return restore(file, self.path)

    def complete_request_ids(self, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
        from ..storage.sqlite import completion_reads

        return completion_reads.request_ids(self.path, prefix, limit)

    def complete_groups(self) -> Sequence[str]:
        from ..storage.sqlite import completion_reads

        return completion_reads.groups(self.path)

    def complete_key_names(self) -> Sequence[str]:
        from ..storage.sqlite import completion_reads

        return completion_reads.key_names(self.path)


class PostgresEngine(Engine):
    """
    A server that several machines share, which also carries their notifications.

    Its clock is the one that counts, and is not compared with this machine's: keeping it right is up to the operator of
    the server.
    """

    name = "postgres"
    shared = True

    def require(self) -> None:
        _postgres_store()

    def open(self, *, create: bool, reserve: DiskReserve | None = None) -> OpenStore:
        store_class = _postgres_store()
        from ..notify.background import BackgroundNotifier
        from ..notify.postgres_notify import PostgresNotifier

        store = store_class(self._settings.store, where=self._settings.store_shown, create=create)
        notifier = PostgresNotifier(store.connect)

        return OpenStore(
            store=store,
            ready=notifier,
            notifier=BackgroundNotifier(notifier, notifier),
            disk_problem=self.space_check(),
            clocks=None,
        )

    def space_check(self) -> Callable[[], str | None]:
        """No check: the disk is the server's."""
        return lambda: None

    def disk_reserve(self) -> None:
        """None: the disk is the server's."""

    def schema(self) -> int | None:
        self.require()
        from ..storage.postgres.server_info import inspect

        try:
            return inspect(self._settings.store, self._settings.store_shown).schema or None
        except StoreUnavailable:
            return None

    def is_missing(self, fault: StoreUnavailable) -> bool:
        return "there is no store" in str(fault)

    def warnings(self) -> Sequence[str]:
        self.require()
        from ..storage.postgres import server_info
        from ..storage.sqlite import completion_reads

        sentences = []
        previous = Path(self._settings.state_directory) / "relay.db"
        if count := completion_reads.unfinished(previous):
            sentences.append(
                f"{count} jobs and callbacks wait in {previous}, the previous store, and no worker processes them: run "
                f"one with RELAY_STORE=sqlite:///{previous} until none is left."
            )
        try:
            info = server_info.inspect(self._settings.store, self._settings.store_shown)
        except RelayError:
            return sentences  # the daemon waits for the server or ends, and says so
        sentences += server_info.warnings(info)
        if not server_info.receives_notifications(self._settings.store):
            sentences.append(
                "notifications do not arrive (a pooler in transaction mode?): jobs start with the next sweep, within a "
                "second. Let the pooler pool sessions, or name the server itself."
            )

        return sentences

    def check_server(self) -> Sequence[str]:
        self.require()
        from ..storage.postgres import server_info

        try:
            server_info.check_start(self._settings.store, self._settings.store_shown)
        except StoreUnavailable as exc:
            return [f"{exc} (daemons wait for it)"]

        return self.warnings()

    def check_backups(self, file: Path, *, restoring: bool = False) -> None:
        from ..storage import pg_dump

        instructions = pg_dump.restore_instructions if restoring else pg_dump.instructions
        raise ConfigError([instructions(self._settings.store_shown, file)])

    def backup(self, relay: Relay, file: Path) -> None:
        self.check_backups(file)

    def restore(self, file: Path) -> None:
        self.check_backups(file, restoring=True)

    def complete_request_ids(self, prefix: str, limit: int) -> Sequence[tuple[str, str]]:
        from ..storage.postgres import completion_reads

        return completion_reads.request_ids(self._settings.store, prefix, limit)

    def complete_groups(self) -> Sequence[str]:
        from ..storage.postgres import completion_reads

        return completion_reads.groups(self._settings.store)

    def complete_key_names(self) -> Sequence[str]:
        from ..storage.postgres import completion_reads

        return completion_reads.key_names(self._settings.store)


#: The engine of each URL scheme; the settings have only these.
ENGINES: dict[str, type[Engine]] = {"sqlite": SqliteEngine, "postgresql": PostgresEngine, "postgres": PostgresEngine}


def engine_of(settings: Settings) -> Engine:
    """The engine of the store that these settings name."""
    scheme = settings.store.partition(":")[0]

    return ENGINES[scheme](settings)


def _postgres_store() -> type[PostgresStore]:
    try:
        from ..storage.postgres import PostgresStore
    except ImportError as exc:
        raise ConfigError(
            [f"RELAY_STORE names a PostgreSQL server, and its driver is missing ({exc.name or 'psycopg'}): "
             f"pip install 'claude-relay[postgres]'."]
        ) from exc  # fmt: skip

    return PostgresStore
