"""The list of jobs: filters, pages, search, and acts on some or on all that match."""

from __future__ import annotations

import re

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import Remedy
from claude_relay.core.keys import Scope
from claude_relay.dashboard import acts
from tests.support.builders import a_completion, a_failure, a_submission


def finish(relay, request_id, *, owner="admin", dead=False, fail=False, **fields):
    """A job that has ended, and whose callback was delivered or given up."""
    relay.submit(a_submission(request_id, **fields), owner=owner)
    [claimed] = relay.execution.claim("w", limit=1)
    if fail:
        relay.execution.fail(claimed, a_failure(remedy=Remedy.FAIL))
    else:
        relay.execution.complete(claimed, a_completion())
    for sent in relay.deliveries.claim("w", limit=5):
        relay.deliveries.record_attempt(sent, Reply(status=403 if dead else 200, excerpt="no"))


def listed(page) -> list[str]:
    return re.findall(r'<a class="id" href="/dashboard/jobs/([^"?]+)', page.page)


def deliveries(relay, state):
    return relay.queries.overview()["deliveries"][state]


def test_each_key_sees_its_own_jobs_and_the_admin_all_with_their_keys(relay, admin, named):
    make, other = named("make", Scope.READ, Scope.SUBMIT), named("other", Scope.READ)
    finish(relay, "mine", owner="make")
    finish(relay, "theirs", owner="other")

    assert listed(make.get("/dashboard/jobs")) == ["mine"]
    assert listed(other.get("/dashboard/jobs?owner=make")) == ["theirs"]
    assert listed(admin.get("/dashboard/jobs")) == ["theirs", "mine"]
    assert listed(admin.get("/dashboard/jobs?owner=make")) == ["mine"]
    assert make.get("/dashboard/jobs/theirs").status == make.get("/dashboard/jobs/theirs?owner=other").status == 404


def test_what_completes_the_typing_is_for_the_admin_alone(relay, admin, named):
    """Groups and hosts of other keys are theirs."""
    relay.set_group("secret-group", concurrency=1, rate=None)
    finish(relay, "theirs", owner="other", webhook_url="https://secret.example/x")
    make = named("make", Scope.READ, Scope.SUBMIT)
    for path in ("/dashboard/jobs", "/dashboard/try", "/dashboard"):
        assert "secret" not in make.get(path).page

    page = admin.get("/dashboard/jobs").page
    assert 'value="secret-group"' in page and 'value="secret.example"' in page


@pytest.mark.parametrize(
    "query, expected",
    [
        ("status=completed", ["gone", "good"]),
        ("status=failed", ["bad"]),
        ("status=pending", ["waits"]),
        ("status=held", []),
        ("dead=true", ["gone"]),
        ("dead=true&host=hook.example", ["gone"]),
        ("host=elsewhere.example", []),
        ("group=g2", ["waits"]),
        ("q=needle", ["waits"]),
        ("since=1h", ["waits", "gone", "bad", "good"]),
        ("since=2999-01-01T00:00:00Z", []),
    ],
)
def test_the_list_filters(relay, admin, query, expected):
    """A filter that matches nothing says so, and leads back."""
    finish(relay, "good")
    finish(relay, "bad", fail=True)
    finish(relay, "gone", dead=True)
    relay.submit(a_submission("waits", group="g2", request={"prompt": "a needle here"}))
    page = admin.get(f"/dashboard/jobs?{query}")

    assert (page.status, listed(page)) == (200, expected)
    assert ("No job matches" in page.text) == (not expected)


@pytest.mark.parametrize(
    "query", ["since=tomorrow", "status=broken", "cursor=1", "cursor=" + "é" * 26, "cursor=" + "0" * 27, "since=%00"]
)
def test_a_filter_that_cannot_be_read_is_a_message_in_the_page(admin, query):
    page = admin.get(f"/dashboard/jobs?{query}")

    assert (page.status, 'class="notice bad"' in page.page) == (200, True)


