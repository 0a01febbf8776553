"""The page of one job: timeline, request, answer, documents, acts, and hostile content as text."""

from __future__ import annotations

import base64
import json
import re
from html import unescape

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.jobs.failure import PartialResponse
from claude_relay.core.jobs.job import Retain
from claude_relay.core.keys import Scope
from claude_relay.errors import Busy
from claude_relay.events import Hub, Places
from claude_relay.services import JobRef
from claude_relay.storage.sql.requests import RequestReads
from tests.support.builders import a_completion, a_submission

from .test_jobs import finish

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PDF = base64.b64encode(b"%PDF-1.4").decode()
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'\x1b[31m\u202eevil\u2066\x00\u200b"


def hostile_job(relay):
    """A job with markup, ANSI escapes and bidi controls wherever a caller or a receiver can put text."""
    relay.submit(
        a_submission(
            "r-1",
            webhook_url=f"https://hook.example/{HOSTILE}",
            webhook_headers={"x-secret": "very-secret"},
            metadata={HOSTILE: HOSTILE},
            warnings=(HOSTILE,),
            request={
                "prompt": HOSTILE,
                "files": [{"name": HOSTILE, "mediaType": "text/html", "data": PDF}],
                "options": {"model": HOSTILE, "systemPrompt": HOSTILE},
            },
        )
    )
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion(HOSTILE, json={HOSTILE: HOSTILE}))
    for sent in relay.deliveries.claim("w", limit=1):
        relay.deliveries.record_attempt(sent, Reply(status=500, excerpt=HOSTILE, error=HOSTILE))


def test_the_page_shows_calls_and_deliveries_each_with_its_answer(relay, admin):
    finish(relay, "r-1", dead=True)
    page = admin.get("/dashboard/jobs/r-1")

    for words in ("Calls to Claude", "10 in, 5 out", "Deliveries to the webhook", "403", "Svar", "callback given up"):
        assert words in page.text
    assert "costs about $0.001" in page.text and "free" in page.text


def test_hostile_content_is_text_everywhere(relay, admin):
    """Markup, terminal escapes, bidi controls and zero bytes: visible, and without effect. Headers never show."""
    hostile_job(relay)
    for path in ("/dashboard/jobs/r-1", "/dashboard/jobs?q=script", "/dashboard/jobs?group=<script>alert(1)</script>",
                 "/dashboard", "/dashboard/jobs/r-1?owner=<img src=x>"):  # fmt: skip
        page = admin.get(path)
        assert "<script>alert" not in page.page and "<img src=x" not in page.page
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200b]", page.page), path
        assert "very-secret" not in page.page
    shown = admin.get("/dashboard/jobs/r-1").text
    assert "⟨U+202E⟩evil" in shown and "⟨U+001B⟩[31m" in shown


def test_complete_texts_are_sent_as_text_that_a_browser_does_not_run(relay, admin):
    hostile_job(relay)
    for part in ("answer", "callback", "prompt", "request"):
        raw = admin.get(f"/dashboard/jobs/r-1/raw/{part}")
        assert raw.headers["content-type"] == "text/plain; charset=utf-8"
        assert (raw.headers["x-content-type-options"], "sandbox" in raw.headers["content-security-policy"]) == (
            "nosniff",
            True,
        )
    assert admin.get("/dashboard/jobs/r-1/raw/answer").page == HOSTILE
    assert "very-secret" not in admin.get("/dashboard/jobs/r-1/raw/request").page
    assert admin.get("/dashboard/jobs/r-1/raw/nothing").status == 404


def test_pictures_are_shown_and_every_other_document_is_a_download(relay, admin):
    """A file that calls itself HTML is never a page of this server."""
    files = [
        {"name": "a.png", "mediaType": "image/png", "data": PNG},
        {"name": "b.html", "mediaType": "text/html", "data": PDF},
        {"name": "c.svg", "mediaType": "image/svg+xml", "data": PDF},
        {"name": "d", "url": "https://files.example/d.pdf"},
    ]
    relay.submit(a_submission("r-1", request={"prompt": "x", "files": files}))
    page = admin.get("/dashboard/jobs/r-1")
    assert re.findall(r'<img src="(/dashboard/jobs[^"]+)"', page.page) == ["/dashboard/jobs/r-1/files/0?owner=admin"]
    picture, markup, drawing, remote = (
        admin.client.simulate_get(f"/dashboard/jobs/r-1/files/{number}", headers=admin._headers({}))
        for number in "0123"
    )

    assert (picture.headers["content-type"], picture.content) == ("image/png", base64.b64decode(PNG))
    for answer in (markup, drawing):
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
    assert remote.status_code == 404
    for number in ("4", "-1", "x", "9" * 30):
        assert admin.get(f"/dashboard/jobs/r-1/files/{number}").status == 404


