"""Five incidents on real processes, each found on the first page of the dashboard and fixed from there."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.eventually import eventually
from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.receiver import Receiver
from tests.support.rig import Rig

from .test_dashboard import log_in

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    needs("chromium")
    with Rig(tmp_path_factory.mktemp("relay"), RELAY_CONCURRENCY="8") as rig:
        yield rig.start()


def need(page: Page, title: str) -> Locator:
    """What the first page says under that title."""
    return page.locator(".needs > li").filter(has=page.get_by_text(title, exact=True))


def test_a_dead_webhook_host_is_named_first_and_gets_its_callbacks_when_it_is_tried_again(page: Page, rig: Rig) -> None:
    """Nothing is lost while it is away; the notice and its reason go away by themselves."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for number in range(12):
        rig.submit({"requestId": f"host-{number}", "prompt": "Hei", "webhookUrl": f"{url}/x"})
    log_in(page)
    shown = need(page, f"Failing: {url}")
    expect(shown).to_contain_text("nothing is lost")
    expect(page.locator(".needs > li").first).to_contain_text(f"Failing: {url}")
    with Receiver(port=port) as hook:
        shown.get_by_role("button", name="Try now").click()
        expect(page.get_by_role("status")).to_contain_text("is tried now")
        eventually(lambda: rig.get("/api/overview")["deliveries"]["pending"] == 0)
        hook.wait_for(12)
        page.goto("/dashboard")
        expect(need(page, f"Failing: {url}")).to_have_count(0)


def test_a_parked_queue_says_why_and_goes_on_by_its_button(page: Page, rig: Rig) -> None:
    rig.submit({"requestId": "parks", "prompt": "[sandbox: spend-limit 1]"})
    eventually(lambda: rig.get("/api/overview")["holds"])
    rig.submit({"requestId": "behind", "prompt": "Hei"})
    log_in(page)
    shown = need(page, "The queue is parked")
    expect(shown).to_contain_text("spend_limit")
    expect(shown).to_contain_text("add credit in the Claude Console")
    shown.get_by_role("button", name="Try now").click()
    expect(page.get_by_role("status")).to_contain_text("The queue goes on")
    assert rig.finished("behind")["status"] == rig.finished("parks")["status"] == "completed"
    expect(need(page, "The queue is parked")).to_have_count(0)  # the open page has noticed


def test_a_group_at_its_limit_is_named_with_the_way_to_its_limit(page: Page, rig: Rig) -> None:
    rig.post("/api/groups/narrow", {"concurrency": 1})
    for number in range(12):
        rig.submit({"requestId": f"narrow-{number}", "prompt": "[sandbox: slow 1m]", "group": "narrow"})
    log_in(page)
    shown = need(page, "Group narrow is at its limit")
    expect(shown).to_contain_text(re.compile("1 of 1 calls run, and 1[01] of its jobs wait"))
    shown.get_by_role("link", name="Change its limit").click()
    page.get_by_label("Calls at once").fill("6")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("The limits of group narrow are saved")
    eventually(lambda: rig.get("/api/groups/narrow")["running"] == 6)
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(need(page, "Group narrow is at its limit")).to_have_count(0)
    cancel_all(page, "/dashboard/jobs?group=narrow")
    eventually(lambda: rig.get("/api/groups/narrow")["running"] == 0)


def test_a_key_that_spends_its_budget_is_named_and_its_jobs_are_cancelled(page: Page, rig: Rig) -> None:
    """What waits is cancelled as one, the budget is changed where it is shown, and others go on meanwhile."""
    secret = rig.command("keys", "add", "runaway", "--budget", "0.0001", "--scope", "submit").stdout.strip()
    mine = {"X-API-Key": secret}
    rig.submit({"requestId": "dear", "prompt": "[sandbox: long 400]"}, **mine)
    eventually(lambda: rig.http.get(f"{rig.url}/api/overview", timeout=60).json()["holds"])
    for number in range(3):
        rig.submit({"requestId": f"dear-{number}", "prompt": "[sandbox: long 400]"}, **mine)
    log_in(page)
    shown = need(page, "Over budget: runaway")
    expect(shown).to_contain_text("3 jobs wait until")
    shown.get_by_role("link", name="Its jobs that wait").click()
    cancel_all(page)
    page.goto("/dashboard")
    expect(need(page, "Over budget: runaway")).to_contain_text("none of its jobs waits")
    need(page, "Over budget: runaway").get_by_role("link", name="Change its budget").click()
    page.get_by_label("Dollars a day").fill("5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("The budget of runaway is saved")
    page.goto("/dashboard")
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    expect(need(page, "Over budget: runaway")).to_have_count(0)


def test_a_missing_worker_is_said_at_once_with_the_command_that_starts_one(page: Page, rig: Rig) -> None:
    """And the open page says by itself that it is back."""
    rig.worker.stop()
    rig.submit({"requestId": "orphan", "prompt": "Hei"})
    log_in(page)
    shown = need(page, "No worker runs")
    expect(shown).to_contain_text("1 job waits")
    expect(shown).to_contain_text("claude-relay worker")
    rig.start_worker()
    expect(need(page, "No worker runs")).to_have_count(0)
    assert rig.finished("orphan")["status"] == "completed"


def cancel_all(page: Page, path: str | None = None) -> None:
    """Cancel all jobs that match, as a person does."""
    if path:
        page.goto(path)
    page.get_by_label("With").select_option("all")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name=re.compile("Cancel [0-9]+")).click()
