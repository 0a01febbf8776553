"""
Adaptation of a request to the capabilities of its model: unsupported options are dropped with a warning.

Only capabilities that the upstream lists count: a request for an unlisted model is sent unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .listing import Model, undated

if TYPE_CHECKING:
    from ..intake.fields import Diagnostics

#: Removed from the API for every model: a request that sends one is refused.
_SAMPLING = ("temperature", "top_p", "top_k")
#: Server tools by the beginning of their type, with the capability that they need.
_SERVER_TOOLS = {"web_search": "web_search", "web_fetch": "web_search", "code_execution": "code_execution"}

#: Not in the upstream's list: this model accepts disabled thinking, except at these efforts.
_THINKS_AT_HIGH_EFFORT = ("claude-opus-5",)
_HIGH_EFFORTS = ("xhigh", "max")


def fit_request(options: dict[str, Any], model: Model | None, notes: Diagnostics) -> dict[str, Any]:
    """The options that the model supports, with a warning for each that was dropped or lowered."""
    options = dict(options)
    raw = {name: value for name, value in (options.get("raw") or {}).items() if name not in _SAMPLING}
    for name in _SAMPLING:
        if name in (options.get("raw") or {}):
            notes.warn(f"options.raw.{name} was ignored: Claude no longer accepts it")
    if model is not None:
        _fit_effort(options, model, notes)
        _fit_tokens(options, model, notes)
        raw = _fit_raw(raw, options, model, notes)
    options.pop("raw", None)

    return {**options, "raw": raw} if raw else options


def unreadable_file(files: Iterable[Mapping[str, Any]], model: Model | None) -> Iterable[tuple[int, str]]:
    """(index, problem) of each file that the model cannot read; an answer without the file would be useless."""
    if model is None:
        return
    for index, file in enumerate(files):
        kind = str(file.get("mediaType") or "")
        need, word = ("pdf_input", "PDFs") if kind == "application/pdf" else ("image_input", "images")
        if kind and model.supports(need) is False:
            yield index, f"cannot be read by {model.id}, which does not accept {word}: choose another options.model"


def _fit_effort(options: dict[str, Any], model: Model, notes: Diagnostics) -> None:
    effort = options.get("effort")
    if effort and (model.supports("effort") is False or model.supports("effort", effort) is False):
        del options["effort"]
        notes.warn(f"options.effort {effort} was ignored: {model.id} does not support it")


def _fit_tokens(options: dict[str, Any], model: Model, notes: Diagnostics) -> None:
    requested, most = options.get("maxTokens"), model.max_tokens
    if most is not None and isinstance(requested, int) and requested > most:
        options["maxTokens"] = most
        notes.warn(f"options.maxTokens {requested} is more than {model.id} supports; it was lowered to {most}")


def _fit_raw(raw: dict[str, Any], options: Mapping[str, Any], model: Model, notes: Diagnostics) -> dict[str, Any]:
    thinking = raw.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, Mapping) else None
    # The list says for each type whether the API accepts it.
    if isinstance(kind, str) and model.supports("thinking", "types", kind) is False:
        raw = {name: value for name, value in raw.items() if name != "thinking"}
        notes.warn(f"options.raw.thinking of the type {kind} was ignored: {model.id} does not support it")
    elif kind == "disabled" and options.get("effort") in _HIGH_EFFORTS and undated(model.id) in _THINKS_AT_HIGH_EFFORT:
        raw = {name: value for name, value in raw.items() if name != "thinking"}
        notes.warn(f"options.raw.thinking of the type disabled was ignored: {model.id} always thinks at this effort")
    choice = raw.get("tool_choice")
    forced = isinstance(choice, Mapping) and choice.get("type") in ("any", "tool")
    if forced and model.supports("thinking", "types", "disabled") is False:
        raw = {name: value for name, value in raw.items() if name != "tool_choice"}
        notes.warn(f"options.raw.tool_choice was ignored: {model.id} always thinks, and cannot be forced to use a tool")
    tools = raw.get("tools")
    if isinstance(tools, list):
        kept = [tool for tool in tools if not _is_unsupported(tool, model, notes)]
        raw = (
            {**raw, "tools": kept}
            if kept
            else {name: raw[name] for name in raw if name not in ("tools", "tool_choice")}
        )

    return raw


def _is_unsupported(tool: Any, model: Model, notes: Diagnostics) -> bool:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    need = next((need for word, need in _SERVER_TOOLS.items() if isinstance(kind, str) and kind.startswith(word)), None)
    if need is None or model.supports("server_tools", need) is not False:
        return False
    notes.warn(f"options.raw.tools: {kind} was ignored: {model.id} does not support it")

    return True
