"""Event streams over real sockets."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.config import Settings
from claude_relay.core.jobs.failure import PartialResponse
from claude_relay.core.keys import Scope
from claude_relay.events import Filter, Hub, open_list
from claude_relay.events.local import QueueSink
from claude_relay.events.messages import decode
from claude_relay.events.subscription import MAX_TEXTS
from claude_relay.notify.text_socket import TextListener, TextSender
from claude_relay.services import JobRef
from claude_relay.worker.text_writer import TextWriter
from tests.support.builders import a_completion, a_submission
from tests.support.eventually import eventually
from tests.support.live_api import connect, serving

from .conftest import KEY

WAIT = 60.0


@pytest.fixture
def url(relay, tmp_path) -> Iterator[str]:
    with served(relay, tmp_path) as address:
        yield address


@contextlib.contextmanager
def served(relay, folder: Path, **fields: Any) -> Iterator[str]:
    """The API with its streams, on a free port; `folder` is where texts come from."""
    settings = Settings(**{"api_secret_key": KEY, "port": 0, "rate_limit": None, "rate_limit_submit": None, **fields})
    stopping = threading.Event()
    intake = wiring.intake_context(settings, relay)
    app = make_app(relay, settings, intake=intake, texts=TextListener(folder), stopping=stopping)
    with serving(app, settings) as (host, port):
        yield f"http://{host}:{port}"
        stopping.set()


def get(url: str, *, key: str = KEY, after: str | None = None, **params: str) -> requests.Response:
    headers = {"X-API-Key": key} | ({"Last-Event-ID": after} if after else {})
    return requests.get(url, headers=headers, params=params, stream=True, timeout=WAIT)


def messages(response: requests.Response) -> Iterator[Any]:
    return decode(response.iter_lines(decode_unicode=True))


def run_job(relay, request_id: str, text: str = "Svar") -> None:
    [claimed] = relay.execution.claim("w", limit=1)
    assert claimed.job.request_id == request_id
    relay.execution.complete(claimed, a_completion(text))


def test_a_job_is_followed_from_its_present_state_to_its_end(relay, url):
    """Its latest event first, then each move, the answer, and `end`; then the stream is closed."""
    relay.submit(a_submission("r-1"))
    with get(f"{url}/api/jobs/r-1/events") as response:
        stream = messages(response)
        first = next(stream)
        run_job(relay, "r-1")
        rest = list(stream)
    seen = [(message.name, message.data.get("event"), message.data.get("status")) for message in (first, *rest)]

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert seen == [
        ("job", "submitted", "pending"),
        ("job", "claimed", "processing"),
        ("job", "completed", "completed"),
        ("text", None, None),
        ("end", None, "completed"),
    ]
    assert rest[-2].data == {"requestId": "r-1", "call": 1, "offset": 0, "text": "Svar"}
    with get(f"{url}/api/jobs/r-1/events") as again:
        assert [message.name for message in messages(again)] == ["job", "text", "end"]


def test_the_end_of_a_finished_job_stops_a_browser(relay, url):
    """Connected again behind `end`: 204, which ends the attempts of an EventSource."""
    relay.submit(a_submission("r-1"))
    run_job(relay, "r-1")
    with get(f"{url}/api/jobs/r-1/events") as response:
        last = list(messages(response))[-1]

    with get(f"{url}/api/jobs/r-1/events", after=last.id) as again:
        assert again.status_code == 204
    relay.retry(JobRef(request_id="r-1"))
    with get(f"{url}/api/jobs/r-1/events", after=last.id) as again:
        assert next(messages(again)).data["event"] == "retried"


def test_text_comes_before_it_is_stored(relay, url, tmp_path):
    """Pieces from a worker on this machine, and the stored text where they begin too late."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    relay.execution.sending(claimed)
    relay.execution.checkpoint(claimed, PartialResponse(text="Once "))
    sender = TextSender(tmp_path)
    writer = TextWriter(sender, claimed.job.id, claimed.call.number)
    with get(f"{url}/api/jobs/r-1/events") as response:
        stream = messages(response)
        opening = [next(stream), next(stream)]
        eventually(lambda: list(tmp_path.glob("*.text")))
        eventually(sender._has_listeners)
        writer.write("Once ")
        writer.write("upon ")
        direct = next(stream)
        writer.write("a time")
        rest = next(stream)
    sender.close()

    assert [message.name for message in opening] == ["job", "text"]
    assert (opening[1].data["offset"], opening[1].data["text"]) == (0, "Once ")
    assert (direct.data["offset"], direct.data["text"] + rest.data["text"]) == (5, "upon a time")


