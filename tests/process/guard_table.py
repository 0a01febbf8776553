"""
Run inside `inner_net` (see `test_guard.py`): serve and worker as processes, in a network namespace where all private
addresses listen on the ports of the tests. Checked against the connections of the listeners and the caller's answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.inner_net import Came, Listeners, Names, furnish
from tests.support.rig import Rig
from tests.support.webhook_urls import ADDRESS, OWN_NAME, REFUSED, UNUSUAL

PDF = b"%PDF-1.7 inner secret"
PUBLIC4, PUBLIC6 = "93.184.216.34", "2a00:1450:400f:80d::200e"
PORT = 8080

#: Addresses that listen.
INNER = [
    *("127.0.0.1", "127.0.0.2", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200"),
    *("168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "203.0.113.1", "240.0.0.1"),
    *("::1", "fc00::1", "fd00:ec2::254", "fec0::1", "2001:db8::1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::"),
    *("2001::1", "3fff::1", "5f00::1", "fe80::1"),
]

#: Names that resolve to them.
NAMES: dict[str, Any] = {
    "loop4.example.com": ["127.0.0.1"],
    "loop6.example.com": ["::1"],
    "second.example.com": ["127.0.0.2"],
    "zero.example.com": ["0.0.0.0"],
    "zero6.example.com": ["::"],
    "ten.example.com": ["10.0.0.1"],
    "home.example.com": ["192.168.1.1"],
    "metadata.example.com": ["169.254.169.254"],
    "carrier.example.com": ["100.100.100.200"],
    "azure.example.com": ["168.63.129.16"],
    "mapped.example.com": ["::ffff:127.0.0.1"],
    "nat64.example.com": ["64:ff9b::7f00:1"],
    "sixtofour.example.com": ["2002:7f00:1::"],
    "unique.example.com": ["fd00:ec2::254"],
    "link.example.com": ["fe80::1"],
    "half.example.com": [PUBLIC4, "10.0.0.1"],
    "other-half.example.com": [PUBLIC4, "::1"],
    "alias.example.com": "loop4.example.com",
    "xn--bjrn-hra.example.com": ["127.0.0.1"],
}
OUTER = {
    "hook.example.com": [PUBLIC4],
    "hook6.example.com": [PUBLIC6],
    "rebound.example.com": [[PUBLIC4], ["127.0.0.1"]],
}
HOSTS = {"hosted.example.com": "127.0.0.1"}

#: Those names as callers write them.
WRITTEN = [
    *(f"http://{name}:{PORT}/inner" for name in (*NAMES, *HOSTS)),
    f"http://BJØRN.example.com.:{PORT}/inner",
    f"http://LOOP4.EXAMPLE.COM.:{PORT}/inner",
    "https://loop4.example.com/inner",
    "http://loop4.example.com/inner",
]

#: All networks, in halves: a list with everything at once is refused.
EVERYTHING = "0.0.0.0/1,128.0.0.0/1,::/1,8000::/1"

#: The literal addresses of the table, which only a permissive API accepts.
LITERAL = [url for url, why in REFUSED if why == ADDRESS]


@pytest.fixture(scope="module", autouse=True)
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    furnish(tmp_path_factory.mktemp("etc"), [*INNER, PUBLIC4, PUBLIC6], HOSTS)
    with Names({**NAMES, **OUTER}):
        yield


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    with Listeners(22, 25, 53, 80, 443, 3000, 5678, PORT) as listening:
        listening.answers = {"/file.pdf": (200, PDF), "/again": (500, b"")}
        yield listening


def rig(folder: Path, **settings: str) -> Rig:
    return Rig(folder, **{"RELAY_ALLOW_PRIVATE_URLS": "", "RELAY_WEBHOOK_SCHEDULE": "0.1s,0.1s", **settings})


def submit(relay: Rig, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = relay.http.post(f"{relay.url}/api/claude/bulk", json=bodies, timeout=30)
    verdicts: list[dict[str, Any]] = answer.json()
    return verdicts


def both(urls: list[str]) -> list[dict[str, Any]]:
    """A job with a webhook at each URL, and one with a file at it."""
    hooks = [{"requestId": f"hook-{n}", "prompt": "Hei", "webhookUrl": url} for n, url in enumerate(urls)]
    files = [{"requestId": f"file-{n}", "prompt": "Hei", "files": [{"url": url}]} for n, url in enumerate(urls)]
    return hooks + files


def refused_by_the_worker(relay: Rig, count: int, words: str) -> None:
    """Every delivery is dead and every job with a file has failed, with those texts."""

    def ended() -> bool:
        overview = relay.get("/api/overview")
        left = sum(overview["jobs"][state] for state in ("queued", "running", "held"))
        return not left and overview["deliveries"]["dead"] == count

    eventually(ended, within=90)
    for n in range(count):
        record = relay.get(f"/api/jobs/hook-{n}")
        assert record["status"] == "completed" and record["delivery"]["status"] == "dead"
        assert [words in post["reply"] for post in record["deliveries"]] == [True], record["deliveries"]
        status = relay.status(f"file-{n}")
        assert (status["status"], status["errorType"]) == ("failed", "invalid_request")
        assert words in status["error"] and status["error"].startswith("files[0].url: ")
        assert relay.get(f"/api/jobs/file-{n}")["calls"][0]["sent"] is False


def test_the_api_refuses_every_notation(tmp_path: Path, listeners: Listeners) -> None:
    """Every URL of the table is a 400 that names the field, in any place of a body."""
    with rig(tmp_path) as relay:
        relay.start_api()
        for url, why in REFUSED:
            if not url:
                continue  # an empty field is an absent one
            body = {"prompt": "Hei", "webhookUrl": url, "failureWebhookUrl": url, "files": [{"url": url}]}
            answer = relay.submit(body)
            problems = {item["field"]: item["problem"] for item in answer.json()["problems"]}
            assert answer.status_code == 400, url
            assert {"webhookUrl", "failureWebhookUrl", "files[0].url"} <= set(problems) or "\ud800" in url, url
            if why in (ADDRESS, UNUSUAL, OWN_NAME):
                assert all(why in problem for problem in problems.values()), (url, problems)

    assert listeners.books == []


def test_no_name_leads_inside(tmp_path: Path, listeners: Listeners) -> None:
    """A 202, since a name may lead anywhere; then dead, or failed, and no connection. A public one is reached."""
    with rig(tmp_path) as relay:
        relay.start()
        verdicts = submit(relay, both(WRITTEN))
        assert {verdict["statusCode"] for verdict in verdicts} == {202}, verdicts
        refused_by_the_worker(relay, len(WRITTEN), "leads to an address that is not public")
        assert listeners.books == []

        control = [{"requestId": f"c-{n}", "prompt": "Hei", "webhookUrl": f"http://{name}:{PORT}/{n}"} for n, name in
                   enumerate(("hook.example.com", "hook6.example.com"))]  # fmt: skip
        submit(
            relay,
            [
                *control,
                {"requestId": "f", "prompt": "Hei", "files": [{"url": f"http://hook.example.com:{PORT}/file.pdf"}]},
            ],
        )
        eventually(lambda: len(listeners.books) == 3, within=60)
        eventually(lambda: relay.status("f")["status"] == "completed", within=60)

    assert {(item.address, item.line.split(" ")[0]) for item in listeners.books} == {
        (PUBLIC4, "POST"),
        (PUBLIC6, "POST"),
        (PUBLIC4, "GET"),
    }


def test_a_name_is_resolved_once_per_attempt(tmp_path: Path, listeners: Listeners) -> None:
    """The checked address is the one that is called; the next attempt checks the name's address again."""
    with rig(tmp_path) as relay:
        relay.start()
        relay.submit({"requestId": "r", "prompt": "Hei", "webhookUrl": f"http://rebound.example.com:{PORT}/again"})
        eventually(lambda: relay.status("r")["delivery"]["status"] == "dead", within=60)
        replies = [(post["statusCode"], post["reply"]) for post in relay.get("/api/jobs/r")["deliveries"]]

    assert [status for status, _ in replies] == [500, None]
    assert "leads to an address that is not public" in replies[1][1]
    assert listeners.books == [Came(PUBLIC4, PORT, "POST /again HTTP/1.1")]


