"""
Answers that a PDF brings along: a JSON file in it with the values that are printed on its pages.

The sandbox cannot read. The invoices of the example carry what a reader would see, so that sums and checks can be tried
without a key. Any PDF may: `{"sandboxAnswer": {…}}` as an embedded file without compression. `firstAnswer` beside it is
given first, and `sandboxAnswer` once a repair is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MARK = b'{"sandboxAnswer":'
_MAX_BYTES = 256 * 1024
_TYPES: Mapping[str, Any] = {
    "string": str,
    "number": (int, float),
    "object": dict,
    "array": list,
    "null": type(None),
    "boolean": bool,
}


def find(pdf: bytes) -> Mapping[str, Any] | None:
    """The file with the answers in `pdf`, or None."""
    start = pdf.find(_MARK)
    if start < 0:
        return None
    text = pdf[start : start + _MAX_BYTES].decode("utf-8", "replace")
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None

    return value if isinstance(value.get("sandboxAnswer"), dict) else None


def fill(made_up: Any, schema: Mapping[str, Any], attached: Mapping[str, Any], *, repairing: bool) -> Any:
    """
    The made-up answer with the attached values in place of those that the schema allows.

    A field that the file does not have, or has in another form, stays made up.
    """
    if not isinstance(made_up, dict):
        return made_up
    values = attached["sandboxAnswer"]
    first = attached.get("firstAnswer")
    if isinstance(first, dict) and not repairing:
        values = first
    properties = schema.get("properties", {})

    return {
        name: values[name] if name in values and _fits(values[name], properties.get(name, {})) else value
        for name, value in made_up.items()
    }


def _fits(value: Any, schema: Any) -> bool:
    """Whether the value has the type that the schema names; other rules are left to the reader of the answer."""
    if not isinstance(schema, Mapping):
        return True
    names = schema.get("type", ())
    types = [names] if isinstance(names, str) else list(names)
    if types and not any(_is(value, name) for name in types):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, list):
        return all(_fits(item, schema.get("items")) for item in value)
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return all(_fits(item, properties.get(name)) for name, item in value.items())

    return True


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer":
        return isinstance(value, int)

    return isinstance(value, _TYPES.get(name, object))
