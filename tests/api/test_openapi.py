"""The OpenAPI document: its routes, schemas and examples, compared with the app and its answers."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import jsonschema
import pytest
from falcon.testing import TestClient

from claude_relay.api.app import ROUTES
from claude_relay.api.openapi import document
from claude_relay.core.intake.body import FIELDS
from claude_relay.core.intake.options import OPTIONS
from tests.support.builders import a_completion

DOCUMENT = document("https://relay.example.com")
#: The paths of people's pages, which are no part of the API.
PAGES = "/dashboard"


def schema_of(path: str, method: str, status: int) -> dict:
    """The schema of a JSON answer, with the components that it refers to."""
    answer = DOCUMENT["paths"][path][method.lower()]["responses"][str(status)]
    if "$ref" in answer:
        answer = DOCUMENT["components"]["responses"][answer["$ref"].rpartition("/")[2]]

    return answer["content"]["application/json"]["schema"]


def check(value: object, schema: dict) -> None:
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(value)


def unnamed_fields(value: object, schema: dict, place: str = "") -> list[str]:
    """The fields of an answer that its schema does not name, where it names any."""
    parts = [schema]
    for part in parts:  # grows meanwhile
        if "$ref" in part:
            parts.append(DOCUMENT["components"]["schemas"][part["$ref"].rpartition("/")[2]])
        parts.extend(part.get("allOf", []) + part.get("anyOf", []) + part.get("oneOf", []))
    named = {name: inner for part in parts for name, inner in part.get("properties", {}).items()}
    if isinstance(value, list):
        items = next((part["items"] for part in parts if "items" in part), {})
        return [each for inner in value for each in unnamed_fields(inner, items, f"{place}[]")]
    if not isinstance(value, dict) or not named:
        return []
    found = [f"{place}.{name}" for name in value if name not in named]
    for name in value.keys() & named.keys():
        found += unnamed_fields(value[name], named[name], f"{place}.{name}")

    return found


def examples() -> list[tuple[str, dict]]:
    """Each media type of a body or an answer with a schema of its own, and its place."""
    found = []

    def walk(place: str, value: object) -> None:
        if isinstance(value, dict):
            if "schema" in value and "example" in value:
                found.append((place, value))
            for name, inner in value.items():
                walk(f"{place}/{name}", inner)

    walk("", {key: DOCUMENT[key] for key in ("paths", "webhooks")})
    walk("", DOCUMENT["components"]["responses"])
    return found


def test_the_document_names_the_routes_of_the_app_and_no_others():
    """A new route needs a row in `api/openapi/operations.py`."""
    documented = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    served = {(verb, path) for path, verbs in ROUTES.items() for verb in verbs if not path.startswith(PAGES)}

    assert documented == served


def test_the_document_names_every_field_of_a_submit():
    """The schema has the fields that intake reads, and no others."""
    schemas = DOCUMENT["components"]["schemas"]

    assert set(schemas["Submit"]["properties"]) == set(FIELDS)
    assert set(schemas["Options"]["properties"]) == set(OPTIONS)


def test_the_document_is_openapi_3_1_with_both_callbacks():
    """Every operation has an id of its own, and every reference leads somewhere."""
    operations = [op for paths in DOCUMENT["paths"].values() for op in paths.values()]
    ids = [op["operationId"] for op in operations]
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT))

    assert DOCUMENT["openapi"] == "3.1.0"
    assert len(set(ids)) == len(ids)
    assert set(DOCUMENT["webhooks"]) == {"jobCompleted", "jobFailed", "collectionEnded"}
    for reference in references:
        kind, group, name = reference.split("/")
        assert name in DOCUMENT[kind][group]
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("place, content", examples(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_example_matches_its_schema(place, content):
    """Examples are what people copy."""
    if "urlencoded" not in place:
        check(content["example"], content["schema"])


def test_every_json_answer_has_an_example():
    """Only the document itself and streams have none."""
    without = [
        (path, status)
        for path, methods in DOCUMENT["paths"].items()
        for op in methods.values()
        for status, answer in op["responses"].items()
        if "$ref" not in answer
        for media, content in answer["content"].items()
        if media == "application/json" and "example" not in content
    ]

    assert without == [("/openapi.json", "200")]


def test_real_answers_match_the_document(client, relay):
    """Each route is asked once for a success and for an error; both match their schemas."""
    submit = {"prompt": "Hei", "webhookUrl": "https://hook.example/x", "requestId": "r-1"}
    calls = [
        ("POST", "/api/claude", {}, submit),
        ("POST", "/api/claude", {}, {"prompt": ""}),
        ("POST", "/api/claude", {}, {**submit, "prompt": "another"}),
        ("POST", "/api/claude/bulk", {}, [{"prompt": "a", "requestId": "r-2"}, {}]),
        ("POST", "/api/estimate", {}, {"prompt": "Hei"}),
        ("GET", "/api/result/{requestId}", {}, None),
        ("GET", "/api/status/{requestId}", {"requestId": "nobody"}, None),
        ("POST", "/api/groups/{group}", {}, {"concurrency": 2}),
        ("POST", "/api/groups/{group}", {}, {"concurrency": "x"}),
        ("POST", "/api/groups/{group}/pause", {}, None),
        ("POST", "/api/groups/{group}/resume", {}, None),
        ("GET", "/api/groups/{group}", {}, None),
        ("PUT", "/api/templates/{name}", {}, {"body": {"prompt": "Read {{text}}"}}),
        ("GET", "/api/templates", {}, None),
        ("GET", "/api/templates/{name}", {}, None),
        ("POST", "/api/collections", {}, {"collectionId": "c-1", "jobs": [{"prompt": "a"}], "open": True}),
        ("POST", "/api/collections/{collectionId}/rows", {}, {"jobs": [{"prompt": "b"}]}),
        ("POST", "/api/collections/{collectionId}/close", {}, None),
        ("GET", "/api/collections", {}, None),
        ("GET", "/api/collections/{collectionId}", {}, None),
        ("GET", "/api/collections/{collectionId}/results", {}, None),
        ("POST", "/api/collections/{collectionId}/cancel", {}, None),
        ("POST", "/api/collections/{collectionId}/retry", {}, None),
        ("POST", "/api/collections/{collectionId}/redeliver", {}, {"url": "https://hook.example/x"}),
        ("POST", "/api/collections/{collectionId}/cancel", {}, None),
        ("POST", "/api/drain", {}, None),
        ("POST", "/api/pause", {}, None),
        ("POST", "/api/resume", {}, None),
        ("POST", "/api/jobs/{requestId}/cancel", {"requestId": "r-2"}, None),
        ("POST", "/api/jobs/{requestId}/cancel", {"requestId": "r-2"}, None),
    ]
    seen = {ask(client, *call) for call in calls}
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion())
    rest = [
        ("GET", "/api/status/{requestId}", {}, None),
        ("GET", "/api/result/{requestId}", {}, None),
        ("GET", "/api/result/{requestId}", {"requestId": "r-2"}, None),
        ("GET", "/api/jobs", {}, None),
        ("GET", "/api/jobs/{requestId}", {}, None),
        ("POST", "/api/jobs/{requestId}/redeliver", {}, None),
        ("POST", "/api/redeliver", {}, {"requestIds": ["r-1", "nobody"]}),
        ("POST", "/api/jobs/{requestId}/retry", {}, {"options": {"maxTokens": 50}}),
        ("GET", "/api/cost", {}, None),
        ("GET", "/api/overview", {}, None),
        ("GET", "/api/moves", {}, None),
        ("GET", "/ack/{token}", {}, None),
        ("POST", "/ack/{token}", {}, None),
        ("GET", "/health", {}, None),
        ("GET", "/health/ready", {}, None),
        ("GET", "/openapi.json", {}, None),
    ]
    seen |= {ask(client, *call) for call in rest}
    json_routes = {
        (method.upper(), path)
        for path, methods in DOCUMENT["paths"].items()
        for method, op in methods.items()
        if any("application/json" in answer.get("content", {}) for answer in op["responses"].values())
    }

    assert {(method, path) for method, path, _ in seen} == json_routes


def ask(client: TestClient, method: str, path: str, names: dict, body: object) -> tuple[str, str, int]:
    """Make a request and compare its answer with the document, which names every field of it."""
    url = path
    usual = {"requestId": "r-1", "group": "g", "token": "t", "name": "n", "collectionId": "c-1"}
    for name, value in (usual | names).items():
        url = url.replace(f"{{{name}}}", value)
    answer = (
        client.simulate_request(method, url, json=body) if body is not None else client.simulate_request(method, url)
    )
    schema = schema_of(path, method, answer.status_code)
    check(answer.json, schema)
    assert unnamed_fields(answer.json, schema) == [], (method, path)

    return method, path, answer.status_code


class Page(HTMLParser):
    """The tags of a page, and the targets of its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name == "href"}
        self.ids |= {value or "" for name, value in attrs if name == "id"}


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_needs_no_key_and_runs_no_script(make, path):
    """CASES N16: HTML under a strict policy, without inline script or style; every link on it leads somewhere."""
    visitor = TestClient(make().app)
    answer = visitor.simulate_get(path)
    page, policy = Page(answer.text), answer.headers["content-security-policy"]

    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src" not in policy
    assert not {"script", "style"} & set(page.tags)
    assert not any(name == "style" or name.startswith("on") for name in page.attributes)
    for link in page.links:
        known = link[1:] in page.ids if link.startswith("#") else visitor.simulate_get(link).status_code in (200, 503)
        assert known, link


