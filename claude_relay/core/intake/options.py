"""How Claude is asked: the model, its limits, and the form of the answer."""

from __future__ import annotations

from typing import Any

from ..catalogue import resolve
from .defaults import Defaults
from .fields import Fields, kind
from .fitting import fit
from .passed import CAMEL, GONE, PASSED, read_passed

EFFORTS = ("low", "medium", "high", "xhigh", "max")
KNOWN = ("model", "maxTokens", "temperature", "systemPrompt", "outputSchema", "effort", *CAMEL, "raw")
#: Other spellings, and what is of the past: taken all the same.
ALSO = (*(name for name in PASSED if name not in CAMEL), *GONE)


def read_options(fields: Fields, defaults: Defaults, *, now: float) -> dict[str, Any]:
    """What is stored for the call: the model resolved, limits filled in, and nothing that the API no longer takes."""
    options: dict[str, Any] = {
        "model": _read_model(fields, defaults, now=now),
        "maxTokens": fields.number("maxTokens", low=1, whole=True) or defaults.max_tokens,
        "systemPrompt": fields.text("systemPrompt"),
        "outputSchema": _read_schema(fields, defaults),
        "effort": fields.word("effort", EFFORTS),
        "raw": read_passed(fields) | (_read_raw(fields) or {}) or None,
    }
    if fields.number("temperature", low=0, high=1) is not None:
        fields.notes.warn("options.temperature was ignored: Claude no longer takes it")
    if options["raw"] and "model" in options["raw"]:
        options["model"] = options["raw"]["model"]  # merged last, so this is the one that will be asked

    given = {name: value for name, value in options.items() if value is not None}

    model = given["model"]

    return fit(given, defaults.catalogue.listed(model) if isinstance(model, str) else None, fields.notes)


def _read_model(fields: Fields, defaults: Defaults, *, now: float) -> str:
    try:
        model, warnings = resolve(fields.text("model"), default=defaults.model, catalogue=defaults.catalogue, now=now)
    except ValueError as exc:
        fields.problem("model", str(exc))
        return defaults.model

    for warning in warnings:
        fields.notes.warn(warning)

    return model


def _read_schema(fields: Fields, defaults: Defaults) -> dict[str, Any] | None:
    schema = fields.object("outputSchema")
    fault = None if schema is None else defaults.check_schema(schema)
    if fault:
        fields.problem("outputSchema", fault)

    return schema


def _read_raw(fields: Fields) -> dict[str, Any] | None:
    """Any field of the API is the caller's affair, except the one that the relay's own reading hangs on."""
    raw = fields.object("raw")
    if raw is None:
        return None

    if "stream" in raw:
        fields.problem("raw.stream", "cannot be set: every call is streamed, and its answer is delivered whole")
    model = raw.get("model", "")
    if "model" in raw and not (isinstance(model, str) and model.strip()):
        fields.problem("raw.model", f"must be the id of a model: this is {kind(model)}")

    return raw
