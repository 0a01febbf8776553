"""Collections and templates: a table sent from a form, progress, failed rows, results; versions under a name."""

from __future__ import annotations

import json
import re

import pytest

from claude_relay.core.jobs.failure import Remedy
from claude_relay.core.keys import Scope
from tests.support.builders import a_completion, a_failure
from tests.support.intake import an_intake_context

from .test_try import send

PATH, TEMPLATES = "/dashboard/collections", "/dashboard/templates"
CSV = b"id,text\n1,first\n2,<script>alert(1)</script>\n3,third\n"


def send_table(person, data: bytes = CSV, **fields):
    fields = {
        "prompt": "Classify: {{text}}",
        "mode": "live",
        "webhookUrl": "",
        "maxCostUsd": "",
        "template": "",
        **fields,
    }
    return send(person, path=PATH, file=("tickets.csv", "text/csv", data), **fields)


def run_rows(relay, *, failing: int = 0) -> None:
    while claimed := relay.execution.claim("w", limit=1):
        if failing:
            failing -= 1
            relay.execution.fail(claimed[0], a_failure(remedy=Remedy.FAIL))
        else:
            relay.execution.complete(claimed[0], a_completion("answer"))


def test_a_table_becomes_a_job_for_each_row_and_its_page_shows_how_far_it_is(relay, admin):
    page = send_table(admin)
    assert "3 rows are accepted, and on disk" in page.text
    assert page.path.startswith(f"{PATH}/") and "0 of 3 have ended" in page.text
    path = page.path
    run_rows(relay, failing=1)
    done = page.get(path)

    assert "3 of 3 have ended" in done.text and "it was upstream" in done.text
    assert "partial" in admin.get(PATH).text
    table = admin.get(re.search(r'href="([^"]+format=csv)"', done.get(path).page)[1].replace("&amp;", "&"))
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.page.splitlines()[0].startswith("id,text,response,requestId,status")
    assert "<script>alert" not in admin.get(path).page


def test_the_page_says_how_much_time_is_left_and_which_rows_failed_their_checks(relay, admin, clock):
    """Issue 16: a bookkeeper sees without a spreadsheet which invoices a person must look at."""
    schema = {"type": "object", "properties": {"sum": {"type": "number"}, "total": {"type": "number"}}}
    options = {"outputSchema": schema, "checks": [{"name": "<b>sum</b>", "rule": "sum == total"}]}
    body = {"prompt": "Add {{text}}", "options": options}
    relay.templates.save("sums", {"body": body}, an_intake_context(), now=clock())
    path = send_table(admin, template="sums", prompt="").path
    assert "left" not in admin.get(path).text

    def answer(limit: int) -> None:
        for item in relay.execution.claim("w", limit=limit):
            value = {"sum": 1, "total": 2 if item.job.row == 2 else 1}
            relay.execution.complete(item, a_completion(json.dumps(value), json=value))

    clock.advance(60)
    answer(1)
    page = admin.get(path)
    assert "1 of 3 have ended; about 2 min left" in page.text and "person to look at" not in page.text
    answer(2)
    clock.advance(120)  # the repair of the second row
    answer(1)
    page = admin.get(path)

    assert "With failed checks 1" in page.text and "min left" not in page.text
    assert "For a person to look at" in page.text and "<b>sum</b> (1 and 2)" in page.text
    assert "<b>sum" not in page.page


def test_the_page_lists_failed_rows_wherever_they_stand(relay, admin, clock):
    """A collection that reaches its maximum cost half-way fails at its end: its last rows say so, and so do checks."""
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    options = {"outputSchema": schema, "checks": [{"name": "is one", "rule": "a == 1"}]}
    relay.templates.save("ones", {"body": {"prompt": "{{text}}", "options": options}}, an_intake_context(), now=1.0)
    data = b"text\n" + b"x\n" * 505
    path = send_table(admin, data, template="ones", prompt="").path
    for _ in ("the calls", "the repair"):
        for item in relay.execution.claim("w", limit=600):
            value = {"a": 2 if item.job.row == 504 else 1}
            if item.job.row == 505:
                relay.execution.fail(item, a_failure(remedy=Remedy.FAIL))
            else:
                relay.execution.complete(item, a_completion(json.dumps(value), json=value))
        clock.advance(120)
    text = admin.get(path).text

    assert "505 of 505 have ended" in text and "it was upstream" in text
    assert "For a person to look at" in text and ":504" in text and "is one (2 and 1)" in text


