"""The context of validation: settings, and checks that need more than this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..lazy_dataclass import dataclass
from ..models.catalog import BUILT_IN, ModelCatalog

if TYPE_CHECKING:
    from ..money.prices import PriceList


@dataclass(frozen=True, kw_only=True)
class IntakeContext:
    """
    Collaborators and defaults of `parse`.

    `check_url` returns the problem with a well-formed http(s) URL (a private IP address, for example), `check_schema`
    the problem with a JSON Schema; None if there is none. `model_catalog` returns the current catalog: the worker
    fetches new lists while this process runs. Without `prices`, costs are not checked. `schema_check_for_bulk` makes a
    `check_schema` with one time limit for all items of a request. `max_body`: bytes of a body, its template filled.
    """

    model: str
    check_url: Callable[[str], str | None]
    check_schema: Callable[[dict[str, Any]], str | None]
    model_catalog: Callable[[], ModelCatalog] = lambda: BUILT_IN
    max_tokens: int = 4096
    prices: PriceList | None = None
    fallback_models: tuple[str, ...] = ()
    max_body: int = 32 * 2**20
    schema_check_for_bulk: Callable[[], Callable[[dict[str, Any]], str | None]] | None = None

    @property
    def catalogue(self) -> ModelCatalog:
        """The current catalog of models."""
        return self.model_catalog()

    def for_bulk(self) -> IntakeContext:
        """The context for the items of one request."""
        make = self.schema_check_for_bulk

        return self if make is None else replace(self, check_schema=make())
