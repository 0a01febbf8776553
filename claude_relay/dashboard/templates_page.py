"""Templates: the list, one to read or to change, a new version, and the end of one."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from ..core.keys import ADMIN, Scope
from ..core.text import strict_json
from ..errors import InvalidRequest, NotFound, RelayError
from .rendering import pretty
from .site import Page, Visit, unknown_act

_PATH = "/dashboard/templates"
_START = '{\n  "prompt": "Read this: {{text}}"\n}'


class Templates(Page):
    """`/dashboard/templates`."""

    def get(self, visit: Visit, **names: str) -> None:
        name, owner = visit.param("name"), visit.param("owner") or visit.caller.owner
        if not name:
            self._show(visit)
            return
        record = self.relay.templates.show(name, owner=owner if visit.caller.sees_all else visit.caller.owner)
        if record["deleted"]:
            raise NotFound(f"The template {name[:80]} was deleted.")
        self._show(visit, name=record["name"], body=pretty(record["body"]), record=record)

    def post(self, visit: Visit, **names: str) -> None:
        visit.require(Scope.SUBMIT)
        form = visit.form
        if (name := form.text("delete")) and form.text("confirm") != "1":
            visit.render("delete.html", f"Delete {name}?", name=name, path=_PATH)
        elif name:
            self.relay.templates.delete(name, owner=visit.caller.owner)
            visit.redirect(_PATH, f"The template {name} is deleted: submits that name it are refused.")
        elif form.text("act") == "save":
            self._save(visit)
        else:
            unknown_act(form.text("act"))

    def _save(self, visit: Visit) -> None:
        form = visit.form
        name, text = form.text("name"), form.raw("body")
        try:
            fields: dict[str, Any] = {"body": _body(text), "description": form.text("description")}
            if visit.caller.owner == ADMIN:
                fields["shared"] = form.text("shared") == "1"
            answer, created = self.relay.templates.save(
                name, fields, self.site.intake, owner=visit.caller.owner, now=self.site.clock()
            )
        except RelayError as exc:
            visit.refuse(exc)
            problems = [str(each) for each in getattr(exc, "problems", ())] or [str(exc)]
            self._show(visit, name=name, body=text, description=form.text("description"), problems=problems)
            return
        what = "is saved" if created else "is unchanged"
        visit.redirect(f"{_PATH}?{urlencode({'name': name})}", f"{name}@{answer['version']} {what}.")

    def _show(
        self,
        visit: Visit,
        *,
        name: str = "",
        body: str = _START,
        description: str = "",
        record: dict[str, Any] | None = None,
        problems: list[str] | None = None,
    ) -> None:
        visit.render(
            "templates.html",
            "Templates",
            templates=self.relay.templates.all(owner=visit.owner)[:200],
            name=name,
            body=body,
            description=(record or {}).get("description") or description,
            shared=(record or {}).get("shared", visit.caller.owner == ADMIN),
            record=record,
            may_share=visit.caller.owner == ADMIN,
            problems=problems or [],
            every=60,
        )


def _body(text: str) -> Any:
    try:
        return strict_json.loads(text.encode("utf-8", "surrogatepass"))
    except InvalidRequest as exc:
        raise InvalidRequest.at("body", str(exc)) from None
