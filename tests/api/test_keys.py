"""Named keys: each sees its own jobs alone, and does what its scopes say."""

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
def test_anothers_job_is_like_one_that_never_was(key, client, method, path):
    """Not 403 but 404, in the words of an unknown one; the admin sees it."""
    one, other = key("one"), key("other")
    submit(one, "r-1")
    foreign = other.simulate_request(method, path)
    unknown = other.simulate_request(method, path.replace("r-1", "r-9"))

    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert foreign.json["error"] == unknown.json["error"].replace("r-9", "r-1")
    assert client.simulate_get("/api/status/r-1").status_code == 200


def test_no_key_goes_on_from_anothers_conversation(key, relay):
    """In the words of an unknown job, whether it has ended or not; one's own that has not ended is a conflict."""
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


def test_one_request_id_may_be_used_by_two_owners(key, client):
    """Each has its own; the admin is asked whose is meant."""
    one, other = key("one"), key("other")
    submit(one, "r-1", group="a")
    assert "duplicate" not in submit(other, "r-1", group="b").json

    assert one.simulate_get("/api/status/r-1").json["group"] == "a"
    assert other.simulate_get("/api/status/r-1").json["group"] == "b"
    ambiguous = client.simulate_get("/api/status/r-1")
    assert (ambiguous.status_code, "owner" in ambiguous.json["error"]) == (409, True)
    assert client.simulate_get("/api/status/r-1", params={"owner": "other"}).json["group"] == "b"
    assert one.simulate_get("/api/status/r-1", params={"owner": "other"}).json["group"] == "a"


def test_lists_and_moves_hold_ones_own_alone(key):
    one, other = key("one"), key("other")
    submit(one, "r-1")

    assert [job["requestId"] for job in one.simulate_get("/api/jobs").json["jobs"]] == ["r-1"]
    assert other.simulate_get("/api/jobs", params={"owner": "one"}).json["jobs"] == []
    assert other.simulate_get("/api/moves").json["moves"] == []


def test_scopes(key):
    """A submit-only key cannot read, a reader cannot spend, neither may touch what concerns all."""
    writer, reader, chief = key("w", Scope.SUBMIT), key("r", Scope.READ), key("c", Scope.ADMIN)
    submit(writer, "r-1")

    assert writer.simulate_get("/api/status/r-1").status_code == 403
    assert submit(reader, "r-2").status_code == 403
    assert chief.simulate_get("/api/status/r-1").status_code == 200
    for client, status in ((writer, 403), (reader, 403), (chief, 200)):
        assert client.simulate_post("/api/pause").status_code == status
    assert reader.simulate_get("/api/overview").status_code == 403


def test_a_revoked_key_is_refused_at_once_and_its_name_stays_taken(key, relay):
    client = key("one")
    submit(client, "r-1")
    relay.keys.revoke("one")

    assert client.simulate_get("/api/status/r-1").status_code == 403
    with pytest.raises(Conflict):
        relay.keys.add("one", BOTH)
    assert relay.queries.status(JobRef(request_id="r-1"))["status"] == "pending"


def test_a_key_has_a_rate_of_its_own(key):
    client = key("one", rate=Rate(1, 900))

    assert [submit(client, f"r-{n}").status_code for n in range(2)] == [202, 429]


def test_a_spent_budget_parks_that_keys_jobs_and_no_others(key, relay):
    poor, rich = key("poor", daily_budget_usd=0.01), key("rich")
    submit(poor, "r-1")
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.complete(claimed, a_completion(cost_usd=0.02))
    submit(poor, "r-2")
    submit(rich, "r-3")

    assert [one.job.request_id for one in relay.execution.claim("w", limit=9)] == ["r-3"]
    assert "budget" in poor.simulate_get("/api/status/r-2").json["waitingFor"]


def test_the_store_holds_no_key(relay, tmp_path):
    _, text = relay.keys.add("one", BOTH)

    assert text.startswith("crk_")
    for file in tmp_path.iterdir():
        if file.is_file():
            assert text.split("_", 2)[2].encode() not in file.read_bytes()


@pytest.mark.parametrize("name", ["", "admin", "a b", "-x", "x" * 65])
def test_a_bad_name_is_refused_in_words(relay, name):
    with pytest.raises(InvalidRequest, match="name"):
        relay.keys.add(name, BOTH)
