"""`retry`, `redeliver` and `cancel`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ...core.jobs.job_filter import FILTERS, with_defaults
from ...errors import Conflict, Forbidden, InvalidRequest, NotFound, RelayError
from ..client import JobQuery, RelayClient, open_client
from ..job_filters import filter_options, given
from ..render.output import Output, json_option, pass_output

#: Jobs in one request: a remote relay limits the rate of requests.
_BULK = 500
#: Exit codes of refused jobs, by HTTP status.
_EXIT_CODES = {kind.status: kind.exit_code for kind in (InvalidRequest, Forbidden, NotFound, Conflict)}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--failed", is_flag=True, help="All failed jobs: the same as --status failed.")
@filter_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation, although it costs tokens.")
@json_option
@pass_output
def retry(output: Output, /, ids: tuple[str, ...], failed: bool, yes: bool, **filters: Any) -> int:
    """Run jobs again, which costs tokens: those IDs, or those that the filters select, without --status the failed."""
    if failed:
        filters["status"] = ("failed", *filters["status"])
    with open_client(output) as client:
        ids = _select(client, "retry", ids, filters, "--failed for all failed jobs")
        if not yes:
            _confirm(f"Run {_jobs(ids)} again? This costs tokens.", "A retry costs tokens")
        return _each(output, ids, client.retry)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--to", metavar="URL", help="Deliver to this URL instead.")
@json_option
@pass_output
def redeliver(output: Output, /, ids: tuple[str, ...], to: str | None, **filters: Any) -> int:
    """
    Deliver stored results again, without cost: those IDs, or those that the filters select.

    Without --status or --unacked, filters select dead deliveries only.
    """
    with open_client(output) as client:
        ids = _select(client, "redeliver", ids, filters, "--dead for all jobs with a dead delivery")
        if len(ids) == 1:
            _print(output, client.redeliver(ids[0], to))
            return 0
        worst = 0
        for start in range(0, len(ids), _BULK):
            batch = ids[start : start + _BULK]
            for request_id, verdict in zip(batch, client.redeliver_many(batch, to), strict=True):
                if verdict["statusCode"] == 202:
                    status = {name: value for name, value in verdict.items() if name not in ("index", "statusCode")}
                    _print(output, status)
                else:
                    output.message(f"{request_id}: {verdict['error']}")
                    worst = max(worst, _EXIT_CODES.get(verdict["statusCode"], 1))
        return worst


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@filter_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask before jobs that filters select are cancelled.")
@json_option
@pass_output
def cancel(output: Output, /, ids: tuple[str, ...], yes: bool, **filters: Any) -> int:
    """
    Cancel jobs, even while they run; their webhooks get a failed callback.

    Those IDs, or those that the filters select: without --status, the ones that wait or run.
    """
    by_filter = not ids
    with open_client(output) as client:
        ids = _select(client, "cancel", ids, filters, "filters such as --group")
        if by_filter and not yes:
            _confirm(f"Cancel {_jobs(ids)}?", "This cancels every job that matches")
        return _each(output, ids, client.cancel)


def _select(
    client: RelayClient, verb: str, ids: tuple[str, ...], filters: dict[str, Any], example: str
) -> tuple[str, ...]:
    """The IDs, or those of the jobs that the filters select."""
    chosen = given(filters)
    if bool(ids) == bool(chosen):
        problem = "Give IDs or filters, not both." if ids else f"Give the IDs, or {example}."
        raise click.UsageError(f"{problem} The filters: {', '.join(f'--{name}' for name in FILTERS)}.")
    if ids:
        return ids
    query = JobQuery(**with_defaults(verb, chosen), limit=None)
    ids = tuple(job["requestId"] for job in client.jobs(query))
    if not ids:
        raise Conflict(f"nothing to {verb}: no job matches")

    return ids


def _jobs(ids: Sequence[str]) -> str:
    return f"{len(ids)} job{'s' * (len(ids) != 1)}"


def _confirm(question: str, reason: str) -> None:
    """Ask on a terminal; without one, --yes is required."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"{reason}: without a terminal, confirm it with --yes.")
    click.confirm(question, abort=True, err=True)


def _each(output: Output, ids: Sequence[str], action: Callable[[str], dict[str, Any]]) -> int:
    """Apply an action to every job, also after errors; return the worst exit code."""
    if len(ids) == 1:
        _print(output, action(ids[0]))
        return 0
    worst = 0
    for request_id in ids:
        try:
            _print(output, action(request_id))
        except RelayError as exc:
            output.message(f"{request_id}: {exc}")
            worst = max(worst, exc.exit_code)

    return worst


def _print(output: Output, status: dict[str, Any]) -> None:
    if output.json:
        output.record(status)
    elif "status" not in status:  # the key lacks the scope read
        output.line(f"{status['requestId']}\t{status['message']}")
    else:
        output.line(f"{status['requestId']}\t{status['status']}\t{status['delivery']['status']}")
