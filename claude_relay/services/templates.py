"""Templates: save, list, show and delete them, and parse submits that name one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import templates, wire
from ..core.intake import IntakeContext, parse
from ..core.intake.fields import Diagnostics, Fields, kind
from ..core.intake.idempotency import read_request_id
from ..core.intake.templated import check_template, names_template, parse_templated, written_hash
from ..core.jobs.submission import Submission
from ..core.keys import ADMIN
from ..core.templates import Compiled, Template
from ..errors import Forbidden, InvalidRequest, NotFound
from .transactions import query, transaction

if TYPE_CHECKING:
    from ..ports import ReadTransaction, Transaction
    from .context import Context

_MAX_DESCRIPTION = 1_000

#: Finds the template that a text names, with its placeholders.
TemplateLookup = Callable[[str], tuple[Template, Compiled]]


class Templates:
    """The templates of callers. A key sees its own and the shared ones; its own come first."""

    def __init__(self, context: Context) -> None:
        self._store = context.store

    def parse(
        self,
        body: object,
        *,
        owner: str,
        now: float,
        context: IntakeContext,
        idempotency_key: str | None = None,
        form: bool = False,
        lookup: TemplateLookup | None = None,
        repeats: bool = True,
        may_continue: bool = True,
        strict: bool = False,
    ) -> Submission:
        """
        The submission of a body, which may name a template; raises `InvalidRequest` with all its problems.

        With `repeats`, a repeated request is recognized first: it stays the same job when its template was changed or
        deleted. `may_continue`: whether the caller may read the job that a template's `continueFrom` names. `strict`:
        the body came from `strict_json`.
        """
        if not names_template(body) or not isinstance(body, dict) or not (name := body.get("template")):
            return parse(body, now=now, context=context, idempotency_key=idempotency_key, form=form, strict=strict)
        if repeats and (repeat := self._repeat(body, idempotency_key, owner)) is not None:
            return repeat
        if not isinstance(name, str):
            raise InvalidRequest.at("template", f"must be {templates.REFERENCE_RULE}, not {kind(name)}")
        template, compiled = (lookup or self.lookup(owner))(name)
        submission = parse_templated(
            template, compiled, body, now=now, context=context, owner=owner, idempotency_key=idempotency_key, form=form
        )
        if submission.request.get("continueFrom") and not may_continue:
            raise Forbidden("continueFrom is not allowed for this key: it lacks the scope read.")

        return submission

    def lookup(self, owner: str) -> TemplateLookup:
        """A function that finds templates for that owner, each of them once; raises `InvalidRequest` at `template`."""
        cache: dict[str, tuple[Template, Compiled]] = {}

        def find(text: str) -> tuple[Template, Compiled]:
            if text not in cache:
                template = self._usable(text.strip(), owner)
                if template is None:
                    name = f"{text.strip()[:80]}: save it with claude-relay template save, or see template list"
                    raise InvalidRequest.at("template", f"names no template that this key may use, {name}")
                cache[text] = template, Compiled(template.body)
            return cache[text]

        return find

    def save(
        self, name: str, fields: Mapping[str, Any], intake: IntakeContext, *, owner: str = ADMIN, now: float
    ) -> tuple[dict[str, Any], bool]:
        """Store a template, from the body of a PUT; returns the answer, and whether it is a new version."""
        if not templates.NAME.fullmatch(name):
            raise InvalidRequest.at("name", f"must be {templates.NAME_RULE}")
        notes = Diagnostics()
        given = Fields(fields, notes)
        description = given.string("description", max_length=_MAX_DESCRIPTION)
        shared = fields.get("shared")
        if shared not in (None, True, False):
            given.problem("shared", "must be true or false")
        given.unknown(("body", "description", "shared"))
        if shared and owner != ADMIN:
            raise Forbidden("Only the admin key may share a template with all keys.")
        try:
            compiled = check_template(fields.get("body"), now=now, context=intake)
        except InvalidRequest as exc:
            raise InvalidRequest(problems=(*notes.problems, *exc.problems)) from None
        if notes.problems:
            raise InvalidRequest(problems=notes.problems)
        template, created = self._save(
            Template(
                owner=owner,
                name=name,
                version=0,
                body=fields["body"],
                description=description,
                shared=bool(shared),
                created_at=now,
            ),
            "description" in fields,
            shared is not None,
        )
        answer = {"name": name, "version": template.version, "placeholders": list(compiled.placeholders)}

        return answer, created

    @query
    def all(self, tx: ReadTransaction, *, owner: str | None) -> Sequence[dict[str, Any]]:
        """The newest versions without their bodies; `owner` None: of all owners."""
        return [_summary(template) for template in tx.templates(owner)]

    @query
    def show(self, tx: ReadTransaction, text: str, *, owner: str) -> dict[str, Any]:
        """A template by name, or by name and version; never its webhook headers."""
        reference = templates.parse_reference(text)
        template = None if reference is None else _find(tx, *reference, owner=owner)
        if template is None:
            raise NotFound(f"There is no template {text[:80]} here that this key may use.")
        body = templates.with_hidden_headers(template.body)

        return {**_summary(template), "body": body, "deleted": template.deleted}

    @transaction
    def delete(self, tx: Transaction, name: str, *, owner: str) -> None:
        """Delete a template: later submits with it are refused. Jobs that were made of it do not need it."""
        template = tx.template(owner, name, None)
        if template is None or template.deleted:
            raise NotFound(f"There is no template {name[:80]} of this key.")
        tx.delete_template(owner, name)

    @transaction
    def _save(self, tx: Transaction, template: Template, describes: bool, shares: bool) -> tuple[Template, bool]:
        newest = tx.template(template.owner, template.name, None)
        exists = newest is not None and not newest.deleted
        earlier = newest.body if newest is not None and exists else {}
        template = replace(template, body=templates.with_kept_headers(template.body, earlier))
        if newest is not None and exists:
            template = replace(
                template,
                description=template.description if describes else newest.description,
                shared=template.shared if shares else newest.shared,
            )
            if wire.encode(newest.body) == wire.encode(template.body):
                template = replace(template, version=newest.version, created_at=newest.created_at)
                tx.save_template(template)
                return template, False
        last = tx.newest_template_version(template.owner, template.name)
        template = replace(template, version=last + 1)
        tx.save_template(template)

        return template, True

    @query
    def _usable(self, tx: ReadTransaction, text: str, owner: str) -> Template | None:
        reference = templates.parse_reference(text)
        template = None if reference is None else _find(tx, *reference, owner=owner)

        return None if template is None or template.deleted else template

    def _repeat(self, body: Mapping[str, Any], idempotency_key: str | None, owner: str) -> Submission | None:
        """The stub of a request that was accepted before, which `Submitter` answers with that job."""
        request_id = read_request_id(Fields(body, Diagnostics()), idempotency_key)
        if not request_id:
            return None
        body_hash = written_hash(body)
        if not self._accepted_before(request_id, body_hash, owner):
            return None

        return Submission(request_id=request_id, body_hash=body_hash, request={}, model="", prompt_length=0)

    @query
    def _accepted_before(self, tx: ReadTransaction, request_id: str, body_hash: str, owner: str) -> bool:
        hashes = [job.body_hash for job in tx.find(request_id, owner)]
        hashes += [tombstone.body_hash for tombstone in tx.tombstones(request_id, owner)]

        return body_hash in hashes


def _find(tx: ReadTransaction, name: str, version: int | None, *, owner: str) -> Template | None:
    """
    The owner's template, else the administrator's shared one.

    A name finds no deleted template; a name with its version finds one as long as it is kept.
    """
    for each in dict.fromkeys((owner, ADMIN)):
        template = tx.template(each, name, version)
        if template is None or (template.deleted and version is None):
            continue
        if each == owner or template.shared:
            return template

    return None


def _summary(template: Template) -> dict[str, Any]:
    return {
        "name": template.name,
        "version": template.version,
        "placeholders": list(Compiled(template.body).placeholders),
        "description": template.description,
        "shared": template.shared,
        "owner": template.owner,
        "createdAt": wire.timestamp(template.created_at),
    }
