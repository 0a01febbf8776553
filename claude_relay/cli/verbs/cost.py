"""`cost`: what was spent, from the ledger's sums."""

from __future__ import annotations

from typing import Any

import click

from ...core.money.spend import GROUPINGS
from ..client import open_client
from ..render.output import Output, json_option, pass_output


@click.command()
@click.option("--by", type=click.Choice(GROUPINGS), default="day", show_default=True, help="By what to tell it apart.")
@click.option("--since", metavar="TIME", help="From that UTC day on: 30d, or a time.")
@json_option
@pass_output
def cost(output: Output, by: str, since: str | None) -> None:
    """What was spent in dollars, also by jobs that are purged; days are UTC."""
    with open_client(output) as desk:
        found = desk.cost(by, since)
    if output.json:
        output.value(found)
        return
    titles = (by.upper(), "CALLS", "IN", "OUT", "CACHE READ", "CACHE WRITE", "USD")
    rows = [(row[by], *_cells(row)) for row in found["rows"]]
    if output.terminal:
        rows.append(("total", *_cells(found["total"])))
    output.table(titles, rows)
    if missing := found["total"]["unpricedCalls"]:
        output.message(
            f"{missing} of these calls cost something that is not known: their model has no price (RELAY_PRICES), or"
            " they broke off before anything was told."
        )


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("calls", "inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens")

    return (*(row[name] for name in names), dollars(row["costUsd"]))


def dollars(value: float | None) -> str | None:
    """To the last digit that says something, and never in powers of ten."""
    return None if value is None else f"{value:.10f}".rstrip("0").rstrip(".")
