"""A form that submits a job, new or after an earlier one, and shows what it would cost."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from ..core.keys import Scope
from ..core.lazy_dataclass import dataclass
from ..core.text import strict_json
from ..errors import InvalidRequest, RelayError
from ..services import JobRef
from .forms import Form
from .rendering import pretty
from .site import Page, Visit, job_path

#: Options with a field of their own.
_OPTIONS = {"model": "model", "systemPrompt": "system", "maxTokens": "maxTokens"}


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The values of the form: the body of a submit in pieces."""

    prompt: str = field(default="", repr=False)
    system: str = field(default="", repr=False)
    model: str = ""
    max_tokens: str = ""
    group: str = ""
    webhook_url: str = field(default="", repr=False)
    more: str = field(default="", repr=False)
    origin: str = ""  # the job that it repeats
    kept_files: tuple[str, ...] = ()  # the names of that job's files


class TryIt(Page):
    """`/dashboard/try`."""

    def get(self, visit: Visit, **names: str) -> None:
        visit.require(Scope.SUBMIT)
        origin, template = visit.param("from"), visit.param("template")
        if template:
            record = self.relay.templates.show(template, owner=visit.caller.owner)
            body = {"template": template, "variables": dict.fromkeys(record["placeholders"], "")}
            self._show(visit, Draft(more=pretty(body)))
            return
        self._show(visit, self._draft(visit, origin) if origin else Draft())

    def post(self, visit: Visit, **names: str) -> None:
        visit.require(Scope.SUBMIT)
        form = visit.form
        draft = self._read(visit, form)
        try:
            body = self._body(visit, form)
            if form.text("act") == "estimate":
                estimate = self.relay.estimates.estimate(
                    body, self.site.intake, now=self.site.clock(), owner=visit.caller.owner
                )
                self._show(visit, draft, estimate=estimate)
                return
            submission = self.relay.templates.parse(
                body, owner=visit.caller.owner, now=self.site.clock(), context=self.site.intake
            )
            accepted = self.relay.submit(submission, owner=visit.caller.owner)
        except RelayError as exc:
            problems = getattr(exc, "problems", ())
            visit.refuse(exc)
            self._show(visit, draft, problems=[str(each) for each in problems] or [str(exc)])
            return
        warnings = "".join(f"\nWarning: {text}" for text in accepted.warnings)
        owner = accepted.job.owner if visit.caller.sees_all else None
        visit.redirect(job_path(accepted.job.request_id, owner), f"Accepted, and on disk.{warnings}")

    def _show(self, visit: Visit, draft: Draft, **values: Any) -> None:
        catalog = self.site.intake.catalogue
        visit.render(
            "try.html",
            "Edit and resubmit" if draft.origin else "Try it",
            draft=draft,
            models=sorted({*catalog.aliases, *catalog.current})[:60],
            default=self.site.settings.model,
            limit=self.site.settings.max_body,
            **{"problems": [], "estimate": None, **values},
        )

    def _draft(self, visit: Visit, origin: str) -> Draft:
        """The form filled with an earlier job."""
        job, stored = self.relay.dashboard.request(visit.ref(origin))
        request = dict(stored.request)
        options = dict(request.pop("options", None) or {})
        files = request.pop("files", None) or []
        own = {name: options.pop(option, None) for option, name in _OPTIONS.items()}
        rest = {
            **{name: value for name, value in request.items() if name != "prompt"},
            **({"options": options} if options else {}),
            **({"mode": job.mode} if job.mode != "live" else {}),
            **({"metadata": stored.metadata} if stored.metadata else {}),
            **({"failureWebhookUrl": stored.failure_webhook_url} if stored.failure_webhook_url else {}),
        }
        return Draft(
            prompt=str(request.get("prompt") or ""),
            system=str(own["system"] or ""),
            model=str(own["model"] or ""),
            max_tokens=str(own["maxTokens"] or ""),
            group=job.group if job.group != "default" else "",
            webhook_url=stored.webhook_url or "",
            more=pretty(rest) if rest else "",
            origin=origin,
            kept_files=tuple(_name(file) for file in files),
        )

    def _read(self, visit: Visit, form: Form) -> Draft:
        """The form as it was sent, to show it again."""
        origin = form.text("from")
        names: tuple[str, ...] = ()
        if origin:
            names = self._draft(visit, origin).kept_files

        return Draft(
            prompt=form.raw("prompt"),
            system=form.raw("system"),
            model=form.text("model"),
            max_tokens=form.text("maxTokens"),
            group=form.text("group"),
            webhook_url=form.text("webhookUrl"),
            more=form.raw("more"),
            origin=origin,
            kept_files=names,
        )

    def _body(self, visit: Visit, form: Form) -> dict[str, Any]:
        """The body of a submit; a field of the form wins over the same one in the JSON."""
        body = _more(form.raw("more"))
        stated = body.get("options", {})
        if not isinstance(stated, dict):
            return body  # as every other body with that fault
        options = dict(stated)
        for option, name in _OPTIONS.items():
            if value := form.raw(name) if name == "system" else form.text(name):
                options[option] = int(value) if name == "maxTokens" and value.isdigit() and len(value) < 10 else value
        given: dict[str, Any] = {
            "prompt": form.raw("prompt"),
            "group": form.text("group"),
            "webhookUrl": form.text("webhookUrl"),
            "options": options,
        }
        files = [*self._kept(visit, form), *(_file(each.name, each.media_type, each.data) for each in form.files)]

        return {
            **body,
            **{name: value for name, value in given.items() if value},
            **({"files": files} if files else {}),
        }

    def _kept(self, visit: Visit, form: Form) -> list[dict[str, Any]]:
        """The files of the earlier job, which stay on the server."""
        origin = form.text("from")
        if not origin or form.text("keep") != "1":
            return []
        ref: JobRef = visit.ref(origin)
        _, stored = self.relay.dashboard.request(ref)

        return list(stored.request.get("files") or [])


def _more(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = strict_json.loads(text.encode())
    except InvalidRequest as exc:
        raise InvalidRequest.at("more", str(exc)) from None
    if not isinstance(value, dict):
        raise InvalidRequest.at("more", "must be a JSON object")

    return value


def _file(name: str, media_type: str, data: bytes) -> dict[str, Any]:
    file = {"name": name, "data": base64.b64encode(data).decode()}

    return {**file, "mediaType": media_type} if media_type not in ("", "application/octet-stream") else file


def _name(file: Mapping[str, Any]) -> str:
    return str(file.get("name") or file.get("url") or file.get("fileId") or "without a name")