def test_the_worker_checks_urls_again(tmp_path: Path, listeners: Listeners) -> None:
    """A URL that a permissive API or an older version accepted is still not called."""
    with rig(tmp_path) as relay:
        relay.start_api(RELAY_ALLOW_PRIVATE_URLS=EVERYTHING)
        relay.start_worker()
        verdicts = submit(relay, both(LITERAL))
        assert {verdict["statusCode"] for verdict in verdicts} == {202}, verdicts
        refused_by_the_worker(relay, len(LITERAL), "which is not a public address")

    assert listeners.books == []


def test_private_urls_that_the_operator_allows_are_reached(tmp_path: Path, listeners: Listeners) -> None:
    """The same addresses and names, each named in RELAY_ALLOW_PRIVATE_URLS; their odd notations stay refused."""
    addresses = [item for item in INNER if item != "fe80::1"]  # which needs an interface, and no URL may name one
    hosts = [f"[{item}]" if ":" in item else item for item in (*addresses, "::ffff:10.0.0.1")]
    urls = [f"http://{host}:{PORT}/file.pdf" for host in hosts]
    urls += [
        f"http://{name}:{PORT}/file.pdf" for name in ("ten.example.com", "hosted.example.com", "alias.example.com")
    ]
    with rig(tmp_path, RELAY_ALLOW_PRIVATE_URLS=",".join(addresses)) as relay:
        relay.start()
        assert {verdict["statusCode"] for verdict in submit(relay, both(urls))} == {202}
        eventually(lambda: len(listeners.books) == 2 * len(urls), within=90)
        eventually(lambda: relay.get("/api/overview")["deliveries"]["delivered"] == len(urls))
        for url in (url for url, why in REFUSED if why == UNUSUAL):
            assert relay.submit({"prompt": "Hei", "webhookUrl": url}).status_code == 400, url
        for n in range(len(urls)):
            eventually(lambda n=n: relay.status(f"file-{n}")["status"] == "completed")

    reached = {item.address.removeprefix("::ffff:") for item in listeners.books}
    assert reached == set(addresses)
    assert sum(item.line.startswith("GET") for item in listeners.books) == len(urls)
