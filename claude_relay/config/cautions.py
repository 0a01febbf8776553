"""Settings that are used, and are probably not meant as they stand; `config check` and the daemons warn of them."""

from __future__ import annotations

from collections.abc import Sequence

from .settings import Settings
from .urls import API_PATH


def cautions(settings: Settings) -> Sequence[str]:
    """A sentence for each."""
    found = []
    base = settings.given.get("ANTHROPIC_BASE_URL")
    if base and (path := API_PATH.search(base.shown.rstrip("/"))):
        found.append(
            f"ANTHROPIC_BASE_URL from {base.origin} ends with {path[0]}, which every request adds itself: "
            "it was cut off. Write the URL without it."
        )

    return found
