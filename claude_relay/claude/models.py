"""The list of models, as the API has it: every page, retired ones too, in the words that the relay stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.jobs.failure import ErrorType, Failure, Remedy
from .client import AnthropicClient, ConnectionBroken, StatusError

#: Stored under our own names; what else an entry says is left where it is.
_FIELDS = {
    "id": "id",
    "displayName": "display_name",
    "lifecycle": "lifecycle",
    "createdAt": "created_at",
    "deprecatedAt": "deprecated_at",
    "retiresAt": "retires_at",
    "line": "line",
    "maxInputTokens": "max_input_tokens",
    "maxTokens": "max_tokens",
    "capabilities": "capabilities",
}
_PATH = "/v1/models"
#: 1,000 to a page: more pages than these are a server that goes round in circles.
_MOST_PAGES = 20


def fetch(upstream: AnthropicClient) -> list[dict[str, Any]] | Failure:
    """Every model, the latest first; a `Failure` where the list cannot be had."""
    try:
        return _all_pages(upstream)
    except StatusError as exc:
        message = exc.error.get("text") or f"Anthropic answered {exc.status} to the question for its models"
        return Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, reason=f"http_{exc.status}")
    except ConnectionBroken as exc:
        return Failure(type=ErrorType.UPSTREAM, message=str(exc), remedy=Remedy.RETRY, reason=exc.reason)


def _all_pages(upstream: AnthropicClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": 1000, "lifecycle": ["active", "deprecated", "retired"]}
    for _ in range(_MOST_PAGES):
        page = upstream.get(_PATH, params)
        entries = page.get("data")
        if not isinstance(entries, list):
            raise ConnectionBroken("the answer to the question for the models is not a list of them", "not_a_list")
        found.extend(_told(entry) for entry in entries if isinstance(entry, Mapping))
        last = page.get("last_id")
        if not page.get("has_more") or not isinstance(last, str) or last == params.get("after_id"):
            break
        params["after_id"] = last

    return found


def _told(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: entry[theirs] for ours, theirs in _FIELDS.items() if theirs in entry}
