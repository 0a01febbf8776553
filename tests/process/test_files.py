"""Files by URL through real processes, checked at the file server, the upstream and the caller."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.fake_claude import FakeClaude
from tests.support.pdfs import a_pdf, a_slow_pdf
from tests.support.receiver import Answer, Receiver
from tests.support.rig import Rig

pytestmark = pytest.mark.process
PDF = b"%PDF-1.7\n" + bytes(range(256)) * 4096


@pytest.fixture
def upload_cache() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_claude_gets_the_bytes_of_a_file_that_is_named_by_its_url(
    tmp_path: Path, upstream: FakeClaude, upload_cache: Receiver
) -> None:
    """Fetched once by the worker, though it is killed and the job is run again; the record has the hash."""
    upload_cache.answer("/faktura.pdf", Answer(status=503), Answer(body=PDF))
    upload_cache.answer("/gone.pdf", Answer(status=404))
    upload_cache.answer("/page.pdf", Answer(body=b"<!doctype html><html>Log in"))
    with Rig(tmp_path, upstream=upstream.url, RELAY_BACKOFF_MAX="1s") as rig:
        rig.start_api()
        rig.submit({"requestId": "r", "prompt": "Les", "files": [{"url": upload_cache.url("/faktura.pdf?sig=x")}]})
        assert upload_cache.connections == 0  # the API fetches nothing
        rig.start_worker()

        status = rig.finished("r", within=60)
        assert (status["status"], status["attempts"]) == ("completed", 2)
        document, text = upstream.books[0].body["messages"][0]["content"]
        assert base64.b64decode(document["source"]["data"]) == PDF
        assert (document["type"], document["source"]["media_type"]) == ("document", "application/pdf")
        assert (document["title"], text["text"]) == ("faktura.pdf", "Les")
        record = rig.get("/api/jobs/r")
        assert record["request"]["files"][0]["sha256"] == hashlib.sha256(PDF).hexdigest()
        assert [(call["sent"], call["outcome"]) for call in record["calls"]] == [
            (False, "upstream"),
            (True, "completed"),
        ]

        rig.worker.kill()
        rig.start_worker()
        rig.post("/api/jobs/r/retry")
        eventually(lambda: len(upstream.books) == 2 and rig.status("r")["status"] == "completed", within=60)
        assert upstream.books[1].body["messages"] == upstream.books[0].body["messages"]
        assert [item.path for item in upload_cache.received] == ["/faktura.pdf?sig=x"] * 2

        for name, words in (("gone.pdf", "answered 404"), ("page.pdf", "it is a web page")):
            rig.submit({"requestId": name, "prompt": "Les", "files": [{"url": upload_cache.url(f"/{name}")}]})
            status = rig.finished(name)
            assert (status["status"], status["errorType"]) == ("failed", "invalid_request")
            assert words in status["error"]
        assert len(upstream.books) == 2
        assert "sig=x" not in rig.worker.output() + rig.api.output()

        explained = rig.command("why", "r")
        assert "files[0] was fetched (1048585 bytes, application/pdf)" in explained.stdout
        assert "file\tfetched\tfile=0 size=1048585" in rig.command("tail", "-n", "50").stdout


def test_pdfs_that_are_slow_to_inspect_delay_no_other_job(tmp_path: Path, upstream: FakeClaude) -> None:
    """CASES S12: six of them are still being read when a job without files has ended, and a small PDF is read."""
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        for n in range(6):
            data = base64.b64encode(a_slow_pdf(n)).decode()
            rig.submit({"requestId": f"slow-{n}", "prompt": "Les", "files": [{"data": data}]})
        small = base64.b64encode(a_pdf(2)).decode()
        rig.submit({"requestId": "small", "prompt": "Les", "files": [{"data": small}]})
        rig.submit({"requestId": "plain", "prompt": "Hei"})
        others = [rig.finished(name, within=60) for name in ("plain", "small")]
        slow = [rig.finished(f"slow-{n}", within=90) for n in range(6)]

    assert [job["status"] for job in others] == ["completed"] * 2
    # By the times of the store: on a busy machine all may have ended when this process looks. A fast one reads the six
    # within the time of quick tasks, in which the small one waits for its turn.
    assert others[0]["updatedAt"] < max(job["updatedAt"] for job in slow)


def test_the_api_refuses_a_private_file_url(tmp_path: Path, upload_cache: Receiver) -> None:
    """By the same guard as for webhooks."""
    with Rig(tmp_path, RELAY_ALLOW_PRIVATE_URLS="") as rig:
        rig.start_api()
        answer = rig.submit({"prompt": "Les", "files": [{"url": upload_cache.url("/a.pdf")}]})

    assert (answer.status_code, answer.json()["problems"][0]["field"]) == (400, "files[0].url")
    assert "not a public address" in answer.json()["error"]


def test_a_file_server_that_hangs_delays_no_other_job(
    tmp_path: Path, upstream: FakeClaude, upload_cache: Receiver
) -> None:
    """
    With more of its jobs than slots, others go on. A cancelled one ends at once; after a kill of the worker the files
    are fetched again, with nothing sent and nothing paid twice.
    """
    upload_cache.answer("/slow.pdf", Answer(delay=300))
    with Rig(tmp_path, upstream=upstream.url).start() as rig:
        for n in range(8):
            rig.submit({"requestId": f"slow-{n}", "prompt": "Les", "files": [{"url": upload_cache.url("/slow.pdf")}]})
        upload_cache.wait_for(8)
        rig.submit({"requestId": "quick", "prompt": "Hei"})
        assert rig.finished("quick", within=60)["status"] == "completed"

        rig.post("/api/jobs/slow-0/cancel")
        assert rig.finished("slow-0", within=30)["errorType"] == "cancelled"
        rig.worker.kill()
        upload_cache.answer("/slow.pdf", Answer(body=PDF))
        rig.start_worker()
        for n in range(1, 8):
            assert rig.finished(f"slow-{n}", within=60)["status"] == "completed"
            record = rig.get(f"/api/jobs/slow-{n}")
            assert [call["sent"] for call in record["calls"]] == [False, True]
            assert (record["attempts"], record["possibleDuplicateCharge"]) == (1, False)

    assert len(upstream.books) == 8
