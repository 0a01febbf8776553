"""The headers of every response of the sandbox."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone

SANDBOX = "x-claude-relay-sandbox"
LIMITS = {"requests": 4_000, "tokens": 2_400_000, "input-tokens": 2_000_000, "output-tokens": 400_000}


def rate_limits(used: tuple[int, int, int], now: float, retry_after: str | None = None) -> Mapping[str, str]:
    """
    The `anthropic-ratelimit-*` headers, which agree with the books but do not limit anything.

    Only a prompt that asks for a rate limit gets one: then nothing remains until the time that retry-after names.
    """
    requests, read, written = used
    spent = {"requests": requests, "tokens": read + written, "input-tokens": read, "output-tokens": written}
    reset = math.ceil(now + float(retry_after or 60))
    when = datetime.fromtimestamp(reset, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = {}
    for name, limit in LIMITS.items():
        headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{name}-remaining"] = "0" if retry_after else str(max(0, limit - spent[name]))
        headers[f"anthropic-ratelimit-{name}-reset"] = when
    return headers
