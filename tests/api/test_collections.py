"""Collections over HTTP: rows in, one callback, results, and what is refused."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from falcon.testing import TestClient

from claude_relay.config import load_prices
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.keys import Scope
from claude_relay.services import JobRef, Relay
from tests.support.builders import a_completion, a_failure

TEMPLATE = {"prompt": "Les {{text}} {{lang|norsk}}"}
HOOK = "https://hook.example/in"


def create(client: TestClient, rows: Any = None, **body: Any):
    fields = {"collectionId": "c", "template": TEMPLATE, **({"rows": rows} if rows is not None else {}), **body}
    return client.simulate_post("/api/collections", json={k: v for k, v in fields.items() if v is not None})


def post_csv(client: TestClient, text: str | bytes, kind: str = "text/csv", **query: str):
    data = text.encode() if isinstance(text, str) else text
    client.simulate_put("/api/templates/t", json={"body": TEMPLATE})
    params = {"collectionId": "c", "template": "t", **query}
    return client.simulate_post("/api/collections", body=data, params=params, headers={"Content-Type": kind})


def problems(answer) -> dict[str, str]:
    assert answer.status_code == 400, answer.text
    return {item["field"]: item["problem"] for item in answer.json["problems"]}


def status(client: TestClient, name: str = "c") -> dict[str, Any]:
    answer = client.simulate_get(f"/api/collections/{name}")
    assert answer.status_code == 200, answer.text
    return answer.json


def run(relay: Relay, *failing: int, limit: int = 100, text: str = "Svar", **completion: Any) -> int:
    """Run the rows that can be claimed; those with a number in `failing` fail."""
    claimed = relay.execution.claim("w", limit=limit)
    for item in claimed:
        if item.job.row in failing:
            relay.execution.fail(item, a_failure(ErrorType.REFUSED, Remedy.FAIL))
        else:
            relay.execution.complete(item, a_completion(text, **completion))
    return len(claimed)


def callbacks(relay: Relay) -> list[tuple[str, dict[str, Any]]]:
    """The callbacks that are due, each with its webhook-id; they are delivered."""
    from claude_relay.core.deliveries.delivery import Reply

    taken = relay.deliveries.claim("w", limit=100)
    for item in taken:
        relay.deliveries.record_attempt(item, Reply(status=200))
    return [(item.delivery.webhook_id, json.loads(item.body)) for item in taken]


@pytest.fixture
def relay(tmp_path):
    from claude_relay.core.policy import Policy
    from claude_relay.storage.sqlite.store import SqliteStore
    from tests.support.builders import QuietNotifier

    prices = load_prices(None)
    relay = Relay(SqliteStore(tmp_path / "relay.db"), QuietNotifier(), Policy(delivery_delay=0.0), prices=prices)
    yield relay
    relay.close()


@pytest.fixture
def named(relay, client):
    def named(name: str, *scopes: Scope) -> TestClient:
        _, text = relay.keys.add(name, frozenset(scopes or (Scope.SUBMIT, Scope.READ)))
        return TestClient(client.app, headers={"X-API-Key": text})

    return named


def test_rows_become_jobs_and_one_callback_follows(relay, client) -> None:
    """The whole life: 202, status, rows as jobs, one callback with the results, and the acknowledgement's place."""
    answer = create(client, [{"text": "a"}, {"text": "b", "lang": "tysk"}], webhookUrl=HOOK, metadata={"k": 1})

    assert answer.status_code == 202
    assert {key: answer.json[key] for key in ("collectionId", "status", "total", "warnings")} == {
        "collectionId": "c", "status": "pending", "total": 2, "warnings": []
    }  # fmt: skip
    assert answer.json["statusUrl"].endswith("/api/collections/c") and answer.headers["location"]
    assert (status(client)["status"], status(client)["pending"]) == ("pending", 2)
    row = client.simulate_get("/api/jobs/c:2").json
    assert row["request"]["prompt"] == "Les b tysk" and row["status"] == "pending"
    [first, second] = relay.execution.claim("w", limit=2)
    assert status(client)["status"] == "processing" and status(client)["processing"] == 2
    relay.execution.complete(second, a_completion("To"))
    assert callbacks(relay) == []
    relay.execution.complete(first, a_completion("En"))
    ended = status(client)

    assert (ended["status"], ended["completed"], ended["failed"], ended["generation"]) == ("completed", 2, 0, 1)
    assert ended["finishedAt"] and ended["costUsd"] == 0.002 and ended["delivery"]["status"] == "pending"
    [(_, body)] = callbacks(relay)
    assert list(body) == [
        "collectionId", "status", "timestamp", "generation", "total", "completed", "failed", "usage", "costUsd",
        "savedUsd", "failures", "results", "resultsUrl", "metadata", "ackUrl",
    ]  # fmt: skip
    assert body["results"] == [
        {"row": 1, "requestId": "c:1", "status": "completed", "response": "En"},
        {"row": 2, "requestId": "c:2", "status": "completed", "response": "To"},
    ]
    assert body["usage"] == {"input_tokens": 20, "output_tokens": 10} and body["metadata"] == {"k": 1}
    assert status(client)["delivery"]["status"] == "delivered"
    assert callbacks(relay) == []


