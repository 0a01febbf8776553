"""Files of a call: checked before anything is sent, and uploaded once if large."""

from __future__ import annotations

import contextlib
import struct
import threading
from dataclasses import replace

import pytest

from claude_relay.claude.bounded_process import PROCESSES
from claude_relay.claude.files import LARGE, MAX_INLINE
from claude_relay.core.jobs.failure import Completion, ErrorType, Remedy
from claude_relay.core.jobs.job import Retain
from claude_relay.core.jobs.submission import Exchange
from tests.support.claude_caller import QUICK, Caller, a_prompt
from tests.support.fake_claude import refusal
from tests.support.pdfs import a_file, a_pdf

BIG = a_pdf(padding=LARGE)


class Memory:
    """A upload_cache in memory."""

    def __init__(self):
        self.rows = {}

    def find(self, account, sha256):
        return self.rows.get((account, sha256))

    def save(self, file):
        self.rows[file.account, file.sha256] = file

    def delete(self, file):
        self.rows.pop((file.account, file.sha256))


@pytest.fixture
def upload_cache():
    return Memory()


@pytest.fixture
def caller(fake, upload_cache):
    caller = Caller(
        fake.url, QUICK, upload_cache=upload_cache, window=lambda model: 200_000 if "haiku" in model else 1_000_000
    )
    yield caller
    caller.messages.close()


def with_files(*files, **fields):
    return a_prompt({"prompt": "Hei", "options": {}, "files": list(files)}, **fields)


def sources(seen):
    return [block["source"] for block in seen.body["messages"][-1]["content"] if block["type"] != "text"]


def test_a_large_file_is_uploaded_once_and_referred_to_by_id(fake, caller):
    first, second = caller(with_files(a_file(BIG, name="a.pdf"))), caller(with_files(a_file(BIG), a_file(a_pdf())))

    assert isinstance(first, Completion) and isinstance(second, Completion)
    assert (list(fake.files.values()), len(fake.file_books)) == ([BIG], 1)
    assert fake.file_books[0].body == {"expires_in_seconds": "86400"}
    [stored] = fake.files
    [block, _] = fake.books[0].body["messages"][0]["content"]
    assert block == {"type": "document", "source": {"type": "file", "file_id": stored}, "title": "a.pdf"}
    assert [source["type"] for source in sources(fake.books[1])] == ["file", "base64"]