def test_failed_rows_are_retried_and_a_collection_is_cancelled_from_its_page(relay, admin):
    path = send_table(admin).path
    assert "Cancelled" in admin.get(path).post(path, act="cancel").text
    assert "failed" in admin.get(path).text
    assert "run again" in admin.post(path, act="retry").text
    run_rows(relay)
    assert "3 of 3 have ended" in admin.get(path).text
    assert 'class="notice bad"' in admin.post(path, token=admin.session_token, act="cancel").page  # it has ended
    assert 'class="notice bad"' in admin.post(path, token=admin.session_token, act="redeliver").page  # no webhook


@pytest.mark.parametrize(
    "data, fields, problem",
    [
        (b"", {}, "CSV"),
        (b"a,b\n1\n", {}, "line 2"),
        ("text\nblåbær\n".encode("cp1252"), {}, "line 2): save the file as CSV UTF-8 "),
        (b"text\n" + b"a\n" * 10_001, {}, "one request: split the file "),
        (CSV, {"prompt": ""}, "template"),
        (CSV, {"prompt": "{{missing}}"}, "missing"),
        (CSV, {"maxCostUsd": "much"}, "maxCostUsd"),
        (CSV, {"webhookUrl": "http://10.0.0.1/"}, "webhookUrl"),
        (CSV, {"template": "unknown", "prompt": ""}, "unknown"),
    ],
)
def test_a_table_that_is_refused_says_where_and_starts_nothing(relay, admin, data, fields, problem):
    page = send_table(admin, data, **fields)

    assert "Nothing was submitted" in page.text and problem.lower() in page.text.lower()
    assert relay.queries.overview()["jobs"]["queued"] == 0


def test_each_key_sees_its_own_collections(relay, named):
    make, other = named("make", Scope.READ, Scope.SUBMIT), named("other", Scope.READ)
    path = send_table(make).path

    assert "3" in make.get(PATH).text and path in make.page.replace("?owner=make", "")
    assert "No collection yet" in other.get(PATH).text
    assert (
        other.get(path).status == other.get(f"{path}/results").status == other.get(f"{path}?owner=make").status == 404
    )
    assert other.post(path, token=other.session_token, act="cancel").status == 403
    assert send_table(named("reader", Scope.READ)).status == 403


def test_a_template_is_saved_used_by_a_table_changed_and_deleted(relay, admin, named):
    page = admin.get(TEMPLATES).post(TEMPLATES, act="save", name="ticket", body='{"prompt": "Classify {{text}}"}')
    assert "ticket@1 is saved" in page.text and "text" in page.text
    assert "3 rows are accepted" in send_table(admin, template="ticket", prompt="").text
    body = '{"prompt": "Classify {{text}} in {{language|Norwegian}}"}'
    page = admin.get(f"{TEMPLATES}?name=ticket").post(TEMPLATES, act="save", name="ticket", body=body, shared="1")
    assert "ticket@2 is saved" in page.text
    make = named("make", Scope.READ, Scope.SUBMIT)
    assert "ticket" in make.get(TEMPLATES).text and "Delete" not in make.text
    accepted = send(make, prompt="", more='{"template": "ticket", "variables": {"text": "Hei"}}')
    assert "Accepted, and on disk" in accepted.text
    assert "Delete ticket?" in admin.get(TEMPLATES).post(TEMPLATES, delete="ticket").text
    assert "is deleted" in admin.post(TEMPLATES, delete="ticket", confirm="1").text
    assert admin.get(f"{TEMPLATES}?name=ticket").status == 404
    assert admin.get(f"{TEMPLATES}?name=%3Cb%3E").status == 404


@pytest.mark.parametrize(
    "fields",
    [{"name": "", "body": "{}"}, {"name": "a/b", "body": '{"prompt": "x"}'}, {"name": "t", "body": "{not json"},
     {"name": "t", "body": "[]"}, {"name": "t", "body": '{"prompt": "{{x"}'}],
)  # fmt: skip
def test_a_template_that_is_refused_comes_back_as_it_was_typed(relay, admin, fields):
    typed = "</textarea><script>alert(1)</script>"
    page = admin.get(TEMPLATES).post(TEMPLATES, act="save", description=typed, **fields)

    assert "Nothing was saved" in page.text and "<script>alert" not in page.page
    assert relay.templates.all(owner=None) == []
