"""Named API keys: make one, revoke one, and what each has spent."""

from __future__ import annotations

from ..core.jobs.job_filter import JobFilter
from ..core.keys import Scope
from ..core.text.rates import Rate, parse_rate
from ..errors import InvalidRequest
from .groups import PAGE, number
from .site import Page, Visit, unknown_act

_PATH = "/dashboard/keys"
_MONTH = 30 * 86_400.0


class Keys(Page):
    """`/dashboard/keys`."""

    needs = Scope.ADMIN
    typed = ("add", "budget")

    def get(self, visit: Visit, **names: str) -> None:
        self._show(visit)

    def post(self, visit: Visit, **names: str) -> None:
        form = visit.form
        if name := form.text("revoke"):
            if form.text("confirm") != "1":
                visit.render("revoke.html", f"Revoke {name}?", name=name, path=_PATH)
                return
            self.relay.keys.revoke(name)
            visit.redirect(_PATH, f"The key {name} is revoked: it is refused from now on. Its jobs go on.")
        elif form.text("act") == "budget":
            name = form.text("name")
            self.relay.keys.set_budget(name, number(form.text("budget"), "budget"))
            visit.redirect(_PATH, f"The budget of {name} is saved, and holds for its next call.")
        elif form.text("act") == "add":
            self._add(visit)
        else:
            unknown_act(form.text("act"))

    def _add(self, visit: Visit) -> None:
        form = visit.form
        words = {scope.value for scope in Scope}
        scopes = frozenset(Scope(word) for word in form.all("scope") if word in words)
        budget = number(form.text("budget"), "budget")
        key, secret = self.relay.keys.add(
            form.text("name"), scopes, rate=_rate(form.text("rate")), daily_budget_usd=budget
        )
        # Shown by this answer alone: a page that is loaded again has no secret.
        self._show(visit, secret=secret, added=key.name)

    def _show(self, visit: Visit, *, secret: str | None = None, added: str | None = None) -> None:
        now = self.site.clock()
        keys = self.relay.keys.all()
        today = _spent(self.relay.queries.cost(by="key", which=JobFilter(since=now)))
        month = _spent(self.relay.queries.cost(by="key", which=JobFilter(since=now - _MONTH)))
        text = visit.param("q").lower()
        matching = [key for key in keys if text in key.name.lower()]
        visit.render(
            "keys.html",
            "Keys",
            keys=sorted(matching, key=lambda key: (key.revoked_at is not None, key.name))[:PAGE],
            hidden=max(0, len(matching) - PAGE),
            today=today,
            month=month,
            scopes=[scope.value for scope in Scope],
            q=text,
            edited=next((key for key in keys if key.name == visit.param("edit") and key.revoked_at is None), None),
            secret=secret,
            added=added,
        )


def _rate(text: str) -> Rate | None:
    if not text:
        return None
    try:
        return parse_rate(text)
    except ValueError as exc:
        raise InvalidRequest.at("rate", str(exc)) from None


def _spent(report: dict[str, object]) -> dict[str, float | None]:
    rows = report["rows"]

    return {row["key"]: row["costUsd"] for row in rows} if isinstance(rows, list) else {}
