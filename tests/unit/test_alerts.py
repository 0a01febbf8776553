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
