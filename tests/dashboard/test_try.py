"""The form that submits a job: new, edited after an earlier one, or only estimated."""

from __future__ import annotations

import base64
import re

import pytest

from claude_relay.core.keys import Scope
from claude_relay.services import JobRef
from tests.support.builders import a_submission

PATH = "/dashboard/try"
PDF = b"%PDF-1.4 \r\n--boundary\r\n binary \x00\xff"


def send(person, *, path=PATH, file: tuple[str, str, bytes] | None = None, **fields):
    """Send the form as a browser does: multipart, with the chosen file."""
    person.get(path)
    fields = {"token": person.token, "act": "submit", **fields}
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    name, kind, data = file or ("", "application/octet-stream", b"")
    head = f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    parts.append(head.encode() + data)
    body = b"".join(b"--b0undary\r\n" + part + b"\r\n" for part in parts) + b"--b0undary--\r\n"
    kind_header = {"Content-Type": "multipart/form-data; boundary=b0undary"}
    return person._take(person.client.simulate_post(path, body=body, headers=person._headers(kind_header)), path)


def record(relay, person):
    request_id = re.match(r"/dashboard/jobs/([^?]+)", person.path)[1]
    _, stored = relay.dashboard.request(JobRef(request_id=request_id))
    return stored


def test_a_prompt_with_a_file_becomes_a_job_and_leads_to_its_page(relay, admin):
    page = send(
        admin,
        prompt="Read this.\r\nAll of it.",
        model="claude-sonnet-5-5",
        maxTokens="77",
        group="g",
        webhookUrl="https://hook.example/x",
        system="Be brief.",
        more='{"metadata": {"row": 7}, "options": {"effort": "low"}}',
        file=("faktura æ.pdf", "application/pdf", PDF),
    )
    stored = record(relay, page)

    assert "Accepted, and on disk" in page.text
    assert stored.request["prompt"] == "Read this.\nAll of it."
    assert stored.request["options"] == {
        "effort": "low", "maxTokens": 77, "model": "claude-sonnet-5-5", "systemPrompt": "Be brief."
    }  # fmt: skip
    [file] = stored.request["files"]
    assert (file["name"], base64.b64decode(file["data"])) == ("faktura æ.pdf", PDF)
    assert (stored.metadata, stored.webhook_url) == ({"row": 7}, "https://hook.example/x")


@pytest.mark.parametrize(
    "fields, problem",
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x", "webhookUrl": "http://10.0.0.1/"}, "webhookUrl"),
        ({"prompt": "x", "maxTokens": "many"}, "maxTokens"),
        ({"prompt": "x", "more": "{not json"}, "more"),
        ({"prompt": "x", "more": "[1]"}, "more"),
        ({"prompt": "x", "more": '{"webhookURL": "https://a.example"}'}, "webhookURL"),
        ({"prompt": "x", "more": '{"options": 7}'}, "options"),
    ],
)
def test_a_body_that_is_refused_comes_back_with_every_problem_and_what_was_typed(relay, admin, fields, problem):
    page = send(admin, **{**fields, "system": "</textarea><script>alert(1)</script>\u202e"})

    assert (page.status, problem in page.text, "Nothing was submitted" in page.text) == (400, True, True)
    assert "&lt;/textarea&gt;&lt;script&gt;alert(1)&lt;/script&gt;\u202e" in page.page  # as it was typed
    assert relay.queries.overview()["jobs"]["queued"] == 0


def test_an_earlier_job_is_edited_and_submitted_again_with_its_files(relay, admin):
    files = [{"name": "a.pdf", "mediaType": "application/pdf", "data": base64.b64encode(PDF).decode()}]
    options = {"model": "claude-sonnet-5-5", "maxTokens": 100, "outputSchema": {"type": "object"}}
    relay.submit(
        a_submission(
            "r-1",
            group="g",
            metadata={"row": 1},
            request={"prompt": "<b>Old</b>\u202e", "options": options, "files": files},
        )
    )
    path = f"{PATH}?from=r-1"
    page = admin.get(path)
    assert "&lt;b&gt;Old&lt;/b&gt;\u202e</textarea>" in page.page and "a.pdf" in page.text
    more = '{"options": {"outputSchema": {"type": "object"}}, "metadata": {"row": 1}}'
    done = send(admin, path=path, prompt="New", **{"from": "r-1", "keep": "1", "more": more, "group": "g"})
    stored = record(relay, done)

    assert "r-1" not in done.path
    assert (stored.request["prompt"], stored.request["files"][0]["data"]) == ("New", files[0]["data"])
    assert (stored.request["options"]["outputSchema"], stored.metadata) == ({"type": "object"}, {"row": 1})


def test_a_conversation_is_edited_as_json(relay, admin):
    messages = [{"role": "user", "content": "Hei"}]
    relay.submit(a_submission("r-1", request={"messages": messages, "options": {"model": "m"}}))

    assert "&#34;messages&#34;" in admin.get(f"{PATH}?from=r-1").page


def test_an_estimate_submits_nothing(relay, admin):
    page = send(admin, prompt="What is 2+2?", model="claude-sonnet-5-5", act="estimate")

    assert "tokens in" in page.text and "Nothing was submitted" in page.text
    assert relay.queries.overview()["jobs"]["queued"] == 0


def test_a_key_sends_its_own_jobs_and_edits_no_others(relay, named):
    make = named("make", Scope.READ, Scope.SUBMIT)
    relay.submit(a_submission("theirs"), owner="other")
    assert make.get(f"{PATH}?from=theirs").status == 404
    assert send(make, prompt="x", **{"from": "theirs", "keep": "1"}).status == 404
    page = send(make, prompt="Hei")

    assert "make" in page.get("/dashboard/jobs").text and relay.queries.overview()["jobs"]["queued"] == 2


def test_a_reader_submits_nothing(relay, named):
    reader = named("reader", Scope.READ)

    assert reader.get(PATH).status == 403
    assert reader.post(PATH, token=reader.session_token, prompt="x").status == 403


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n", b"--b0undary\r\nContent-Disposition: nonsense\r\n\r\nx", b"\x00" * 999]
)
def test_a_form_that_cannot_be_read_changes_nothing(admin, relay, body):
    kind = {"Content-Type": "multipart/form-data; boundary=b0undary"}
    answer = admin.client.simulate_post(PATH, body=body, headers=admin._headers(kind))

    assert answer.status_code in (303, 400, 403)
    assert relay.queries.overview()["jobs"]["queued"] == 0
