"""The options that select jobs: the same for list, search, retry, redeliver, cancel and cost."""

from __future__ import annotations

from typing import Any

import click

from ..core.jobs.job_filter import FILTERS
from .render.output import F

_TIME = "a time, a day or month in UTC (2026-11-30, 2026-11), or an age (2h)"
_OPTIONS = {
    "status": {"multiple": True, "metavar": "WORD", "help": "pending, processing, completed or failed; repeatable."},
    "group": {"help": "Only jobs of this group."},
    "key": {"metavar": "NAME", "help": "Only jobs of the API key with this name; admin: those of the admin key."},
    "model": {"help": "Only jobs for this model."},
    "host": {"help": "Only jobs with a callback to this host."},
    "error": {"multiple": True, "metavar": "TYPE", "help": "Only jobs with this errorType, as timeout; repeatable."},
    "since": {"metavar": "TIME", "help": f"Only from this time on: {_TIME}."},
    "until": {"metavar": "TIME", "help": "Only before this time; a day or month is included as a whole."},
    "dead": {"is_flag": True, "help": "Only jobs with a dead delivery."},
    "unacked": {"is_flag": True, "help": "Only jobs that were delivered and not acknowledged."},
}


def filter_options(command: F) -> F:
    """Add the options of all filters to a command."""
    for name in reversed(FILTERS):
        settings: Any = _OPTIONS[name]
        command = click.option(f"--{name}", **settings)(command)

    return command


def given(filters: dict[str, Any]) -> dict[str, Any]:
    """The filters that have a value."""
    return {name: value for name, value in filters.items() if value}
