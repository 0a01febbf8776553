"""Parsing of `options`: the model, its limits and the format of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..models.betas import read_betas
from ..models.capabilities import fit_request
from ..models.catalog import ModelCatalog, resolve
from ..text.json_values import safe_quote
from .checks import read_checks
from .fields import Fields, kind
from .output_schema import read_output_schema
from .passthrough import CAMEL_CASE, PASSTHROUGH, REMOVED, read_passthrough

if TYPE_CHECKING:
    from .context import IntakeContext

MAX_FALLBACKS = 5
EFFORTS = ("low", "medium", "high", "xhigh", "max")
OPTIONS = (
    "model",
    "maxTokens",
    "temperature",
    "systemPrompt",
    "outputSchema",
    "checks",
    "effort",
    "fallbackModels",
    *CAMEL_CASE,
    "raw",
)
#: Other spellings, and options that the API has removed: accepted as well.
CHECK_ONLY = (*(name for name in PASSTHROUGH if name not in CAMEL_CASE), *REMOVED)


def read_options(fields: Fields, context: IntakeContext, *, now: float) -> dict[str, Any]:
    """The options to store: the model resolved, defaults filled in, and removed parameters left out."""
    raw = read_passthrough(fields) | (_read_raw(fields) or {})
    catalogue = context.catalogue
    options: dict[str, Any] = {
        "model": _read_model(fields, raw, context, catalogue, now=now),
        "maxTokens": fields.number("maxTokens", low=1, integer=True) or context.max_tokens,
        "systemPrompt": fields.string("systemPrompt"),
        "outputSchema": read_output_schema(fields, context),
        "effort": fields.choice("effort", EFFORTS),
        "raw": {name: value for name, value in raw.items() if name != "model"} or None,
    }
    options["checks"] = read_checks(fields, options["outputSchema"])
    if fields.number("temperature", low=0, high=1) is not None:
        fields.notes.warn("options.temperature was ignored: Claude no longer accepts it")

    options = {name: value for name, value in options.items() if value is not None}
    model = options["model"]
    if fallbacks := _read_fallbacks(fields, context, model, now=now):
        options["fallbackModels"] = fallbacks

    return fit_request(options, catalogue.listed(model), fields.notes)


def _read_model(
    fields: Fields, raw: Mapping[str, Any], context: IntakeContext, catalogue: ModelCatalog, *, now: float
) -> str:
    """
    The model that `raw` names, as that is merged last, otherwise `options.model`.

    Both may be an alias or the name of a retired model. A name that cannot be a Claude model is passed on only if it is
    in `raw`, which is for anything new upstream.
    """
    settings: dict[str, Any] = dict(default=context.model, catalogue=catalogue, now=now)
    model, warnings = context.model, tuple[str, ...]()
    try:
        model, warnings = resolve(fields.string("model"), **settings)
    except ValueError as exc:
        fields.problem("model", str(exc))
    raw_model = raw.get("model")
    if isinstance(raw_model, str) and raw_model.strip():
        try:
            model, warnings = resolve(raw_model, **settings, field="options.raw.model")
        except ValueError:
            model, warnings = raw_model.strip(), ()
    for warning in warnings:
        fields.notes.warn(warning)

    return model


def _read_fallbacks(fields: Fields, context: IntakeContext, model: str, *, now: float) -> list[str]:
    """The fallback models without duplicates, resolved like the first one."""
    value = fields.given("fallbackModels")
    if isinstance(value, str):  # from a form
        fields.clean["fallbackModels"] = value = [name.strip() for name in value.split(",") if name.strip()]
    elif value is not None:
        value = fields.array("fallbackModels")
    names = context.fallback_models if value is None else value
    if not names:
        return []
    fallbacks: list[str] = []
    for index, name in enumerate(names):
        try:
            if not isinstance(name, str):
                raise ValueError(f"must be a model id, not {kind(name)}")
            other, _ = resolve(name, default=context.model, catalogue=context.catalogue, now=now)
        except ValueError as exc:
            if value is not None:
                fields.problem(f"fallbackModels[{index}]", str(exc))
            else:
                fields.notes.warn(
                    f"RELAY_FALLBACK_MODELS names {safe_quote(name)}, which is not a known model: it was ignored"
                )
            continue
        if other != model and other not in fallbacks:
            fallbacks.append(other)
    if value is not None and len(fallbacks) > MAX_FALLBACKS:
        fields.problem("fallbackModels", f"names {len(fallbacks)} models: the maximum is {MAX_FALLBACKS}")

    return fallbacks[:MAX_FALLBACKS]


def _read_raw(fields: Fields) -> dict[str, Any] | None:
    """Check only the fields that the relay itself reads; all others are passed to the API."""
    raw = fields.object("raw")
    if raw is None:
        return None

    if "stream" in raw:
        fields.problem("raw.stream", "cannot be set: every call is streamed, and its answer is delivered complete")
    model = raw.get("model", "")
    if "model" in raw and not (isinstance(model, str) and model.strip()):
        fields.problem("raw.model", f"must be a model id, not {kind(model)}")
    try:
        read_betas(raw.get("betas"))
    except ValueError as exc:
        fields.problem("raw.betas", str(exc))

    return raw
