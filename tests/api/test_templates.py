"""Templates over HTTP: versions, sharing, submits with variables, repeats, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from falcon.testing import TestClient

from claude_relay.core.keys import Scope
from claude_relay.services import JobRef
from tests.support.builders import a_completion


def put(client: TestClient, name: str, body: Any, **more: Any):
    return client.simulate_put(f"/api/templates/{name}", json={"body": body, **more})


def submit(client: TestClient, **body: Any):
    return client.simulate_post("/api/claude", json=body)


def problems(answer) -> dict[str, str]:
    assert answer.status_code == 400, answer.json
    return {item["field"]: item["problem"] for item in answer.json["problems"]}


@pytest.fixture
def named(relay, client):
    """A client with a named key."""

    def named(name: str, *scopes: Scope) -> TestClient:
        _, text = relay.keys.add(name, frozenset(scopes or (Scope.SUBMIT, Scope.READ)))
        return TestClient(client.app, headers={"X-API-Key": text})

    return named


def request_of(client: TestClient, request_id: str) -> dict[str, Any]:
    return client.simulate_get(f"/api/jobs/{request_id}").json


def test_versions_count_up_and_no_number_is_used_twice(client) -> None:
    """An equal body is no new version; after a DELETE the numbers go on."""
    first = put(client, "faktura", {"prompt": "Les {{text}} {{lang|norsk}}"})
    again = put(client, "faktura", {"prompt": "Les {{text}} {{lang|norsk}}"}, description="Fakturaer")
    second = put(client, "faktura", {"prompt": "Read {{text}}"})

    assert (first.status_code, first.json) == (
        201, {"name": "faktura", "version": 1, "placeholders": ["text", "lang"]},
    )  # fmt: skip
    assert (again.status_code, again.json["version"]) == (200, 1)
    assert (second.status_code, second.json["version"]) == (201, 2)
    assert client.simulate_get("/api/templates/faktura").json["body"] == {"prompt": "Read {{text}}"}
    assert client.simulate_get("/api/templates/faktura").json["description"] == "Fakturaer"
    assert client.simulate_get("/api/templates/faktura@1").json["version"] == 1
    assert [row["version"] for row in client.simulate_get("/api/templates").json["templates"]] == [2]

    assert client.simulate_delete("/api/templates/faktura").status_code == 204
    assert client.simulate_delete("/api/templates/faktura").status_code == 404
    assert client.simulate_get("/api/templates/faktura").status_code == 404
    assert client.simulate_get("/api/templates/faktura@2").status_code == 404
    assert put(client, "faktura", {"prompt": "Read {{text}}"}).json["version"] == 3


def test_a_deleted_version_is_readable_while_a_kept_job_used_it(relay, client) -> None:
    put(client, "t", {"prompt": "Read {{text}}"})
    submit(client, requestId="r-1", template="t", variables={"text": "x"})
    client.simulate_delete("/api/templates/t")

    assert client.simulate_get("/api/templates/t@1").json["deleted"] is True
    relay.maintenance.purge()
    assert client.simulate_get("/api/templates/t@1").status_code == 200
    assert "template" in problems(submit(client, template="t@1", variables={"text": "x"}))


def test_a_submit_fills_the_template_and_its_own_fields_win(relay, client) -> None:
    """Record and callback name the version; options are merged one by one."""
    put(
        client,
        "t",
        {
            "prompt": "Read {{text}}",
            "group": "a",
            "options": {"maxTokens": "{{limit|100}}", "systemPrompt": "{{who|me}}"},
        },
    )
    answer = submit(
        client,
        requestId="r-1",
        template="t",
        variables={"text": "{{x}}"},
        group="b",
        options={"maxTokens": 7, "effort": ""},
    )
    record = request_of(client, "r-1")

    assert answer.status_code == 202 and answer.json["warnings"] == []
    assert record["request"]["prompt"] == "Read {{x}}" and record["template"] == "t@1" and record["group"] == "b"
    assert (record["request"]["options"]["maxTokens"], record["request"]["options"]["systemPrompt"]) == (7, "me")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    assert json.loads(relay.queries.result(JobRef(request_id="r-1")) or b"")["template"] == "t@1"
    report = client.simulate_get("/api/cost", params={"by": "template"}).json
    assert [(row["template"], row["calls"]) for row in report["rows"]] == [("t@1", 1)]


def test_a_version_can_be_named_and_the_newest_is_the_default(client) -> None:
    put(client, "t", {"prompt": "one {{a}}"})
    put(client, "t", {"prompt": "two {{a}}"})
    submit(client, requestId="old", template="t@1", variables={"a": 1})
    submit(client, requestId="new", template="t", variables={"a": 1})

    assert [request_of(client, name)["request"]["prompt"] for name in ("old", "new")] == ["one 1", "two 1"]


@pytest.mark.parametrize("number", ["nan", "-inf", "1e999", "1e9999999999"])
def test_a_word_or_size_that_no_field_takes_is_refused_before_it_is_hashed(client, number: str) -> None:
    """A request with a template has its problem by name, also where the value stands outside its place."""
    put(client, "t", {"prompt": "Read {{text}}"})
    given = {"requestId": "r-1", "template": "t", "variables": {"text": "x"}}

    assert list(problems(submit(client, **given, priority=number))) == ["priority"]
    bulk = client.simulate_post("/api/claude/bulk", json=[{**given, "priority": number}, {"prompt": "x"}])
    assert [item["statusCode"] for item in bulk.json] == [400, 202]
    assert submit(client, **given, options={"priority": number}).status_code == 202  # ignored with a warning


def test_a_repeat_stays_the_same_job_after_a_new_version_and_after_the_delete(client) -> None:
    """The hash covers what the caller wrote, also where the new version needs a variable that was not sent."""
    put(client, "t", {"prompt": "one {{a}}"})
    body = {"requestId": "r-1", "template": "t", "variables": {"a": "1"}, "options": {"maxTokens": 100}}
    assert submit(client, **body).status_code == 202
    put(client, "t", {"prompt": "two {{a}} {{b}}"})
    newer = submit(client, **body)
    client.simulate_delete("/api/templates/t")
    gone = submit(client, **body)
    form = client.simulate_post(
        "/api/claude",
        body="requestId=r-1&template=t&variables[a]=1&options[maxTokens]=100",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    for answer in (newer, gone, form):
        assert answer.status_code == 202 and answer.json["duplicate"] is True
    assert submit(client, **{**body, "variables": {"a": "2"}}).status_code in (400, 409)


def test_another_body_under_the_same_id_is_a_conflict(client) -> None:
    put(client, "t", {"prompt": "one {{a}}"})
    submit(client, requestId="r-1", template="t", variables={"a": "1"})

    assert submit(client, requestId="r-1", template="t", variables={"a": "2"}).status_code == 409
    assert submit(client, requestId="r-1", prompt="one 1").status_code == 409


def test_missing_variables_and_unknown_templates_are_named(client) -> None:
    put(client, "t", {"prompt": "{{a}} {{b}} {{c|x}}"})

    assert set(problems(submit(client, template="t", variables={"a": 1, "b": None}))) == {"variables.b"}
    assert set(problems(submit(client, template="t"))) == {"variables.a", "variables.b"}
    assert set(problems(submit(client, template="u", variables={"a": 1}))) == {"template"}
    assert set(problems(submit(client, template="t@2", variables={"a": 1}))) == {"template"}
    assert set(problems(submit(client, template={"prompt": "x"}, variables={"a": 1}))) == {"template"}
    assert set(problems(submit(client, prompt="x", variables={"a": 1}))) == {"variables"}
    assert set(problems(submit(client, template="t", variables=[1]))) == {"variables"}


def test_all_problems_of_a_templated_submit_are_named_at_once(client) -> None:
    """A missing variable hides no other field; the string around its place is no second problem; names are whole."""
    name = "x" * 100
    put(client, "t", {"prompt": f"{{{{{name}}}}}", "metadata": {"a": "{{b}}"}})
    found = problems(submit(client, template="t", variables={"b": 1}, priority=-5, webhookUrl="nix"))
    both = problems(client.simulate_put("/api/templates/u", json={"body": {"prompt": "{{"}, "shared": "perhaps"}))

    assert set(found) == {f"variables.{name}", "priority", "webhookUrl"}
    assert set(both) == {"body.prompt", "shared"}


def test_variables_for_a_template_without_places_are_refused_with_the_cause(client) -> None:
    """Make and n8n have replaced the braces before the template arrived."""
    put(client, "t", {"prompt": "Read this"})
    [(field, text)] = problems(submit(client, template="t", variables={"a": 1})).items()

    assert field == "template" and "Make" in text and "n8n" in text
    assert submit(client, template="t").status_code == 202


def test_an_unused_variable_is_a_warning(client) -> None:
    put(client, "t", {"prompt": "Read {{a}}"})
    [warning] = submit(client, template="t", variables={"a": 1, "b": 2}).json["warnings"]

    assert "b" in warning


def test_the_resulting_body_obeys_every_rule_of_a_submit(client) -> None:
    put(client, "t", {"prompt": "Read {{a}}", "options": {"maxTokens": "{{n}}"}, "webhookUrl": "{{url}}"})
    found = problems(submit(client, template="t", variables={"a": 1, "n": -5, "url": "ftp://x"}))

    assert set(found) == {"options.maxTokens", "webhookUrl"}


@pytest.mark.parametrize(
    "name, body, field",
    [
        ("t", {"prompt": "{{a}}", "options": {"maxTokens": -1}}, "body.options.maxTokens"),
        ("t", {"prompt": "{{a}}", "webhookURL": "https://x.example"}, "body.webhookURL"),
        ("t", {"prompt": "{{a}}", "metadata": {"x": "{{"}}, "body.metadata.x"),
        ("t", {"prompt": "{{a}}" * 1_001}, "body"),
        ("t", {"prompt": "x" * 2**20 + "{{a}}"}, "body"),
        ("t", {"options": {}}, "body.prompt"),
        ("t", {"template": "u", "prompt": "x"}, "body.template"),
        ("t", "text", "body"),
        ("t", {}, "body"),
        ("t@1", {"prompt": "x"}, "name"),
        (".t", {"prompt": "x"}, "name"),
        ("t" * 65, {"prompt": "x"}, "name"),
    ],
)
def test_a_template_that_no_submit_could_use_is_not_saved(client, name: str, body: Any, field: str) -> None:
    """What holds no placeholder is checked like a submit; nothing is kept of a refused one."""
    assert field in problems(put(client, name, body))
    assert client.simulate_get("/api/templates").json["templates"] == []


def test_other_keys_see_shared_templates_only_and_their_own_first(client, named) -> None:
    """A key's own template of a name comes first; another key's is 404, in body like an unknown one."""
    one, two = named("one"), named("two")
    put(client, "t", {"prompt": "of the admin {{a}}"})
    assert one.simulate_get("/api/templates/t").status_code == 404
    put(client, "t", {"prompt": "of the admin {{a}}"}, shared=True)
    put(two, "t", {"prompt": "of two {{a}}"})
    for caller, name in ((one, "r-1"), (two, "r-2")):
        submit(caller, requestId=name, template="t", variables={"a": 1})

    assert request_of(one, "r-1")["request"]["prompt"] == "of the admin 1"
    assert request_of(two, "r-2")["request"]["prompt"] == "of two 1"
    assert [row["owner"] for row in one.simulate_get("/api/templates").json["templates"]] == ["admin"]
    assert one.simulate_delete("/api/templates/t").status_code == 404
    assert put(one, "x", {"prompt": "{{a}}"}, shared=True).status_code == 403


def test_webhook_headers_of_a_template_are_sent_and_never_shown(relay, client, tmp_path) -> None:
    """Nor are they in the file of the store."""
    put(
        client,
        "t",
        {"prompt": "{{a}}", "webhookUrl": "https://h.example/x", "webhookHeaders": {"x-key": "s3cret-of-t"}},
    )
    shown = client.simulate_get("/api/templates/t")
    submit(client, requestId="r-1", template="t", variables={"a": "1"})
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())

    assert "s3cret-of-t" not in shown.text and shown.json["body"]["webhookHeaders"] == {"x-key": "(hidden)"}
    assert not any(b"s3cret-of-t" in path.read_bytes() for path in tmp_path.glob("relay.db*"))
    job = relay._store.read(lambda tx: tx.find("r-1", None)[0])
    assert relay._store.read(lambda tx: tx.webhook_target(job.id)).headers == {"x-key": "s3cret-of-t"}


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        ({}, True),
        ({"webhookUrl": "https://h.example:443/other"}, True),
        ({"webhookUrl": "https://evil.example/x"}, False),
        ({"webhookUrl": "http://h.example/x"}, False),
        ({"failureWebhookUrl": "https://evil.example/x"}, False),
        ({"variables": {"a": "1", "host": "evil.example"}, "template": "free"}, False),
        ({"webhookUrl": "https://evil.example/x", "webhookHeaders": {"x-own": "1"}}, None),
    ],
)
def test_headers_of_a_shared_template_go_to_its_own_host_only(relay, client, named, more, sent) -> None:
    """CASES S2: a key that uses another key's template cannot read its headers by a URL of its own."""
    secret = {"x-key": "s3cret-of-t"}
    put(client, "t", {"prompt": "{{a}}", "webhookUrl": "https://h.example/x", "webhookHeaders": secret}, shared=True)
    free = {"prompt": "{{a}}", "webhookUrl": "https://{{host}}/x", "webhookHeaders": secret}
    put(client, "free", free, shared=True)
    body = {"requestId": "r-1", "template": "t", "variables": {"a": "1"}, **more}
    answer = submit(named("one"), **body)
    assert answer.status_code == 202, answer.json
    job = relay._store.read(lambda tx: tx.find("r-1", None)[0])
    headers = relay._store.read(lambda tx: tx.webhook_target(job.id)).headers

    assert (headers or {}) == (more.get("webhookHeaders", {}) if sent is None else secret if sent else {})
    assert any("webhookHeaders" in text for text in answer.json["warnings"]) is (sent is False)
    submit(client, **body)
    own = relay._store.read(lambda tx: tx.find("r-1", "admin")[0])
    assert relay._store.read(lambda tx: tx.webhook_target(own.id)).headers == more.get("webhookHeaders", secret)


def test_estimate_and_bulk_take_templates(client) -> None:
    put(client, "t", {"prompt": "Read {{a}}"})
    estimate = client.simulate_post("/api/estimate", json={"template": "t", "variables": {"a": "x" * 400}})
    bulk = client.simulate_post(
        "/api/claude/bulk",
        json=[{"requestId": "b-1", "template": "t", "variables": {"a": 1}}, {"template": "nope"}, {"template": "t"}],
    )

    assert estimate.status_code == 200 and estimate.json["inputTokens"] > 90
    assert [item["statusCode"] for item in bulk.json] == [202, 400, 400]
    assert client.simulate_post("/api/estimate", json={"template": "u"}).status_code == 400


def test_a_key_without_read_cannot_continue_a_job_through_a_template(client, named) -> None:
    put(client, "t", {"prompt": "More of {{a}}", "continueFrom": "{{a}}"}, shared=True)
    caller = named("writer", Scope.SUBMIT)

    assert submit(caller, template="t", variables={"a": "r-1"}).status_code == 403
    bulk = caller.simulate_post("/api/claude/bulk", json=[{"template": "t", "variables": {"a": "r-1"}}])
    assert [item["statusCode"] for item in bulk.json] == [403]
