"""Groups, destinations, keys and money: what an operator controls."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from claude_relay.core.alerts import KINDS, Alert
from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.holds import PARK, HoldScope, QueueHold
from claude_relay.core.keys import Scope
from claude_relay.core.money.spend import day_of
from claude_relay.dashboard.needs import describe_alert
from claude_relay.ports import WorkerHeartbeat
from tests.support.builders import a_completion, a_submission

from .conftest import KEY
from .test_jobs import finish

ADMIN_PAGES = ["/dashboard/groups", "/dashboard/destinations", "/dashboard/keys"]


@pytest.mark.parametrize("path", ADMIN_PAGES)
def test_a_key_of_its_own_neither_sees_nor_changes_what_concerns_all(relay, named, path):
    make = named("make", Scope.READ, Scope.SUBMIT)
    fields = {"pause": "default", "act": "add", "name": "other", "scope": "admin"}

    assert make.get(path).status == make.post(path, token=make.session_token, **fields).status == 403
    assert [key.name for key in relay.keys.all()] == ["make"]
    assert relay.queries.overview()["paused"] == []


def test_a_group_is_paused_resumed_and_limited(relay, admin):
    relay.submit(a_submission("r-1", group="mail"))
    path = "/dashboard/groups"
    page = admin.get(path)
    assert "mail" in page.text and "default" in page.text
    assert "is paused" in page.post(path, pause="mail").text
    assert relay.queries.group("mail")["paused"]
    assert "goes on" in page.post(path, resume="mail").text
    page.get(f"{path}?edit=mail").post(path, group="mail", concurrency="2", rate="")
    assert relay.queries.group("mail")["concurrency"] == 2
    for wrong in ("0", "many", "1e99", "1.5", "<b>"):
        refused = page.post(path, group="mail", concurrency=wrong, rate="")
        assert 'class="notice bad"' in refused.page and relay.queries.group("mail")["concurrency"] == 2, wrong
    page.post(path, group="mail", concurrency="", rate="30")
    assert (relay.queries.group("mail")["concurrency"], relay.queries.group("mail")["rate"]) == (None, 30.0)


def test_five_hundred_groups_are_pages_of_a_bounded_size(relay, admin):
    for number in range(500):
        relay.set_group(f"group-{number:03}", concurrency=4, rate=None)
    page, names = admin.get("/dashboard/groups"), []
    while True:
        assert len(page.page.encode()) < 60_000
        names += re.findall(r'name="pause" value="([^"]+)"', page.page)
        more = re.search(r'href="(/dashboard/groups\?after=[^"]+)"', page.page)
        if more is None:
            break
        page.get(more[1])
    assert len(names) == len(set(names)) == 501  # with the default one
    assert "group-123" in admin.get("/dashboard/groups?q=GROUP-123").text
    assert "No group has that name" in admin.get("/dashboard/groups?q=nothing").text
    for number in range(500):
        relay.pause(f"group-{number:03}")
    holds = [QueueHold(scope=HoldScope.budget(f"key-{number}"), reason="budget", since=0) for number in range(500)]
    relay._store.write(lambda tx: [tx.save_hold(hold) for hold in holds])
    overview = admin.get("/dashboard")
    assert "500 groups are paused" in overview.text and "490 more over budget" in overview.text
    assert len(overview.page.encode()) < 60_000


def test_a_destination_is_paused_and_its_callbacks_wait_until_it_is_resumed(relay, admin, clock):
    """None is lost, none expires, and those to other hosts go on."""
    for name, url in (("r-1", "https://a.example/x"), ("r-2", "https://b.example/x")):
        relay.submit(a_submission(name, webhook_url=url))
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion())
    path = "/dashboard/destinations"
    assert "is paused" in admin.get(path).post(path, pause="https://a.example").text
    [sent] = relay.deliveries.claim("w", limit=9)
    relay.deliveries.record_attempt(sent, Reply(status=200))
    assert sent.request_id == "r-2"
    assert relay.deliveries.seconds_until_due() is None
    page = admin.get("/dashboard/jobs/r-1")
    assert "a.example: paused" in page.text and "It waits." in page.text
    assert 'href="/dashboard/destinations"' in page.page and "Redeliver" not in page.text
    clock.advance(30 * 86_400)
    assert relay.deliveries.expire_stalled() == 0

    admin.log_in(KEY)
    assert "is tried now" in admin.get(path).post(path, resume="https://a.example").text
    assert [each.request_id for each in relay.deliveries.claim("w", limit=9)] == ["r-1"]
    assert 'class="notice bad"' in admin.get(path).post(path, resume="https://a.example").page
    for wrong in ("a.example", "https://a.example/path", "javascript:x", "https://" + "x" * 400):
        assert 'class="notice bad"' in admin.post(path, token=admin.session_token, pause=wrong).page, wrong


def test_a_failing_destination_shows_its_error_and_is_tried_at_once(relay, admin, clock):
    for number in range(8):
        relay.submit(a_submission(f"r-{number}", webhook_url="https://down.example/x"))
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion())
    for _ in range(60):
        for sent in relay.deliveries.claim("w", limit=8):
            relay.deliveries.record_attempt(sent, Reply(error="connection refused <b>"))
        clock.advance(30)
    page = admin.get("/dashboard/destinations")
    assert "failing" in page.text and "connection refused <b>" in page.text and "<b>" not in page.page
    assert "Failing: https://down.example" in admin.get("/dashboard").text

    page.get("/dashboard/destinations").post("/dashboard/destinations", resume="https://down.example")
    clock.advance(1.1)
    assert relay.deliveries.claim("w", limit=8)


def test_a_sample_is_a_signed_callback_that_costs_nothing(relay, admin):
    """It goes the way of every callback, so the guard, the signature and the retries are those of real ones."""
    path = "/dashboard/destinations"
    refused = admin.get(path).post(path, act="sample", url="http://169.254.169.254/")
    assert 'class="notice bad"' in refused.page
    page = refused.post(path, act="sample", url="https://hook.example/x")
    [sent] = relay.deliveries.claim("w", limit=1)

    assert "The sample is on its way" in page.text and page.path.startswith("/dashboard/jobs/sample-")
    assert (sent.delivery.url, b"sample callback" in sent.body) == ("https://hook.example/x", True)
    assert relay.queries.cost(by="day")["total"]["calls"] == 0
    relay.deliveries.record_attempt(sent, Reply(status=200, excerpt="ok"))
    page.get(page.path)
    assert "200" in page.text and "No call was made" in page.text
    assert 'value="redeliver"' in page.page and 'value="retry"' not in page.page  # there is no call to make again


def test_a_replay_sends_every_result_of_a_host_since_a_time_after_a_question(relay, admin, clock):
    for name, url in (("old", "https://a.example/x"), ("new", "https://a.example/y"), ("other", "https://b.example/x")):
        finish(relay, name, webhook_url=url)
        clock.advance(3600)
    path = "/dashboard/destinations"
    assert 'class="notice bad"' in admin.get(path).post(path, act="replay", host="a.example", since="").page
    asked = admin.post(path, act="replay", host="a.example", since="150m")
    assert "Redeliver 1 job?" in asked.text and "new" in asked.text
    action = re.search(r'<form class="row" method="post" action="([^"]+)"', asked.page)[1].replace("&amp;", "&")
    done = asked.post(action, act="redeliver", which="all", confirm="1")

    assert "1 sent again" in done.text
    assert [each.request_id for each in relay.deliveries.claim("w", limit=9)] == ["new"]


def test_a_key_is_made_shown_once_and_revoked_after_a_question(relay, admin, open_site):
    path = "/dashboard/keys"
    made = admin.get(path).post(path, act="add", name="make", scope=["read", "submit"], rate="10/1m", budget="2.5")
    secret = re.search(r"crk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", made.page)[0]
    [key] = relay.keys.all()
    assert (key.name, key.daily_budget_usd, str(key.rate)) == ("make", 2.5, "10/1m")
    assert secret not in admin.get(path).page
    person = open_site().log_in(secret)
    assert person.status == 200
    asked = admin.get(path).post(path, revoke="make")
    assert "Revoke make?" in asked.text and relay.keys.all()[0].revoked_at is None
    assert "is revoked" in asked.post(path, revoke="make", confirm="1").text
    assert person.get("/dashboard").path.startswith("/dashboard/login")


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "", "scope": "read"},
        {"name": "<script>", "scope": "read"},
        {"name": "a"},
        {"name": "a", "scope": "root"},
        {"name": "a", "scope": "read", "rate": "often"},
        {"name": "a", "scope": "read", "budget": "-1"},
        {"name": "a", "scope": "read", "budget": "nan"},
    ],
)
def test_a_key_that_makes_no_sense_is_refused_with_the_reason(relay, admin, fields):
    page = admin.get("/dashboard/keys").post("/dashboard/keys", act="add", **fields)

    assert 'class="notice bad"' in page.page and relay.keys.all() == []


def test_money_is_shown_by_each_grouping_and_as_csv(relay, admin, named, clock):
    """A key sees what it spent itself; a name is no formula for a spreadsheet."""
    finish(relay, "r-1", owner="make", group="-1+cmd")
    finish(relay, "r-2", owner="other")
    for by in ("day", "month", "model", "key", "group", "mode", "template"):
        page = admin.get(f"/dashboard/money?by={by}")
        assert page.status == 200 and "$0.002" in page.text, by
        table = admin.get(f"/dashboard/money/csv?by={by}")
        assert table.headers["content-type"].startswith("text/csv")
        assert table.page.splitlines()[0].startswith(f"{by},calls,inputTokens")
    assert "'-1+cmd,1,10,5" in admin.get("/dashboard/money/csv?by=group").page
    make = named("make", Scope.READ)
    assert "$0.001" in make.get("/dashboard/money").text and "$0.002" not in make.text
    assert len(make.get("/dashboard/money/csv?by=key").page.splitlines()) == 2
    for query in ("by=planet", "since=someday"):
        assert 'class="notice bad"' in admin.get(f"/dashboard/money?{query}").page
        assert admin.get(f"/dashboard/money/csv?{query}").status == 400


def test_the_overview_names_what_needs_a_person_with_its_button(relay, admin, clock):
    """Five incidents, each found on the first page and fixed by what stands beside it."""
    finish(relay, "dead-1", dead=True)
    relay.pause()
    relay.pause("nightly")
    page = admin.get("/dashboard")
    assert "1 given up: https://hook.example" in page.text
    assert re.search(
        r"1 callback to https://hook.example was given up since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(", page.text
    )
    action = re.search(r'action="(/dashboard/jobs\?dead=true[^"]+)"', page.page)[1].replace("&amp;", "&")
    assert "Redeliver 1 job?" in page.post(action, act="redeliver", which="all").text
    page.post(action, act="redeliver", which="all", confirm="1")
    page.get("/dashboard").post("/dashboard", act="resume")
    page.post("/dashboard", act="resume", group="nightly")

    left = admin.get("/dashboard")
    assert "given up:" not in left.text and "is paused" not in left.text


def test_four_more_incidents_are_seen_and_fixed_where_they_are_shown(relay, admin, clock):
    """A parked queue, a missing worker, a group at its limit, and a key that spends too much."""
    _, secret = relay.keys.add("runaway", frozenset((Scope.SUBMIT,)), daily_budget_usd=0.0005)
    finish(relay, "dear", owner="runaway")
    relay.set_group("mail", concurrency=1, rate=None)
    relay.submit_many([a_submission(f"mail-{number}", group="mail") for number in range(3)])
    relay.execution.claim("w", limit=9)
    save_hold = QueueHold(scope=PARK, reason="spend_limit", since=clock.now)
    seen = WorkerHeartbeat(id="w", host="h", pid=1, started_at=0, seen_at=clock.now - 90, slots=4, running=1)
    relay._store.write(lambda tx: (tx.save_hold(save_hold), tx.save_heartbeat(seen)))

    page = admin.get("/dashboard")
    assert "The queue is parked" in page.text and "No worker" in page.text and "claude-relay worker" in page.text
    page.post("/dashboard", act="resume")
    relay._store.write(lambda tx: tx.save_heartbeat(replace(seen, seen_at=clock.now)))
    assert "parked" not in admin.get("/dashboard").text and "No worker" not in admin.text

    assert "at its limit" in admin.get("/dashboard/groups").text and "1 of 1" in admin.text
    admin.post("/dashboard/groups", group="mail", concurrency="9", rate="")
    assert "at its limit" not in admin.get("/dashboard/groups").text

    assert "over budget" in admin.get("/dashboard/keys").text
    admin.post("/dashboard/keys", revoke="runaway", confirm="1")
    assert relay.keys.find(secret) is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_alert_has_a_place_on_the_overview(kind):
    """Each with its message and with what can be done: a command, a link or a button."""
    alert = Alert(cause=f"{kind} https://a.example", kind=kind, message="why", since=0, count=2, command="a command")
    need = describe_alert(alert)

    assert need.title and need.text == "why" and (need.command or need.links or need.acts)


def test_a_drain_is_shown_with_what_still_runs_and_ended(relay, admin):
    relay.submit(a_submission("r-1"))
    relay.drain()
    page = admin.get("/dashboard")
    assert "The relay is being drained" in page.text and "1 job waits" in page.text
    page.post("/dashboard", act="resume")

    assert relay.queries.overview()["drain"] is None


def test_a_paused_destination_does_not_keep_a_drain_waiting(relay, clock):
    """Its callbacks stay in the store, and go out once it is resumed."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    relay.drain()
    clock.advance(60)
    assert not relay.queries.overview()["drain"]["idle"]
    relay.destinations.pause("https://hook.example")

    assert relay.queries.overview()["drain"]["idle"]


