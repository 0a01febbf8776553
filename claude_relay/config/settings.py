"""The frozen object that holds every setting, read once and passed to its users."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ..core.lazy_dataclass import dataclass
from ..errors import ConfigError
from . import postgres
from .parsers import split_admin_keys
from .sources import CREDENTIALS
from .table import (
    OPTIONS,
    CallbackSettings,
    ClaudeSettings,
    CliSettings,
    LogSettings,
    SecretSettings,
    ServerSettings,
    StoreSettings,
)
from .urls import shown_store, store_passwords, store_path

if TYPE_CHECKING:
    from .option import Option

_WHERE = "the environment, in .env or in /etc/claude-relay/claude-relay.env"


def _systemd_hint(row: Option) -> str:
    return f"; for a systemd service write it into {CREDENTIALS}/{row.name}" if row.secret else ""


@dataclass(frozen=True)
class SettingOrigin:
    """A value that was set: as it may be displayed, and its source."""

    shown: str
    origin: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(
    SecretSettings, ServerSettings, ClaudeSettings, CallbackSettings, StoreSettings, LogSettings, CliSettings
):
    """
    Every setting under its lower-case name without `RELAY_`.

    `Settings()` holds the defaults, `Settings(port=0)` all but one of them; `load` reads this machine's.
    """

    given: Mapping[str, SettingOrigin] = field(default_factory=lambda: MappingProxyType({}), compare=False)
    journal_stream: str = field(default="", compare=False)
    """systemd's identification of the journal stream (`$JOURNAL_STREAM`); not a setting."""
    state_directory: str = field(default="/var/lib/claude-relay", compare=False)
    """Directory for this machine's state that belongs to no store; derived, not a setting."""

    @property
    def store_path(self) -> Path | None:
        """The file of the store; None if it is a server."""
        return store_path(self.store)

    @property
    def store_shown(self) -> str:
        """The location of the store for display, without a password."""
        return shown_store(self.store)

    @property
    def store_is_remote(self) -> bool:
        """Whether the store is a server reached over TCP, even on this machine."""
        return self.store_path is None and postgres.is_remote(self.store)

    def store_names(self) -> dict[str, str]:
        """A server's `user`, database (`name`) and `host`, and this process's `account`, for suggested commands."""
        account = pwd.getpwuid(os.geteuid()).pw_name
        user, name, host = postgres.names(self.store)
        machine = host if host and not host.startswith("/") else "this machine"

        return {"account": account, "user": user or account, "name": name or user or account, "host": machine}

    @property
    def state_folder(self) -> Path:
        """
        Folder for this machine's own state, such as its workers' locks.

        It is beside the store if that is a file, otherwise the state directory.
        """
        path = self.store_path

        return Path(self.state_directory) if path is None else path.parent

    @property
    def admin_keys(self) -> tuple[str, ...]:
        """The keys in API_SECRET_KEY: none, one, or two during a change. The command line sends the first."""
        return split_admin_keys(self.api_secret_key) if self.api_secret_key else ()

    @property
    def production(self) -> bool:
        """Whether this runs in production rather than on a developer's machine."""
        return self.env == "production"

    def models(self) -> tuple[tuple[str, str], ...]:
        """The configured models, each with the name of its setting."""
        return (("RELAY_MODEL", self.model), *(("RELAY_FALLBACK_MODELS", name) for name in self.fallback_models))

    def origin(self, name: str) -> str:
        """The source of the value of `name`, such as `the environment`, `.env` or `default`."""
        return self.given[name].origin if name in self.given else "default"

    def shown(self, name: str) -> str:
        """The value of `name` for display, as it was written, with secrets hidden."""
        if name in self.given:
            return self.given[name].shown
        if name == "RELAY_STORE":  # its default depends on the user and the folder
            return self.store

        return next(row.default for row in OPTIONS if row.name == name)

    def secrets(self) -> tuple[str, ...]:
        """Every string that must never appear in output."""
        secrets = list(self.admin_keys)
        for row in OPTIONS:
            value = getattr(self, row.attribute)
            if row.secret and value:
                secrets.extend((value,) if isinstance(value, str) else value)
            elif row.may_hold_secret:
                secrets.extend(store_passwords(value))
            elif isinstance(value, str) and "://" in value and (password := urlsplit(value).password):
                secrets.extend({password, unquote(password)})

        return tuple(secrets)

    def require(self, *names: str) -> None:
        """Raise `ConfigError` with a sentence for each of `names` that has no value."""
        missing = [row for row in OPTIONS if row.name in names and getattr(self, row.attribute) in (None, "", ())]
        if missing:
            raise ConfigError(
                [f"{row.name} is missing: set it in {_WHERE}{_systemd_hint(row)}." for row in missing]
                + ["claude-relay config init writes a .env to begin with."] * (not self.given)
            )

    def __repr__(self) -> str:
        values = " ".join(f"{name}={self.given[name].shown}" for name in self.given)
        return f"<Settings {values or 'all default'}>"