def test_pages_go_on_by_keyset_and_keep_the_filter(relay, admin):
    """Also with a cursor that belongs to no job of this store."""
    relay.submit_many([a_submission(f"r-{number:03}", group="g") for number in range(60)])
    first = admin.get("/dashboard/jobs?group=g")
    shown, older = listed(first), re.search(r'href="([^"]+)" rel="next"', first.page)
    relay.submit(a_submission("newer", group="g"))
    second = admin.get(older[1].replace("&amp;", "&"))

    assert (len(shown), len(listed(second)), 'rel="next"' in second.page) == (50, 10, False)
    assert len({*shown, *listed(second)}) == 60
    assert listed(admin.get("/dashboard/jobs?cursor=" + "0" * 26)) == []


def test_all_that_match_a_search_are_only_those_that_it_finds(relay, admin, monkeypatch):
    """With the other filters, and however many steps the search takes."""
    for number in range(4):
        finish(relay, f"r-{number}", dead=True, request={"prompt": f"needle {number % 2}"})
    path = "/dashboard/jobs?dead=true&q=needle+1"
    assert "Redeliver 2 jobs?" in admin.get(path).post(path, act="redeliver", which="all").text
    assert "2 sent again" in admin.post(path, act="redeliver", which="all", confirm="1").text
    assert (deliveries(relay, "pending"), deliveries(relay, "dead")) == (2, 2)
    monkeypatch.setattr("claude_relay.services.search._TIME_LIMIT", -1.0)
    path = "/dashboard/jobs?dead=true&q=needle+0"
    assert "1 or more jobs" in admin.get(path).post(path, act="redeliver", which="all").text
    page = admin.post(path, act="redeliver", which="all", confirm="1")
    for _ in range(9):
        more = re.search(r'<form method="post" action="([^"]+cursor[^"]+)"', page.page)
        if more is None:
            break
        page.post(more[1].replace("&amp;", "&"), act="redeliver", which="all", confirm="1")

    assert (deliveries(relay, "pending"), deliveries(relay, "dead")) == (4, 0)


def test_a_search_that_took_long_enough_goes_on_where_it_stopped(relay, admin, monkeypatch):
    """It is not repeated by itself, and an empty page of it is not the end."""
    relay.submit(a_submission("old", request={"prompt": "a needle"}))
    relay.submit_many([a_submission(f"r-{number}") for number in range(30)])
    monkeypatch.setattr("claude_relay.services.search._TIME_LIMIT", -1.0)
    page, steps = admin.get("/dashboard/jobs?q=needle"), 0
    assert "data-events" not in page.page and "every 3600s" in page.page
    while listed(page) != ["old"]:
        assert "Look further back" in page.text
        page.get(re.search(r'href="([^"]+)" rel="next"', page.page)[1].replace("&amp;", "&"))
        steps += 1

    assert steps


def test_the_selected_results_are_sent_again_at_once_as_that_is_free(relay, admin):
    for name in ("r-1", "r-2", "r-3"):
        finish(relay, name, dead=True)
    admin.get("/dashboard/jobs")
    page = admin.post("/dashboard/jobs", act="redeliver", which="selected", id=["admin/r-1", "admin/r-3"])

    assert "2 sent again" in page.text
    assert (deliveries(relay, "pending"), deliveries(relay, "dead")) == (2, 1)


def test_all_that_match_are_counted_and_asked_about_first(relay, admin):
    """Every dead callback of one host; those of another one stay."""
    for number in range(3):
        finish(relay, f"r-{number}", dead=True)
    finish(relay, "other", dead=True, webhook_url="https://other.example/x")
    path = "/dashboard/jobs?dead=true&host=hook.example"
    admin.get(path)
    asked = admin.post(path, act="redeliver", which="all")
    assert ("Redeliver 3 jobs?" in asked.text, deliveries(relay, "dead")) == (True, 4)
    done = admin.post(path, act="redeliver", which="all", confirm="1")

    assert "3 sent again" in done.text
    assert (deliveries(relay, "pending"), deliveries(relay, "dead")) == (3, 1)


