"""The list of jobs: filters, search, keyset paging, and acts on the selected or on all that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from ..core.intake.query import job_filter
from ..core.jobs.job import Job, State
from ..core.jobs.job_filter import FILTERS, JobFilter
from ..core.text.ids import REQUEST_ID
from ..errors import InvalidRequest
from ..services import JobRef
from ..services import Page as JobPage
from .acts import MAX_JOBS, Kind, costs, kind_of, perform
from .site import Page, Visit

_PATH = "/dashboard/jobs"
_PAGE = 50
#: Steps of a search, each of a bounded time, until an act on what it finds gives up.
_SEARCHES = 8
#: The tabs: the title, and the parameters of the filter.
_TABS: Sequence[tuple[str, dict[str, str]]] = (
    ("All", {}),
    ("Waiting", {"status": "pending"}),
    ("Running", {"status": "processing"}),
    ("Completed", {"status": "completed"}),
    ("Failed", {"status": "failed"}),
    ("Held", {"status": "held"}),
    ("Given up", {"dead": "true"}),
    ("Not applied", {"unacked": "true"}),
)
_KEPT = (*FILTERS, "owner", "q")


class Jobs(Page):
    """`/dashboard/jobs`."""

    def get(self, visit: Visit, **names: str) -> None:
        problem, page = None, JobPage(jobs=[], cursor=None)
        try:
            page = self.relay.dashboard.jobs(self._filter(visit, limit=_PAGE))
        except InvalidRequest as exc:
            problem = visit.refuse_filter(exc)
        chosen = {name: value for name in _KEPT if (value := visit.param(name))}
        kept = {name: value for name, value in chosen.items() if name not in ("status", "dead", "unacked")}
        tabs = [
            (title, _path({**kept, **which}), which == {k: v for k, v in chosen.items() if k not in kept})
            for title, which in _TABS
        ]
        visit.render(
            "jobs.html",
            "Jobs",
            jobs=page.jobs,
            problem=problem,
            chosen={name: chosen.get(name, "") for name in _KEPT},
            tabs=tabs,
            older=_path({**chosen, "cursor": page.cursor}) if page.cursor else None,
            newest=_path(chosen) if visit.param("cursor") else None,
            path=_path(chosen),
            every=3600 if chosen.get("q") else 5,  # a search reads much: it is not repeated unasked
        )

    def post(self, visit: Visit, **names: str) -> None:
        kind = kind_of(visit.form.text("act"))
        visit.require(*kind.scopes)
        everything = visit.form.text("which") == "all"
        ids = visit.form.all("id")[:MAX_JOBS]
        if not everything and not ids:
            raise InvalidRequest("No job is selected. Nothing was done.")
        chosen = {name: value for name in _KEPT if (value := visit.param(name))}
        if visit.form.text("confirm") != "1" and (everything or kind.confirmed):
            self._ask(visit, kind, ids, everything=everything, path=visit.here)
            return
        jobs, cursor = self._matching(visit) if everything else ([], None)
        refs = [visit.caller.ref(job.request_id, job.owner) for job in jobs] or [_ref(visit, text) for text in ids]
        report = perform(self.relay, kind, refs)
        if jobs and report.left:
            cursor = jobs[len(jobs) - report.left - 1].id
        if report.left or report.refused or cursor:
            more = _path({**chosen, "cursor": cursor}) if cursor else None
            visit.render("acted.html", f"{kind.verb}: done", kind=kind, report=report, more=more, back=_path(chosen))
        elif not refs:
            visit.redirect(_path(chosen), "No job matches any more. Nothing was done.")
        else:
            visit.redirect(_path(chosen), f"{report.done:,} {kind.past}.")

    def _ask(self, visit: Visit, kind: Kind, ids: Sequence[str], *, everything: bool, path: str) -> None:
        """The page that asks before many jobs are changed, or anything is spent."""
        jobs, cursor = self._matching(visit) if everything else ([], None)
        visit.render(
            "confirm.html",
            f"{kind.verb}?",
            kind=kind,
            count=len(jobs) if everything else len(ids),
            more=cursor is not None,
            most=MAX_JOBS,
            cost=costs(jobs) if everything else None,
            examples=[job.request_id for job in jobs[:5]]
            if everything
            else [text.partition("/")[2] for text in ids[:5]],
            ids=() if everything else ids,
            path=path,
            back=_path({name: value for name in _KEPT if (value := visit.param(name))}),
        )

    def _matching(self, visit: Visit) -> tuple[Sequence[Job], str | None]:
        """The jobs to act on, and the cursor of the rest; a search goes on until it has some."""
        which = self._filter(visit, limit=MAX_JOBS)
        for _ in range(_SEARCHES):
            jobs, cursor = self.relay.dashboard.matching(which)
            if jobs or cursor is None:
                break
            which = replace(which, before=cursor)

        return jobs, cursor

    def _filter(self, visit: Visit, *, limit: int) -> JobFilter:
        """The filter in the query; raises `InvalidRequest` with every problem at once."""
        status = visit.param("status")
        named = {name: visit.param(name) for name in FILTERS if visit.param(name)}
        if status == State.HELD.value:
            del named["status"]
        which = job_filter(
            now=self.site.clock(),
            owner=(visit.param("owner") or None) if visit.caller.sees_all else visit.caller.owner,
            text=visit.param("q") or None,
            cursor=visit.param("cursor"),
            **named,
        )
        states = [State.HELD] if status == State.HELD.value else which.states

        return replace(which, states=states, limit=limit)


def _ref(visit: Visit, text: str) -> JobRef:
    """The job of a check box, `owner/requestId`."""
    owner, _, request_id = text.partition("/")
    if not REQUEST_ID.fullmatch(request_id):
        raise InvalidRequest("The selection cannot be read. Nothing was done.")

    return visit.caller.ref(request_id, owner or None)


def _path(chosen: dict[str, Any]) -> str:
    return f"{_PATH}?{urlencode(chosen)}" if chosen else _PATH
