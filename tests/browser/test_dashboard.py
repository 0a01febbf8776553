"""The dashboard in chromium: what people do, without JavaScript, by keyboard alone, and for a screen reader."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.eventually import eventually
from tests.support.receiver import Answer, Receiver
from tests.support.rig import KEY, Rig

pytestmark = pytest.mark.process

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil\x1b[31m"
#: A picture of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGES = [
    "",
    "/jobs",
    "/jobs?status=failed",
    "/groups?edit=default",
    "/destinations",
    "/keys",
    "/money",
    "/try",
    "/collections",
    "/templates",
]


def log_in(page: Page, key: str = KEY) -> None:
    page.goto("/dashboard/login")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Log in").click()


def text_of(page: Page) -> str:
    return page.locator("main").inner_text()


def test_a_wrong_key_says_so_and_the_right_one_opens_the_overview(page: Page) -> None:
    log_in(page, "wrong")
    expect(page.get_by_role("alert").first).to_contain_text("not valid")
    log_in(page)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()


def test_a_job_is_looked_for_watched_while_it_is_written_stopped_and_run_again(page: Page, rig: Rig) -> None:
    """The text grows on the open page as it is written, and the end appears by itself."""
    rig.submit({"requestId": "watched", "prompt": "tell a story [sandbox: slow 5m] [sandbox: long 9000]"})
    log_in(page)
    page.get_by_role("link", name="Jobs", exact=True).click()
    page.get_by_label("Search in prompt").fill("tell a story")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="watched").click()
    expect(page.get_by_role("heading", name="As it is written")).to_be_visible()
    eventually(lambda: page.evaluate("written.points.length") > 100, every=0.1)  # by the event stream
    first = page.locator("section:has(#answer)").inner_text()
    eventually(lambda: len(page.locator("section:has(#answer)").inner_text()) > len(first), every=0.2)
    rig.post("/api/jobs/watched/cancel")
    expect(page.get_by_text("cancelled").first).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_role("status")).to_contain_text("Started again")
    eventually(lambda: rig.get("/api/jobs/watched")["run"] == 2)
    rig.post("/api/jobs/watched/cancel")


def test_a_list_goes_on_listening_when_jobs_have_ended(page: Page, rig: Rig) -> None:
    """The stream of the page stays open behind the end of a job, and the next one appears by itself."""
    log_in(page)
    page.goto("/dashboard/jobs")
    eventually(lambda: page.evaluate("stream?.readyState") == 1, every=0.1)
    for name in ("heard-1", "heard-2"):
        rig.submit({"requestId": name, "prompt": "Hei"})
        rig.finished(name)
        expect(page.get_by_role("row", name=re.compile(name))).to_contain_text("completed")
        assert page.evaluate("stream.readyState") == 1


def test_every_dead_callback_of_a_host_is_sent_again_from_the_overview(page: Page, rig: Rig, hook: Receiver) -> None:
    hook.answer("/dead", Answer(status=403, body=b"<b>no</b>"))
    for number in range(3):
        rig.submit({"requestId": f"dead-{number}", "prompt": "Hei", "webhookUrl": hook.url("/dead")})
    eventually(lambda: rig.get("/api/overview")["deliveries"]["dead"] == 3)
    hook.answer("/dead", Answer(status=200))
    log_in(page)
    page.get_by_role("button", name="Redeliver all (free)").click()
    expect(page.get_by_text("Redeliver 3 jobs?")).to_be_visible()
    page.get_by_role("button", name="Redeliver 3").click()
    expect(page.get_by_role("status")).to_contain_text("3 sent again")
    eventually(lambda: rig.get("/api/overview")["deliveries"]["dead"] == 0)
    page.goto("/dashboard/jobs/dead-1")
    lane = page.get_by_role("region", name="Deliveries to the webhook")
    expect(lane).to_contain_text("403")
    expect(lane).to_contain_text("<b>no</b>")
    expect(lane.get_by_text("200")).to_be_visible(timeout=30_000)


def test_a_group_is_paused_and_goes_on(page: Page, rig: Rig) -> None:
    rig.post("/api/groups/nightly", {"concurrency": 3})
    log_in(page)
    page.get_by_role("link", name="Groups").click()
    row = page.get_by_role("row", name=re.compile("nightly"))
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("paused")
    assert rig.get("/api/groups/nightly")["paused"]
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_contain_text("goes on")
    assert not rig.get("/api/groups/nightly")["paused"]


def test_a_job_with_a_file_is_tried_edited_and_submitted_again(page: Page, rig: Rig, hook: Receiver) -> None:
    """The callback appears on the page of the job when it comes."""
    log_in(page)
    page.get_by_role("link", name="Try it").click()
    page.get_by_label("Prompt", exact=True).fill("[sandbox: say first answer]")
    page.get_by_label("Webhook").fill(hook.url("/tried"))
    page.get_by_label("Files").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": PNG})
    page.get_by_role("button", name="What would it cost?").click()
    expect(page.get_by_role("status")).to_contain_text("tokens in")
    page.get_by_label("Files").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": PNG})
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("section:has(#answer)")).to_contain_text("first answer")
    expect(page.get_by_role("region", name="Deliveries")).to_contain_text("200")
    expect(page.get_by_role("img", name="a.png")).to_be_visible()
    page.get_by_role("button", name="Edit and resubmit").click()
    expect(page.get_by_text("with a.png of the earlier job")).to_be_visible()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("[sandbox: say first answer]")
    page.get_by_label("Prompt", exact=True).fill("[sandbox: say second answer]")
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("section:has(#answer)")).to_contain_text("second answer")


def test_a_template_is_made_changed_tried_and_deleted_while_rows_wait(page: Page, rig: Rig) -> None:
    """Its body is full of markup, which stays text; the cost stands by version; rows that wait need it no more."""
    log_in(page)
    page.get_by_role("link", name="Templates").click()
    for number in (1, 2):
        body = {"prompt": f"{HOSTILE} {number} {{{{text}}}}</textarea><b>", "options": {"maxTokens": 50}}
        page.get_by_label("Name").fill("marked-up")
        page.get_by_label("Description").fill(HOSTILE)
        page.get_by_label("Submit body, as JSON").fill(json.dumps(body))
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("status")).to_contain_text(f"marked-up@{number} is saved")
        saved = json.loads(page.get_by_label("Submit body, as JSON").input_value())
        assert saved["prompt"].startswith("<script>alert(1)</script><img src=x onerror=alert(2)>")
        assert page.locator("main script, main img[src='x'], main textarea b").count() == 0
        page.get_by_role("link", name="Try it").last.click()
        more = page.get_by_label("The body of a submit")
        tried = json.loads(more.input_value())
        assert tried == {"template": "marked-up", "variables": {"text": ""}}
        more.fill(json.dumps({**tried, "variables": {"text": "[sandbox: say tried]"}}))
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("section:has(#answer)")).to_contain_text("tried")
        page.get_by_role("link", name="Templates").click()
        page.get_by_role("link", name="marked-up").click()
    page.get_by_role("link", name="What it has cost").click()
    for number in (1, 2):
        expect(page.get_by_role("row", name=re.compile(f"marked-up@{number}"))).to_be_visible()

    rig.command("pause")
    rows = {"collectionId": "waits", "template": "marked-up", "rows": [{"text": "a"}, {"text": "b"}]}
    assert rig.post("/api/collections", rows).status_code == 202
    page.goto("/dashboard/templates")
    row = page.get_by_role("row", name=re.compile("marked-up"))
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete marked-up").click()
    expect(page.get_by_role("status")).to_contain_text("The template marked-up is deleted")
    assert page.get_by_role("link", name="marked-up").count() == 0
    rig.command("resume")
    assert eventually(lambda: rig.get("/api/collections/waits")["status"] == "completed", within=60)


def test_a_session_that_has_ended_leads_back_to_the_page_asked_for(page: Page) -> None:
    log_in(page)
    [cookie] = [each for each in page.context.cookies() if each["name"] == "claude_relay_session"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.context.add_cookies([{**cookie, "value": "ended.0"}])  # type: ignore[list-item]
    page.goto("/dashboard/jobs?status=failed")
    expect(page.get_by_role("status")).to_contain_text("Your session has ended")
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_url(re.compile(r"/dashboard/jobs\?status=failed$"))


def test_a_page_that_is_open_goes_to_the_login_by_itself_when_the_session_ends(page: Page) -> None:
    log_in(page)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.context.clear_cookies()
    page.evaluate("htmx.trigger('#live', 'refresh')")  # as its timer does every five seconds
    page.wait_for_url(re.compile("/dashboard/login"))


def test_everything_works_without_javascript(open_page: Any, rig: Rig) -> None:
    """Login, filters, a selection, the question before an act, and its effect."""
    for number in range(2):
        rig.submit({"requestId": f"plain-{number}", "prompt": "Hei", "group": "plain", "delay": "1h"})
    page = open_page(java_script_enabled=False)
    log_in(page)
    page.goto("/dashboard/jobs?group=plain")
    page.get_by_label("Select plain-0").check()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancel 1 job?")).to_be_visible()
    page.get_by_role("button", name="Cancel 1").click()
    expect(page.get_by_role("status")).to_contain_text("1 cancelled")
    page.get_by_role("link", name="plain-1").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_contain_text("Cancelled")
    assert [rig.status(f"plain-{number}")["errorType"] for number in range(2)] == ["cancelled", "cancelled"]
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_keyboard_alone_is_enough(page: Page, rig: Rig) -> None:
    """The first stop skips the menu, the focus is always visible, and every act is a stop."""
    rig.submit({"requestId": "keyed", "prompt": "Hei", "group": "keyed", "delay": "1h"})
    page.goto("/dashboard/login")
    expect(page.get_by_label("API key")).to_be_focused()
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.goto("/dashboard/jobs?group=keyed")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            "(e => [e.textContent.trim() || e.name || e.tagName, getComputedStyle(e).outlineStyle,"
            " parseFloat(getComputedStyle(e).outlineWidth)])(document.activeElement)"
        )
        stops.append(stop)
        if stop[0] == "keyed":
            break
    assert stops[-1][0] == "keyed", stops
    assert [stop for stop in stops if stop[1] == "none" or stop[2] < 2] == []
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="keyed")).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Cancel":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Cancelled")


def test_hostile_content_has_no_effect_in_a_real_browser(page: Page, rig: Rig) -> None:
    """No dialog, no request, no violation of the policy: the fixture fails on any of them."""
    body = {"prompt": HOSTILE, "metadata": {HOSTILE: HOSTILE}, "options": {"systemPrompt": HOSTILE}}
    file = {"name": HOSTILE.partition("\u202e")[0], "data": "JVBERi0xLjQ=", "mediaType": "application/pdf"}
    answer = rig.submit({**body, "requestId": "hostile", "files": [file], "delay": "1h"})
    assert answer.status_code == 202, answer.text
    log_in(page)
    for path in ("/dashboard/jobs/hostile", "/dashboard/jobs?q=script", "/dashboard/try?from=hostile"):
        page.goto(path)
        assert page.locator("main script, main img[src='x']").count() == 0
    page.goto("/dashboard/jobs/hostile")
    assert "⟨U+202E⟩evil" in text_of(page)


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 360)], ids=str)
def test_axe_has_no_findings_and_nothing_is_cut_off(
    open_page: Any, rig: Rig, axe: str, scheme: str, width: int
) -> None:
    """Every page, also before an act and after a refused form, in both colour schemes, on a wide screen and a phone."""
    if rig.http.get(f"{rig.url}/api/status/looked-at", timeout=60).status_code == 404:
        rig.submit({"requestId": "looked-at", "prompt": "Hei"})
        rig.finished("looked-at")
        rig.command("keys", "add", "looked-at")
        template = {"body": {"prompt": "Read {{text}}"}, "shared": True}
        rig.http.put(f"{rig.url}/api/templates/looked-at", json=template, timeout=60)
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto("/dashboard/login")
    findings = check(page, axe)
    log_in(page)
    for path in [*PAGES, "/jobs/looked-at", "/keys?edit=looked-at", "/jobs/not-here"]:
        page.goto(f"/dashboard{path}")
        findings += check(page, axe)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    questions = (
        ("/jobs?status=completed", "Retry"),
        ("/keys", "Revoke"),
        ("/templates", "Delete"),
        ("/destinations", "Replay"),
    )
    for path, button in questions:
        page.goto(f"/dashboard{path}")
        if button == "Retry":
            page.get_by_label("With").select_option("all")
        elif button == "Replay":
            page.get_by_label("Host").fill("127.0.0.1")
            page.get_by_label("since").fill("1h")
        page.get_by_role("button", name=button).first.click()
        expect(page.get_by_role("heading", name=re.compile(rf"^{button}.*\?"))).to_be_visible()
        findings += check(page, axe)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, button
    for path, typed, button in (
        ("/destinations", {"Host": "127.0.0.1", "since": "yesterday"}, "Replay"),
        ("/keys", {"Name": "another", "Rate of submits": "often"}, "Make"),
        ("/templates", {"Name": "n", "Submit body, as JSON": "{"}, "Save"),
    ):
        page.goto(f"/dashboard{path}")
        for label, text in typed.items():
            page.get_by_label(label, exact=True).fill(text)
        page.get_by_role("button", name=button).click()
        expect(page.locator(".wrong")).to_be_visible()
        for label, text in typed.items():
            expect(page.get_by_label(label, exact=True)).to_have_value(text)
        findings += check(page, axe)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, button

    assert findings == []


def check(page: Page, axe: str) -> list[str]:
    """The findings of axe on a page: the rule, and the first place."""
    page.evaluate(axe)
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")

    return [f"{page.url}: {each['id']} {each['nodes'][0]['html'][:200]}" for each in result["violations"]]
