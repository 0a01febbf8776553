"""
What tokens cost, as a value: a dated list that an operator may edit, and the sum for one answer.

No price, no number: an unknown price is None and never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from ...errors import ConfigError

_MILLION = Decimal(1_000_000)
_DATED = re.compile(r"-(?:[0-9]{8}|latest)$")

#: The kinds of tokens that have a price each.
KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_NEEDED = ("input", "output")
_MOST = Decimal(100_000)


@dataclass(frozen=True, kw_only=True)
class Price:
    """Dollars for a million tokens of each kind; `long` from so many tokens of input on, where that is dearer."""

    tokens: Mapping[str, Decimal]
    long: Mapping[str, Decimal] | None = None
    above: int = 0
    note: str = ""

    def at(self, prompt: int) -> Mapping[str, Decimal]:
        """The prices that count for an input of that many tokens."""
        return self.long if self.long is not None and prompt > self.above else self.tokens


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """Every price that is known, and the day on which it was true. `each`: for one use of a server tool."""

    dated: str
    models: Mapping[str, Price] = field(default_factory=dict)
    each: Mapping[str, Decimal] = field(default_factory=dict)

    def of(self, model: str) -> Price | None:
        """The price of a model; a date in its id makes no difference."""
        return self.models.get(model) or self.models.get(_DATED.sub("", model))

    def cost(self, model: str, usage: Mapping[str, int], *, batch: bool = False) -> float | None:
        """
        Dollars for one answer, to the last fraction of a cent; None where a price is not known.

        `usage` is flat. Cache writes without a stated lifetime are the 5-minute ones. A batch costs half.
        """
        price = self.of(model)
        if price is None:
            return None

        tokens = token_counts(usage)
        known = price.at(sum(count for kind, count in tokens.items() if kind != "output"))
        if any(count and kind not in known for kind, count in tokens.items()):
            return None

        total = sum((known[kind] * count for kind, count in tokens.items() if count), Decimal(0)) / _MILLION
        if batch:
            total /= 2
        for kind, count in usage.items():
            if kind.endswith("_requests") and count:
                if kind not in self.each:
                    return None
                total += self.each[kind] * count

        return float(total)

    def output_prices(self) -> dict[str, float]:
        """Dollars for a million tokens of output, by model: what tells dear from cheap."""
        return {model: float(price.tokens["output"]) for model, price in self.models.items()}


def unpriced(model: str) -> str:
    """The warning of whoever asks a model without a price."""
    return f"no price is known for {model}, so that its costUsd is null and no budget counts it"


def token_counts(usage: Mapping[str, int]) -> dict[str, int]:
    """The tokens of each kind that has a price of its own."""
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
    The list that a price file holds, laid over `base`; `ConfigError` with a sentence for each fault.

    A model that is `null` has no price any more, whatever `base` says.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(
            [f'{where} must hold a JSON object with "dated" and "models", as the shipped prices.json has.']
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
        faults.append('"dated" must be the day on which the prices were true, such as "2026-11-22"')
    faults += [f'"{name}" is not known here' for name in value if name not in _KNOWN]
    if faults:
        raise ConfigError([f"{where}: {fault}." for fault in faults])

    return PriceList(dated=str(dated), models=models, each=each)


_KNOWN = ("dated", "source", "unit", "note", "models", "each")


def _object(value: Mapping[str, Any], name: str, faults: list[str]) -> Mapping[str, Any]:
    found = value.get(name, {})
    if isinstance(found, Mapping):
        return found
    faults.append(f'"{name}" must be an object')

    return {}


def _price(name: str, row: Any, faults: list[str]) -> Price | None:
    if not isinstance(row, Mapping):
        faults.append(f"models.{name} must be an object, or null for no price")
        return None
    before = len(faults)
    tokens = dict(_tokens(f"models.{name}", row, faults, also=("long", "note")))
    long, above = None, 0
    if (dearer := row.get("long")) is not None:
        at = f"models.{name}.long"
        if isinstance(dearer, Mapping) and _is_count(dearer.get("above")):
            above = int(dearer["above"])
            long = dict(_tokens(at, dearer, faults, also=("above",)))
        else:
            faults.append(f'{at} must be an object with "above": from how many tokens of input on it counts')
    note = row.get("note", "")

    return None if len(faults) > before else Price(tokens=tokens, long=long, above=above, note=str(note))


def _tokens(
    at: str, row: Mapping[str, Any], faults: list[str], *, also: tuple[str, ...]
) -> Iterator[tuple[str, Decimal]]:
    for name in row:
        if name not in KINDS and name not in also:
            faults.append(f"{at}.{name} is not known: a model has {', '.join(KINDS)}")
    for kind in _NEEDED:
        if kind not in row:
            faults.append(f"{at}.{kind} is missing")
    for kind in KINDS:
        if kind in row and (amount := _amount(f"{at}.{kind}", row[kind], faults)) is not None:
            yield kind, amount


def _amount(at: str, text: Any, faults: list[str]) -> Decimal | None:
    """Written as a text, so that no digit is lost on the way; a number is taken, too."""
    try:
        amount = Decimal(str(text)) if isinstance(text, (str, int, float)) and not isinstance(text, bool) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= _MOST:
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