def test_the_text_is_shown_while_it_is_written(relay, admin):
    """The changing part of the page comes alone for a page that refreshes itself, and often while a call runs."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.checkpoint(claimed, PartialResponse(text="Once upon a"))
    page = admin.get("/dashboard/jobs/r-1")
    part = admin.client.simulate_get("/dashboard/jobs/r-1", headers=admin._headers({"HX-Request": "true"})).text

    assert "Once upon a" in page.text and 'hx-trigger="every 2s, refresh"' in page.page
    assert "Once upon a" in part and "<html" not in part and "Log out" not in part


def test_a_job_is_cancelled_retried_and_redelivered_from_its_page(relay, admin):
    relay.submit(a_submission("r-1"))
    path = "/dashboard/jobs/r-1"
    page = admin.get(path).post(path, act="cancel")
    assert ("cancelled" in page.text, relay.queries.overview()["jobs"]["cancelled"]) == (True, 1)
    refused = page.post(path, act="cancel")
    assert 'class="notice bad"' in refused.page  # it has moved meanwhile
    page.post(path, act="retry")
    assert relay.queries.overview()["jobs"]["queued"] == 1
    assert "has not ended yet" in page.post(path, act="redeliver").text

    page.post(path, act="cancel")
    finish(relay, "r-2", dead=True)

    def is_dead():
        return relay.queries.status(JobRef(request_id="r-2"))["delivery"]["status"] == "dead"

    page.get("/dashboard/jobs/r-2").post("/dashboard/jobs/r-2", act="redeliver", url="http://10.0.0.1/")
    assert is_dead() and 'class="notice bad"' in page.page  # a private address is refused
    page.post("/dashboard/jobs/r-2", act="redeliver", url="https://new.example/x")
    assert not is_dead()


def test_a_long_prompt_and_answer_keep_the_page_small(relay, admin):
    """A prompt of 10,000 lines and an answer of 10 MB: the page has the beginning, and links to the whole."""
    relay.submit(a_submission("r-1", request={"prompt": "line <b>\n" * 10_000}))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion("x" * 10_000_000))
    page = admin.get("/dashboard/jobs/r-1")

    assert len(page.page.encode()) < 60_000
    assert "/dashboard/jobs/r-1/raw/answer" in page.page and "/dashboard/jobs/r-1/raw/prompt" in page.page
    assert len(admin.get("/dashboard/jobs/r-1/raw/answer").page) == 10_000_000


def test_the_curl_command_submits_the_same_again(relay, admin):
    """As one shell word each, in ASCII: nothing in a prompt ends the quotes, or hides."""
    prompt = "it's $HOME `id` \u202e\x1b[31m"
    relay.submit(a_submission("r-1", group="g", request={"prompt": prompt, "options": {"maxTokens": 9}}))
    command = unescape(re.search(r'<pre id="curl"[^>]*>(.*?)</pre>', admin.get("/dashboard/jobs/r-1").page, re.S)[1])
    import shlex

    words = shlex.split(command)
    assert words[:2] == ["curl", "http://127.0.0.1:3000/api/claude"]
    body = json.loads(words[words.index("--json") + 1])
    assert (body["prompt"], body["options"]["maxTokens"], body["group"]) == (prompt, 9, "g")
    assert command.isascii()


def test_an_erased_or_unknown_job_is_a_page_that_says_so(relay, admin):
    for name in ("nothing", "a b", "%00", "x" * 200):
        assert admin.get(f"/dashboard/jobs/{name}").status == 404
    finish(relay, "r-1", retain=Retain.METADATA)
    page = admin.get("/dashboard/jobs/r-1")
    assert (page.status, "Erased on delivery" in page.text) == (200, True)


def test_a_reader_sees_no_buttons_on_a_job(relay, named):
    reader = named("reader", Scope.READ)
    finish(relay, "r-1", owner="reader")
    page = reader.get("/dashboard/jobs/r-1")

    assert page.status == 200 and 'name="act"' not in page.page


def test_event_streams_are_those_of_the_api_for_the_key_of_the_session(relay, named, stranger):
    """A key gets no other key's events; without a session there is no stream."""
    make = named("make", Scope.READ)
    relay.submit(a_submission("mine"), owner="make")
    relay.submit(a_submission("theirs"), owner="other")
    for path in ("/dashboard/events", "/dashboard/jobs/mine/events"):
        answer = make.get(path)
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8"), path
        assert stranger.get(path).path.startswith("/dashboard/login")
        assert stranger.get(path, Accept="text/event-stream").status == 204  # as an EventSource asks, which then ends
    assert make.get("/dashboard/jobs/theirs/events").status == 404
    assert make.get("/dashboard/events?after=nonsense").status == 400


def test_open_dashboards_take_no_stream_from_programs(relay):
    """They are counted apart, each up to its own limit."""
    hub = Hub(relay, limit=1, dashboard_limit=1)
    hub.reserve(Places.DASHBOARD)
    with pytest.raises(Busy):
        hub.reserve(Places.DASHBOARD)
    hub.reserve()
    with pytest.raises(Busy):
        hub.reserve()
    hub.release(Places.DASHBOARD)
    hub.reserve(Places.DASHBOARD)


def test_a_request_and_a_callback_of_megabytes_are_shown_by_their_sizes_and_not_read(relay, admin, monkeypatch):
    """Six megabytes of documents and ten of an answer: a page of kilobytes, whose link reads the request."""
    files = [{"name": "scan.pdf", "mediaType": "application/pdf", "data": "A" * 8_000_000}]
    relay.submit(a_submission("big", request={"prompt": "line\n" * 10_000, "files": files, "options": {}}))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion("x" * 10_000_000))
    shown = admin.get("/dashboard/jobs/big?request=1")
    assert "scan.pdf" in shown.text and "6.0 MB" in shown.text and "The first 8,000 of" in shown.text
    assert len(shown.page.encode()) < 60_000

    def refuse(*_):
        raise AssertionError("it was read")

    for name in ("request", "outcome"):
        monkeypatch.setattr(RequestReads, name, refuse)
    page = admin.get("/dashboard/jobs/big")
    assert "The request is large: 8.1 MB" in page.text and "The answer is long: 10.0 MB" in page.text
    assert "request=1#request" in page.page and len(page.page.encode()) < 60_000
    part = admin.get("/dashboard/jobs/big?request=1", **{"HX-Request": "true"})  # which shows no request
    assert part.status == 200
