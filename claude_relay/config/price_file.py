"""The price list: the shipped one, and over it what the file named by RELAY_PRICES says."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from ..core.money.prices import PriceList, read_prices
from ..errors import ConfigError

#: A price list has some kilobytes; a file of another kind should not be read whole.
_LARGEST = 1_000_000


@lru_cache(maxsize=1)
def shipped() -> PriceList:
    """The prices that came with this version."""
    text = files(__package__).joinpath("prices.json").read_text(encoding="utf-8")

    return read_prices(json.loads(text), where="prices.json")


def load_prices(path: Path | None) -> PriceList:
    """The prices that count; `ConfigError` with a sentence for each fault of the operator's own file."""
    if path is None:
        return shipped()
    where = f"RELAY_PRICES {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as exc:
        raise ConfigError([f"{where} cannot be read: {exc.strerror or exc}."]) from exc
    if len(data) > _LARGEST:
        raise ConfigError([f"{where} is larger than any price list."])
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ConfigError([f"{where} is not JSON: {exc}."]) from exc

    return read_prices(value, where=where, base=shipped())
