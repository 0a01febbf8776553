"""Groups: load, limits, pause and resume."""

from __future__ import annotations

import math
from urllib.parse import urlencode

from ..core.keys import Scope
from ..core.text.json_values import safe_quote
from ..errors import InvalidRequest
from .site import Page, Visit

_PATH = "/dashboard/groups"
#: Rows of one page: of groups, destinations or keys.
PAGE = 60


class Groups(Page):
    """`/dashboard/groups`."""

    needs = Scope.ADMIN
    typed = ("limits",)

    def get(self, visit: Visit, **names: str) -> None:
        loads = self.relay.dashboard.groups()
        text, after, edited = visit.param("q"), visit.param("after"), visit.param("edit")
        matching = [load for load in loads if text.lower() in load.group.name.lower() and load.group.name > after]
        more = (
            {"after": matching[PAGE - 1].group.name, **({"q": text} if text else {})} if len(matching) > PAGE else None
        )
        visit.render(
            "groups.html",
            "Groups",
            loads=matching[:PAGE],
            total=len(loads),
            q=text,
            more=f"{_PATH}?{urlencode(more)}" if more else None,
            edited=next((load for load in loads if load.group.name == edited), None),
            name=edited,
        )

    def post(self, visit: Visit, **names: str) -> None:
        form = visit.form
        if name := form.text("pause"):
            self.relay.pause(name)
            visit.redirect(visit.here, f"Group {name} is paused: its running calls go on.")
        elif name := form.text("resume"):
            self.relay.resume(name)
            visit.redirect(visit.here, f"Group {name} goes on.")
        else:
            name = form.text("group")
            concurrency = number(form.text("concurrency"), "concurrency", whole=True)
            rate = number(form.text("rate"), "rate")
            self.relay.set_group(name, concurrency=None if concurrency is None else int(concurrency), rate=rate)
            visit.redirect(_PATH, f"The limits of group {name} are saved.")


def number(text: str, field: str, *, whole: bool = False) -> float | None:
    """A number in a form; None for an empty field. Raises `InvalidRequest`."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (whole and not value.is_integer()):
        kind = "a whole number" if whole else "a number"
        problem = f"must be {kind}, or empty for no limit, not {safe_quote(text)}"
        raise InvalidRequest.at(field, problem)

    return value
