"""`list` and `search`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..client import JobQuery, open_client
from ..job_filters import filter_options
from ..render.output import F, Output, json_option, pass_output


def _filters(command: F) -> F:
    limit = click.option(
        "--limit", default=50, show_default=True, type=click.IntRange(1), help="Maximum number of jobs."
    )

    return filter_options(limit(json_option(command)))


@click.command("list")
@_filters
@pass_output
def list_(output: Output, /, **filters: Any) -> None:
    """List jobs, newest first."""
    _print(output, JobQuery(**filters))


@click.command()
@click.argument("text")
@_filters
@pass_output
def search(output: Output, /, text: str, **filters: Any) -> None:
    """List jobs with TEXT in their prompt, answer or id."""
    _print(output, JobQuery(text=text, **filters))


def _print(output: Output, query: JobQuery) -> None:
    columns: tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...] = (
        ("ID", lambda job: job["requestId"]),
        ("STATUS", lambda job: job["status"]),
        ("CREATED", lambda job: job["createdAt"]),
        ("GROUP", lambda job: job["group"]),
        ("MODEL", lambda job: job["model"]),
        ("DELIVERY", lambda job: job["delivery"]["status"]),
        ("NOTE", lambda job: job["errorType"] or job["waitingFor"] or ""),
    )
    with open_client(output, reading=True) as client:
        jobs = client.jobs(query)
        if output.json:
            for job in jobs:
                output.record(job)
            return
        output.table([title for title, _ in columns], ([cell(job) for _, cell in columns] for job in jobs))