def test_concurrent_calls_upload_a_file_once(fake, caller):
    threads = [
        threading.Thread(
            target=caller.messages.call,
            args=(with_files(a_file(BIG)),),
            kwargs=dict(stop=lambda: None, sending=lambda: None, progress=lambda partial: None),
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (len(fake.file_books), len(fake.books)) == (1, 4)


def test_a_file_of_an_earlier_turn_is_not_sent_again_either(fake, caller):
    earlier = Exchange(request={"prompt": "A", "files": [a_file(BIG)]}, answer="B")
    caller(with_files(a_file(BIG)))
    caller(a_prompt({"prompt": "C"}, history=[earlier]))

    assert len(fake.file_books) == 1
    assert fake.books[1].body["messages"][0]["content"][0]["source"]["type"] == "file"


def test_the_largest_files_are_uploaded_until_the_rest_fits(fake, caller):
    """No file is large by itself; together they exceed the limit of a request."""
    small = LARGE - 50_000
    files = [a_file(a_pdf(padding=small - number)) for number in range(MAX_INLINE * 3 // 4 // small + 1)]
    caller(with_files(*files))

    assert len(fake.file_books) == 1
    assert [source["type"] for source in sources(fake.books[0])][:2] == ["file", "base64"]


def test_only_a_call_with_files_is_set_aside_while_they_are_prepared(fake, caller):
    """CASES S12"""
    entered = []

    @contextlib.contextmanager
    def preparing():
        entered.append((len(fake.file_books), len(fake.books)))
        yield
        entered.append((len(fake.file_books), len(fake.books)))

    for prompt in (a_prompt(), with_files(a_file(BIG))):
        caller.messages.call(
            prompt, stop=lambda: None, sending=lambda: None, progress=lambda partial: None, preparing=preparing
        )

    assert entered == [(0, 1), (1, 1)]


def test_files_to_be_erased_are_not_uploaded(fake, caller):
    prompt = with_files(a_file(BIG))
    caller(replace(prompt, job=replace(prompt.job, retain=Retain.METADATA)))

    assert (fake.file_books, sources(fake.books[0])[0]["type"]) == ([], "base64")


def test_a_file_that_is_missing_upstream_is_uploaded_again(fake, caller, upload_cache):
    """The refused request has its own ledger entry."""
    caller(with_files(a_file(BIG)))
    fake.files.clear()
    fake.then(*refusal("404 Not Found", "not_found_error", "file_expired"))

    done = caller(with_files(a_file(BIG)))

    assert isinstance(done, Completion)
    assert [seen.method for seen in fake.file_books] == ["POST", "GET", "POST"]
    assert [step.outcome for step in caller.followups] == ["not_found"]
    assert sources(fake.books[-1])[0]["file_id"] in fake.files


def test_another_404_does_not_remove_the_upload(fake, caller):
    caller(with_files(a_file(BIG)))
    fake.then(*refusal("404 Not Found", "not_found_error", text="model: nothing"))

    failure = caller(with_files(a_file(BIG)))

    assert (failure.type, failure.remedy) == (ErrorType.NOT_FOUND, Remedy.FAIL)
    assert len(fake.books) == 2 and len(fake.files) == 1


def test_files_are_sent_inline_if_uploads_are_unsupported(fake, caller):
    """A gateway may lack the files API; it is not called each time."""
    fake.refuse_file(*refusal("404 Not Found", "not_found_error"))
    caller(with_files(a_file(BIG)))
    caller(with_files(a_file(BIG)))

    assert len(fake.file_books) == 1
    assert [sources(seen)[0]["type"] for seen in fake.books] == ["base64", "base64"]


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        ("529 Overloaded", "overloaded_error", Remedy.THROTTLE),
        ("500 Oops", "api_error", Remedy.RETRY),
        ("401 No", "authentication_error", Remedy.PARK),
    ],
)
def test_a_failed_upload_sends_no_call(fake, caller, status, kind, remedy):
    fake.refuse_file(*refusal(status, kind))

    failure = caller(with_files(a_file(BIG)))

    assert (failure.remedy, failure.sent, fake.books) == (remedy, False, [])
    assert "could not be uploaded" in failure.message


@pytest.mark.parametrize(("model", "most"), [("claude-sonnet-5-5", 600), ("claude-haiku-4-5", 100)])
def test_pages_are_counted_before_the_call(fake, caller, model, most):
    half = a_file(a_pdf(most // 2))
    assert isinstance(caller(with_files(half, half, model=model)), Completion)

    failure = caller(with_files(half, half, a_file(a_pdf()), model=model))

    assert (failure.type, failure.remedy, failure.sent) == (ErrorType.TOO_LARGE, Remedy.FAIL, False)
    assert f"{most + 1} pages in total" in failure.message and f"at most {most}" in failure.message
    assert len(fake.books) == 1


def test_files_in_a_batch_are_checked_and_sent_inline(fake, caller):
    """A batch may be processed a day later, when an upload may have expired."""
    batches = caller.messages.batches()
    fine, locked = with_files(a_file(BIG)), with_files(a_file(a_pdf(password="secret")))

    assert b'"type":"base64"' in batches.prepare("a", fine).body
    assert "password" in batches.prepare("b", locked).message
    assert fake.file_books == []
    batches.close()


def test_a_locked_pdf_is_reported_by_its_field(fake, caller):
    failure = caller(with_files(a_file(a_pdf()), a_file(a_pdf(password="secret"))))

    assert (failure.type, failure.sent, fake.books) == (ErrorType.INVALID_REQUEST, False, [])
    assert "files[1] requires a password" in failure.message


def test_a_broken_pdf_is_sent_and_named_if_refused(fake, caller):
    """Other parsers may be able to read it."""
    broken = a_file(b"%PDF-1.7\nnothing more")
    assert isinstance(caller(with_files(broken)), Completion)
    fake.then(*refusal("400 Bad Request", "invalid_request_error", text="The PDF specified was not valid."))

    assert "files[0] could not be parsed as a PDF here" in caller(with_files(broken)).message


def test_an_image_with_too_many_pixels_is_refused(fake, caller):
    png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 9000, 10)
    failure = caller(with_files(a_file(png, mediaType="image/png")))

    assert (failure.type, failure.sent) == (ErrorType.TOO_LARGE, False)
    assert "files[0] is 9000 × 10 pixels" in failure.message


def test_pdf_inspections_are_cached(caller, monkeypatch):
    """Each content is inspected once."""
    pdf, begun = a_file(a_pdf(90)), []
    run = PROCESSES.run
    monkeypatch.setattr(PROCESSES, "run", lambda *args, **more: begun.append(args) or run(*args, **more))
    for _ in range(5):
        caller(with_files(pdf))

    assert len(begun) == 1
