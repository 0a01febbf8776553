"""The client of Anthropic's API, or of the sandbox in its place."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from ..config import Settings, load_prices
from .engines import engine_of

if TYPE_CHECKING:
    from ..claude import AnthropicMessages
    from ..claude.rate_limits import RateLimits
    from ..services import Relay
    from ..worker.pacing import Pacing

#: The longest pause of a model family without tokens left in the current minute, in seconds.
_MAX_TOKEN_PAUSE = 5.0

log = logging.getLogger(__name__)


def open_client(settings: Settings, stack: contextlib.ExitStack, pacing: Pacing, relay: Relay) -> AnthropicMessages:
    """The client for live calls; closed, with the sandbox, by `stack`."""
    from ..claude.deadlines import CHECKPOINT, CHECKPOINT_SHARED, CallTimeouts
    from ..claude.messages import AnthropicMessages

    api_key, base_url = settings.anthropic_api_key, settings.anthropic_base_url
    if settings.provider == "sandbox":
        from ..sandbox import Sandbox

        sandbox = stack.enter_context(Sandbox())
        # Any key works. It is redacted from every message, so it must not be a word of the language.
        api_key, base_url = "no-key-is-needed-here", sandbox.url
        log.warning("the sandbox answers, not Claude", extra={"provider": "sandbox", "url": sandbox.url})

    def max_input_tokens(model: str) -> int | None:
        listed = relay.model_catalog().listed(model)
        return listed.max_input_tokens if listed else None

    client = AnthropicMessages(
        api_key=api_key or "",
        prices=load_prices(settings.prices),
        base_url=base_url,
        limits=CallTimeouts(
            call_timeout=settings.call_timeout,
            first_byte=settings.first_byte_timeout,
            idle=settings.idle_timeout,
            max_answer=settings.max_answer,
            checkpoint=CHECKPOINT_SHARED if engine_of(settings).shared else CHECKPOINT,
        ),
        on_limits=lambda family, limits: _record_limits(pacing, family, limits),
        upload_cache=relay.uploaded_files,
        file_lifetime=settings.retention,
        window=max_input_tokens,
    )
    stack.callback(client.close)

    return client


def _record_limits(pacing: Pacing, family: str, limits: RateLimits) -> None:
    now, requests = time.time(), limits.requests
    tokens = (limits.tokens, limits.input_tokens, limits.output_tokens)
    # Tokens are refilled continuously, too: a family without any need not wait for the full reset.
    waits = [quota.reset - now for quota in tokens if quota.remaining == 0 and quota.reset is not None]
    pacing.record_limits(
        family,
        limit=requests.limit,
        remaining=requests.remaining,
        reset=requests.reset,
        exhausted_for=min(max(waits), _MAX_TOKEN_PAUSE) if waits else None,
    )
