"""Classification of a fetched file: kept, retried, or failed with a message for the author of the URL."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from claude_relay.core.files.fetched import FetchedFile, FetchResult, classify_fetch, file_name
from claude_relay.core.jobs.failure import ErrorType, Failure, Remedy

PDF = b"%PDF-1.7\n1 0 obj"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00"


def judged(file: dict[str, Any] | None = None, **fetched: Any) -> FetchedFile | Failure:
    known = dict(host="files.example.com", status=200, data=PDF, complete=True)
    file = {"url": "https://files.example.com/a/faktura%201.pdf?sig=query-secret", **(file or {})}

    return classify_fetch(FetchResult(**{**known, **fetched}), file, number=3, now=5.0)


def test_a_valid_file_is_kept_with_type_size_hash_and_name() -> None:
    """The type comes from the bytes, the name from the URL if the caller gives none."""
    assert judged() == FetchedFile(
        number=3,
        media_type="application/pdf",
        size=len(PDF),
        sha256=hashlib.sha256(PDF).hexdigest(),
        at=5.0,
        name="faktura 1.pdf",
    )
    assert judged({"name": "b.pdf"}).name == "b.pdf"  # type: ignore[union-attr]
    assert judged({"mediaType": "image/png"}, data=bytearray(PNG)).media_type == "image/png"  # type: ignore[union-attr]


GIVEN_UP = [
    ({}, {"status": 404}, ErrorType.INVALID_REQUEST, "answered 404: there is no file"),
    ({}, {"status": 410}, ErrorType.INVALID_REQUEST, "answered 410: there is no file"),
    ({}, {"status": 403}, ErrorType.INVALID_REQUEST, "answered 403: the URL must be readable without a login"),
    ({}, {"status": 401}, ErrorType.INVALID_REQUEST, "answered 401: the URL must be readable without a login"),
    ({}, {"status": 302}, ErrorType.INVALID_REQUEST, "redirects are never followed"),
    ({}, {"status": 418}, ErrorType.INVALID_REQUEST, "answered 418"),
    ({}, {"status": None, "error": "x leads inside", "blocked": True}, ErrorType.INVALID_REQUEST, "url: x leads"),
    ({}, {"data": b""}, ErrorType.INVALID_REQUEST, "is an empty file"),
    ({}, {"data": b"PK\x03\x04"}, ErrorType.INVALID_REQUEST, "is not a file that Claude reads"),
    ({}, {"data": b"\n<!DOCTYPE html><html>"}, ErrorType.INVALID_REQUEST, "it is a web page"),
    ({"mediaType": "image/png"}, {}, ErrorType.INVALID_REQUEST, "is a PDF, but mediaType says image/png"),
    ({}, {"encoding": "gzip", "data": b"\x1f\x8b"}, ErrorType.INVALID_REQUEST, "compressed"),
    ({}, {"too_large": True, "complete": False}, ErrorType.TOO_LARGE, "24 MB"),
]


@pytest.mark.parametrize(("file", "fetched", "kind", "words"), GIVEN_UP, ids=lambda value: str(value)[:40])
def test_a_permanent_error_fails_the_job(file: Any, fetched: Any, kind: ErrorType, words: str) -> None:
    """The message names the file by its index, and never contains the query of its URL."""
    failure = judged(file, **fetched)

    assert isinstance(failure, Failure)
    assert (failure.type, failure.remedy, failure.sent) == (kind, Remedy.FAIL, False)
    assert words in failure.message and failure.message.startswith("files[3]")
    assert "query-secret" not in failure.message


PASSING = [
    ({"status": 500}, ErrorType.UPSTREAM),
    ({"status": 503, "retry_after": 40.0}, ErrorType.UPSTREAM),
    ({"status": 429}, ErrorType.UPSTREAM),
    ({"status": 408}, ErrorType.UPSTREAM),
    ({"status": None, "error": "files.example.com refused the connection"}, ErrorType.UPSTREAM),
    ({"status": None, "error": "files.example.com gave no answer", "timed_out": True}, ErrorType.TIMEOUT),
    ({"complete": False}, ErrorType.UPSTREAM),
    ({"complete": False, "timed_out": True}, ErrorType.TIMEOUT),
]


@pytest.mark.parametrize(("fetched", "kind"), PASSING, ids=str)
def test_a_temporary_error_is_retried(fetched: Any, kind: ErrorType) -> None:
    """As an attempt of which nothing was sent; not before the server's Retry-After."""
    failure = judged(**fetched)

    assert isinstance(failure, Failure)
    assert (failure.type, failure.remedy, failure.sent) == (kind, Remedy.RETRY, False)
    assert failure.retry_after == fetched.get("retry_after")


def test_a_lack_of_local_resources_counts_as_no_attempt() -> None:
    """The job waits until there are file handles again."""
    failure = judged(status=None, error="files.example.com could not be reached", exhausted=True)

    assert isinstance(failure, Failure)
    assert (failure.type, failure.remedy, failure.sent) == (ErrorType.INTERNAL, Remedy.THROTTLE, False)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.example/x/faktura.pdf", "faktura.pdf"),
        ("https://a.example/bl%C3%A5b%C3%A6r.png?x=1", "blåbær.png"),
        ("https://a.example/", None),
        ("https://a.example/download", None),
        ("https://a.example/a%0Ab.pdf", None),
        ("https://a.example/" + "a" * 300 + ".pdf", None),
    ],
)
def test_the_file_name_comes_from_the_url(url: str, name: str | None) -> None:
    assert file_name(url) == name


def test_a_file_name_of_a_url_has_at_most_255_characters() -> None:
    """A longer one is none, as in `files`."""
    assert file_name("https://a.example/" + "n" * 251 + ".pdf") == "n" * 251 + ".pdf"
    assert file_name("https://a.example/" + "n" * 252 + ".pdf") is None


def test_a_fetch_without_a_result_is_none_of_its_outcomes() -> None:
    """Each of them is named by the fetcher."""
    result = FetchResult()

    assert not (result.complete or result.too_large or result.blocked or result.timed_out or result.exhausted)
