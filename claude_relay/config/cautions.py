"""Settings that are used, and are probably not meant as they stand; `config check` and the daemons warn of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..core.models.catalog import BUILT_IN
from ..core.text.json_values import safe_quote
from .secret_text import secret_problem
from .urls import API_PATH

if TYPE_CHECKING:
    from .settings import Settings


def cautions(settings: Settings) -> Sequence[str]:
    """A sentence for each."""
    sentences = []
    base = settings.given.get("ANTHROPIC_BASE_URL")
    if base and (path := re.search(API_PATH, base.shown.rstrip("/"))):
        sentences.append(
            f"ANTHROPIC_BASE_URL from {base.origin} ends with {path[0]}, which every request adds itself: "
            "it was cut off. Write the URL without it."
        )

    for name, text in (("ANTHROPIC_API_KEY", settings.anthropic_api_key), ("API_SECRET_KEY", settings.api_secret_key)):
        if text and (problem := secret_problem(name, text)):
            sentences.append(f"{name} from {settings.origin(name)} is probably not meant as it stands: {problem}.")
    sentences += [_unlisted(settings, name, model) for name, model in settings.models() if not BUILT_IN.lists(model)]

    return sentences


def _unlisted(settings: Settings, name: str, model: str) -> str:
    return (
        f'{name} from {settings.origin(name)} names "{safe_quote(model)}", which is in no catalog of models: a gateway '
        f"may have it; otherwise use an id such as {BUILT_IN.aliases['smart']}."
    )
