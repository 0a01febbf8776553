"""`retry`, `redeliver`, `cancel`, `pause` and `resume`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ...errors import Conflict, Forbidden, InvalidRequest, NotFound, RelayError
from ..client import JobQuery, RelayClient, open_client
from ..render.output import Output, json_option, pass_output

#: Jobs in one request: a remote relay limits the rate of requests.
_BULK = 500
#: Exit codes of refused jobs, by HTTP status.
_EXIT_CODES = {kind.status: kind.exit_code for kind in (InvalidRequest, Forbidden, NotFound, Conflict)}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--failed", is_flag=True, help="All failed jobs, instead of IDs.")
@click.option("--since", metavar="TIME", help="With --failed: only jobs newer than this, such as 1h.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation, although it costs tokens.")
@json_option
@pass_output
def retry(output: Output, ids: tuple[str, ...], failed: bool, since: str | None, yes: bool) -> int:
    """Run jobs again, which costs tokens."""
    if bool(ids) == failed:
        raise click.UsageError("Give the IDs, or --failed for all failed jobs.")
    with open_client(output) as client:
        if failed:
            ids = tuple(job["requestId"] for job in client.jobs(JobQuery(status=("failed",), since=since, limit=None)))
        if not ids:
            raise Conflict("nothing to retry: no failed jobs")
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("A retry costs tokens: without a terminal, confirm it with --yes.")
            click.confirm(f"Run {len(ids)} job{'s' * (len(ids) > 1)} again? This costs tokens.", abort=True, err=True)
        return _each(output, ids, client.retry)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--dead", is_flag=True, help="All jobs with a dead delivery, instead of IDs.")
@click.option("--host", help="With --dead: only callbacks to this host.")
@click.option("--to", metavar="URL", help="Deliver to this URL instead.")
@json_option
@pass_output
def redeliver(output: Output, ids: tuple[str, ...], dead: bool, host: str | None, to: str | None) -> int:
    """Deliver stored results again, without cost."""
    if bool(ids) == dead:
        raise click.UsageError("Give the IDs, or --dead for all jobs with a dead delivery.")
    if host and not dead:
        raise click.UsageError("--host requires --dead, and cannot be combined with IDs.")
    with open_client(output) as client:
        if dead:
            ids = tuple(job["requestId"] for job in client.jobs(JobQuery(dead=True, host=host, limit=None)))
        if not ids:
            raise Conflict("nothing to redeliver: no dead deliveries")
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
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@json_option
@pass_output
def cancel(output: Output, ids: tuple[str, ...]) -> int:
    """Cancel jobs, even while they run; their webhooks get a failed callback."""
    with open_client(output) as client:
        return _each(output, ids, client.cancel)


@click.command()
@click.argument("group", required=False)
@json_option
@pass_output
def pause(output: Output, group: str | None) -> None:
    """Start no more jobs of GROUP, or none at all; running jobs continue."""
    _switch(output, group, lambda client: client.pause(group), "paused")


@click.command()
@click.argument("group", required=False)
@json_option
@pass_output
def resume(output: Output, group: str | None) -> None:
    """Resume GROUP, or all jobs, also after a spend limit."""
    _switch(output, group, lambda client: client.resume(group), "running")


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


def _switch(output: Output, group: str | None, action: Callable[[RelayClient], None], status: str) -> None:
    with open_client(output) as client:
        action(client)
    if output.json:
        output.value({"group": group, "status": status})
    else:
        output.message(f"{'The group ' + group if group else 'The relay'} is {status}.")
