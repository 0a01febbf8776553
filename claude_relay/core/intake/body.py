"""Parsing of the submit body, field by field, in the order of the contract's table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequest
from ..jobs.job import OnInterrupt, Retain
from ..jobs.submission import Submission
from ..models.capabilities import unreadable_file
from ..text.ids import GROUP, REQUEST_ID
from ..text.json_values import find_problems
from ..text.suggestions import suggest
from .fields import MAX_WARNINGS, Diagnostics, Fields, kind
from .files import read_files
from .group import GROUP_RULE
from .idempotency import REQUEST_ID_RULE, body_hash, read_request_id
from .max_cost import check_max_cost
from .messages import read_messages
from .mode import read_mode
from .options import CHECK_ONLY, OPTIONS, read_options
from .times import is_timestamp, read_end, read_start
from .webhook import read_headers, read_url

if TYPE_CHECKING:
    from .context import IntakeContext

FIELDS = (
    "prompt",
    "messages",
    "webhookUrl",
    "failureWebhookUrl",
    "webhookHeaders",
    "requestId",
    "options",
    "files",
    "continueFrom",
    "mode",
    "needBy",
    "runAt",
    "delay",
    "deadline",
    "priority",
    "group",
    "metadata",
    "maxCostUsd",
    "onInterrupt",
    "retain",
    "onCheckFailed",
    "template",
    "variables",
)
MAX_METADATA = 16 * 1024
ON_CHECK_FAILED = ("deliver", "fail")
_ON_INTERRUPT = [value.value for value in OnInterrupt]
_RETAIN = [value.value for value in Retain]

_ALL_OPTIONS = (*OPTIONS, *CHECK_ONLY)
_OPTIONS_OF = {name: f"options.{name}" for name in OPTIONS}
_BESIDE_OPTIONS = {name: f"{name}, outside options" for name in FIELDS if name != "options"}

#: Names of other APIs for a field of this one, in the body and in `options`.
_MEANT = {
    **dict.fromkeys(("callbackUrl", "callback", "webhook", "hook", "hookUrl"), "webhookUrl"),
    **dict.fromkeys(("system", "systemMessage", "instructions"), "options.systemPrompt"),
    **dict.fromkeys(("schema", "jsonSchema", "responseFormat"), "options.outputSchema"),
}


def parse(
    body: object,
    *,
    now: float,
    context: IntakeContext,
    idempotency_key: str | None = None,
    form: bool = False,
    strict: bool = False,
) -> Submission:
    """
    The submission that the body describes, or `InvalidRequest` with all its problems.

    `form`: the body came from `from_form`, where every number is a string and needs no warning. `strict`: it came from
    `strict_json`, which has checked its values.
    """
    if not strict:
        _check_json(body)
    if not isinstance(body, dict):
        hint = "; send a list of requests to /api/claude/bulk" if isinstance(body, list) else ""
        raise InvalidRequest.at("body", f'must be an object such as {{"prompt": "…"}}, not {kind(body)}{hint}')

    notes = Diagnostics(form=form)
    fields = Fields(body, notes)
    messages, texts = read_messages(fields)
    webhook_url = read_url(fields, "webhookUrl", context)
    failure_webhook_url = read_url(fields, "failureWebhookUrl", context)
    webhook_headers = read_headers(fields)
    request_id = read_request_id(fields, idempotency_key)
    moved = _options_beside(fields, body)
    options = _read_options(fields, context, now=now, beside=moved)
    files = read_files(fields, context)
    model = options["model"]
    if files:
        for index, problem in unreadable_file(files, context.catalogue.listed(model)):
            fields.problem(f"files[{index}]", problem)
    continue_from = fields.name("continueFrom", REQUEST_ID, REQUEST_ID_RULE)
    mode, need_by = read_mode(fields, context, model=model, options=options, now=now)
    run_at = read_start(fields, now=now)
    deadline_at = _read_deadline(fields, run_at, now=now)
    priority = fields.number("priority", low=0, high=86_400)
    group = fields.name("group", GROUP, GROUP_RULE)
    metadata = read_metadata(fields)
    max_cost_usd = _read_max_cost(fields)
    on_interrupt = fields.choice("onInterrupt", _ON_INTERRUPT)
    retain = fields.choice("retain", _RETAIN)
    on_check_failed = fields.choice("onCheckFailed", ON_CHECK_FAILED)
    if fields.given("variables") is not None:
        fields.problem("variables", "needs template: the name of the template that has places for them")
    fields.unknown((*FIELDS, *moved) if moved else FIELDS, elsewhere=_OPTIONS_OF, meant=_MEANT)

    request: dict[str, Any] = {**messages, "options": options}
    if files:
        request["files"] = files
    if on_check_failed == "fail":
        request["onCheckFailed"] = on_check_failed
    if continue_from:
        request["continueFrom"] = continue_from
    if context.prices is not None and not notes.problems:
        check_max_cost(request, model=model, mode=mode, limit=max_cost_usd, prices=context.prices, notes=notes)
    if notes.problems:
        raise InvalidRequest(problems=notes.problems)

    return Submission(
        request_id=request_id,
        body_hash=body_hash(fields.clean),
        request=request,
        model=options["model"],
        prompt_length=sum(map(len, texts)),
        webhook_url=webhook_url,
        webhook_empty="webhookUrl" in body and webhook_url is None,
        failure_webhook_url=failure_webhook_url,
        webhook_headers=webhook_headers,
        metadata=metadata,
        mode=mode,
        need_by=need_by,
        run_at=run_at,
        run_at_fixed=is_timestamp(fields.clean.get("runAt")),
        deadline_at=deadline_at,
        deadline_fixed=is_timestamp(fields.clean.get("deadline")),
        priority=float(priority or 0),
        group=group or "default",
        max_cost_usd=max_cost_usd,
        chosen_model="model" in fields.clean["options"] or "model" in fields.clean["options"].get("raw", {}),
        on_interrupt=OnInterrupt(on_interrupt) if on_interrupt else OnInterrupt.RETRY,
        retain=Retain(retain) if retain else Retain.FULL,
        warnings=tuple(notes.warnings),
    )


def parse_options(
    options: object, *, now: float, context: IntakeContext, form: bool = False
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Parse options alone, which a retry may replace; returns them with their warnings."""
    _check_json(options)
    notes = Diagnostics(form=form)
    read = _read_options(Fields({"options": options}, notes), context, now=now)
    if notes.problems:
        raise InvalidRequest(problems=notes.problems)

    return read, tuple(notes.warnings)


