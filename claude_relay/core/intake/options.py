"""How Claude is asked: the model, its limits, and the form of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.betas import read_betas
from ..models.capabilities import fit_request
from ..models.catalog import resolve
from ..text.json_values import safe_quote
from .context import IntakeContext
from .fields import Fields, kind
from .passthrough import CAMEL_CASE, PASSTHROUGH, REMOVED, read_passthrough

MOST_FALLBACKS = 5
EFFORTS = ("low", "medium", "high", "xhigh", "max")
OPTIONS = (
    "model",
    "maxTokens",
    "temperature",
    "systemPrompt",
    "outputSchema",
    "effort",
    "fallbackModels",
    *CAMEL_CASE,
    "raw",
)
#: Other spellings, and what is of the past: taken all the same.
CHECK_ONLY = (*(name for name in PASSTHROUGH if name not in CAMEL_CASE), *REMOVED)


def read_options(fields: Fields, context: IntakeContext, *, now: float) -> dict[str, Any]:
    """What is stored for the call: the model resolved, limits filled in, and nothing that the API no longer takes."""
    raw = read_passthrough(fields) | (_read_raw(fields) or {})
    options: dict[str, Any] = {
        "model": _read_model(fields, raw, context, now=now),
        "maxTokens": fields.number("maxTokens", low=1, whole=True) or context.max_tokens,
        "systemPrompt": fields.text("systemPrompt"),
        "outputSchema": _read_schema(fields, context),
        "effort": fields.word("effort", EFFORTS),
        "raw": {name: value for name, value in raw.items() if name != "model"} or None,
    }
    if fields.number("temperature", low=0, high=1) is not None:
        fields.notes.warn("options.temperature was ignored: Claude no longer takes it")

    given = {name: value for name, value in options.items() if value is not None}
    model = given["model"]
    if others := _read_fallbacks(fields, context, model, now=now):
        given["fallbackModels"] = others

    return fit_request(given, context.catalogue.listed(model), fields.notes)


def _read_model(fields: Fields, raw: Mapping[str, Any], context: IntakeContext, *, now: float) -> str:
    """
    The one that `raw` names, as that is merged last, else `options.model`.

    Both may be an alias, or the name of a model that is gone. What is no known name at all is asked as it is, but only
    in `raw`, where whatever is new upstream has its place.
    """
    known: dict[str, Any] = dict(default=context.model, catalogue=context.catalogue, now=now)
    model, warnings = context.model, tuple[str, ...]()
    try:
        model, warnings = resolve(fields.text("model"), **known)
    except ValueError as exc:
        fields.problem("model", str(exc))
    named = raw.get("model")
    if isinstance(named, str) and named.strip():
        try:
            model, warnings = resolve(named, **known, field="options.raw.model")
        except ValueError:
            model, warnings = named.strip(), ()
    for warning in warnings:
        fields.notes.warn(warning)

    return model


def _read_fallbacks(fields: Fields, context: IntakeContext, model: str, *, now: float) -> list[str]:
    """The models to turn to, resolved like the first one; what comes twice is asked once."""
    value = fields.given("fallbackModels")
    if isinstance(value, str):  # as a form has it
        fields.clean["fallbackModels"] = value = [word.strip() for word in value.split(",") if word.strip()]
    elif value is not None:
        value = fields.array("fallbackModels")
    names = context.fallback_models if value is None else value
    found: list[str] = []
    for index, name in enumerate(names):
        try:
            if not isinstance(name, str):
                raise ValueError(f"must be the id of a model: this is {kind(name)}")
            other, _ = resolve(name, default=context.model, catalogue=context.catalogue, now=now)
        except ValueError as exc:
            if value is not None:
                fields.problem(f"fallbackModels[{index}]", str(exc))
            else:
                fields.notes.warn(
                    f"RELAY_FALLBACK_MODELS names {safe_quote(name)}, which is no known model: it is not asked"
                )
            continue
        if other != model and other not in found:
            found.append(other)
    if value is not None and len(found) > MOST_FALLBACKS:
        fields.problem("fallbackModels", f"names {len(found)} models: at most {MOST_FALLBACKS} are asked")

    return found[:MOST_FALLBACKS]


def _read_schema(fields: Fields, context: IntakeContext) -> dict[str, Any] | None:
    schema = fields.object("outputSchema")
    fault = None if schema is None else context.check_schema(schema)
    if fault:
        fields.problem("outputSchema", fault)

    return schema


def _read_raw(fields: Fields) -> dict[str, Any] | None:
    """Any field of the API is the caller's affair, except those that the relay itself reads."""
    raw = fields.object("raw")
    if raw is None:
        return None

    if "stream" in raw:
        fields.problem("raw.stream", "cannot be set: every call is streamed, and its answer is delivered whole")
    model = raw.get("model", "")
    if "model" in raw and not (isinstance(model, str) and model.strip()):
        fields.problem("raw.model", f"must be the id of a model: this is {kind(model)}")
    try:
        read_betas(raw.get("betas"))
    except ValueError as exc:
        fields.problem("raw.betas", str(exc))

    return raw
