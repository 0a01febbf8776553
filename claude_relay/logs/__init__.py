"""
Logging: one event per line, readable in development and as JSON everywhere else.

    setup(settings, "claude-relay-worker")
    log.info("job completed", extra={"requestId": job.id, "ms": 412})

An event is always a single line. Secrets are removed from messages, extras and tracebacks. A log that cannot be written
never raises in the code that logs.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from pathlib import Path
from typing import IO, Protocol

from ..core.text.redaction import Redactor
from ..errors import ConfigError
from .formats import LEVELS, ConsoleFormat, JournalFormat, JsonFormat
from .handlers import ConsoleHandler, JournalHandler, LineFileHandler, SafeHandler

__all__ = ["LogSettings", "setup"]

JOURNAL = "/run/systemd/journal/socket"
# They log every request and, at debug, its headers and body.
_NOISY = (
    "anthropic",
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "urllib3",
    "requests",
    "waitress",
    "persistqueue",
)


class LogSettings(Protocol):
    """The settings that logging needs."""

    @property
    def log_level(self) -> str: ...
    @property
    def log_dir(self) -> Path | None: ...
    @property
    def production(self) -> bool: ...
    @property
    def journal_stream(self) -> str: ...
    def secrets(self) -> tuple[str, ...]: ...


def setup(settings: LogSettings, service: str) -> None:
    """
    Configure the logging of this process; `ConfigError` if RELAY_LOG_DIR cannot be written.

    In development, logs go to stderr. In production, stdout has JSON, which journald and containers collect.
    """
    level = LEVELS[settings.log_level]
    redact = Redactor(settings.secrets())
    lines = JsonFormat(service, redact)
    handlers: list[logging.Handler] = []

    if settings.production:
        handlers.append(
            _journal(JournalFormat(service, redact), settings.journal_stream) or ConsoleHandler(sys.stdout, lines)
        )
    else:
        handlers.append(ConsoleHandler(sys.stderr, ConsoleFormat(redact)))
    if settings.log_dir is not None:
        handlers.extend(_files(settings.log_dir, lines))

    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, SafeHandler)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))

    logging.captureWarnings(True)
    threading.excepthook = _log_thread_death


def _files(folder: Path, formatter: logging.Formatter) -> list[logging.Handler]:
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        return [
            LineFileHandler(folder / "combined.log", formatter),
            LineFileHandler(folder / "error.log", formatter, logging.ERROR),
        ]
    except OSError as exc:
        cure = "name a directory that this user may write to, or leave RELAY_LOG_DIR empty"
        raise ConfigError([f"RELAY_LOG_DIR {folder} cannot be written ({exc.strerror}): {cure}."]) from exc


def _journal(formatter: JournalFormat, journal_stream: str) -> logging.Handler | None:
    """A handler for journald if stdout is connected to it: native if its socket is writable, otherwise by stdout."""
    if not _is_journal(sys.stdout, journal_stream):
        return None

    return JournalHandler(JOURNAL, formatter) if os.access(JOURNAL, os.W_OK) else ConsoleHandler(sys.stdout, formatter)


def _is_journal(stream: IO[str], journal_stream: str) -> bool:
    """Whether `stream` is connected to the journal; the variable alone is inherited by child processes."""
    if not journal_stream:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False

    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _log_thread_death(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        name = args.thread.name if args.thread else None
        trace = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        logging.getLogger(__name__).error("a thread died", exc_info=trace, extra={"thread_name": name})