def _options_beside(fields: Fields, body: Mapping[str, Any]) -> dict[str, str]:
    """Fields of the body that are options in the wrong place, each with the option's name."""
    names = [name for name in body if name not in FIELDS and fields.given(name) is not None]
    if not names:
        return {}
    found = ((name, suggest(name, OPTIONS, slips=False)) for name in names[:MAX_WARNINGS])

    return {name: option for name, option in found if option}


def _read_options(
    fields: Fields, context: IntakeContext, *, now: float, beside: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    values = dict(fields.object("options") or {})
    for name, option in beside.items():
        if values.get(option) in (None, ""):
            values[option] = fields.as_sent(name)
            fields.notes.warn(f"{name} was read as options.{option}: write it into options")
        else:
            fields.notes.warn(f"{name} was ignored: options.{option} is given, too")
    inner = Fields(values, fields.notes, at="options")
    inner.unknown(_ALL_OPTIONS, elsewhere=_BESIDE_OPTIONS, meant=_MEANT)
    options = read_options(inner, context, now=now)
    fields.clean["options"] = inner.clean

    return options


def _read_deadline(fields: Fields, run_at: float | None, *, now: float) -> float | None:
    deadline_at = read_end(fields, "deadline", now=now)
    if deadline_at is not None and run_at is not None and deadline_at <= run_at:
        fields.problem("deadline", "is before the start of the job (runAt or delay)")

    return deadline_at


def read_metadata(fields: Fields) -> dict[str, Any] | None:
    metadata = fields.object("metadata")
    if metadata is not None:
        size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
        if size > MAX_METADATA:
            fields.problem("metadata", f"is too large: {size:,} bytes as JSON, the maximum is {MAX_METADATA:,}")

    return metadata


def _read_max_cost(fields: Fields) -> float | None:
    cost: float | None = fields.number("maxCostUsd", low=0)
    if cost == 0:
        fields.problem("maxCostUsd", "must be more than 0")

    return cost


def _check_json(value: object) -> None:
    """Refuse values that could not be recursed into, hashed or encoded below."""
    problems = find_problems(value)
    if problems:
        raise InvalidRequest(problems=problems)
