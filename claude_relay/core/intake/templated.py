"""Submit bodies that name a template: the check of a new template, and the merge of both bodies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequest, Problem
from .. import templates
from ..deliveries.delivery import destination_of
from ..templates import Compiled, Template, Variables
from ..text.json_values import find_problems
from .body import parse
from .fields import MAX_WARNINGS, kind
from .idempotency import body_hash
from .options import OPTIONS

if TYPE_CHECKING:
    from ..jobs.submission import Submission
    from .context import IntakeContext

#: Fields of the body that a template cannot have.
_NOT_IN_TEMPLATE = ("template", "variables")
#: Fields of which one replaces the other.
_EITHER = {"prompt": "messages", "messages": "prompt", "runAt": "delay", "delay": "runAt"}
_HEADERS_LEFT_OUT = (
    "the webhookHeaders of the template are not sent: it is another key's, and they go only to the scheme, host and"
    " port of its own webhookUrl and failureWebhookUrl"
)
#: Fields whose numbers tools may send as strings: both are the same request.
_NUMBERS = ("priority", "maxCostUsd", "maxTokens", "temperature")


def names_template(body: object) -> bool:
    """Whether the body of a submit names a template, or has variables for one."""
    return isinstance(body, dict) and any(_given(body.get(name)) is not None for name in _NOT_IN_TEMPLATE)


def check_template(body: object, *, now: float, context: IntakeContext, at: str = "body") -> Compiled:
    """
    The located placeholders of a template.

    Raises `InvalidRequest` for malformed ones, for a body that is too large, and for values without a placeholder that
    a submit would refuse.
    """
    if problems := find_problems(body):
        raise InvalidRequest(problems=[_below(at, problem) for problem in problems])
    if not isinstance(body, dict) or not body:
        text = f'must be a submit body with placeholders, such as {{"prompt": "Read {{{{text}}}}"}}, not {kind(body)}'
        raise InvalidRequest.at(at, text)
    size = len(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
    if size > templates.MAX_BYTES:
        text = f"is too large: {size:,} bytes as JSON, the maximum is {templates.MAX_BYTES:,}"
        raise InvalidRequest.at(at, text)
    for name in _NOT_IN_TEMPLATE:
        if name in body:
            raise InvalidRequest.at(f"{at}.{name}", "cannot be part of a template: only of a submit")

    try:
        compiled = Compiled(body)
    except InvalidRequest as exc:
        raise InvalidRequest(problems=[_below(at, problem) for problem in exc.problems]) from None
    try:
        parse(body, now=now, context=context)
    except InvalidRequest as exc:
        real = [problem for problem in exc.problems if not _depends(problem.field, compiled.paths)]
        if real:
            raise InvalidRequest(problems=[_below(at, problem) for problem in real]) from None

    return compiled


def merge(compiled: Compiled, fields: Mapping[str, Any], variables: Variables, *, limit: int) -> templates.Filled:
    """The body of a template, filled, with the caller's own non-empty fields over it."""
    own = {name: value for name, value in fields.items() if name not in _NOT_IN_TEMPLATE and _given(value) is not None}
    replaced = {name for name in own if name != "options"} | {_EITHER[name] for name in own if name in _EITHER}
    filled = compiled.fill(variables, limit=limit, skip=replaced)
    options, own_options = filled.body.get("options"), own.get("options")
    beside = [name for name in own if name in OPTIONS]
    if isinstance(options, dict):
        options = {name: value for name, value in options.items() if name not in beside}
        if isinstance(own_options, dict):
            options |= {name: value for name, value in own_options.items() if _given(value) is not None}
            own["options"] = options
        elif own_options is None:
            own["options"] = options

    return replace(filled, body={**filled.body, **own})


