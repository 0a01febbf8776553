"""
Options of the API that may be given beside `raw`: checked lightly and passed through.

The same field in `raw` takes precedence: it is merged last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import Fields, kind

#: Accepted spellings, including the API's own, with the API's name.
PASSTHROUGH: Mapping[str, str] = {
    "thinking": "thinking",
    "tools": "tools",
    "toolChoice": "tool_choice",
    "tool_choice": "tool_choice",
    "stopSequences": "stop_sequences",
    "stop_sequences": "stop_sequences",
    "serviceTier": "service_tier",
    "service_tier": "service_tier",
}

#: The spelling used by this relay.
CAMEL_CASE = ("thinking", "tools", "toolChoice", "stopSequences", "serviceTier")

#: Removed from the API, but still in blueprints that are no longer maintained.
REMOVED = ("topP", "top_p", "topK", "top_k")

_ALL = frozenset((*PASSTHROUGH, *REMOVED))
_TIERS = ("auto", "standard_only")


def read_passthrough(fields: Fields) -> dict[str, Any]:
    """The options by their names in the API."""
    if not fields.has_any(_ALL):
        return {}
    for name in REMOVED:
        if fields.given(name) is not None:
            fields.notes.warn(f"{fields.path(name)} was ignored: Claude no longer accepts it")
            fields.clean[name] = fields.given(name)
    options: dict[str, Any] = {}
    for name, api_name in PASSTHROUGH.items():
        if fields.given(name) is not None and (value := _read(fields, name, api_name)) is not None:
            options[api_name] = value

    return options


def _read(fields: Fields, name: str, api_name: str) -> Any:
    if api_name == "service_tier":
        return fields.choice(name, _TIERS)
    if api_name == "tools":
        return _tools(fields, name)
    if api_name == "stop_sequences":
        return _stops(fields, name)
    # `"adaptive"` is short for `{"type": "adaptive"}`; the API checks the type.
    if isinstance(fields.given(name), str):
        word = fields.string(name)
        return {"type": word} if word else None

    return fields.object(name)


def _tools(fields: Fields, name: str) -> list[Any] | None:
    tools = fields.array(name)
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, dict):
            fields.problem(f"{name}[{index}]", f'must be an object such as {{"name": …}}, not {kind(tool)}')

    return tools


def _stops(fields: Fields, name: str) -> list[str] | None:
    if isinstance(fields.given(name), str):
        text = fields.string(name)
        return [text] if text else None
    stops = fields.array(name)
    for index, stop in enumerate(stops or ()):
        if not isinstance(stop, str) or not stop.strip():
            fields.problem(f"{name}[{index}]", "must be a string that is not only white space")

    return stops