def test_a_retry_is_asked_about_with_what_it_costs(relay, admin):
    finish(relay, "r-1")
    admin.get("/dashboard/jobs")
    asked = admin.post("/dashboard/jobs?status=completed", act="retry", which="all")
    assert "Costs tokens" in asked.text and "$0.001" in asked.text
    assert relay.queries.overview()["jobs"]["queued"] == 0
    admin.post("/dashboard/jobs?status=completed", act="retry", which="all", confirm="1")

    assert relay.queries.overview()["jobs"]["queued"] == 1


def test_a_job_that_has_moved_meanwhile_is_refused_and_the_others_are_not(relay, admin):
    """The list was old: one of the jobs has ended, and one was never there."""
    relay.submit(a_submission("waits"))
    finish(relay, "ended")
    admin.get("/dashboard/jobs")
    ids = ["admin/waits", "admin/ended", "admin/purged"]
    page = admin.post("/dashboard/jobs", act="cancel", which="selected", id=ids, confirm="1")

    assert "1 cancelled , 2 refused" in page.text
    assert "There is no job purged here" in page.text


def test_a_key_that_may_only_read_has_no_buttons_and_is_refused(relay, named):
    reader = named("reader", Scope.READ)
    finish(relay, "r-1", owner="reader", dead=True)
    page = reader.get("/dashboard/jobs")
    assert (listed(page), 'value="redeliver"' in page.page, 'type="checkbox"' in page.page) == (["r-1"], False, False)
    token = reader.session_token
    assert "/dashboard/try" not in reader.get("/dashboard").page + reader.get("/dashboard/jobs?group=none").page
    refused = reader.post("/dashboard/jobs", token=token, act="redeliver", which="selected", id=["reader/r-1"])
    assert "read-only" in refused.text
    assert (refused.status, deliveries(relay, "dead")) == (403, 1)


def test_a_key_cannot_act_on_the_job_of_another_one(relay, named):
    finish(relay, "theirs", owner="other", dead=True)
    make = named("make", Scope.READ, Scope.SUBMIT)
    finish(relay, "mine", owner="make")
    make.get("/dashboard/jobs")
    page = make.post("/dashboard/jobs", act="redeliver", which="selected", id=["other/theirs"])

    assert ("There is no job theirs here" in page.text, deliveries(relay, "dead")) == (True, 1)


@pytest.mark.parametrize("fields", [{"act": "erase"}, {"act": "redeliver"}, {"act": "redeliver", "id": "no slash"}])
def test_a_form_that_says_nothing_useful_changes_nothing_and_says_so(relay, admin, fields):
    finish(relay, "r-1", dead=True)
    page = admin.get("/dashboard/jobs").post("/dashboard/jobs", which="selected", **fields)

    assert (page.status, 'class="notice bad"' in page.page, deliveries(relay, "dead")) == (200, True, 1)


def test_an_act_on_very_many_jobs_stops_in_time_and_goes_on_from_there(relay, admin, monkeypatch):
    """No job is left out: the form for the rest begins behind the last one that was reached."""
    monkeypatch.setattr("claude_relay.dashboard.jobs.MAX_JOBS", 2)
    for number in range(5):
        finish(relay, f"r-{number}", dead=True)
    page = admin.get("/dashboard/jobs").post("/dashboard/jobs", act="redeliver", which="all", confirm="1")
    for left in (1, 0):
        more = re.search(r'<form method="post" action="([^"]+cursor[^"]+)"', page.page)
        assert (more is not None) == (left == 1 or deliveries(relay, "dead") == 1)
        page = page.post(more[1].replace("&amp;", "&"), act="redeliver", which="all", confirm="1")

    assert (deliveries(relay, "pending"), deliveries(relay, "dead")) == (5, 0)


def test_an_act_ends_after_a_bounded_time(relay):
    refs = []
    for number in range(3):
        finish(relay, f"r-{number}", dead=True)
        refs.append(acts.JobRef(request_id=f"r-{number}"))
    times = iter((0.0, 1.0, acts.MAX_SECONDS + 1))
    report = acts.perform(relay, acts.KINDS["redeliver"], refs, clock=lambda: next(times))

    assert (report.done, report.left) == (1, 2)