def parse_templated(
    template: Template,
    compiled: Compiled,
    body: Mapping[str, Any],
    *,
    now: float,
    context: IntakeContext,
    owner: str,
    idempotency_key: str | None = None,
    form: bool = False,
) -> Submission:
    """The submission of a body of that owner that names `template`, or `InvalidRequest` with all its problems."""
    given = _given(body.get("variables"))
    if given is not None and not isinstance(given, dict):
        raise InvalidRequest.at("variables", f"must be an object ({{…}}), not {kind(given)}")
    if given and not compiled.placeholders:
        raise InvalidRequest.at("template", templates.NO_PLACEHOLDERS)
    if problems := find_problems(body):
        raise InvalidRequest(problems=problems)
    variables, faults = templates.read_variables(given or {}, at="variables")
    filled = merge(compiled, body, variables, limit=context.max_body)
    sent = {templates.normal_name(name) for name, value in (given or {}).items() if value is not None}
    missing = [name for name in filled.missing if name not in sent]
    faults += templates.missing_problems(missing, at="variables", reference=template.reference)
    try:
        submission = parse(filled.body, now=now, context=context, idempotency_key=idempotency_key, form=form)
    except InvalidRequest as exc:
        # Without a variable the strings around its place are wrong, too: that is one problem and not two.
        paths = [path for path in compiled.paths if _given(body.get(_top(path))) is None] if faults else []
        faults += [problem for problem in exc.problems if not _depends(problem.field, paths)]
    if faults:
        raise InvalidRequest(problems=faults[:100])
    notes = [note for note in (templates.unused_warning(variables, compiled.placeholders),) if note]
    if (
        template.owner != owner
        and _given(body.get("webhookHeaders")) is None
        and _leave_their_url(template, submission)
    ):
        submission = replace(submission, webhook_headers={})
        notes.append(_HEADERS_LEFT_OUT)
    warnings = (*submission.warnings, *notes)[-MAX_WARNINGS:]

    return replace(submission, body_hash=written_hash(body), template=template.reference, warnings=warnings)


def _leave_their_url(template: Template, submission: Submission) -> bool:
    """
    Whether the headers of a template would go to a scheme, host or port that it does not name itself.

    They are often a key, which a caller of a shared template may use, and must not read.
    """
    named = set()
    for url in (template.body.get("webhookUrl"), template.body.get("failureWebhookUrl")):
        with suppress(ValueError):  # with placeholders it may be no URL
            destination = destination_of(url) if isinstance(url, str) else ""
            named |= {destination} if "{{" not in destination else set()
    urls = (submission.webhook_url, submission.failure_webhook_url)

    return bool(submission.webhook_headers) and any(url and destination_of(url) not in named for url in urls)


def written_hash(body: Mapping[str, Any]) -> str:
    """
    The hash of a body that names a template, as its caller wrote it.

    It does not depend on the template, so that the same request after a new version, or after the template was deleted,
    is a repeat of the first.
    """
    return body_hash(_normal(body))


def _normal(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without empty ones; numbers as numbers, also where a form made strings of them."""
    normal: dict[str, Any] = {}
    for name, value in fields.items():
        if (given := _given(value)) is None:
            continue
        if name == "options" and isinstance(given, dict):
            given = _normal(given)
        elif name in _NUMBERS:
            given = _number(given)
        normal[name] = given

    return normal


def _number(value: Any) -> Any:
    """The number that a string or a float stands for; any other value as it is."""
    if not isinstance(value, (str, float)):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if not math.isfinite(number):
        return value

    return int(number) if number.is_integer() else number


def _given(value: Any) -> Any:
    """The value; None for an empty one, as in `Fields.given`."""
    if isinstance(value, str):
        return value if value and not value.isspace() else None

    return None if isinstance(value, (dict, list)) and not value else value


def _depends(field: str, paths: list[str]) -> bool:
    """Whether a problem concerns a value with a placeholder: at the field, above or below it."""
    return any(field == path or _is_below(field, path) or _is_below(path, field) for path in paths)


def _top(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


def _is_below(path: str, other: str) -> bool:
    return path.startswith((f"{other}.", f"{other}["))


def _below(at: str, problem: Problem) -> Problem:
    field = problem.field
    if at == "body" and field.startswith("body"):
        return problem

    return Problem(field=f"{at}.{field}" if field and field != "body" else at, problem=problem.problem)
