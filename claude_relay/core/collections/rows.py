"""Rows as submissions: a template's variables or a submit body, with the collection's defaults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import InvalidRequest, Problem
from .. import templates
from ..intake.body import parse
from ..intake.fields import MAX_WARNINGS, kind
from ..intake.templated import names_template, parse_templated
from ..money.estimate import estimate
from ..step_size import StepSize
from .collection import Collection, Kind

if TYPE_CHECKING:
    from ..intake.context import IntakeContext
    from ..jobs.submission import Submission
    from ..templates import Compiled, Template

#: Fields that a row cannot have: its id and its times are the collection's, and so is the callback.
FORBIDDEN = ("requestId", "webhookUrl", "failureWebhookUrl", "runAt")
#: Bytes of a row's prompt and files that a piece of rows has at most.
PIECE_BYTES = 512 * 1024
#: Its rows, by the time that the last piece kept the store: 100 take 9 ms of an idle processor.
PIECE_ROWS = StepSize(size=100, least=25, most=100, seconds=0.02)


class RowReader:
    """Makes a submission of each row of one collection."""

    def __init__(
        self,
        collection: Collection,
        compiled: Compiled | None,
        find_template: Callable[[str], tuple[Template, Compiled]],
        *,
        webhook: Mapping[str, Any],
        context: IntakeContext,
        now: float,
    ) -> None:
        """`webhook`: the fields of a submission that send a callback for each row."""
        self._collection, self._compiled, self._find_template = collection, compiled, find_template
        self._webhook, self._context, self._now = dict(webhook), context, now
        self._warnings: dict[str, None] = {}
        self.least_usd = 0.0  # the estimated cost of the input of all rows so far, at the least
        self.unpriced: str | None = None  # a model without a known price, where the collection has a maximum cost

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all rows, each of them once."""
        return tuple(self._warnings)[:MAX_WARNINGS]

    def read(self, item: Any) -> Submission:
        """The submission of a row; raises `InvalidRequest` with paths below the row."""
        if isinstance(item, InvalidRequest):
            raise InvalidRequest(problems=item.problems)
        if not isinstance(item, dict):
            raise InvalidRequest.at("", f"must be an object, not {kind(item)}")
        if self._collection.kind is Kind.JOBS:
            submission, variables = self._read_job(item), None
        else:
            submission, variables = self._read_variables(item), item
        for warning in submission.warnings:
            self._warnings.setdefault(warning)
        if self._collection.max_cost_usd is not None and self._context.prices is not None:
            cost = estimate(
                submission.request, model=submission.model, prices=self._context.prices, mode=submission.mode
            )
            self.least_usd += cost.least or 0.0
            if self._context.prices.of(submission.model) is None:
                self.unpriced = submission.model

        return replace(
            submission,
            warnings=(),
            variables=variables,
            template=submission.template or self._collection.template,
            **self._webhook,
        )

    def _read_job(self, item: dict[str, Any]) -> Submission:
        body = self._with_defaults(item)
        if not names_template(body):
            _refuse_forbidden(body)
            return parse(body, now=self._now, context=self._context, strict=True)  # it was checked with its request
        name = body.get("template")
        if not isinstance(name, str):
            raise InvalidRequest.at("template", f"must be {templates.REFERENCE_RULE}")
        template, compiled = self._find_template(name)
        _refuse_forbidden({**template.body, **body})
        owner = self._collection.job.owner

        return parse_templated(template, compiled, body, now=self._now, context=self._context, owner=owner)

    def _read_variables(self, item: dict[str, Any]) -> Submission:
        assert self._compiled is not None  # a collection of rows has a template
        variables, problems = templates.read_variables(item, at="")
        if problems:
            raise InvalidRequest(problems=[_trimmed(problem) for problem in problems])
        filled = self._compiled.fill(variables, limit=self._context.max_body)
        if filled.missing:
            reference = self._collection.template or ""
            missing = templates.missing_problems(
                filled.missing, at="", reference=reference, columns=tuple(map(templates.normal_name, item))
            )
            raise InvalidRequest(problems=[_trimmed(problem) for problem in missing])
        # Both parts were checked before; together they can only be nested too deeply.
        flat = not any(isinstance(variable.value, (dict, list)) for variable in variables.values())
        try:
            submission = parse(self._with_defaults(filled.body), now=self._now, context=self._context, strict=flat)
        except InvalidRequest as exc:
            empty = [name for name in self._compiled.placeholders if name in variables and not variables[name].text]
            raise InvalidRequest(problems=[_with_empty(problem, empty) for problem in exc.problems]) from None
        if warning := templates.unused_warning(variables, self._compiled.placeholders):
            self._warnings.setdefault(warning)

        return submission

    def _with_defaults(self, body: dict[str, Any]) -> dict[str, Any]:
        missing = {name: value for name, value in self._collection.defaults.items() if body.get(name) in (None, "")}
        return {**body, **missing}


def check_row_template(body: Mapping[str, Any], compiled: Compiled) -> None:
    """Refuse a template that rows cannot be put into."""
    if not compiled.placeholders:
        raise InvalidRequest.at("template", templates.NO_PLACEHOLDERS)
    if problems := [Problem(field="template", problem=_forbidden(name)) for name in _forbidden_in(body)]:
        raise InvalidRequest(problems=problems)


def row_problems(exc: InvalidRequest, *, path: str, row: int, line: int | None) -> Iterator[Problem]:
    """The problems of one row, with its place: `rows[16].text` (row 17, line 18)."""
    place = f"row {row}" if line is None else f"row {row}, line {line}"
    for problem in exc.problems or (Problem(field="", problem=str(exc)),):
        field = "" if problem.field == "body" else problem.field
        yield Problem(field=f"{path}.{field}" if field else path, problem=f"{problem.problem} ({place})")


def weight(submission: Submission) -> int:
    """The approximate bytes of a row, for the size of a piece."""
    files = submission.request.get("files") or ()

    return submission.prompt_length + sum(len(file.get("data") or "") for file in files)


def _refuse_forbidden(body: Mapping[str, Any]) -> None:
    if problems := [Problem(field=name, problem=_forbidden(name)) for name in _forbidden_in(body)]:
        raise InvalidRequest(problems=problems)


def _forbidden_in(body: Mapping[str, Any]) -> list[str]:
    return [name for name in FORBIDDEN if body.get(name) not in (None, "", {}, [])]


def _forbidden(name: str) -> str:
    if name == "requestId":
        return "cannot have a requestId: the row n of a collection is the job {collectionId}:n"
    if name == "runAt":
        return "cannot have a runAt: all rows of a collection start when they are accepted"

    return f"cannot have a {name}: the collection has one callback; with each: true also one for each row"


def _with_empty(problem: Problem, empty: Sequence[str]) -> Problem:
    """The problem of a filled template, with the columns that are empty in the row: the likely cause."""
    if not empty:
        return problem

    return Problem(field=problem.field, problem=f"{problem.problem}; empty here: {', '.join(empty[:5])}")


def _trimmed(problem: Problem) -> Problem:
    return Problem(field=problem.field.removeprefix("."), problem=problem.problem)
