"""Files by URL on a real store: fetched once, stored with the job, erased with its content."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from claude_relay.core.deliveries.delivery import Reply
from claude_relay.core.files.fetched import FetchedFile, FetchResult
from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy
from claude_relay.core.jobs.job import Retain
from claude_relay.core.policy import DAY
from claude_relay.errors import NotFound, StoreUnavailable
from claude_relay.services import JobRef, Relay
from claude_relay.storage.sqlite.store import SqliteStore
from claude_relay.worker.executor import CallExecutor
from claude_relay.worker.files import Files
from claude_relay.worker.inflight import InFlightCall, InFlightCalls
from claude_relay.worker.pacing import Pacing
from tests.support.builders import Clock, a_completion, a_submission

PDF = b"%PDF-1.7\nHei"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00"
URLS = [{"url": "https://a.example/1.pdf"}, {"url": "https://a.example/2.png", "name": "bilde.png"}]
R = JobRef(request_id="r")


def never() -> None:
    return None


class FakeFetcher:
    """A fetcher with a result for each URL; counts the fetches."""

    def __init__(self, **results: Any) -> None:
        self.asked: list[str] = []
        self.results = {"1.pdf": PDF, "2.png": PNG, **results}
        self.on_fetch: Callable[[], None] = lambda: None

    def fetch(self, url: str, *, max_bytes: int, stop: Any, reserve: Any) -> FetchResult:
        name = url.rpartition("/")[2]
        self.asked.append(name)
        self.on_fetch()
        data = self.results[name]
        if isinstance(data, int):
            return FetchResult(host="a.example", status=data)
        return FetchResult(
            host="a.example", status=200, data=data[: max_bytes + 1], complete=True, too_large=len(data) > max_bytes
        )


def submit(relay: Relay, files: Any = URLS, **fields: Any) -> Any:
    relay.submit(a_submission("r", request={"prompt": "Hei", "options": {}, "files": files}, **fields))
    [claimed] = relay.execution.claim("w", limit=1)
    return claimed


def completed(files: Files, claimed: Any, stop: Any = never) -> Any:
    with files.with_files(claimed, stop) as request:
        return request


def test_the_request_gets_the_bytes_and_the_record_the_hash(relay: Relay, clock: Clock) -> None:
    claimed = submit(relay)

    request = completed(Files(relay, FakeFetcher(), clock=clock), claimed)

    assert request["prompt"] == "Hei"
    assert request["files"] == [
        {"data": base64.b64encode(PDF).decode(), "mediaType": "application/pdf", "name": "1.pdf"},
        {"data": base64.b64encode(PNG).decode(), "mediaType": "image/png", "name": "bilde.png"},
    ]
    record = relay.queries.job_details(R)
    assert record["request"]["files"][0] == {
        "url": "https://a.example/1.pdf",
        "name": "1.pdf",
        "mediaType": "application/pdf",
        "size": len(PDF),
        "sha256": hashlib.sha256(PDF).hexdigest(),
        "fetchedAt": "2027-01-15T08:00:00.000Z",
    }
    fetched = [event for event in record["events"] if event["event"] == "file_fetched"]
    assert [(event["subject"], event["file"], event["size"]) for event in fetched] == [
        ("file", 0, len(PDF)),
        ("file", 1, len(PNG)),
    ]


def test_a_request_without_urls_is_not_changed(relay: Relay) -> None:
    """Nothing is copied, and no memory is reserved."""
    claimed = submit(relay, files=[{"data": "JVBERi0=", "mediaType": "application/pdf"}])
    fetcher = FakeFetcher()

    assert completed(Files(relay, fetcher, memory=0), claimed) is claimed.request.request
    assert fetcher.asked == []


def test_a_fetched_file_is_not_fetched_again(relay: Relay, clock: Clock) -> None:
    """Neither by a later attempt, nor by another worker, nor by a new run."""
    fetcher = FakeFetcher(**{"2.png": 503})
    claimed = submit(relay)
    failure = completed(Files(relay, fetcher), claimed)
    assert isinstance(failure, Failure)
    assert (failure.remedy, failure.sent) == (Remedy.RETRY, False)
    relay.execution.fail(claimed, failure)
    assert relay.queries.job_details(R)["calls"][0]["sent"] is False
    clock.advance(60)
    fetcher.results["2.png"] = PNG

    [claimed] = relay.execution.claim("another", limit=1)
    assert [file["mediaType"] for file in completed(Files(relay, fetcher), claimed)["files"]] == [
        "application/pdf",
        "image/png",
    ]
    relay.execution.complete(claimed, a_completion())
    relay.retry(R)
    [claimed] = relay.execution.claim("w", limit=1)
    assert len(completed(Files(relay, fetcher), claimed)["files"]) == 2

    assert fetcher.asked == ["1.pdf", "2.png", "2.png"]


def test_a_file_that_is_not_there_fails_the_job_at_once(relay: Relay) -> None:
    claimed = submit(relay)

    relay.execution.fail(claimed, completed(Files(relay, FakeFetcher(**{"1.pdf": 404})), claimed))

    status = relay.queries.status(R)
    assert (status["status"], status["errorType"], status["attempts"]) == ("failed", "invalid_request", 1)
    assert status["error"].startswith("files[0] could not be fetched: a.example answered 404")


def test_a_failing_file_server_gets_as_many_attempts_as_claude(relay: Relay, clock: Clock) -> None:
    """RELAY_CALL_ATTEMPTS, and then the job has failed without a call."""
    fetcher = FakeFetcher(**{"1.pdf": 500})
    claimed = submit(relay)
    for _ in range(3):
        relay.execution.fail(claimed, completed(Files(relay, fetcher), claimed))
        clock.advance(100)
        [claimed] = relay.execution.claim("w", limit=1) or [claimed]

    status = relay.queries.status(R)
    assert (status["status"], status["errorType"], status["attempts"]) == ("failed", "upstream", 3)
    assert len(fetcher.asked) == 3


@pytest.mark.parametrize("files", [URLS, [{"data": "A" * 16}, URLS[1]]])
def test_all_files_together_must_fit_a_request(relay: Relay, files: Any) -> None:
    """Inline files count, too."""
    claimed = submit(relay, files=files)

    failure = completed(Files(relay, FakeFetcher(), most=len(PDF) + len(PNG) - 1), claimed)

    assert failure.type is ErrorType.TOO_LARGE
    assert failure.message.startswith("files[1] is too large")


def test_a_cancel_ends_the_fetching(relay: Relay, clock: Clock) -> None:
    """Nothing more is fetched, nothing was sent, and the job has ended as cancelled."""
    claimed, fetcher, cancelled = submit(relay), FakeFetcher(), threading.Event()
    fetcher.on_fetch = cancelled.set
    why = Failure(type=ErrorType.CANCELLED, message="the job was cancelled", remedy=Remedy.FAIL)

    failure = completed(Files(relay, fetcher), claimed, lambda: why if cancelled.is_set() else None)
    relay.cancel(R)
    relay.execution.fail(claimed, failure)

    assert fetcher.asked == ["1.pdf"]
    assert relay.queries.status(R)["errorType"] == "cancelled"
    assert relay.queries.job_details(R)["calls"][0]["sent"] is False


def test_a_full_disk_does_not_fetch_again(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetched bytes wait for the store."""
    claimed, fetcher = submit(relay, files=URLS[:1]), FakeFetcher()
    keep, attempts = relay.fetched_files.keep, []

    def full(*args: Any, **kwargs: Any) -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise StoreUnavailable("the disk is full")
        keep(*args, **kwargs)

    monkeypatch.setattr(relay.fetched_files, "keep", full)
    monkeypatch.setattr("claude_relay.worker.store_retry._PAUSE", 0.01)

    assert len(completed(Files(relay, fetcher), claimed)["files"]) == 1
    assert (len(attempts), fetcher.asked) == (3, ["1.pdf"])


