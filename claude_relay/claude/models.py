"""Model list from the API: all pages, retired models included, with the field names that the relay stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.jobs.failure import ErrorType, Failure, Remedy
from .client import AnthropicClient, ConnectionBroken, StatusError

#: Stored field name: API field name. Other fields of an entry are ignored.
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
#: Limit for a server whose pages never end; a page has 1,000 models.
_MAX_PAGES = 20


def fetch(upstream: AnthropicClient) -> list[dict[str, Any]] | Failure:
    """All models, the latest first, or a `Failure`."""
    try:
        return _all_pages(upstream)
    except StatusError as exc:
        message = exc.error.get("text") or f"Anthropic answered {exc.status} to the request for its models"
        return Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, reason=f"http_{exc.status}")
    except ConnectionBroken as exc:
        return Failure(type=ErrorType.UPSTREAM, message=str(exc), remedy=Remedy.RETRY, reason=exc.reason)


def _all_pages(upstream: AnthropicClient) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": 1000, "lifecycle": ["active", "deprecated", "retired"]}
    for _ in range(_MAX_PAGES):
        page = upstream.get(_PATH, params)
        entries = page.get("data")
        if not isinstance(entries, list):
            raise ConnectionBroken("the reply to the request for models is not a list", "not_a_list")
        models.extend(_stored_fields(entry) for entry in entries if isinstance(entry, Mapping))
        last = page.get("last_id")
        if not page.get("has_more") or not isinstance(last, str) or last == params.get("after_id"):
            break
        params["after_id"] = last

    return models


def _stored_fields(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entry[api_name] for name, api_name in _FIELDS.items() if api_name in entry}
