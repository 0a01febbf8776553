"""`cost`: spending, from the sums of the ledger."""

from __future__ import annotations

import csv
import io
from typing import Any

import click

from ...core.money.spend import GROUPINGS
from ..client import JobQuery, open_client
from ..job_filters import filter_options
from ..render.output import Output, json_option, pass_output


@click.command()
@click.option("--by", type=click.Choice(GROUPINGS), default="day", show_default=True, help="Group the totals by this.")
@filter_options
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values with a header, for a spreadsheet.")
@json_option
@pass_output
def cost(output: Output, /, by: str, as_csv: bool, **filters: Any) -> None:
    """
    Show spending in US dollars; days are UTC, and count as a whole.

    Purged jobs are included, unless a filter asks for a host, a status, an error or a delivery.
    """
    with open_client(output, reading=True) as client:
        report = client.cost(by, JobQuery(**filters))
    if output.json:
        output.value(report)
    elif as_csv:
        _print_csv(output, by, report)
    else:
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
    if report["basis"] == "jobs":
        output.message("Jobs that were purged are not included: their host, status and error are no longer stored.")


def _print_csv(output: Output, by: str, report: dict[str, Any]) -> None:
    """Print RFC 4180 with the names of the HTTP API; formulas of a spreadsheet get an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [name for name in report["total"] if name != "costUsd"]
    writer.writerow((by, *names, "costUsd"))
    for row in report["rows"]:
        name = row[by] or ""  # jobs without a template, calls that ended before a model was named
        label = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
        writer.writerow((label, *(row[name] for name in names), dollars(row["costUsd"])))
    output.line(text.getvalue().rstrip("\n"))


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("calls", "inputTokens", "outputTokens", "cacheReadTokens", "cacheWriteTokens")

    return (*(row[name] for name in names), dollars(row["costUsd"]))


def dollars(value: float | None) -> str | None:
    """An amount without trailing zeros, and never in exponent notation."""
    return None if value is None else f"{value:.10f}".rstrip("0").rstrip(".")