def test_a_worker_that_lost_the_job_stores_nothing(relay: Relay) -> None:
    claimed = submit(relay)
    relay.execution.reap(claimed.job.id, claimed.token, why="the worker fell silent")

    failure = completed(Files(relay, FakeFetcher()), claimed)

    assert (failure.type, failure.sent) == (ErrorType.INTERRUPTED, False)
    assert relay.fetched_files.list(claimed) == []


def test_metadata_alone_is_retained_on_request(relay: Relay, store: SqliteStore, clock: Clock) -> None:
    """The bytes are erased with prompt and answer, also from the database file."""
    secret = b"%PDF-1.7 " + b"personal " * 100
    claimed = submit(relay, files=URLS[:1], retain=Retain.METADATA)
    completed(Files(relay, FakeFetcher(**{"1.pdf": secret})), claimed)
    relay.execution.complete(claimed, a_completion())
    clock.advance(5)
    [sent] = relay.deliveries.claim("w", limit=1, at_once=1)
    assert relay.fetched_files.list(claimed)
    relay.deliveries.record_attempt(sent, Reply(status=200))
    relay.maintenance.scrub()

    assert relay.fetched_files.list(claimed) == []
    assert all(b"personal personal" not in path.read_bytes() for path in store._path.parent.glob("relay.db*"))