def test_the_same_request_again_is_the_same_collection(client) -> None:
    """202 with the present status; another body under the same id is 409; an id of another kind does not collide."""
    create(client, [{"text": "a"}])
    again = create(client, [{"text": "a"}])
    client.simulate_post("/api/claude", json={"requestId": "c", "prompt": "x"})

    assert again.status_code == 202 and again.json["duplicate"] is True
    assert again.headers["idempotency-replayed"] == "true"
    assert create(client, [{"text": "b"}]).status_code == 409
    assert client.simulate_get("/api/jobs/c").json["request"]["prompt"] == "x"
    assert [row["collectionId"] for row in client.simulate_get("/api/collections").json["collections"]] == ["c"]


def test_a_bad_row_refuses_the_whole_and_nothing_is_kept(client) -> None:
    """`rows[2].text` from 0, the text says row 3; no row can be found, and the id is free."""
    found = problems(create(client, [{"text": "a"}, {"text": "b"}, {"lang": "x"}, "no object"]))

    assert set(found) == {"rows[2].text", "rows[3]"} and "row 3" in found["rows[2].text"]
    assert client.simulate_get("/api/jobs").json["jobs"] == []
    assert client.simulate_get("/api/collections/c").status_code == 404
    assert client.simulate_get("/api/jobs/c:1").status_code == 404
    assert create(client, [{"text": "a"}]).status_code == 202


def test_a_problem_of_a_row_names_the_columns_that_are_empty_in_it(client) -> None:
    """The likely cause: people who fill in a sheet know its columns, and not the fields of the template."""
    found = problems(create(client, [{"text": "a"}, {"text": ""}], template={"prompt": "{{text}}"}))

    assert found == {"rows[1].prompt": "is required; empty here: text (row 2)"}


def test_an_invalid_row_can_fail_alone(relay, client) -> None:
    """`onInvalid: fail`: no call is made for it, the others run, and the table of results repeats what it was."""
    answer = create(client, [{"text": "a"}, {"txt": "b"}, {"text": "c"}], onInvalid="fail", webhookUrl=HOOK)
    assert (answer.status_code, answer.json["total"], run(relay)) == (202, 3, 2)
    [(_, body)] = callbacks(relay)

    assert (body["status"], body["failed"]) == ("partial", 1)
    assert body["failures"][0]["row"] == 2 and body["failures"][0]["errorType"] == "invalid_request"
    assert "text" in body["failures"][0]["error"]
    assert client.simulate_post("/api/collections/c/retry").status_code == 409
    assert results(client, format="csv").text.splitlines()[2].startswith(",b,,c:2,failed,")


