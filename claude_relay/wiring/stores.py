"""Opens the store that the settings name, and what belongs to each kind: its bell, its queue, its folder."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Settings, load_prices
from ..core.policy import Policy
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..core.clock_step import Clocks
    from ..ports import Notifier, ReadyQueue, Store
    from ..services import Relay
    from ..storage.postgres import PostgresStore
    from ..storage.sqlite.disk_reserve import DiskReserve

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenRelay:
    """An open relay and what must be closed with it."""

    relay: Relay
    ready: ReadyQueue
    folder: Path  # where workers hold their locks and hang their bells
    shared: bool  # with workers on other machines, whose locks are not in that folder

    def close(self) -> None:
        """Finish what was handed in, and close everything."""
        self.relay.close()


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A store, and how word of what is in it travels. `room` and `clocks` are of this machine, where it is here."""

    store: Store
    ready: ReadyQueue
    bell: Notifier
    room: Callable[[], str | None]
    clocks: Callable[[], Clocks] | None


def policy(settings: Settings) -> Policy:
    """The numbers that decisions depend on."""
    return Policy(
        model=settings.model,
        fallback_after=settings.fallback_after,
        call_attempts=settings.call_attempts,
        interrupted_attempts=settings.interrupted_attempts,
        call_timeout=settings.call_timeout,
        backoff_max=settings.backoff_max,
        lease=settings.lease,
        batch_size=settings.batch_size,
        batch_linger=settings.batch_linger,
        batch_poll=settings.batch_poll,
        batch_margin=settings.batch_margin,
        batch_settle=settings.batch_settle,
        max_queue=settings.max_queue,
        webhook_schedule=settings.webhook_schedule,
        webhook_lease=max(60.0, 2 * settings.webhook_timeout),
        callback=settings.callback,
        callback_max=settings.callback_max,
        public_url=settings.public_url,
        ack_remind=settings.ack_remind,
        retention=settings.retention,
        retention_failed=settings.retention_failed,
        tombstones=settings.tombstones,
    )


def open_worker_relay(settings: Settings, *, create: bool = False, ballast: DiskReserve | None = None) -> OpenRelay:
    """
    Open the store of these settings.

    With `create` (the daemons and `migrate`) it is made where there is none; without, a missing one is an error with
    the next command in it.
    """
    from ..services import Relay
    from ..services.model_catalog import CachedModelCatalog

    prices = load_prices(settings.prices)
    path = settings.store_path
    opened = _server(settings, create) if path is None else _file(settings, path, create, ballast)
    known = CachedModelCatalog(opened.store, provider=settings.provider, prices=prices.output_prices())
    relay = Relay(
        opened.store,
        opened.bell,
        policy(settings),
        room=opened.room,
        known=known,
        prices=prices,
        read_clocks=opened.clocks,
        clock_was_set=lambda seconds: log.warning("the clock was set", extra={"seconds": round(seconds, 3)}),
    )

    return OpenRelay(relay=relay, ready=opened.ready, folder=settings.state_folder / "workers", shared=path is None)


@contextlib.contextmanager
def open_relay(settings: Settings, *, create: bool = False) -> Iterator[Relay]:
    """An open relay for as long as the block lasts."""
    house = open_worker_relay(settings, create=create)
    try:
        yield house.relay
    finally:
        house.close()


def check_store(settings: Settings) -> None:
    """Raise ConfigError where this installation cannot use such a store."""
    if settings.store_path is None:
        _postgres()


def _file(settings: Settings, path: Path, create: bool, ballast: DiskReserve | None) -> _Opened:
    from ..notify.background import BackgroundNotifier
    from ..notify.disk_queue import DiskQueue
    from ..notify.wakeup_socket import WakeupSender
    from ..services.clock_step import read_clocks
    from ..storage.migrate import steps
    from ..storage.sqlite.disk_reserve import DiskSpaceCheck
    from ..storage.sqlite.store import SqliteStore

    steps("sqlite")  # read while this is root: an installation below /root cannot be read by the owner of the store
    with as_owner(path.parent):
        store = SqliteStore(path, create=create, ballast=ballast)
        folder = path.parent / "workers"
        folder.mkdir(mode=0o770, exist_ok=True)
        ready = DiskQueue(path.with_name("ready.db"))
        notifier = BackgroundNotifier(ready, WakeupSender(folder))

    return _Opened(
        store=store,
        ready=ready,
        bell=notifier,
        room=DiskSpaceCheck(path.parent, settings.disk_floor),
        clocks=read_clocks,
    )


def _server(settings: Settings, create: bool) -> _Opened:
    """
    A PostgreSQL that several machines share. Its clock is the one that counts, and no two of ours are compared with it:
    keeping it right is the business of whoever keeps the server.
    """
    engine = _postgres()
    from ..notify.background import BackgroundNotifier
    from ..notify.postgres_notify import PostgresNotifier

    store = engine(settings.store, where=settings.store_shown, create=create)
    notices = PostgresNotifier(store.connect)

    return _Opened(
        store=store, ready=notices, bell=BackgroundNotifier(notices, notices), room=lambda: None, clocks=None
    )


def _postgres() -> type[PostgresStore]:
    try:
        from ..storage.postgres import PostgresStore
    except ImportError as exc:
        raise ConfigError(
            [f"RELAY_STORE names a PostgreSQL server, and its driver is missing ({exc.name or 'psycopg'}): "
             f"pip install 'claude-relay[postgres]'."]
        ) from exc  # fmt: skip

    return PostgresStore


@contextlib.contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """
    What root makes in `folder` belongs to the folder's owner, so that the daemons can still open it afterwards; and to
    its group, where that may write there.
    """
    try:
        owner = folder.stat() if os.geteuid() == 0 else None
    except OSError:
        owner = None
    if owner is None or owner.st_uid == 0:
        yield
        return
    group, mask = os.getegid(), os.umask(0o007 if owner.st_mode & 0o020 else 0o027)
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            os.seteuid(0)  # it lies where its owner cannot go: root's own then
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.umask(mask)