def test_the_overview_of_an_empty_relay_says_what_is_missing_and_is_calm_once_a_worker_runs(relay, admin, clock):
    page = admin.get("/dashboard")
    assert "No worker runs" in page.text and 'class="card bad"' not in page.page
    seen = WorkerHeartbeat(id="w", host="h", pid=1, started_at=0, seen_at=clock.now, slots=4, running=0)
    page_without_worker = page.text
    relay._store.write(lambda tx: tx.save_heartbeat(seen))
    page.get("/dashboard")

    assert "No worker has been seen" in page_without_worker
    for words in ("Nothing.", "No call is running", "No job has ended in this time"):
        assert words in page.text
    assert KEY not in page.page


def test_a_worker_that_ended_without_a_word_is_named_while_others_run(relay, admin, clock):
    seen = WorkerHeartbeat(id="a", host="h1", pid=11, started_at=0, seen_at=clock.now, slots=4, running=0)
    silent = replace(seen, id="b", host="h2", pid=22, seen_at=clock.now - 90)
    relay._store.write(lambda tx: (tx.save_heartbeat(seen), tx.save_heartbeat(silent)))
    page = admin.get("/dashboard")

    assert "A worker is missing" in page.text and "process 22 on h2" in page.text and "No worker runs" not in page.text


