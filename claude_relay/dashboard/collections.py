"""Collections: the list, a form that sends a table, and one collection with its progress and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from ..core.collections.collection import COLLECTION_ID
from ..core.collections.csv_input import read_csv
from ..core.collections.csv_output import read_form
from ..core.collections.intake import parse_collection
from ..core.collections.pace import seconds_left
from ..core.intake.query import parse_page_cursor
from ..core.keys import Scope
from ..errors import NotFound, RelayError
from ..services import CollectionRef
from .forms import Form
from .site import Page, Visit, unknown_act

_PATH = "/dashboard/collections"
_PAGE = 50
#: Failed rows that are shown, and those with failed checks.
_SHOWN = 20
_ENDED = ("completed", "partial", "failed")
#: The remedies that a message names for requests, and those of a page.
_REMEDIES = {
    ", or name its encoding, as in Content-Type: text/csv; charset=windows-1252": "",
    "make the collection with open: true, and send the rest to /api/collections/{id}/rows": "split the file",
}


class Collections(Page):
    """`/dashboard/collections`."""

    def get(self, visit: Visit, **names: str) -> None:
        self._show(visit)

    def post(self, visit: Visit, **names: str) -> None:
        """Send a table: each row becomes a job."""
        visit.require(Scope.SUBMIT)
        form = visit.form
        try:
            table = read_csv(form.files[0].data if form.files else b"")
            request = parse_collection(
                _fields(form), table=table, now=self.site.clock(), context=self.site.intake, form=True
            )
            accepted = self.relay.collections.create(
                request,
                self.site.intake,
                owner=visit.caller.owner,
                now=self.site.clock(),
                may_continue=visit.caller.may(Scope.READ),
            )
        except RelayError as exc:
            visit.refuse(exc)
            problems = [_for_the_page(str(each)) for each in getattr(exc, "problems", ())][:20]
            self._show(visit, problems=problems or [str(exc)])
            return
        job = accepted.collection.job
        owner = job.owner if visit.caller.sees_all else None
        warnings = "".join(f"\nWarning: {text}" for text in accepted.warnings)
        notice = f"{accepted.collection.total:,} rows are accepted, and on disk.{warnings}"
        visit.redirect(collection_path(accepted.collection.collection_id, owner), notice)

    def _show(self, visit: Visit, *, problems: list[str] | None = None) -> None:
        cursor = parse_page_cursor(visit.param("cursor"))
        page, older = self.relay.collections.all(owner=visit.owner, before=cursor, limit=_PAGE)
        visit.render(
            "collections.html",
            "Collections",
            collections=page,
            older=f"{_PATH}?{urlencode({'cursor': older})}" if older else None,
            templates=[each["name"] for each in self.relay.templates.all(owner=visit.owner)][:100],
            problems=problems or [],
        )


class CollectionDetails(Page):
    """`/dashboard/collections/{collection_id}`."""

    def get(self, visit: Visit, **names: str) -> None:
        ref = _ref(visit, names["collection_id"])
        record = self.relay.collections.show(ref)
        failed, doubtful = self._marked(ref, record)
        visit.render(
            "collection.html",
            record["collectionId"],
            record=record,
            ended=record["status"] in _ENDED,
            done=record["completed"] + record["failed"],
            left=_seconds_left(record, self.site.clock()),
            failures=failed,
            doubtful=doubtful[:_SHOWN],
            base=f"{_PATH}/{quote(record['collectionId'], safe='')}",
            suffix=f"?owner={quote(record['owner'], safe='')}",
            every=20 if record["status"] in _ENDED else 3,
        )

    def post(self, visit: Visit, **names: str) -> None:
        ref = _ref(visit, names["collection_id"])
        act, actions = visit.form.text("act"), self.relay.collection_actions
        visit.require(Scope.SUBMIT, *([] if act in ("cancel", "close") else [Scope.READ]))
        if act == "cancel":
            actions.cancel(ref)
            visit.redirect(visit.here, "Cancelled: no more rows start, and those that run are stopped.")
        elif act == "retry":
            actions.retry(ref)
            visit.redirect(visit.here, "The failed rows run again, and call back when they have ended.")
        elif act == "redeliver":
            actions.redeliver(ref)
            visit.redirect(visit.here, "The callback is sent again.")
        elif act == "close":
            self.relay.collections.close(ref)
            visit.redirect(visit.here, "Closed: it takes no more rows.")
        else:
            unknown_act(act)

    def _marked(
        self, ref: CollectionRef, record: Mapping[str, Any]
    ) -> tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]:
        """The first failed rows, and the first others with a check that is false."""
        results, name = self.relay.collection_results, record["collectionId"]
        failed = results.failed(ref, limit=_SHOWN) if record["failed"] else []
        doubtful = results.with_failed_checks(ref, limit=2 * _SHOWN) if record["checksFailed"] else []
        numbers = {row.row for row in failed}

        return (
            [{"row": row.row, "requestId": row.request_id, "error": row.error} for row in failed],
            [
                {"row": row, "requestId": f"{name}:{row}", "broken": broken}
                for row, broken in doubtful
                if row not in numbers
            ],
        )


class CollectionResults(Page):
    """`/dashboard/collections/{collection_id}/results`: CSV, for a spreadsheet or a program."""

    def get(self, visit: Visit, **names: str) -> None:
        ref = _ref(visit, names["collection_id"])
        excel = visit.param("format") == "excel"
        pieces = self.relay.collection_results.csv(ref, read_form(excel=excel, delimiter=None, decimal=None, bom=None))
        visit.resp.content_type = "text/csv; charset=utf-8"
        visit.resp.downloadable_as = f"{ref.collection_id.replace(':', '_')}.csv"
        visit.resp.stream = self.relay.collection_results.download(pieces)


def collection_path(collection_id: str, owner: str | None = None) -> str:
    """The page of a collection."""
    path = f"{_PATH}/{quote(collection_id, safe='')}"

    return f"{path}?{urlencode({'owner': owner})}" if owner else path


def _seconds_left(record: Mapping[str, Any], now: float) -> float | None:
    """The time until the last row ends; None where it waits for something else than slots, or runs again."""
    waits = record["cancelRequestedAt"] or record["waitingFor"]
    if record["status"] != "processing" or waits or record["generation"] > 1:
        return None
    began = datetime.fromisoformat(record["createdAt"].replace("Z", "+00:00")).timestamp()

    return seconds_left(total=record["total"], ended=record["completed"] + record["failed"], elapsed=now - began)


def _for_the_page(problem: str) -> str:
    for remedy, here in _REMEDIES.items():
        problem = problem.replace(remedy, here)

    return problem


def _ref(visit: Visit, collection_id: str) -> CollectionRef:
    if not COLLECTION_ID.fullmatch(collection_id):
        raise NotFound("There is no collection by that name.")
    owner = (visit.param("owner") or None) if visit.caller.sees_all else visit.caller.owner

    return CollectionRef(collection_id=collection_id, owner=owner)


def _fields(form: Form) -> dict[str, Any]:
    """The fields of a collection: a template by name, or a prompt with the names of columns in braces."""
    fields: dict[str, Any] = {name: form.text(name) for name in ("webhookUrl", "mode", "maxCostUsd") if form.text(name)}
    if name := form.text("template"):
        fields["template"] = name
    elif prompt := form.raw("prompt"):
        fields["template"] = {"prompt": prompt}

    return fields
