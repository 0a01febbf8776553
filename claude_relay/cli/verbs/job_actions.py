"""`retry`, `redeliver`, `cancel`, `pause` and `resume`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from ...errors import Conflict, Forbidden, InvalidRequest, NotFound, RelayError
from ..client import JobQuery, RelayClient, open_client
from ..render.output import Output, json_option, pass_output

#: So many in one request: the owner of a remote relay is limited in how many he may make.
_BULK = 500
#: The exit code of what was refused, by its HTTP status.
_EXIT = {kind.status: kind.exit_code for kind in (InvalidRequest, Forbidden, NotFound, Conflict)}


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--failed", is_flag=True, help="All that have failed, instead of IDs.")
@click.option("--since", metavar="TIME", help="With --failed: only newer ones, such as 1h.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask: it costs tokens.")
@json_option
@pass_output
def retry(output: Output, ids: tuple[str, ...], failed: bool, since: str | None, yes: bool) -> int:
    """Run jobs again: this costs tokens."""
    if bool(ids) == failed:
        raise click.UsageError("Give the IDs, or --failed for all that have failed.")
    with open_client(output) as desk:
        if failed:
            ids = tuple(job["requestId"] for job in desk.jobs(JobQuery(status=("failed",), since=since, limit=None)))
        if not ids:
            raise Conflict("nothing to retry: no failed jobs")
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("A retry costs tokens: say --yes where nobody can be asked.")
            click.confirm(f"Run {len(ids)} job{'s' * (len(ids) > 1)} again? This costs tokens.", abort=True, err=True)
        return _each(output, ids, desk.retry)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--dead", is_flag=True, help="All whose delivery was given up, instead of IDs.")
@click.option("--host", help="With --dead: only those that go to this host.")
@click.option("--to", metavar="URL", help="To this address instead.")
@json_option
@pass_output
def redeliver(output: Output, ids: tuple[str, ...], dead: bool, host: str | None, to: str | None) -> int:
    """Send stored results again: free."""
    if bool(ids) == dead:
        raise click.UsageError("Give the IDs, or --dead for all whose delivery was given up.")
    if host and not dead:
        raise click.UsageError("--host chooses among the dead: give --dead too, or the IDs alone.")
    with open_client(output) as desk:
        if dead:
            ids = tuple(job["requestId"] for job in desk.jobs(JobQuery(dead=True, host=host, limit=None)))
        if not ids:
            raise Conflict("nothing to redeliver: no dead deliveries")
        if len(ids) == 1:
            _told(output, desk.redeliver(ids[0], to))
            return 0
        worst = 0
        for start in range(0, len(ids), _BULK):
            some = ids[start : start + _BULK]
            for request_id, verdict in zip(some, desk.redeliver_many(some, to), strict=True):
                if verdict["statusCode"] == 202:
                    _told(
                        output, {name: value for name, value in verdict.items() if name not in ("index", "statusCode")}
                    )
                else:
                    output.message(f"{request_id}: {verdict['error']}")
                    worst = max(worst, _EXIT.get(verdict["statusCode"], 1))
        return worst


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@json_option
@pass_output
def cancel(output: Output, ids: tuple[str, ...]) -> int:
    """Stop jobs, also in mid-stream; whoever waits for their callback is told."""
    with open_client(output) as desk:
        return _each(output, ids, desk.cancel)


@click.command()
@click.argument("group", required=False)
@json_option
@pass_output
def pause(output: Output, group: str | None) -> None:
    """Take no more jobs of GROUP, or none at all; what runs goes on."""
    _switch(output, group, lambda desk: desk.pause(group), "paused")


@click.command()
@click.argument("group", required=False)
@json_option
@pass_output
def resume(output: Output, group: str | None) -> None:
    """Go on with GROUP, or with everything: also after a spend limit."""
    _switch(output, group, lambda desk: desk.resume(group), "running")


def _each(output: Output, ids: Sequence[str], move: Callable[[str], dict[str, Any]]) -> int:
    """Every one, whatever becomes of the others; the worst exit code."""
    if len(ids) == 1:
        _told(output, move(ids[0]))
        return 0
    worst = 0
    for request_id in ids:
        try:
            _told(output, move(request_id))
        except RelayError as exc:
            output.message(f"{request_id}: {exc}")
            worst = max(worst, exc.exit_code)

    return worst


def _told(output: Output, status: dict[str, Any]) -> None:
    if output.json:
        output.record(status)
    else:
        output.line(f"{status['requestId']}\t{status['status']}\t{status['delivery']['status']}")


def _switch(output: Output, group: str | None, move: Callable[[RelayClient], None], word: str) -> None:
    with open_client(output) as desk:
        move(desk)
    if output.json:
        output.value({"group": group, "status": word})
    else:
        output.message(f"{'The group ' + group if group else 'The relay'} is {word}.")
