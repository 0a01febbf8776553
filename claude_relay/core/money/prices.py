"""
The price list, which an operator may edit, and the cost of an answer.

An unknown price is None, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from ...errors import ConfigError
from ..lazy_dataclass import dataclass

_MILLION = Decimal(1_000_000)
_DATED = re.compile(r"-(?:[0-9]{8}|latest)$")

#: The kinds of tokens with separate prices.
KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_REQUIRED = ("input", "output")
_MAX_AMOUNT = Decimal(100_000)


@dataclass(frozen=True, kw_only=True)
class Price:
    """Dollars per million tokens of each kind; `long` applies to inputs of more than `above` tokens."""

    tokens: Mapping[str, Decimal]
    long: Mapping[str, Decimal] | None = None
    above: int = 0
    note: str = ""

    def at(self, prompt: int) -> Mapping[str, Decimal]:
        """The prices for an input of that many tokens."""
        return self.long if self.long is not None and prompt > self.above else self.tokens


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """All known prices as of the day `dated`; `each` has the price of one use of a server tool."""

    dated: str
    models: Mapping[str, Price] = field(default_factory=dict)
    each: Mapping[str, Decimal] = field(default_factory=dict)

    def of(self, model: str) -> Price | None:
        """The price of a model; a date in its id makes no difference."""
        return self.models.get(model) or self.models.get(_DATED.sub("", model))

    def cost(self, model: str, usage: Mapping[str, int], *, batch: bool = False) -> float | None:
        """
        The exact cost of one answer in dollars; None if a price is unknown.

        `usage` is flat. Cache writes without a given lifetime count as 5-minute ones. A batch costs half.
        """
        price = self.of(model)
        if price is None:
            return None

        tokens = token_counts(usage)
        prices = price.at(sum(count for kind, count in tokens.items() if kind != "output"))
        if any(count and kind not in prices for kind, count in tokens.items()):
            return None

        total = sum((prices[kind] * count for kind, count in tokens.items() if count), Decimal(0)) / _MILLION
        if batch:
            total /= 2
        for kind, count in usage.items():
            if kind.endswith("_requests") and count:
                if kind not in self.each:
                    return None
                total += self.each[kind] * count

        return float(total)

    def output_prices(self) -> dict[str, float]:
        """Dollars per million output tokens by model, which rank models by price."""
        return {model: float(price.tokens["output"]) for model, price in self.models.items()}


def unpriced(model: str) -> str:
    """The warning for a model without a price."""
    return f"no price is known for {model}: its costUsd is null and no budget counts it"


def token_counts(usage: Mapping[str, int]) -> dict[str, int]:
    """The number of tokens of each priced kind."""
    written = usage.get("cache_creation_input_tokens", 0)
    hour = usage.get("ephemeral_1h_input_tokens", 0)

    return {
        "input": usage.get("input_tokens", 0),
        "output": usage.get("output_tokens", 0),
        "cache_read": usage.get("cache_read_input_tokens", 0),
        "cache_write_5m": max(written - hour, usage.get("ephemeral_5m_input_tokens", 0)),
        "cache_write_1h": hour,
    }


def read_prices(value: Any, *, where: str, base: PriceList | None = None) -> PriceList:
    """
    The price list from a file's content, merged over `base`; `ConfigError` with a sentence for each fault.

    A model that is `null` loses its price from `base`.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(
            [f'{where} must contain a JSON object with "dated" and "models", like the shipped prices.json.']
        )

    faults: list[str] = []
    models = dict(base.models) if base else {}
    each = dict(base.each) if base else {}
    given, uses = _object(value, "models", faults), _object(value, "each", faults)
    for name, row in given.items():
        models.pop(name, None)
        if row is not None and (price := _price(name, row, faults)) is not None:
            models[name] = price
    for name, text in uses.items():
        if (amount := _amount(f"each.{name}", text, faults)) is not None:
            each[name] = amount
    dated = value.get("dated")
    if not isinstance(dated, str) or not _is_day(dated):
        faults.append('"dated" must be the day on which the prices were valid, such as "2026-11-22"')
    faults += [f'"{name}" is not a known field' for name in value if name not in _FIELDS]
    if faults:
        raise ConfigError([f"{where}: {fault}." for fault in faults])

    return PriceList(dated=str(dated), models=models, each=each)


_FIELDS = ("dated", "source", "unit", "note", "models", "each")


def _object(value: Mapping[str, Any], name: str, faults: list[str]) -> Mapping[str, Any]:
    child = value.get(name, {})
    if isinstance(child, Mapping):
        return child
    faults.append(f'"{name}" must be an object')

    return {}


def _price(name: str, row: Any, faults: list[str]) -> Price | None:
    if not isinstance(row, Mapping):
        faults.append(f"models.{name} must be an object, or null for no price")
        return None
    earlier_faults = len(faults)
    tokens = dict(_tokens(f"models.{name}", row, faults, also=("long", "note")))
    long, above = None, 0
    if (long_row := row.get("long")) is not None:
        at = f"models.{name}.long"
        if isinstance(long_row, Mapping) and _is_count(long_row.get("above")):
            above = int(long_row["above"])
            long = dict(_tokens(at, long_row, faults, also=("above",)))
        else:
            faults.append(f'{at} must be an object with "above": the number of input tokens beyond which it applies')
    note = row.get("note", "")

    return None if len(faults) > earlier_faults else Price(tokens=tokens, long=long, above=above, note=str(note))


def _tokens(
    at: str, row: Mapping[str, Any], faults: list[str], *, also: tuple[str, ...]
) -> Iterator[tuple[str, Decimal]]:
    unknown = (name for name in row if name not in KINDS and name not in also)
    faults.extend(f"{at}.{name} is not known: a model has {', '.join(KINDS)}" for name in unknown)
    faults.extend(f"{at}.{kind} is missing" for kind in _REQUIRED if kind not in row)
    for kind in KINDS:
        if kind in row and (amount := _amount(f"{at}.{kind}", row[kind], faults)) is not None:
            yield kind, amount


def _amount(at: str, text: Any, faults: list[str]) -> Decimal | None:
    """Parse an amount: a string, which keeps every digit, or a number."""
    try:
        amount = Decimal(str(text)) if isinstance(text, (str, int, float)) and not isinstance(text, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= _MAX_AMOUNT:
        faults.append(f'{at} must be dollars, such as "2.50"')
        return None

    return amount


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False

    return len(text) == 10
