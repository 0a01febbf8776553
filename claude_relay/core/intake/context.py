"""What the door must be told, since it is not in the body: settings, and judges that need more than this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..models.catalog import BUILT_IN, ModelCatalog
from ..money.prices import PriceList


@dataclass(frozen=True, kw_only=True)
class IntakeContext:
    """
    `check_url` says what is wrong with an http(s) address that is well-formed (a private literal address, say), and
    `check_schema` what is wrong with a JSON Schema; None where nothing is. `known` tells what is known of the models
    just now: the worker learns of new ones while this process runs. Without `prices` nobody asks what anything costs.
    """

    model: str
    check_url: Callable[[str], str | None]
    check_schema: Callable[[dict[str, Any]], str | None]
    model_catalog: Callable[[], ModelCatalog] = lambda: BUILT_IN
    max_tokens: int = 4096
    prices: PriceList | None = None
    fallback_models: tuple[str, ...] = ()

    @property
    def catalogue(self) -> ModelCatalog:
        """What is known of the models just now."""
        return self.model_catalog()