def test_jobs_instead_of_rows(relay, client) -> None:
    """Complete bodies with the collection's defaults; what a row cannot have is refused by name."""
    body = {"collectionId": "j", "group": "g", "jobs": [{"prompt": "a"}, {"prompt": "b", "group": "own"}]}
    assert client.simulate_post("/api/collections", json=body).status_code == 202
    assert [client.simulate_get(f"/api/jobs/j:{n}").json["group"] for n in (1, 2)] == ["g", "own"]
    bad = [{"prompt": "a", name: "x"} for name in ("requestId", "webhookUrl", "failureWebhookUrl", "runAt")]
    found = problems(client.simulate_post("/api/collections", json={"jobs": bad}))

    assert set(found) == {
        "jobs[0].requestId", "jobs[1].webhookUrl", "jobs[2].failureWebhookUrl", "jobs[3].runAt"
    }  # fmt: skip


@pytest.mark.parametrize(
    "body, field",
    [
        ({"rows": [{"text": "a"}], "template": None}, "template"),
        ({"rows": [{"text": "a"}], "template": {"prompt": "no place"}}, "template"),
        ({"rows": [{"text": "a"}], "template": {"prompt": "{{text}}", "webhookUrl": HOOK}}, "template"),
        ({"rows": [{"text": "a"}], "template": "unknown"}, "template"),
        ({"rows": [{"text": "a"}], "template": 9}, "template"),
        ({"rows": [{"text": "a"}], "jobs": [{"prompt": "x"}]}, "jobs"),
        ({"rows": []}, "rows"),
        ({"rows": [{"text": "a"}] * 10_001}, "rows"),
        ({"rows": {"text": "a"}}, "rows"),
        ({"rows": [{"text": "a"}], "collectionId": "x" * 121}, "collectionId"),
        ({"rows": [{"text": "a"}], "each": True}, "each"),
        ({"rows": [{"text": "a"}], "mode": "fast"}, "mode"),
        ({"rows": [{"text": "a"}], "maxCostUsd": 0}, "maxCostUsd"),
        ({"rows": [{"text": "a" * 4000}] * 50, "maxCostUsd": 0.0001}, "maxCostUsd"),
        ({"rows": [{"text": "a"}], "onInvalid": "skip"}, "onInvalid"),
        (
            {"rows": [{"text": "a"}], "maxCostUsd": 1, "template": {**TEMPLATE, "options": {"model": "claude-odd-9"}}},
            "maxCostUsd",
        ),
        ({"rows": [{"text": "a"}], "webhookURL": HOOK}, "webhookURL"),
        ({"rows": [{"text": "a" * (2**20 + 1)}]}, "rows[0].text"),
    ],
)
def test_bad_fields_are_named(make, body: dict[str, Any], field: str) -> None:
    """Nothing is kept of a refused request."""
    client = make()
    assert field in problems(create(client, **body))
    assert client.simulate_get("/api/collections").json["collections"] == []
    assert client.simulate_get("/api/jobs").json["jobs"] == []


def test_row_ids_that_another_job_has_are_a_conflict(client) -> None:
    client.simulate_post("/api/claude", json={"requestId": "c:2", "prompt": "x"})

    answer = create(client, [{"text": "a"}, {"text": "b"}])
    assert answer.status_code == 409 and "c:2" in answer.json["error"]
    assert client.simulate_get("/api/collections/c").status_code == 404
    assert client.simulate_get("/api/jobs/c:1").status_code == 404


