"""Opens the relay: the store that the settings name, with the policy, the models and the prices."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import Settings, load_prices
from ..core.policy import Policy
from .engines import engine_of

if TYPE_CHECKING:
    from ..ports import ReadyQueue
    from ..services import Relay
    from ..storage.sqlite.disk_reserve import DiskReserve

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OpenRelay:
    """An open relay and what must be closed with it."""

    relay: Relay
    ready: ReadyQueue
    folder: Path  # of the workers' locks and wakeup sockets
    shared: bool  # with workers on other machines, whose locks are not in that folder

    def close(self) -> None:
        """Finish queued writes, and close everything."""
        self.relay.close()


def policy(settings: Settings) -> Policy:
    """The policy of these settings."""
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


def open_worker_relay(settings: Settings, *, create: bool = False, reserve: DiskReserve | None = None) -> OpenRelay:
    """
    Open the store of these settings with everything that a worker needs beside the relay.

    With `create` (the daemons and `migrate`) a missing store is created; otherwise it is an error that names the next
    command.
    """
    from ..services import Relay
    from ..services.model_catalog import CachedModelCatalog

    prices = load_prices(settings.prices)
    engine = engine_of(settings)
    opened = engine.open(create=create, reserve=reserve)
    models = CachedModelCatalog(opened.store, provider=settings.provider, prices=prices.output_prices())
    relay = Relay(
        opened.store,
        opened.notifier,
        policy(settings),
        disk_problem=opened.disk_problem,
        model_catalog=models,
        prices=prices,
        read_clocks=opened.clocks,
        on_clock_step=lambda seconds: log.warning("the clock was set", extra={"seconds": round(seconds, 3)}),
    )

    return OpenRelay(relay=relay, ready=opened.ready, folder=settings.state_folder / "workers", shared=engine.shared)


@contextlib.contextmanager
def open_relay(settings: Settings, *, create: bool = False) -> Iterator[Relay]:
    """An open relay for the block."""
    opened = open_worker_relay(settings, create=create)
    try:
        yield opened.relay
    finally:
        opened.close()


def check_store(settings: Settings) -> None:
    """Raise `ConfigError` if this installation cannot use such a store."""
    engine_of(settings).require()