def test_a_key_that_spends_more_than_in_the_week_before_is_named_unless_a_budget_stops_it(relay, admin, clock):
    """Its budget is set where it is named; a first day, and a small sum, are no reason."""
    for name in ("calm", "wild", "first"):
        relay.keys.add(name, frozenset((Scope.SUBMIT,)))
    spend(relay, clock, calm=20.0, wild=2.0)
    clock.advance(86_400)
    spend(relay, clock, calm=15.0, wild=30.0, first=90.0)
    page = admin.log_in(KEY)
    assert "Spend runs away: wild" in page.text and "$30.00 today, and $2.00 in the seven days before" in page.text
    assert "runs away: calm" not in page.text and "runs away: first" not in page.text
    page.get("/dashboard/keys?edit=wild").post("/dashboard/keys?edit=wild", act="budget", name="wild", budget="3")
    assert "The budget of wild is saved" in page.text

    assert "Over budget: wild" in page.get("/dashboard").text and "runs away" not in page.text
    for wrong in ("0", "-1", "many", "inf"):
        assert (
            'class="notice bad"' in page.post("/dashboard/keys?edit=wild", act="budget", name="wild", budget=wrong).page
        )


def spend(relay, clock, **dollars):
    """Each key spends that much now."""
    for key, usd in dollars.items():
        submission = a_submission(f"{key}-{clock.now}")
        job = relay.submit(submission, owner=key).job
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion())
        call = relay._store.read(lambda tx, job=job: tx.calls(job.id))[0]
        relay._store.write(
            lambda tx, job=job, call=call, usd=usd: tx.add_spend(day_of(clock.now), job, replace(call, cost_usd=usd))
        )


def test_a_group_whose_own_limits_let_jobs_wait_is_named_with_the_way_to_them(relay, admin, clock):
    """By its calls at once after a minute, by its starts a minute when ten minutes of them wait; not while paused."""
    relay.set_group("mail", concurrency=1, rate=None)
    relay.set_group("slow", concurrency=None, rate=1)
    relay.submit_many([a_submission(f"mail-{number}", group="mail") for number in range(3)])
    relay.submit_many([a_submission(f"slow-{number}", group="slow") for number in range(12)])
    relay.execution.claim("w", limit=9)
    page = admin.get("/dashboard")
    assert "Group mail is at its limit" not in page.text
    assert "Group slow is at its limit 1 start a minute, and 11 of its jobs wait" in page.text
    clock.advance(61)
    assert "Group mail is at its limit 1 of 1 calls run, and 2 of its jobs wait" in page.get("/dashboard").text
    assert 'href="/dashboard/groups?edit=mail"' in page.page
    relay.pause("mail")

    assert "Group mail is at its limit" not in page.get("/dashboard").text
