"""The variables of a row of a collection, stored without the long texts that its request has already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core.digests import matches
from ...core.text.written_numbers import encode_as_written, read_number

if TYPE_CHECKING:
    import logging

#: Characters from which on a text is not stored twice: its place takes ten.
_LONG = 24
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
#: For a SELECT: the request and its digest, where the variables need them.
NEEDED = "CASE WHEN r.variables LIKE '[%' THEN r.request END, CASE WHEN r.variables LIKE '[%' THEN r.request_digest END"


def encode(variables: Mapping[str, Any], request: str) -> str:
    """
    The variables as JSON: an object, or `[{…}, {name: [start, length], …}]`.

    The second object has the places in the JSON of the request where a text stands in full, as it does in all templates
    that take a text or a file as it is. A document would be kept twice otherwise.
    """
    places: dict[str, list[int]] = {}
    for name, value in variables.items():
        if isinstance(value, str) and len(value) >= _LONG:
            text = _encode(value)[1:-1]
            if (start := request.find(text)) >= 0:
                places[name] = [start, len(text)]
    if not places:
        return encode_as_written(variables)
    rest = {name: value for name, value in variables.items() if name not in places}

    return f"[{encode_as_written(rest)},{_encode(places)}]"


def decode(job_id: str, stored: str | None, request: str | None, digest: bytes | None) -> dict[str, Any] | None:
    """The variables; without those texts if the request is damaged, and None if they are themselves, or were erased."""
    if stored is None:
        return None
    try:
        value = json.loads(stored, parse_float=read_number)
        if isinstance(value, dict):
            return value
        variables, places = value
        if not matches(digest, (job_id, request)):
            _log().error("the stored request of job %s is damaged: its input is left out of the results", job_id)
            return dict(variables)
        texts = {name: json.loads(f'"{(request or "")[at : at + length]}"') for name, (at, length) in places.items()}
        return {**variables, **texts}
    except (ValueError, TypeError, AttributeError):
        _log().exception("the stored variables of job %s are damaged", job_id)
        return None


def _log() -> logging.Logger:
    import logging  # here, as importing it is a fortieth of `status ID`

    return logging.getLogger(__name__)