@pytest.mark.parametrize(
    "text, kind",
    [
        ("text,lang\na,b\n", "text/csv"),
        ("text;lang\r\na;b\r\n", "text/csv; charset=utf-8"),
        ("\ufefftext\tlang\na\tb\n", "text/csv"),
        ('text,lang\n"a","b"\n\n', "text/csv"),
        ('{"text": "a", "lang": "b"}\n', "application/x-ndjson"),
    ],
)
def test_tables_in_other_forms(client, text: str, kind: str) -> None:
    """CSV with each delimiter, with a byte order mark, with quotes; NDJSON; the other fields in the query."""
    assert post_csv(client, text, kind).status_code == 202
    assert client.simulate_get("/api/jobs/c:1").json["request"]["prompt"] == "Les a b"


def test_csv_in_windows_1252_and_a_given_delimiter(client) -> None:
    data = "text;lang\nblå, grønn;æ\n".encode("cp1252")
    answer = post_csv(client, data, "text/csv; charset=windows-1252", delimiter=";")

    assert answer.status_code == 202
    assert client.simulate_get("/api/jobs/c:1").json["request"]["prompt"] == "Les blå, grønn æ"


def multipart(*parts: tuple[str, str, bytes]) -> dict[str, Any]:
    """A body of `(headers of the disposition, content type, content)`."""
    body = b"".join(
        b"--XX\r\nContent-Disposition: form-data; " + name.encode() + b"\r\n"
        + (f"Content-Type: {kind}\r\n".encode() if kind else b"") + b"\r\n" + content + b"\r\n"
        for name, kind, content in parts
    )  # fmt: skip
    return {"body": body + b"--XX--\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=XX"}}


@pytest.mark.parametrize(
    "kind, file_name, content",
    [
        ("text/csv", "t.csv", b"text;lang\na;b\n"),
        ("text/csv; charset=windows-1252", "t.csv", "text;lang\na;b\n".encode("cp1252")),
        ("application/octet-stream", "t.csv", b"text,lang\na,b\n"),
        ("text/plain", "t.jsonl", b'{"text": "a", "lang": "b"}\n'),
        ("application/vnd.ms-excel; charset=utf-8", "t.csv", b"text;lang\na;b\n"),
        ("application/vnd.ms-excel", "t.xls", None),
    ],
)
def test_a_table_as_a_part_of_a_form(client, kind: str, file_name: str, content: bytes | None) -> None:
    """The other fields are parts, so that no webhookUrl stands in a query."""
    answer = client.simulate_post(
        "/api/collections",
        **multipart(
            ('name="collectionId"', "", b"c"),
            ('name="template"', "", b'{"prompt": "Les {{text}} {{lang}}"}'),
            ('name="webhookUrl"', "", HOOK.encode()),
            ('name="metadata"', "", b'{"k": 1}'),
            (f'name="file"; filename="{file_name}"', kind, content or b"x"),
        ),
    )
    if content is None:
        assert answer.status_code == 415
        return
    assert answer.status_code == 202, answer.text
    assert client.simulate_get("/api/jobs/c:1").json["request"]["prompt"] == "Les a b"
    assert status(client)["metadata"] == {"k": 1}


def test_a_form_without_a_table_or_with_two_is_refused(client) -> None:
    part = ('name="file"; filename="t.csv"', "text/csv", b"text\na\n")
    template = ('name="template"', "", b'{"prompt": "{{text}}"}')

    assert "rows" in problems(client.simulate_post("/api/collections", **multipart(template)))
    other = ('name="data"; filename="t.csv"', "text/csv", b"text\na\n")  # as tools name the part by themselves
    assert (
        "a part of the name file"
        in problems(client.simulate_post("/api/collections", **multipart(template, other)))["data"]
    )
    assert "body" in problems(client.simulate_post("/api/collections", **multipart(template, part, part)))
    assert (
        client.simulate_post("/api/collections", body=b"x", headers={"Content-Type": "multipart/form-data"}).status_code
        == 400
    )
    latin = multipart(template, ('name="a"', "", b"x"))
    latin["body"] = latin["body"].replace(b'"a"', b'"\xe6"')
    assert "body" in problems(client.simulate_post("/api/collections", **latin))