def test_without_a_listener_text_is_not_sent(tmp_path):
    """A worker without streams on its machine pays for a look at the directory a few times a second."""
    sender = TextSender(tmp_path)
    TextWriter(sender, "j", 1).write("text")

    assert not sender._pieces
    sender.close()


def test_text_follows_from_the_store_alone(relay, tmp_path):
    """A worker on another machine: the checkpoints are sent, each character once."""
    relay.submit(a_submission("r-1"))
    [claimed] = relay.execution.claim("w", limit=1)
    with served(relay, tmp_path / "nowhere") as url, get(f"{url}/api/jobs/r-1/events") as response:
        stream = messages(response)
        assert next(stream).data["event"] == "claimed"
        relay.execution.checkpoint(claimed, PartialResponse(text="æ"))
        first = next(stream)
        relay.execution.checkpoint(claimed, PartialResponse(text="ææ😀b"))
        second = next(stream)

    assert [(m.data["offset"], m.data["text"]) for m in (first, second)] == [(0, "æ"), (1, "æ😀b")]


def test_the_stream_of_all_jobs_has_neither_gap_nor_repeat(relay, url):
    """A client that is cut off again and again, anywhere: every job and end event, once and in order."""
    with get(f"{url}/api/events") as response:
        last = next(messages(response)).id
    for number in range(40):
        relay.submit(a_submission(f"r-{number}"))
        if number % 2:
            run_job(relay, f"r-{number // 2}")
    seen = []
    while len(seen) < 100:
        with get(f"{url}/api/events", after=last) as response:
            stream = messages(response)
            for _ in range(2 + len(seen) % 7):
                message = next(stream)
                last = message.id or last
                if message.name in ("job", "end"):
                    seen.append((message.data["requestId"], message.data.get("event", message.name)))
                if len(seen) == 100:
                    break

    assert seen == events_of(relay)


def test_a_list_has_the_text_of_calls_that_its_key_may_see(relay, url, tmp_path):
    """CONTRACT-NEXT §A: text of a call that ran before, of one that starts later, and the rest before `end`."""
    _, key = relay.keys.add("other", frozenset({Scope.READ}))
    relay.submit(a_submission("r-1"))
    [first] = relay.execution.claim("w", limit=1)
    relay.execution.checkpoint(first, PartialResponse(text="Once "))
    with get(f"{url}/api/events") as response, get(f"{url}/api/events", key=key) as foreign:
        stream, other = messages(response), messages(foreign)
        next(stream), next(other)
        stored = next(stream)
        relay.submit(a_submission("r-2"))
        [second] = relay.execution.claim("w", limit=1)
        with contextlib.closing(TextSender(tmp_path)) as sender:
            eventually(sender._has_listeners)
            TextWriter(sender, second.job.id, second.call.number).write("upon ")
            direct = next(m for m in stream if m.name == "text")
        relay.execution.complete(second, a_completion("upon a time"))
        ended = [next(stream) for _ in range(3)]
        relay.submit(a_submission("r-9"), owner="other")
        [claimed] = relay.execution.claim("w", limit=1)
        relay.execution.complete(claimed, a_completion("own"))
        seen = [next(other) for _ in range(5)]

    assert stored.data == {"requestId": "r-1", "call": 1, "offset": 0, "text": "Once "}
    assert direct.data == {"requestId": "r-2", "call": 1, "offset": 0, "text": "upon "}
    assert [message.name for message in ended] == ["job", "text", "end"]
    assert ended[1].data == {"requestId": "r-2", "call": 1, "offset": 5, "text": "a time"}
    assert {message.data["requestId"] for message in seen} == {"r-9"} and seen[3].data["text"] == "own"


def test_a_list_without_text_where_it_is_not_wanted(relay, url):
    """`text=0`, or a status that no running job has; another value is a 400."""
    with get(f"{url}/api/events", text="0") as plain, get(f"{url}/api/events", status="completed") as ended:
        streams = messages(plain), messages(ended)
        for each in streams:
            next(each)
        relay.submit(a_submission("r-1"))
        run_job(relay, "r-1")
        names = [next(streams[0]).name for _ in range(4)], [next(streams[1]).name for _ in range(2)]

    assert names == (["job", "job", "job", "end"], ["job", "end"])
    assert get(f"{url}/api/events", text="maybe").json()["problems"][0]["field"] == "text"


