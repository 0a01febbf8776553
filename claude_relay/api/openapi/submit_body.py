"""The body of a submit as a schema. The tables of `core.intake` are the source of its limits and words."""

from __future__ import annotations

from ...core.intake.body import ON_CHECK_FAILED
from ...core.intake.checks import MAX_CHECKS
from ...core.intake.options import EFFORTS, MAX_FALLBACKS
from ...core.jobs.job import OnInterrupt, Retain
from ...core.text.ids import GROUP, REQUEST_ID
from .shapes import Schema, fields, one_of, shape

REQUEST_ID_SCHEMA: Schema = {"type": "string", "pattern": f"^{REQUEST_ID.pattern}$"}
GROUP_SCHEMA: Schema = {"type": "string", "pattern": f"^{GROUP.pattern}$"}

_FILE = fields(
    {},
    {
        "url": ("uri", "Fetched once by the worker, under the same guard as a webhook."),
        "data": ("string", "The content in base64."),
        "fileId": ("string", "A file that Anthropic stores already."),
        "mediaType": ("string", "Such as application/pdf."),
        "name": "string",
    },
    "A PDF or an image, by one of url, data and fileId.",
) | {"anyOf": [{"required": ["url"]}, {"required": ["data"]}, {"required": ["fileId"]}]}

_OPTIONS = fields(
    {},
    {
        "model": ("string", "A model id, or smart, fast, cheap."),
        "maxTokens": {"type": "integer", "minimum": 1, "default": 4096},
        "temperature": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "deprecated": True,
            "description": "Accepted for old callers, and ignored with a warning: Claude no longer takes it.",
        },
        "systemPrompt": ("string", "Instructions before the conversation; cached upstream when they repeat."),
        "outputSchema": ("object", "A JSON Schema: the callback carries `json`, parsed and validated."),
        "checks": {
            "type": "array",
            "maxItems": MAX_CHECKS,
            "items": {"anyOf": [{"type": "string"}, shape("Check")]},
            "description": "Rules on the parsed answer, such as sum(lines.amount) == total.",
        },
        "effort": shape(one_of(EFFORTS)),
        "fallbackModels": {
            "type": "array",
            "items": {"type": "string"},
            "maxItems": MAX_FALLBACKS,
            "description": "Models that are called, in this order, where the first declines or is overloaded.",
        },
        "thinking": ({}, "As in the Messages API, or a word such as adaptive."),
        "tools": ({"type": "array"}, "As in the Messages API."),
        "toolChoice": ({}, "As in the Messages API, or a word such as any."),
        "stopSequences": {"type": "array", "items": {"type": "string"}},
        "serviceTier": one_of(("auto", "standard_only")),
        "raw": ("object", "Any fields of the Messages API in snake_case, merged last."),
    },
)

_CHECK = fields(
    {"rule": "string"},
    {"name": "string", "tolerance": {"type": ["number", "string"], "description": "Absolute; days for dates."}},
)

SUBMIT = fields(
    {},
    {
        "prompt": {"type": "string", "minLength": 1, "description": "The question. One of prompt and messages."},
        "messages": (
            {"type": "array", "minItems": 1, "items": {"type": "object"}},
            "Turns of the Messages API, instead of prompt.",
        ),
        "webhookUrl": ("uri", "Where the outcome is delivered. Without it: poll the result, or wait for it."),
        "failureWebhookUrl": ("uri", "Where a failure is delivered instead."),
        "webhookHeaders": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "maxProperties": 10,
            "description": "Sent with the callback; never logged and never shown.",
        },
        "requestId": (REQUEST_ID_SCHEMA, "The caller's id and idempotency key. Default: a new UUID."),
        "options": _OPTIONS,
        "files": {"type": "array", "items": shape("File"), "maxItems": 20},
        "continueFrom": (REQUEST_ID_SCHEMA, "A finished job of the same key: its turns come first."),
        "mode": (one_of(("live", "batch", "auto")), "batch: half the price, later; auto: batch if needBy leaves time."),
        "needBy": ("string", "When the answer is needed: RFC 3339, or a duration such as 2h."),
        "runAt": ("time", "Not before this time."),
        "delay": ("string", "Not before this duration has passed, such as 10m."),
        "deadline": ("string", "Given up after this time or duration. Default: 24h."),
        "priority": {"type": "number", "minimum": 0, "maximum": 86_400, "description": "Seconds of head start."},
        "group": (GROUP_SCHEMA, "Shares a concurrency, a rate and a pause. Default: default."),
        "metadata": ("object", "Up to 16 KiB, returned unchanged in status and callback."),
        "maxCostUsd": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "The call is stopped when it costs more.",
        },
        "onInterrupt": (one_of([value.value for value in OnInterrupt]), "After a crash in mid-call. Default: retry."),
        "onCheckFailed": (
            one_of(ON_CHECK_FAILED),
            "Where a check is still false after its repair. Default: deliver.",
        ),
        "template": ("string", "The name of a template, or of one version such as invoice@3: its body is used."),
        "variables": ("object", "The values of the template's placeholders."),
        "retain": (one_of([value.value for value in Retain]), "metadata: content is erased once it is delivered."),
    },
    "One job. An empty optional field is an absent one; an unknown field is ignored with a warning.",
) | {"anyOf": [{"required": [name]} for name in ("prompt", "messages", "template")]}

SCHEMAS: dict[str, Schema] = {"Submit": SUBMIT, "Options": _OPTIONS, "Check": _CHECK, "File": _FILE}
SUBMIT["properties"]["options"] = shape("Options")