@pytest.mark.parametrize(
    "text, field, words",
    [
        ("", "rows", ("empty",)),
        ("text,lang\n", "rows", ("no row",)),
        ('text,lang\n"a,b\n', "rows", ("quote", "line 2")),
        ('text,lang\n"a"x,b\n', "rows", ("quote", "line 2")),
        ("text,lang\na,b\na\n", "rows[1]", ("1 cell", "row 2", "line 3")),
        ("text,text\na,b\n", "rows", ("twice", "columns 1 and 2")),
        ("text,,lang\na,b,c\n", "rows", ("no title", "column 2")),
        (",".join(f"c{n}" for n in range(600)) + "\n" + ",".join("x" * 600) + "\n", "rows", ("600 columns", "500")),
        ("text\n" + "a\n" * 10_001, "rows", ("10,000",)),
        ("text\nblå\n".encode("cp1252"), "rows", ("utf-8", "line 2", "windows-1252")),
        ("Beløp\n12\n", "rows[0].text", ("missing", "row 1", "line 2")),
        ("12,13\n14,15\n", "rows[0].text", ("missing", "columns are 12, 13")),
    ],
)
def test_a_bad_csv_is_named_by_line(client, text: Any, field: str, words: tuple[str, ...]) -> None:
    """CASES: wrong quote, 600 columns, no header, equal headers, another encoding, an empty file, 10,001 rows."""
    found = problems(post_csv(client, text))

    assert field in found
    assert all(word in found[field] for word in words), found
    assert client.simulate_get("/api/collections").json["collections"] == []


def test_a_csv_over_the_body_limit_is_413_and_an_unknown_charset_400(make) -> None:
    client = make(max_body=1000)

    assert post_csv(client, "text\n" + "a\n" * 1000).status_code == 413
    assert "charset" in problems(post_csv(client, "text\na\n", "text/csv; charset=utf-7"))


def test_an_open_collection_takes_rows_until_it_is_closed(relay, client) -> None:
    """Each request is idempotent under its key; it ends only after the close; rows after that are a sentence."""
    assert create(client, None, open=True, webhookUrl=HOOK).json["status"] == "open"

    def more(rows: list[Any], key: str):
        return client.simulate_post("/api/collections/c/rows", json={"rows": rows}, headers={"Idempotency-Key": key})

    assert more([{"text": "a"}, {"text": "b"}], "k1").json["total"] == 2
    assert more([{"text": "a"}, {"text": "b"}], "k1").json["duplicate"] is True
    assert more([{"text": "other"}], "k1").status_code == 409
    assert "rows[1].text" in problems(more([{"text": "c"}, {}], "k2"))
    assert status(client)["total"] == 2
    assert run(relay) == 2 and status(client)["status"] == "open" and callbacks(relay) == []
    assert more([{"text": "c"}], "k2").json["total"] == 3
    assert client.simulate_get("/api/jobs/c:3").json["request"]["prompt"] == "Les c norsk"
    headers = {"Idempotency-Key": "end"}
    assert client.simulate_post("/api/collections/c/close", headers=headers).json["status"] == "processing"
    assert client.simulate_post("/api/collections/c/close", headers=headers).status_code == 200
    for answer in (client.simulate_post("/api/collections/c/close"), more([{"text": "d"}], "k3")):
        assert answer.status_code == 409 and "closed" in answer.json["error"]
    assert run(relay) == 1
    [(_, body)] = callbacks(relay)
    assert (body["total"], body["status"]) == (3, "completed")


def test_an_open_collection_without_rows_ends_with_its_close(relay, client) -> None:
    create(client, None, open=True, webhookUrl=HOOK)
    client.simulate_post("/api/collections/c/close")
    [(_, body)] = callbacks(relay)

    assert (body["total"], body["status"], body["results"]) == (0, "completed", [])


