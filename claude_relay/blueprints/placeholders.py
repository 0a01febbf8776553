"""The values filled into a scenario. A placeholder left in is refused with a message and never called."""

from __future__ import annotations

from dataclasses import dataclass, field

KEY_PLACEHOLDER = "PASTE-YOUR-API-KEY-HERE"
WEBHOOK_PLACEHOLDER = "PASTE-THE-WEBHOOK-ADDRESS-OF-THE-RECEIVING-SCENARIO-HERE"
TEMPLATE_PLACEHOLDER = "PASTE-THE-NAME-OF-YOUR-TEMPLATE-HERE"


@dataclass(frozen=True, kw_only=True)
class Blank:
    """`url` is the relay's, without a trailing slash; `webhook` is the URL of Make's receiving scenario."""

    url: str
    group: str = "default"
    key: str = field(default=KEY_PLACEHOLDER, repr=False)
    webhook: str = field(default=WEBHOOK_PLACEHOLDER, repr=False)
    template: str = TEMPLATE_PLACEHOLDER