def test_the_start_page_says_what_this_is(make):
    """CASES N16: what it is, and the links to the documents."""
    page = TestClient(make(public_url="https://relay.example.com").app).simulate_get("/")

    assert "claude-relay" in page.text and "/docs" in page.text and "/openapi.json" in page.text
    assert "https://relay.example.com/api/claude" in page.text


def test_the_host_header_is_no_markup_on_the_start_page(make):
    """CASES N16: a Host header with markup is left out."""
    page = TestClient(make().app).simulate_get("/", headers={"Host": "x'><script>alert(1)</script>"})

    assert "<script>" not in page.text


def test_the_verb_prints_the_document_of_the_route(client, capsys):
    """`claude-relay openapi` and `GET /openapi.json` are the same document."""
    from claude_relay.cli.main import main

    assert main(["openapi"]) == 0
    printed = json.loads(capsys.readouterr().out)

    assert printed["paths"] == client.simulate_get("/openapi.json").json["paths"]


def test_the_id_of_a_request_is_echoed_and_logged(client, caplog):
    """X-Request-Id comes back, and one line names it with method, route, status and requestId."""
    with caplog.at_level("INFO", logger="claude_relay.api.middleware"):
        answer = client.simulate_post(
            "/api/claude", json={"prompt": "Hei", "requestId": "r-1"}, headers={"X-Request-Id": "abc-1"}
        )
        client.simulate_get("/ack/secret-token", headers={"X-Request-Id": "abc-2"})
        client.simulate_get("/health", headers={"X-Request-Id": "no\ttab"})
        client.simulate_get("/health")
    first, second = caplog.records

    assert answer.headers["x-request-id"] == "abc-1"
    assert (first.httpRequestId, first.method, first.path) == ("abc-1", "POST", "/api/claude")
    assert (first.status, first.requestId) == (202, "r-1")
    assert second.path == "/ack/{token}" and "secret-token" not in caplog.text
