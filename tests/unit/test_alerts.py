"""Alert rules and their messages."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from claude_relay.core import alerts as rules
from claude_relay.core.alerts import Alert, AlertFacts, DeadDeliveries, ModelUsage
from claude_relay.core.deliveries.destination import Destination

NOW = 1_800_000_000.0  # 2027-01-15
QUIET = AlertFacts(now=NOW, uptime=3600.0, workers_seen=(NOW - 1,))
SICK = Destination(
    name="https://hook.example:8443", failures=12, failing_since=NOW - 90, slowed_at=NOW - 60, last_error="x"
)


def only_alert(facts: AlertFacts) -> Alert:
    [alert] = rules.evaluate(facts)
    return alert


def test_no_alert_without_a_cause() -> None:
    assert rules.evaluate(QUIET) == []


@pytest.mark.parametrize(
    "kind, facts, expected, command",
    [
        (
            "queue_parked",
            replace(QUIET, parked=("spend_limit", NOW - 60), waiting=7),
            ("7 jobs", "spend_limit"),
            "resume",
        ),
        ("disk_low", replace(QUIET, disk="has 3 MiB left"), ("3 MiB",), "purge"),
        (
            "destination_unhealthy",
            replace(QUIET, slowed_destinations=[(SICK, 480)]),
            ("480", "12 times", "https://hook"),
            "status",
        ),
        (
            "delivery_dead",
            replace(
                QUIET,
                dead_deliveries=[DeadDeliveries(destination=SICK.name, count=3, since=NOW - 9, last="it answered 403")],
            ),
            ("3 callbacks", "403"),
            "redeliver --dead --host hook.example:8443",
        ),
        ("no_worker", replace(QUIET, workers_seen=(NOW - 61,), waiting=2), ("2 jobs",), "worker"),
        (
            "model_retiring",
            replace(
                QUIET,
                models=[ModelUsage(model="claude-a-4-5", last_day="2027-01-31", setting="RELAY_MODEL", successor="b")],
            ),
            ("2027-01-31", "set RELAY_MODEL to b"),
            "config show",
        ),
    ],
)
def test_each_alert_has_its_cause_time_count_and_command(
    kind: str, facts: AlertFacts, expected: tuple[str, ...], command: str
) -> None:
    alert = only_alert(facts)
    body = rules.body(alert, now=NOW)

    assert alert.kind == kind == body["alert"]
    assert all(words in alert.message for words in expected)
    assert re.match(r"2027-01-15T", body["since"])
    assert command in body["command"] and body["command"].startswith("claude-relay ")
    assert isinstance(body["count"], int)


def test_there_is_one_alert_per_cause() -> None:
    """The cause stays the same while its numbers grow."""
    few, many = (only_alert(replace(QUIET, slowed_destinations=[(SICK, count)])) for count in (1, 9999))

    assert few.cause == many.cause
    other = replace(SICK, name="https://other.example")
    assert len(rules.evaluate(replace(QUIET, slowed_destinations=[(SICK, 1), (other, 1)]))) == 2


def test_many_failing_destinations_are_one_alert() -> None:
    """Individually raised alerts stay; the others are grouped, and individual again once they are few."""
    sick = [(replace(SICK, name=f"https://h{n}.example"), 2) for n in range(100)]
    few = rules.evaluate(replace(QUIET, slowed_destinations=sick[:3]))
    assert len(few) == 3

    raised = {alert.cause for alert in few}
    more = rules.evaluate(replace(QUIET, slowed_destinations=sick, previous=raised))
    assert {alert.cause for alert in more} == raised | {"destination_unhealthy several"}
    [many] = [alert for alert in more if alert.cause not in raised]
    assert (many.count, many.command) == (194, "claude-relay doctor")
    assert "97 destinations keep failing" in many.message
    assert {
        alert.cause for alert in rules.evaluate(replace(QUIET, slowed_destinations=sick[:4], previous=raised))
    } > raised


@pytest.mark.parametrize(
    "facts, raised",
    [
        (replace(QUIET, workers_seen=()), False),  # none ever came, and nothing waits
        (replace(QUIET, workers_seen=(), overdue_since=NOW - 59), False),  # it may just be starting
        (replace(QUIET, workers_seen=(), overdue_since=NOW - 61), True),
        (replace(QUIET, workers_seen=(NOW - 61,)), True),  # one had been there, and never said goodbye
        (replace(QUIET, workers_seen=(NOW - 61, NOW - 1)), False),
        (replace(QUIET, workers_seen=(NOW - 9999,), uptime=59.0), False),  # we have only just come ourselves
        (replace(QUIET, workers_seen=(NOW - 60,), uptime=60.0), True),
        (replace(QUIET, workers_seen=(), overdue_since=NOW - 60), True),
        (replace(QUIET, workers_seen=(NOW - 61,), uptime=0.0, previous={"no_worker"}), True),  # others have looked on
        (replace(QUIET, workers_seen=(NOW - 1,), uptime=0.0, previous={"no_worker"}), False),
    ],
)
def test_a_missing_worker_raises_an_alert_if_one_ran_or_work_is_due(facts: AlertFacts, raised: bool) -> None:
    assert [alert.kind for alert in rules.evaluate(facts)] == (["no_worker"] if raised else [])


@pytest.mark.parametrize(
    "last_day, raised", [("2027-02-14", True), ("2027-02-16", False), ("2027-01-15", True), ("2026-06-01", True)]
)
def test_a_retirement_is_alerted_a_month_ahead(last_day: str, raised: bool) -> None:
    used = ModelUsage(model="claude-a-4-5", last_day=last_day, jobs=3)

    assert bool(rules.evaluate(replace(QUIET, models=[used]))) is raised


@pytest.mark.parametrize(
    ("last_day", "setting", "words"),
    [
        ("2027-01-16", None, "will be retired on 2027-01-16, and 3 of the latest jobs name it: let the callers use b."),
        ("2027-01-14", None, "was retired on 2027-01-14, and 3 of the latest jobs name it: let the callers use b."),
        ("2027-01-16", "RELAY_MODEL", "will be retired on 2027-01-16, and RELAY_MODEL names it: set RELAY_MODEL to b."),
    ],
)
def test_a_retirement_says_when_who_names_the_model_and_what_to_use(
    last_day: str, setting: str | None, words: str
) -> None:
    """Before it and after it; the command finds the setting, or the jobs."""
    used = ModelUsage(model="claude-a-4-5", last_day=last_day, jobs=3, setting=setting, successor="b")
    alert = only_alert(replace(QUIET, models=[used]))

    assert alert.message == f"The model claude-a-4-5 {words}"
    assert alert.command == f"claude-relay {'config show --origin' if setting else 'search claude-a-4-5'}"
    unknown = only_alert(replace(QUIET, models=[replace(used, successor=None)]))
    assert "a current model" in unknown.message


def test_five_destinations_are_named_one_by_one_and_six_together() -> None:
    """The alert of all begins with the first, has the sum of what waits, and names three."""
    sick = [(replace(SICK, name=f"https://h{n}.example", failing_since=NOW - n), n + 1) for n in range(6)]
    assert len(rules.evaluate(replace(QUIET, slowed_destinations=sick[:5]))) == 5
    alert = only_alert(replace(QUIET, slowed_destinations=sick))

    assert (alert.cause, alert.since, alert.count) == ("destination_unhealthy several", NOW - 5, 21)
    assert "(https://h0.example, https://h1.example, https://h2.example and more)" in alert.message
    raised = {f"destination_unhealthy https://h{n}.example" for n in range(6)}
    assert len(rules.evaluate(replace(QUIET, slowed_destinations=sick, previous=raised))) == 6


def test_times_and_numbers_of_an_alert_are_those_of_its_cause() -> None:
    """A worker is missing since the last was seen; one thing waits, several wait."""
    two = replace(QUIET, workers_seen=(NOW - 90, NOW - 70), waiting=1)
    assert (only_alert(two).since, "1 job waits" in only_alert(two).message) == (NOW - 70, True)
    never = replace(QUIET, workers_seen=(), overdue_since=NOW - 99, waiting=1234)
    assert (only_alert(never).since, "1,234 jobs wait" in only_alert(never).message) == (NOW - 99, True)

    one = only_alert(replace(QUIET, slowed_destinations=[(replace(SICK, failing_since=None), 1)]))
    assert (one.since, one.count, "1 callback waits for it" in one.message) == (NOW - 60, 1, True)
    many = only_alert(replace(QUIET, slowed_destinations=[(SICK, 2)]))
    assert (many.since, many.count, "2 callbacks wait for it" in many.message) == (NOW - 90, 2, True)

    dead = DeadDeliveries(destination="https://a.example", count=1, since=NOW - 9, last="x")
    assert "1 callback to https://a.example was given up" in only_alert(replace(QUIET, dead_deliveries=[dead])).message
    several = only_alert(replace(QUIET, dead_deliveries=[replace(dead, count=2)]))
    assert "2 callbacks to https://a.example were given up" in several.message
    assert (several.since, several.count) == (NOW - 9, 2)

    disk = only_alert(replace(QUIET, disk="is full", waiting=3))
    assert (disk.since, disk.count, "3 accepted jobs" in disk.message) == (NOW, 3, True)
    api = only_alert(replace(QUIET, failed_apis=[("host-1", NOW - 5)], waiting=4))
    assert (api.cause, api.since, api.count) == ("no_api host-1", NOW - 5, 4)


@pytest.mark.parametrize(("count", "more"), [(1, "job r-1. It"), (2, "job r-1 and 1 more. It")])
def test_the_damage_of_a_disk_is_counted(count: int, more: str) -> None:
    alert = only_alert(replace(QUIET, damage={"since": NOW - 5, "what": "the prompt of job r-1", "count": count}))

    assert more in alert.message and (alert.since, alert.count) == (NOW - 5, count)


@pytest.mark.parametrize(("seen", "handled"), [((), False), ((60,), False), ((59.9,), True), ((99, 1), True)])
def test_a_worker_handles_the_queue_for_a_minute_after_its_last_sign(seen: tuple[float, ...], handled: bool) -> None:
    assert rules.is_handled(NOW, [NOW - ago for ago in seen]) is handled


def test_the_words_of_the_upstream_and_the_step_for_its_reason_stand_in_a_parked_queue() -> None:
    """A new key works once the worker has it; nothing else needs the worker."""
    refused = only_alert(replace(QUIET, parked=("key_refused", NOW - 60), park_detail="invalid x-api-key."))
    spent = only_alert(replace(QUIET, parked=("spend_limit", NOW - 60)))

    assert " nothing is lost. invalid x-api-key. " in refused.message and "once the worker runs" in refused.command
    assert " nothing is lost. " in spent.message and "once that is done" in spent.command


def test_sending_is_attempted_five_times() -> None:
    pauses = [rules.repeat_at(tries) for tries in range(1, 7)]

    assert pauses == [60.0, 300.0, 1800.0, 7200.0, None, None]


def test_the_reference_lists_exactly_the_kinds() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/alerts.md").read_text(encoding="utf-8")
    table = page.split("| alert | meaning |")[1].split("\n\n")[0]

    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, flags=re.M)) == dict(rules.KINDS)


@pytest.mark.parametrize(
    ("command", "way"),
    [("claude-relay restore --yes x.db", "stop them before it"), ("mv /a /b", "before a daemon is stopped")],
)
def test_the_alert_of_a_lost_store_says_when_its_command_is_to_be_run(command: str, way: str) -> None:
    """A sibling of CASES A1: what only the daemons have open is gone once they are stopped."""
    assert way in rules.store_gone("it was removed", since=NOW, command=command).message


def test_the_service_of_alerts_starts_only_where_the_file_of_its_path_unit_is() -> None:
    """A sibling of CASES A1: else a state directory that is moved away is replaced by an empty one."""
    units = Path(__file__).parents[2] / "systemd"
    [watched] = re.findall(r"^PathChanged=(.*)$", (units / "claude-relay-alerts.path").read_text(), re.MULTILINE)

    assert f"\nConditionPathExists={watched}\n" in (units / "claude-relay-alerts.service").read_text()
