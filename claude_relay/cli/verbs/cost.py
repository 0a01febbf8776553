"""`cost`: spending, from the sums of the ledger."""

from __future__ import annotations

from typing import Any

import click

from ...core.money.spend import GROUPINGS
from ..client import open_client
from ..render.output import Output, json_option, pass_output


@click.command()
@click.option("--by", type=click.Choice(GROUPINGS), default="day", show_default=True, help="Group the totals by this.")
@click.option("--since", metavar="TIME", help="Start with the UTC day of this time: 30d, or a time.")
@json_option
@pass_output
def cost(output: Output, by: str, since: str | None) -> None:
    """Show spending in US dollars, including purged jobs; days are UTC."""
    with open_client(output) as client:
        report = client.cost(by, since)
    if output.json:
        output.value(report)
        return
    titles = (by.upper(), "CALLS", "IN", "OUT", "CACHE READ", "CACHE WRITE", "USD")
    rows = [(row[by], *_cells(row)) for row in report["rows"]]
    if output.terminal:
        rows.append(("total", *_cells(report["total"])))
    output.table(titles, rows)
    if unpriced := report["total"]["unpricedCalls"]:
        output.message(
            f"The cost of {unpriced} of these calls is unknown: their model has no price (RELAY_PRICES), or they broke"
            " off before any usage was reported."
        )


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("calls", "inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens")

    return (*(row[name] for name in names), dollars(row["costUsd"]))


def dollars(value: float | None) -> str | None:
    """An amount without trailing zeros, and never in exponent notation."""
    return None if value is None else f"{value:.10f}".rstrip("0").rstrip(".")