def test_a_list_follows_a_bounded_number_of_calls(relay, tmp_path):
    """The text of 64 calls at a time; a later call takes the place of one that has ended or waits again."""
    relay.submit_many([a_submission(f"r-{number}") for number in range(MAX_TEXTS + 2)])
    running = relay.execution.claim("w", limit=MAX_TEXTS + 1)
    stream, _ = open_list(relay.event_feed, Filter(texts=True), None)
    before = set(stream.texts)
    [waits, ends] = [each for each in running if each.job.id in before][:2]
    hub = Hub(relay, limit=1)
    sink = QueueSink()
    relay.execution.release(waits)
    relay.execution.complete(ends, a_completion())
    relay.execution.claim("w", limit=2)
    hub.reserve()
    hub.add(stream, sink)
    eventually(lambda: len(stream.texts) == MAX_TEXTS and ends.job.id not in stream.texts)
    stream.close()

    assert len(before) == MAX_TEXTS


def events_of(relay) -> list[tuple[str, str]]:
    """The feed as a stream should show it."""
    wanted = []
    for each in relay.event_feed.page(0):
        wanted.append((each.request_id, each.event.name.value))
        if each.ends_run:
            wanted.append((each.request_id, "end"))

    return wanted


def test_a_key_sees_its_own_jobs_and_the_filters_hold(relay, url):
    """Another key's job is 404 and never in the list; group and status choose."""
    _, mine = relay.keys.add("mine", frozenset({Scope.READ}))
    with get(f"{url}/api/events", key=mine, status="pending", group="a") as response:
        stream = messages(response)
        next(stream)
        for name, owner, group in (("r-1", "other", "a"), ("r-2", "mine", "b"), ("r-3", "mine", "a")):
            relay.submit(a_submission(name, group=group), owner=owner)
        relay.cancel(JobRef(request_id="r-3", owner="mine"))
        relay.submit(a_submission("r-4", group="a"), owner="mine")
        seen = [next(stream).data["requestId"] for _ in range(2)]

    assert seen == ["r-3", "r-4"]
    with get(f"{url}/api/jobs/r-1/events", key=mine) as response:
        assert response.status_code == 404


@pytest.mark.parametrize("cursor", ["nonsense", "0123456789ab:1", "7", "1;DROP TABLE events"])
@pytest.mark.parametrize("path", ["/api/events", "/api/jobs/r-1/events"])
def test_a_cursor_that_is_none_is_a_clear_400(relay, url, path, cursor):
    """Nonsense, and a cursor of another store, in the header and in the query."""
    relay.submit(a_submission("r-1"))
    for response in (get(url + path, after=cursor), get(url + path, **{"after": cursor})):
        with response:
            assert response.status_code == 400
            assert response.json()["problems"][0]["field"] in ("Last-Event-ID", "after")


def test_submits_and_health_are_fast_while_all_streams_are_taken(relay, tmp_path):
    """No stream holds a request thread: with two threads, 20 streams and no more, everything else is answered."""
    with served(relay, tmp_path, streams=20, threads=2) as url, contextlib.ExitStack() as stack:
        opened = [stack.enter_context(get(f"{url}/api/events")) for _ in range(20)]
        for response in opened:
            assert next(messages(response)).id
        with get(f"{url}/api/events") as refused:
            assert refused.status_code == 503 and int(refused.headers["retry-after"]) > 0
        body, headers = {"prompt": "Hei", "requestId": "r-1"}, {"X-API-Key": KEY}
        assert requests.post(f"{url}/api/claude", json=body, headers=headers, timeout=WAIT).status_code == 202
        assert requests.get(f"{url}/health", timeout=WAIT).status_code == 200
        for response in opened[:1]:
            response.close()
        eventually(lambda: is_open(f"{url}/api/events"), within=WAIT)


def is_open(url: str) -> bool:
    with get(url) as response:
        return response.status_code == 200