def test_cancel_ends_every_row_and_calls_back_once(relay, client) -> None:
    """Rows that run are stopped by their worker; a second cancel is a sentence."""
    create(client, [{"text": str(n)} for n in range(120)], webhookUrl=HOOK)
    [claimed] = relay.execution.claim("w", limit=1)
    answer = client.simulate_post("/api/collections/c/cancel")
    assert answer.status_code == 200 and answer.json["failed"] == 119
    assert client.simulate_post("/api/collections/c/cancel").status_code == 409
    assert relay.execution.claim("w", limit=5) == [] and callbacks(relay) == []
    relay.execution.fail(claimed, a_failure(ErrorType.CANCELLED, Remedy.FAIL))
    [(_, body)] = callbacks(relay)

    assert (body["status"], body["failed"], len(body["failures"])) == ("failed", 120, 100)
    assert client.simulate_post("/api/collections/c/cancel").status_code == 409


def test_retry_begins_the_next_generation(relay, client) -> None:
    """All failed rows, or named ones; a new callback with a new webhook-id; a row alone is not retried."""
    create(client, [{"text": str(n)} for n in range(4)], webhookUrl=HOOK)
    assert client.simulate_post("/api/collections/c/retry").status_code == 409
    run(relay, 2, 3)
    [(first, body)] = callbacks(relay)
    assert (body["status"], body["generation"], [each["row"] for each in body["failures"]]) == ("partial", 1, [2, 3])
    alone = client.simulate_post("/api/jobs/c:2/retry")
    assert alone.status_code == 409 and "/api/collections/c/retry" in alone.json["error"]
    assert "rows" in problems(client.simulate_post("/api/collections/c/retry", json={"rows": [5]}))
    assert "rows" in problems(client.simulate_post("/api/collections/c/retry", json={"rows": "2"}))

    answer = client.simulate_post("/api/collections/c/retry")
    assert (answer.status_code, answer.json["generation"], answer.json["pending"]) == (202, 2, 2)
    assert status(client)["status"] == "processing" and run(relay, 3) == 2
    [(second, body)] = callbacks(relay)
    assert (body["status"], body["generation"], body["completed"], body["failed"]) == ("partial", 2, 3, 1)
    assert second != first
    client.simulate_post("/api/collections/c/retry", json={"rows": [1, 3]})
    assert run(relay) == 2
    [(_, body)] = callbacks(relay)
    assert (body["status"], body["generation"]) == ("completed", 3)
    assert client.simulate_post("/api/collections/c/retry").status_code == 409


def test_redeliver_sends_the_same_bytes_again(relay, client) -> None:
    create(client, [{"text": "a"}], webhookUrl=HOOK)
    assert client.simulate_post("/api/collections/c/redeliver").status_code == 409
    run(relay)
    [first] = callbacks(relay)
    assert client.simulate_post("/api/collections/c/redeliver").status_code == 202

    assert callbacks(relay) == [first]
    create(client, [{"text": "a"}], collectionId="silent")
    run(relay)
    assert client.simulate_post("/api/collections/silent/redeliver").status_code == 409
    assert client.simulate_post("/api/collections/silent/redeliver", json={"url": HOOK}).status_code == 202
    assert [body["collectionId"] for _, body in callbacks(relay)] == ["silent"]


def test_each_row_calls_back_too(relay, client) -> None:
    create(client, [{"text": "a"}, {"text": "b"}], webhookUrl=HOOK, each=True)
    run(relay, 2)
    bodies = [body for _, body in callbacks(relay)]

    assert sorted(body.get("requestId") or body["collectionId"] for body in bodies) == ["c", "c:1", "c:2"]


