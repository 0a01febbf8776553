"""Tests of the webhook receiver that other tests use."""

from __future__ import annotations

import http.client
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.receiver import Answer, Receiver, read_books

ROOT = Path(__file__).parents[2]


def post(url: str, body: bytes = b"{}") -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    try:
        connection.request("POST", f"{parts.path}?{parts.query}".rstrip("?"), body, {"X-Test": "1"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_answers_are_given_in_order_and_the_last_repeats():
    """A scripted path gives its answers, others 200, and requests are recorded by path."""
    with Receiver({"/x": [Answer(status=503), Answer(status=200)]}) as hook:
        assert [post(hook.url(f"/x?n={n}")) for n in range(3)] == [503, 200, 200]
        assert post(hook.url("/y")) == 200

        assert [post.path for post in hook.wait_for(3, path="/x")] == ["/x?n=0", "/x?n=1", "/x?n=2"]
        assert hook.connections == len(hook.received) == 4


def test_a_wait_that_times_out_reports_the_count():
    """A test that waits for too many requests fails with the actual count."""
    with Receiver() as hook:
        post(hook.url())
        with pytest.raises(TimeoutError, match="1 of 2"):
            hook.wait_for(2, timeout=0.05)


def test_the_log_of_a_process_survives_a_kill(tmp_path):
    """As a process it prints its URL first, and each answered request is on disk when it is killed."""
    books = tmp_path / "books.jsonl"
    options = ["--port", "0", "--books", str(books), "--answers", '{"/x": [{"status": 410}]}']
    command = [sys.executable, "-m", "tests.support.receiver", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            assert post(f"{url}x?a=1", b"\xff\x00{}") == 410
        finally:
            process.kill()

    [received] = read_books(books)
    assert (received.method, received.path, received.body) == ("POST", "/x?a=1", b"\xff\x00{}")
    assert received.headers["x-test"] == "1"
