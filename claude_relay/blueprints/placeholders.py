"""The blanks of a scenario. A placeholder that was left in is refused at the door, in words, and never called."""

from __future__ import annotations

from dataclasses import dataclass, field

KEY_PLACEHOLDER = "PASTE-YOUR-API-KEY-HERE"
WEBHOOK_PLACEHOLDER = "PASTE-THE-WEBHOOK-ADDRESS-OF-THE-RECEIVING-SCENARIO-HERE"


@dataclass(frozen=True, kw_only=True)
class Blank:
    """`url`: the relay, without a slash behind it; `webhook`: where Make's second scenario listens."""

    url: str
    group: str = "default"
    key: str = field(default=KEY_PLACEHOLDER, repr=False)
    webhook: str = WEBHOOK_PLACEHOLDER