def test_the_purge_deletes_the_files(relay: Relay, store: SqliteStore, clock: Clock) -> None:
    claimed = submit(relay, webhook_url=None)
    completed(Files(relay, FakeFetcher()), claimed)
    relay.execution.complete(claimed, a_completion())
    clock.advance(2 * DAY)

    assert relay.maintenance.purge() == 1
    assert store.read(lambda tx: tx.files(claimed.job.id)) == []


def test_the_files_in_memory_never_exceed_the_budget(relay: Relay) -> None:
    """A second job's files wait until the first one's call has ended."""
    relay.submit(a_submission("r", request={"prompt": "1", "files": URLS[:1]}))
    relay.submit(a_submission("s", request={"prompt": "2", "files": URLS[:1]}))
    first, second = relay.execution.claim("w", limit=2)
    files, done = Files(relay, FakeFetcher(), most=1000, memory=len(PDF)), threading.Event()

    def run() -> None:
        with files.with_files(second, never):
            done.set()

    with files.with_files(first, never):
        other = threading.Thread(target=run)
        other.start()
        assert not done.wait(0.5)
    other.join(60)

    assert done.is_set()


def test_a_job_that_waits_for_its_files_is_not_stuck(relay: Relay) -> None:
    """The memory may be used by calls of half an hour: a worker that waits for it does not hang, and is not killed."""
    in_flight = InFlightCalls()
    running = in_flight.add(submit(relay), Pacing().start("sonnet"))
    running.started_at = running.progress_at = time.monotonic() - 4000
    stalled: list[InFlightCall | None] = []

    class Waits(FakeFetcher):
        def fetch(self, url: str, *, max_bytes: int, stop: Any, reserve: Any) -> FetchResult:
            assert stop() is None
            stalled.append(in_flight.stalled(time.monotonic(), longest=1920, silence=300))
            return FetchResult(host="a.example", status=404)

    executor = CallExecutor(relay, None, Files(relay, Waits()), ending=threading.Event())  # type: ignore[arg-type]
    executor.run(running)

    assert stalled == [None]


def test_the_dashboard_shows_a_fetched_file_as_it_was_stored(relay: Relay) -> None:
    """By the name and the type that it was fetched with; one that was not fetched has no bytes."""
    relay.submit(a_submission("r", request={"prompt": "Hei", "files": URLS}))
    [claimed] = relay.execution.claim("w", limit=1)
    for data in (PDF, b"again"):  # of which the first is kept
        digest = hashlib.sha256(data).hexdigest()
        file = FetchedFile(number=0, media_type="application/pdf", size=len(data), sha256=digest, at=1.0, name="1.pdf")
        relay.fetched_files.keep(claimed, file, data, ms=1)
    shown = relay.dashboard.document(R, 0)

    assert (shown.name, shown.media_type, shown.data) == ("1.pdf", "application/pdf", PDF)
    for number in (1, 2, -1):
        with pytest.raises(NotFound):
            relay.dashboard.document(R, number)


def test_a_file_is_named_as_its_request_names_it(relay: Relay) -> None:
    """Else as it was fetched, else by its number."""
    relay.submit(a_submission("r", request={"prompt": "Hei", "files": [*URLS, {"url": "https://a.example/3"}]}))
    [claimed] = relay.execution.claim("w", limit=1)
    for number, name in enumerate(("1.pdf", "other.png", None)):
        digest = hashlib.sha256(PNG).hexdigest()
        file = FetchedFile(number=number, media_type="image/png", size=len(PNG), sha256=digest, at=1.0, name=name)
        relay.fetched_files.keep(claimed, file, PNG, ms=1)

    assert [relay.dashboard.document(R, number).name for number in range(3)] == ["1.pdf", "bilde.png", "file-2"]
