"""
Logs: one event a line, for people in development and as JSON everywhere else.

    setup(settings, "claude-relay-worker")
    log.info("job completed", extra={"requestId": job.id, "ms": 412})

No line breaks into two whatever it carries, secrets are taken out of messages, extras and tracebacks alike, and a log
that cannot be written never hurts whoever wanted to log.
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
# They tell of every request and, at debug, of its headers and body.
_CHATTY = ("anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "requests", "waitress", "persistqueue")


class LogSettings(Protocol):
    """What the logs need to know of the settings."""

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
    Send the logs of this process where the settings say; ConfigError where RELAY_LOG_DIR cannot be written.

    People at a desk read stderr. In production stdout carries JSON, which is what journald and containers collect.
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
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))

    logging.captureWarnings(True)
    threading.excepthook = _thread_died


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
    """Where stdout goes to the journal: its own door, or stdout with priorities where that is shut."""
    if not _is_journal(sys.stdout, journal_stream):
        return None

    return JournalHandler(JOURNAL, formatter) if os.access(JOURNAL, os.W_OK) else ConsoleHandler(sys.stdout, formatter)


def _is_journal(stream: IO[str], journal_stream: str) -> bool:
    """Whether `stream` goes to the journal itself; the variable alone is inherited by whatever we start."""
    if not journal_stream:
        return False
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False

    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _thread_died(died: threading.ExceptHookArgs) -> None:
    if died.exc_type is not SystemExit:
        name = died.thread.name if died.thread else None
        trace = (died.exc_type, died.exc_value or died.exc_type(), died.exc_traceback)
        logging.getLogger(__name__).error("a thread died", exc_info=trace, extra={"thread_name": name})
