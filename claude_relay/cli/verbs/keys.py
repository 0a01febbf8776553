"""`keys`: named API keys of this machine's relay."""

from __future__ import annotations

from typing import Any

import click

from ...core.keys import ApiKey, Scope
from ...core.text.rates import parse_rate
from ...core.wire import optional_timestamp, timestamp
from ...errors import ConfigError
from ..render.output import Output, json_option, pass_output
from .webhook_secret import webhook


@click.group()
@pass_output
def keys(output: Output) -> None:
    """Named API keys: add, list, revoke. And the signing secret of callbacks: webhook rotate."""
    if output.settings.url:
        raise ConfigError(["Keys are kept on the relay's own machine: run this there, without --url or RELAY_URL."])


keys.add_command(webhook)


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; repeatable. Default: submit and read.",
)
@click.option("--rate", help="How often it may submit, such as 100/15m; without: RELAY_RATE_LIMIT_SUBMIT.")
@click.option("--budget", type=float, help="Dollars a day (UTC); what is over it waits for the next.")
@json_option
@pass_output
def add(output: Output, name: str, scopes: tuple[str, ...], rate: str | None, budget: float | None) -> None:
    """Make a key and print it: this once, since only its hash is kept."""
    from ...wiring import open_relay

    try:
        limit = parse_rate(rate) if rate else None
    except ValueError as exc:
        raise click.UsageError(f"--rate {exc}") from exc
    wanted = frozenset(Scope(scope) for scope in scopes or ("submit", "read"))
    with open_relay(output.settings, create=True) as relay:
        key, text = relay.keys.add(name, wanted, rate=limit, daily_budget_usd=budget)
    if output.json:
        output.value({**_body(key), "key": text})
        return
    output.line(text)
    output.message("This is the only time it is shown.")


@keys.command("list")
@json_option
@pass_output
def list_(output: Output) -> None:
    """Every key there is or was; never the keys themselves."""
    from ...wiring import open_relay

    with open_relay(output.settings) as relay:
        found = [_body(key) for key in relay.keys.all()]
    if output.json:
        for body in found:
            output.record(body)
        return
    output.table(
        ("NAME", "ID", "SCOPES", "RATE", "BUDGET", "CREATED", "REVOKED"),
        (
            (
                one["name"],
                one["id"],
                ",".join(one["scopes"]),
                one["rate"],
                one["dailyBudgetUsd"],
                one["createdAt"],
                one["revokedAt"],
            )
            for one in found
        ),
    )


@keys.command()
@click.argument("name")
@json_option
@pass_output
def revoke(output: Output, name: str) -> None:
    """Refuse a key from now on. Its jobs run on, and its name stays taken."""
    from ...wiring import open_relay

    with open_relay(output.settings) as relay:
        key = relay.keys.revoke(name)
    if output.json:
        output.value(_body(key))
    else:
        output.message(f"The key {name} is refused from now on.")


def _body(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "id": key.id,
        "scopes": sorted(scope.value for scope in key.scopes),
        "rate": None if key.rate is None else str(key.rate),
        "dailyBudgetUsd": key.daily_budget_usd,
        "createdAt": timestamp(key.created_at),
        "revokedAt": optional_timestamp(key.revoked_at),
    }
