"""The price list: the shipped one, overridden by the file that RELAY_PRICES names."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from ..core.money.prices import PriceList, read_prices
from ..errors import ConfigError

#: Size limit: a price list has some kilobytes, and another kind of file should not be read completely.
_LARGEST = 1_000_000


@lru_cache(maxsize=1)
def shipped() -> PriceList:
    """The prices shipped with this version."""
    text = Path(__file__).with_name("prices.json").read_text(encoding="utf-8")

    return read_prices(json.loads(text), where="prices.json")


def load_prices(path: Path | None) -> PriceList:
    """The effective prices; `ConfigError` with a sentence for each fault of the operator's own file."""
    if path is None:
        return shipped()
    where = f"RELAY_PRICES {path}"
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as exc:
        raise ConfigError([f"{where} cannot be read: {exc.strerror or exc}."]) from exc
    if len(data) > _LARGEST:
        raise ConfigError([f"{where} is too large for a price list (over 1 MB)."])
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise ConfigError([f"{where} is not JSON: {exc}."]) from exc

    return read_prices(value, where=where, base=shipped())