def test_the_budget_of_the_whole_stops_rows(relay, client) -> None:
    """A row starts only while spent plus set aside is below it; then the rest fails with `budget`."""
    create(client, [{"text": str(n)} for n in range(100)], webhookUrl=HOOK, maxCostUsd=0.2)
    assert run(relay, cost_usd=0.05) == 5  # 4,096 tokens of an answer are set aside for each
    relay.collection_actions.tend()

    ended = status(client)
    assert (ended["status"], ended["completed"], ended["failed"]) == ("partial", 5, 95)
    [(_, body)] = callbacks(relay)
    assert {each["errorType"] for each in body["failures"]} == {"budget"}


def test_a_large_callback_has_no_results_and_says_so(relay, client) -> None:
    create(client, [{"text": str(n)} for n in range(50)], webhookUrl=HOOK)
    run(relay, text="x" * 100_000)
    [(_, body)] = callbacks(relay)

    assert "results" not in body and body["resultsTruncated"] is True and body["completed"] == 50


def results(client: TestClient, **query: str):
    return client.simulate_get("/api/collections/c/results", params=query)


def test_results_as_json_and_ndjson_before_and_after_the_end(relay, client) -> None:
    """Unfinished rows have row, requestId and status only."""
    create(client, [{"text": "a"}, {"text": "b"}])
    run(relay, limit=1)
    before = results(client).json
    lines = [json.loads(line) for line in results(client, format="ndjson").text.splitlines()]

    assert before == lines and [row["row"] for row in before] == [1, 2]
    assert before[0]["response"] == "Svar" and before[0]["costUsd"] == 0.001
    assert before[1] == {"row": 2, "requestId": "c:2", "status": "pending"}
    assert results(client, format="xml").status_code == 400
    assert client.simulate_head("/api/collections/c/results").status_code == 200


def test_results_as_csv(relay, client) -> None:
    """The input's columns, the fields of the answers, nested ones as a.b; a taken name becomes relay_…."""
    post_csv(client, "text,status,total\n=SUM(A1),ok,7\nb,ok,8\nc,ok,9\n")
    answer = {"total": 12.5, "seller": {"name": "-Ås", "no": None}, "lines": [{"a": 1}], "paid": True}
    for item in relay.execution.claim("w", limit=2):
        relay.execution.complete(item, a_completion(json.dumps(answer), json=answer))
    relay.execution.fail(relay.execution.claim("w", limit=1)[0], a_failure(ErrorType.REFUSED, Remedy.FAIL))
    plain = results(client, format="csv")
    rows = list(csv.reader(io.StringIO(plain.text)))
    excel = results(client, format="excel").content

    assert plain.headers["content-type"].startswith("text/csv")
    assert rows[0] == [
        "text", "status", "total", "relay_total", "seller.name", "seller.no", "lines", "paid", "requestId",
        "relay_status", "error", "costUsd",
    ]  # fmt: skip
    assert rows[1] == ["'=SUM(A1)", "ok", "7", "12.5", "'-Ås", "", '[{"a":1}]', "true", "c:1", "completed", "", "0.001"]
    assert rows[3][:3] == ["c", "ok", "9"] and rows[3][9:11] == ["failed", "it was refused"]
    assert excel.startswith(b"\xef\xbb\xbf") and ";12,5;" in excel.decode("utf-8-sig")
    assert ";" in results(client, format="csv", delimiter=";").text.splitlines()[0]
    assert results(client, format="csv", delimiter="x").status_code == 400


