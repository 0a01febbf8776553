"""Opens the relay: the store that the settings name, with the policy, the models and the prices."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import OPTIONS, Settings, load_prices
from ..core.lazy_dataclass import dataclass
from ..core.policy import Policy
from ..ports import NoNotifier
from .engines import engine_of

if TYPE_CHECKING:
    from ..core.models.catalog import ModelCatalog
    from ..core.money.prices import PriceList
    from ..ports import ReadyQueue, Store, TextSource
    from ..services import Relay
    from ..services.model_catalog import CachedModelCatalog
    from ..storage.sqlite.disk_reserve import DiskReserve


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
    """The policy that these settings make: its fields that are settings have the same names."""
    names = {field.name for field in fields(Policy)} & {row.attribute for row in OPTIONS}
    values: dict[str, Any] = {name: getattr(settings, name) for name in names}

    return Policy(**values, webhook_lease=max(Policy.webhook_lease, 2 * settings.webhook_timeout))


def open_worker_relay(settings: Settings, *, create: bool = False, reserve: DiskReserve | None = None) -> OpenRelay:
    """
    Open the store of these settings with everything that a worker needs beside the relay.

    With `create` (the daemons and `migrate`) a missing store is created; otherwise it is an error that names the next
    command.
    """
    from ..services import Relay

    prices = load_prices(settings.prices)
    engine = engine_of(settings)
    opened = engine.open(create=create, reserve=reserve)
    relay = Relay(
        opened.store,
        opened.notifier,
        policy(settings),
        disk_problem=opened.disk_problem,
        model_catalog=_catalog(settings, opened.store, prices),
        prices=prices,
        read_clocks=opened.clocks,
        on_clock_step=_log_clock_step,
    )

    return OpenRelay(relay=relay, ready=opened.ready, folder=settings.state_folder / "workers", shared=engine.shared)


@contextlib.contextmanager
def open_relay_for_reading(settings: Settings) -> Iterator[Relay]:
    """An open relay for a block that only reads: it costs less to open where the store is in order."""
    from ..services import Relay

    prices = load_prices(settings.prices)
    if (store := engine_of(settings).open_for_reading()) is None:
        with open_relay(settings) as relay:
            yield relay
        return

    @functools.cache
    def catalog() -> ModelCatalog:
        """Most reads need none."""
        return _catalog(settings, store, prices)()

    try:
        yield Relay(store, NoNotifier(), policy(settings), model_catalog=catalog, prices=prices)
    finally:
        store.close()


@contextlib.contextmanager
def open_relay(settings: Settings, *, create: bool = False) -> Iterator[Relay]:
    """An open relay for the block."""
    opened = open_worker_relay(settings, create=create)
    try:
        yield opened.relay
    finally:
        opened.close()


def _log_clock_step(seconds: float) -> None:
    import logging  # here, as importing it is a fortieth of `status ID`

    logging.getLogger(__name__).warning("the clock was set", extra={"seconds": round(seconds, 3)})


def _catalog(settings: Settings, store: Store, prices: PriceList) -> CachedModelCatalog:
    from ..services.model_catalog import CachedModelCatalog

    return CachedModelCatalog(store, provider=settings.provider, prices=prices.output_prices())


def text_source(settings: Settings) -> TextSource:
    """The text of calls in the workers of this machine, before it is stored."""
    from ..notify.text_socket import TextListener

    return TextListener(settings.state_folder / "workers")


def check_store(settings: Settings) -> None:
    """Raise `ConfigError` if this installation cannot use such a store."""
    engine_of(settings).require()