def test_a_client_that_does_not_read_is_not_buffered_without_bound(relay, url):
    """Megabytes of events for a client that reads nothing: the server keeps at most a bounded part of them."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(f"GET /api/events HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        relay.submit_many([a_submission(f"r-{number}") for number in range(300)])
        with get(f"{url}/api/events", after=None, status="pending") as other:
            stream = messages(other)
            next(stream)
            relay.submit(a_submission("last"))
            assert next(stream).data["requestId"] == "last"


def test_a_stop_ends_the_streams(relay, tmp_path):
    """The response ends as it should, so that a client knows to connect again."""
    settings = Settings(api_secret_key=KEY, rate_limit=None, port=0)
    stopping = threading.Event()
    app = make_app(relay, settings, intake=wiring.intake_context(settings, relay), stopping=stopping)
    with serving(app, settings) as (host, port), get(f"http://{host}:{port}/api/events") as response:
        stream = messages(response)
        next(stream)
        stopping.set()
        assert list(stream) == []


def test_head_opens_no_stream(relay, url):
    """HEAD is answered like any other, and takes no place."""
    answer = requests.head(f"{url}/api/events", headers={"X-API-Key": KEY}, timeout=WAIT)

    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("more", ["", "Expect: 100-continue\r\n", "Content-Length: 2\r\n\r\n{}"])
def test_a_request_behind_a_stream_is_not_answered_in_the_middle_of_it(relay, url, version, more):
    """CASES S3, its siblings: a client would take the response for a part of the stream."""
    relay.submit(a_submission("r-1"))
    head = f"GET /api/jobs/r-1/events HTTP/{version}\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
    end = "" if more.endswith("{}") else "\r\n"
    with connect(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
        client.sendall(f"{head}{more}{end}GET /health HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        run_job(relay, "r-1")
        received = b""
        while part := client.recv(65536):
            received += part

    assert received.count(b"HTTP/1.") == 1
    assert b"event: end" in received


def test_http_1_0_gets_a_stream_without_chunks(relay, url):
    """An old proxy: the response ends with the connection."""
    relay.submit(a_submission("r-1"))
    run_job(relay, "r-1")
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(f"GET /api/jobs/r-1/events HTTP/1.0\r\nX-API-Key: {KEY}\r\n\r\n".encode())
        raw = b"".join(iter(lambda: client.recv(65536), b""))
    body = raw.partition(b"\r\n\r\n")[2].decode()

    assert [message.name for message in decode(body.split("\n"))] == ["job", "text", "end"]
    assert json.loads(body.rpartition("data: ")[2])["status"] == "completed"


def test_a_collection_is_followed_to_its_end(relay, url):
    """Its status first, then each move of its rows, and one end, at which readers stop; the last id resumes."""
    session = requests.Session()
    session.headers["X-API-Key"] = KEY
    body = {"collectionId": "c", "jobs": [{"prompt": "a"}, {"prompt": "b"}]}
    assert session.post(f"{url}/api/collections", json=body, timeout=WAIT).status_code == 202
    with get(f"{url}/api/collections/c/events") as response:
        lines = response.iter_lines(decode_unicode=True)
        assert next(lines) == "retry: 3000"
        stream = decode(lines)
        first = next(message for message in stream if message.name)
        assert (first.name, first.data["status"], first.data["total"]) == ("collection", "pending", 2)
        relay.submit(a_submission("other"))
        for claimed in relay.execution.claim("w", limit=3):
            relay.execution.complete(claimed, a_completion())
        seen = []
        for message in stream:
            seen.append(message)
            if message.name == "end":
                break
    names = [(message.name, message.data.get("requestId") or message.data.get("collectionId")) for message in seen]

    assert sorted(names) == sorted([("job", "c:1"), ("job", "c:2")] * 2 + [("collection", "c"), ("end", "c")])
    assert seen[-1].data == {"collectionId": "c", "status": "completed"}
    again = list(messages(get(f"{url}/api/collections/c/events", after=seen[-2].id)))
    assert [message.data for message in again if message.name] == [seen[-1].data]
    assert get(f"{url}/api/collections/c/events", after=seen[-1].id).status_code == 204
    late = get(f"{url}/api/collections/c/events").text
    assert late.startswith("retry: 3000\n")
    assert [message.name for message in decode(late.split("\n"))] == ["collection", "end"]
    assert get(f"{url}/api/collections/d/events").status_code == 404
