"""`keys`: named API keys of the relay on this machine."""

from __future__ import annotations

from typing import Any

import click

from ...core.keys import ApiKey, Scope
from ...core.text.rates import parse_rate
from ...core.wire import optional_timestamp, timestamp
from ...errors import ConfigError
from ..render.output import Output, json_option, pass_output
from .webhook_secret import webhook


class _Scopes(click.Choice[str]):
    """Scopes, separated by commas where there are several."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return tuple(super(_Scopes, self).convert(part.strip(), param, ctx) for part in str(value).split(","))


@click.group()
@pass_output
def keys(output: Output) -> None:
    """Manage named API keys, and the signing secret of callbacks (webhook)."""
    if output.settings.url:
        raise ConfigError(["Keys are kept on the relay's own machine: run this there, without --url or RELAY_URL."])


keys.add_command(webhook)


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=_Scopes([scope.value for scope in Scope]),
    help="Permission; repeatable, or several with commas. Default: submit and read.",
)
@click.option("--rate", help="Rate limit for submits, such as 100/15m. Default: RELAY_RATE_LIMIT_SUBMIT.")
@click.option("--budget", type=float, help="US dollars per day (UTC); further jobs wait for the next day.")
@click.option("--weight", type=float, default=1.0, help="Part of the calls while keys compete. Default: 1.")
@json_option
@pass_output
def add(
    output: Output,
    name: str,
    scopes: tuple[tuple[str, ...], ...],
    rate: str | None,
    budget: float | None,
    weight: float,
) -> None:
    """Create a key and print it. It cannot be shown again: only its hash is stored."""
    from ...wiring import open_relay

    try:
        limit = parse_rate(rate) if rate else None
    except ValueError as exc:
        raise click.UsageError(f"--rate {exc}") from exc
    granted = frozenset(Scope(scope) for each in scopes or (("submit", "read"),) for scope in each)
    with open_relay(output.settings, create=True) as relay:
        key, text = relay.keys.add(name, granted, rate=limit, daily_budget_usd=budget, weight=weight)
    if output.json:
        output.value({**_body(key), "key": text})
        return
    output.line(text)
    output.message("It cannot be shown again.")


@keys.command("list")
@json_option
@pass_output
def list_(output: Output) -> None:
    """List all keys, including revoked ones, without the secrets."""
    from ...wiring import open_relay

    with open_relay(output.settings) as relay:
        bodies = [_body(key) for key in relay.keys.all()]
    if output.json:
        for body in bodies:
            output.record(body)
        return
    output.table(
        ("NAME", "ID", "SCOPES", "RATE", "BUDGET", "WEIGHT", "CREATED", "REVOKED"),
        (
            (
                body["name"],
                body["id"],
                ",".join(body["scopes"]),
                body["rate"],
                body["dailyBudgetUsd"],
                body["weight"],
                body["createdAt"],
                body["revokedAt"],
            )
            for body in bodies
        ),
    )


@keys.command()
@click.argument("name")
@click.argument("weight", type=float)
@json_option
@pass_output
def weight(output: Output, name: str, weight: float) -> None:
    """Set a key's part of the calls while keys compete: with 2, twice those of a key with 1."""
    from ...wiring import open_relay

    with open_relay(output.settings) as relay:
        key = relay.keys.set_weight(name, weight)
    if output.json:
        output.value(_body(key))
    else:
        output.message(f"The key {name} has the weight {key.weight:g}.")


@keys.command()
@click.argument("name")
@click.argument("dollars")
@json_option
@pass_output
def budget(output: Output, name: str, dollars: str) -> None:
    """Change a key's daily budget: DOLLARS a day, or none. What it has spent today counts."""
    from ...wiring import open_relay

    try:
        amount = None if dollars == "none" else float(dollars)
    except ValueError as exc:
        raise click.UsageError(f"DOLLARS must be a number or none, not {dollars}") from exc
    with open_relay(output.settings) as relay:
        key = relay.keys.set_budget(name, amount)
    if output.json:
        output.value(_body(key))
    else:
        text = "no daily budget" if amount is None else f"a budget of ${amount:g} a day"
        output.message(f"The key {name} has {text}.")


@keys.command()
@click.argument("name")
@json_option
@pass_output
def revoke(output: Output, name: str) -> None:
    """Revoke a key. Its jobs continue, and its name cannot be used again."""
    from ...wiring import open_relay

    with open_relay(output.settings) as relay:
        key = relay.keys.revoke(name)
    if output.json:
        output.value(_body(key))
    else:
        output.message(f"The key {name} is revoked.")


def _body(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "id": key.id,
        "scopes": sorted(scope.value for scope in key.scopes),
        "rate": None if key.rate is None else str(key.rate),
        "dailyBudgetUsd": key.daily_budget_usd,
        "weight": key.weight,
        "createdAt": timestamp(key.created_at),
        "revokedAt": optional_timestamp(key.revoked_at),
    }
