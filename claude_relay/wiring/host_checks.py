"""Checks of the host before a daemon starts: faults of the machine that would otherwise fail or lose jobs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..container import discarded_with_container
from ..errors import ConfigError, StoreUnavailable
from ..file_owner import access_fault
from .engines import engine_of

if TYPE_CHECKING:
    from ..config import Settings


def check_host(settings: Settings, environ: Mapping[str, str], *, calls: bool) -> None:
    """Raise `ConfigError` with every fault; `calls`: this daemon, or one beside it, calls Anthropic."""
    from ..claude.environment import client_faults

    faults = [
        *_railway_faults(settings, environ),
        *_key_log_faults(environ),
        *(client_faults(environ) if calls else ()),
    ]
    if faults:
        raise ConfigError(faults)


def check_access(settings: Settings) -> None:
    """Raise `StoreUnavailable` if this user cannot use the store's files: a restart of the daemons changes nothing."""
    path = engine_of(settings).file
    if path is not None and (fault := access_fault(path)) is not None:
        raise StoreUnavailable(f"the store {path} cannot be opened or written: {': '.join(fault)}")


def lost_with_container(settings: Settings) -> str | None:
    """The warning for a store that is deleted with its container."""
    path = engine_of(settings).file
    if path is None or not discarded_with_container(path.parent):
        return None

    return (
        f"the jobs in {path} are deleted with this container, since no volume that outlives it is mounted at"
        f" {path.parent}: docker run -v jobs:{path.parent}"
    )


def _key_log_faults(environ: Mapping[str, str]) -> Sequence[str]:
    """Python writes to SSLKEYLOGFILE as each TLS client is made, and makes none where it cannot."""
    name = environ.get("SSLKEYLOGFILE")
    if not name or os.access(name if Path(name).exists() else Path(name).parent, os.W_OK):
        return []

    return [
        f"SSLKEYLOGFILE in the environment is {name}, which cannot be written: no TLS connection can be made. "
        "Unset SSLKEYLOGFILE."
    ]


def _railway_faults(settings: Settings, environ: Mapping[str, str]) -> Sequence[str]:
    """The store must be on Railway's volume: anything else is gone with the next deployment."""
    path = engine_of(settings).file
    if path is None or not any(environ.get(name) for name in ("RAILWAY_ENVIRONMENT", "RAILWAY_ENVIRONMENT_ID")):
        return []
    mount = environ.get("RAILWAY_VOLUME_MOUNT_PATH")
    if not mount:
        return [
            f"This service on Railway has no volume: the jobs in {path} would be lost with the next deployment. "
            f"Attach a volume, mounted at {path.parent}, or set RELAY_STORE to a PostgreSQL."
        ]
    if Path(os.path.normpath(mount)) not in Path(os.path.normpath(path)).parents:
        return [
            f"The jobs in {path} would be lost with Railway's next deployment: its volume is mounted at {mount}. "
            f"Mount it at {path.parent}, or set RELAY_STORE=sqlite:///{mount.rstrip('/')}/relay.db."
        ]

    return []