def test_a_collection_belongs_to_its_key(relay, client, named) -> None:
    """Another key's is 404 in every route; a key that may only submit learns nothing of the state."""
    one, two, writer = named("one"), named("two"), named("writer", Scope.SUBMIT)
    create(one, [{"text": "a"}])
    for path in ("", "/results"):
        assert two.simulate_get(f"/api/collections/c{path}").status_code == 404
    for path in ("rows", "close", "cancel", "retry", "redeliver"):
        body = {"rows": [{"text": "x"}]} if path == "rows" else {}
        assert two.simulate_post(f"/api/collections/c/{path}", json=body).status_code == 404, path
    assert two.simulate_get("/api/collections").json["collections"] == []
    assert create(two, [{"text": "b"}]).status_code == 202
    assert client.simulate_get("/api/collections/c").status_code == 409
    assert client.simulate_get("/api/collections/c", params={"owner": "two"}).json["owner"] == "two"

    assert create(writer, [{"text": "a"}], collectionId="w").status_code == 202
    assert create(writer, [{"text": "a"}], collectionId="x").status_code == 202
    cancelled = writer.simulate_post("/api/collections/x/cancel")
    assert cancelled.status_code == 200 and set(cancelled.json) == {"collectionId", "message"}
    run(relay)
    again = create(writer, [{"text": "a"}], collectionId="w")
    assert (again.json["status"], again.json["duplicate"]) == ("pending", True)
    late = writer.simulate_post("/api/collections/w/cancel")
    assert late.status_code == 409 and "complete" not in late.text and "ended" not in late.text
    for path in ("", "/results"):
        assert writer.simulate_get(f"/api/collections/w{path}").status_code == 403
    assert writer.simulate_post("/api/collections/w/retry").status_code == 403


def test_a_collection_that_does_not_fit_into_the_queue_is_refused_as_a_whole(make, tmp_path) -> None:
    from claude_relay.core.policy import Policy
    from claude_relay.storage.sqlite.store import SqliteStore
    from tests.support.builders import QuietNotifier

    small = Relay(SqliteStore(tmp_path / "small.db"), QuietNotifier(), Policy(max_queue=5))
    client = make(small)
    answer = create(client, [{"text": str(n)} for n in range(6)])

    assert answer.status_code == 503 and "retry-after" in answer.headers
    assert create(client, [{"text": str(n)} for n in range(5)]).status_code == 202
    small.close()


def test_a_template_may_be_deleted_while_rows_wait(relay, client) -> None:
    """Its rows are complete, and so are those that follow."""
    client.simulate_put("/api/templates/t", json={"body": TEMPLATE})
    create(client, [{"text": "a"}], template="t", open=True)
    client.simulate_delete("/api/templates/t")
    client.simulate_post("/api/collections/c/rows", json={"rows": [{"text": "b"}]})
    client.simulate_post("/api/collections/c/close")

    assert run(relay) == 2 and status(client)["status"] == "completed"
    assert client.simulate_get("/api/jobs/c:2").json["template"] == "t@1"
    assert relay.queries.job_details(JobRef(request_id="c:2"))["request"]["prompt"] == "Les b norsk"


def test_rows_are_in_the_list_of_jobs_and_the_collection_itself_is_not(relay, client) -> None:
    create(client, [{"text": "a"}, {"text": "b"}])

    assert {job["requestId"] for job in client.simulate_get("/api/jobs").json["jobs"]} == {"c:1", "c:2"}
    overview = client.simulate_get("/api/overview").json["jobs"]
    assert overview["queued"] == 2 and "collection" not in overview


def test_the_trace_of_a_collection_is_that_of_its_rows_and_its_callback(client, relay):
    """CONTRACT §9: also of rows that came later, each with the trace of its own request."""
    first, later = (f"00-{digit * 32}-{digit * 16}-01" for digit in "ab")
    body = {"collectionId": "c", "template": TEMPLATE, "rows": [{"text": "x"}], "open": True, "webhookUrl": HOOK}
    client.simulate_post("/api/collections", json=body, headers={"traceparent": first})
    client.simulate_post("/api/collections/c/rows", json={"rows": [{"text": "y"}]}, headers={"traceparent": later})
    client.simulate_post("/api/collections/c/close")
    claimed = relay.execution.claim("w", limit=2)
    for each in claimed:
        relay.execution.complete(each, a_completion())
    [sent] = relay.deliveries.claim("w", limit=9)

    assert {each.job.request_id: each.request.traceparent for each in claimed} == {"c:1": first, "c:2": later}
    assert sent.target.traceparent == first
