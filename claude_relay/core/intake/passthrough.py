"""
Options that are the API's own under a caller's spelling: they are read a little, and go through with `raw`.

What `raw` itself says of the same field stands: it is merged last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import Fields, kind

#: As they may be written here, with the API's own name; whoever knows the API writes that one.
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

#: The spelling of this relay.
CAMEL_CASE = ("thinking", "tools", "toolChoice", "stopSequences", "serviceTier")

#: Gone from the API, and still in blueprints that nobody looks at any more.
REMOVED = ("topP", "top_p", "topK", "top_k")

_TIERS = ("auto", "standard_only")


def read_passthrough(fields: Fields) -> dict[str, Any]:
    """By their names in the API."""
    for name in REMOVED:
        if fields.given(name) is not None:
            fields.notes.warn(f"{fields.path(name)} was ignored: Claude no longer takes it")
            fields.clean[name] = fields.given(name)
    read: dict[str, Any] = {}
    for name, theirs in PASSTHROUGH.items():
        if fields.given(name) is not None and (value := _read(fields, name, theirs)) is not None:
            read[theirs] = value

    return read


def _read(fields: Fields, name: str, theirs: str) -> Any:
    if theirs == "service_tier":
        return fields.word(name, _TIERS)
    if theirs == "tools":
        return _tools(fields, name)
    if theirs == "stop_sequences":
        return _stops(fields, name)
    # `"adaptive"` is `{"type": "adaptive"}`; which types there are is the API's affair.
    if isinstance(fields.given(name), str):
        word = fields.text(name)
        return {"type": word} if word else None

    return fields.object(name)


def _tools(fields: Fields, name: str) -> list[Any] | None:
    tools = fields.array(name)
    for index, tool in enumerate(tools or ()):
        if not isinstance(tool, dict):
            fields.problem(f"{name}[{index}]", f'must be an object such as {{"name": …}}: this is {kind(tool)}')

    return tools


def _stops(fields: Fields, name: str) -> list[str] | None:
    if isinstance(fields.given(name), str):
        text = fields.text(name)
        return [text] if text else None
    stops = fields.array(name)
    for index, stop in enumerate(stops or ()):
        if not isinstance(stop, str) or not stop.strip():
            fields.problem(f"{name}[{index}]", "must be a text that is not only white space")

    return stops
