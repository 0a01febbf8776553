"""Named keys: their own jobs only, and their scopes."""

from __future__ import annotations

import pytest
from falcon.testing import TestClient

from claude_relay.core.keys import Scope
from claude_relay.core.text.rates import Rate
from claude_relay.errors import Conflict, InvalidRequest
from claude_relay.services import JobRef
from tests.support.builders import a_completion

BOTH = frozenset((Scope.SUBMIT, Scope.READ))


@pytest.fixture
def key(relay, client):
    """A client with a key of its own."""

    def key(name: str, *scopes: Scope, **limits: object) -> TestClient:
        _, text = relay.keys.add(name, frozenset(scopes) or BOTH, **limits)
        return TestClient(client.app, headers={"X-API-Key": text})

    return key


def submit(client, request_id, **body):
    return client.simulate_post("/api/claude", json={"prompt": "Hei", "requestId": request_id, **body})


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/api/status/r-1"),
        ("GET", "/api/result/r-1"),
        ("GET", "/api/jobs/r-1"),
        ("POST", "/api/jobs/r-1/cancel"),
        ("POST", "/api/jobs/r-1/retry"),
        ("POST", "/api/jobs/r-1/redeliver"),
    ],
)
def test_the_job_of_another_owner_is_404_like_an_unknown_one(key, client, method, path):
    """Not 403, and with the same message as an unknown job; the admin sees it."""
    one, other = key("one"), key("other")
    submit(one, "r-1")
    foreign = other.simulate_request(method, path)
    unknown = other.simulate_request(method, path.replace("r-1", "r-9"))

    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert foreign.json["error"] == unknown.json["error"].replace("r-9", "r-1")
    assert client.simulate_get("/api/status/r-1").status_code == 200


def test_a_key_cannot_continue_the_conversation_of_another_owner(key, relay):
    """The same message as for an unknown job, ended or not; an own job that has not ended is a conflict."""
    one, other = key("one"), key("other")
    submit(one, "r-1")
    for ended in (False, True):
        if ended:
            relay.execution.complete(relay.execution.claim("w", limit=1)[0], a_completion())
        foreign, unknown = submit(other, "x", continueFrom="r-1"), submit(other, "x", continueFrom="r-9")
        own = submit(one, "y", continueFrom="r-1")

        assert (foreign.status_code, unknown.status_code, own.status_code) == (400, 400, 202 if ended else 409)
        assert foreign.json["problems"][0]["field"] == "continueFrom"
        assert foreign.json["error"] == unknown.json["error"].replace("r-9", "r-1")


def test_two_owners_may_use_the_same_request_id(key, client):
    """The admin must name the owner."""
    one, other = key("one"), key("other")
    submit(one, "r-1", group="a")
    assert "duplicate" not in submit(other, "r-1", group="b").json

    assert one.simulate_get("/api/status/r-1").json["group"] == "a"
    assert other.simulate_get("/api/status/r-1").json["group"] == "b"
    ambiguous = client.simulate_get("/api/status/r-1")
    assert (ambiguous.status_code, "owner" in ambiguous.json["error"]) == (409, True)
    assert client.simulate_get("/api/status/r-1", params={"owner": "other"}).json["group"] == "b"
    assert one.simulate_get("/api/status/r-1", params={"owner": "other"}).json["group"] == "a"


def test_lists_and_events_show_own_jobs_only(key):
    one, other = key("one"), key("other")
    submit(one, "r-1")

    assert [job["requestId"] for job in one.simulate_get("/api/jobs").json["jobs"]] == ["r-1"]
    assert other.simulate_get("/api/jobs", params={"owner": "one"}).json["jobs"] == []
    assert other.simulate_get("/api/moves").json["moves"] == []


def test_scopes(key):
    """A submit-only key cannot read, a reader cannot spend, neither may pause the relay."""
    writer, reader, chief = key("w", Scope.SUBMIT), key("r", Scope.READ), key("c", Scope.ADMIN)
    submit(writer, "r-1")

    assert writer.simulate_get("/api/status/r-1").status_code == 403
    assert submit(reader, "r-2").status_code == 403
    assert chief.simulate_get("/api/status/r-1").status_code == 200
    for client, status in ((writer, 403), (reader, 403), (chief, 200)):
        assert client.simulate_post("/api/pause").status_code == status
    assert reader.simulate_get("/api/overview").status_code == 403


def test_a_revoked_key_is_refused_at_once_and_its_name_cannot_be_reused(key, relay):
    client = key("one")
    submit(client, "r-1")
    relay.keys.revoke("one")

    assert client.simulate_get("/api/status/r-1").status_code == 403
    with pytest.raises(Conflict):
        relay.keys.add("one", BOTH)
    assert relay.queries.status(JobRef(request_id="r-1"))["status"] == "pending"


def test_a_key_may_have_its_own_rate(key):
    client = key("one", rate=Rate(1, 900))

    assert [submit(client, f"r-{n}").status_code for n in range(2)] == [202, 429]


def test_a_spent_budget_blocks_only_the_jobs_of_that_key(key, relay):
    poor, rich = key("poor", daily_budget_usd=0.01), key("rich")
    submit(poor, "r-1")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion(cost_usd=0.02))
    submit(poor, "r-2")
    submit(rich, "r-3")

    assert [claimed.job.request_id for claimed in relay.execution.claim("w", limit=9)] == ["r-3"]
    assert "budget" in poor.simulate_get("/api/status/r-2").json["waitingFor"]


def test_the_store_does_not_contain_a_key(relay, tmp_path):
    _, text = relay.keys.add("one", BOTH)

    assert text.startswith("crk_")
    for file in tmp_path.iterdir():
        if file.is_file():
            assert text.split("_", 2)[2].encode() not in file.read_bytes()


@pytest.mark.parametrize("name", ["", "admin", "a b", "-x", "x" * 65])
def test_an_invalid_key_name_is_refused(relay, name):
    with pytest.raises(InvalidRequest, match="name"):
        relay.keys.add(name, BOTH)
