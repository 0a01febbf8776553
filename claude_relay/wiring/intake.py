"""The context in which submissions are checked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..config import Settings, load_prices

if TYPE_CHECKING:
    from ..core.intake import IntakeContext
    from ..services import Relay


def intake_context(settings: Settings, relay: Relay) -> IntakeContext:
    """The intake context of these settings; its model catalog is the relay's at the time of each submission."""
    from ..claude import safe_schema, schema
    from ..claude.bounded_process import PROCESSES
    from ..claude.schema_gate import SchemaGate
    from ..core.intake import IntakeContext
    from ..webhooks.allowlist import PrivateAllowlist
    from ..webhooks.ssrf_guard import literal_problem

    schemas = SchemaGate(
        schema.schema_problem,
        heavy=safe_schema.has_heavy_pattern,
        clock=lambda: time.thread_time() + PROCESSES.thread_seconds(),
    )
    allow = PrivateAllowlist.parse(settings.allow_private_urls)

    return IntakeContext(
        model=settings.model,
        check_url=lambda url: literal_problem(url, allow),
        check_schema=schemas.problem,
        schema_check_for_bulk=schemas.for_one_request,
        model_catalog=relay.model_catalog,
        prices=load_prices(settings.prices),
        fallback_models=settings.fallback_models,
        max_body=settings.max_body,
    )


def probe_problem(settings: Settings, destination: str) -> str | None:
    """The reason why a callback would not reach a destination, or None. Nothing is sent."""
    from ..webhooks.allowlist import PrivateAllowlist
    from ..webhooks.probe import probe_problem

    return probe_problem(destination, PrivateAllowlist.parse(settings.allow_private_urls))


def webhook_url_problem(url: str) -> str | None:
    """
    The reason why `url` is no webhook URL, or None.

    Private hosts pass: they may be allowed where the relay runs.
    """
    from ..webhooks.url import url_problem

    return url_problem(url)
