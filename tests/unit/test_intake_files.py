"""Files: PDFs and images, detected by their first bytes."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.files.types import sniff
from claude_relay.webhooks.url import url_problem
from tests.support.intake import GIF, JPEG, PDF, PNG, WEBP, accepted, an_intake_context, refused


def files(*entries, **how):
    return accepted({"files": list(entries)}, **how).request["files"]


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (PDF, "application/pdf"),
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (GIF, "image/gif"),
        (WEBP, "image/webp"),
        (base64.b64encode(b"\r\njunk before it %PDF-1.4").decode(), "application/pdf"),
    ],
)
def test_the_type_is_detected_by_the_first_bytes(data, media_type):
    assert files({"data": data}) == [{"data": data, "mediaType": media_type}]


@pytest.mark.parametrize(
    "entry",
    [
        {"data": PDF, "mediaType": "application/pdf"},
        {"data": PDF, "mediaType": "Application/PDF; charset=binary"},
        {"data": PDF, "mediaType": "application/x-pdf"},
        {"data": PDF, "mediaType": "application/octet-stream"},
        {"data": PDF, "mediaType": "", "url": None, "fileId": ""},
        {"data": f"data:application/pdf;base64,{PDF}"},
        {"data": f"data:application/pdf;name=faktura.pdf;base64,{PDF}"},
        {"data": f"DATA:;base64,{PDF}"},
        {"data": f"\n {PDF[:10]}\r\n{PDF[10:20]} {PDF[20:]}\n"},
    ],
)
def test_sloppy_ways_to_send_a_file_have_the_same_result(entry):
    """Wrapped base64, data: URLs, unspecific types."""
    assert files(entry) == [{"data": PDF, "mediaType": "application/pdf"}]


def test_a_jpg_is_a_jpeg():
    assert files({"data": JPEG, "mediaType": "image/jpg"})[0]["mediaType"] == "image/jpeg"


@pytest.mark.parametrize(
    ("entry", "field", "words"),
    [
        ("faktura.pdf", "files[1]", "must be an object"),
        (None, "files[1]", "must be an object"),
        ({}, "files[1]", "exactly one of data, url, fileId"),
        ({"name": "a.pdf"}, "files[1]", "exactly one of data, url, fileId"),
        ({"data": PDF, "url": "https://a.example/x"}, "files[1]", "not data and url"),
        ({"data": 5}, "files[1].data", "a number"),
        ({"data": "not base64!"}, "files[1].data", "is not base64"),
        ({"data": "JVBERi0xLjcæ"}, "files[1].data", "is not base64"),
        ({"data": PDF[:-1]}, "files[1].data", "truncated"),
        ({"data": "===="}, "files[1].data", "is not base64"),
        ({"data": PDF + "=" * 4}, "files[1].data", "is not base64"),
        ({"data": f"data:application/pdf,{PDF}"}, "files[1].data", "without base64"),
        ({"data": "data:application/pdf;base64,"}, "files[1].data", "empty file"),
        ({"data": base64.b64encode(b"PK\x03\x04docx").decode()}, "files[1].data", "not a file that Claude reads"),
        ({"data": base64.b64encode(b"hello").decode(), "mediaType": "image/png"}, "files[1].data", "not a PNG"),
        ({"data": PDF, "mediaType": "image/png"}, "files[1].data", "is a PDF, but mediaType says image/png"),
        ({"data": f"data:image/gif;base64,{PNG}"}, "files[1].data", "is a PNG image, but mediaType says image/gif"),
        ({"data": PDF, "mediaType": "text/plain"}, "files[1].mediaType", "text/plain, which Claude does not read"),
        ({"data": PDF, "mediaType": 1}, "files[1].mediaType", "a number"),
        ({"data": PDF, "name": "x" * 256}, "files[1].name", "255"),
        ({"data": PDF, "name": "a\nb"}, "files[1].name", "control characters"),
        ({"data": PDF, "name": 1}, "files[1].name", "a number"),
        ({"url": "ftp://a.example/x"}, "files[1].url", "https://"),
        ({"url": "https://10.0.0.1/x"}, "files[1].url", "private"),
        ({"fileId": "a/b"}, "files[1].fileId", "id of a stored file"),
    ],
)
def test_an_invalid_file_is_refused_by_its_index(entry, field, words):
    context = an_intake_context(check_url=lambda url: "is a private address" if "10.0.0.1" in url else url_problem(url))
    [(named, problem)] = refused({"files": [{"data": PDF}, entry]}, context=context).items()

    assert named == field and words in problem


def test_more_than_twenty_files_are_refused():
    assert len(files(*[{"data": PDF}] * 20)) == 20
    assert "maximum is 20" in refused({"files": [{"data": PDF}] * 21})["files"]


def test_urls_and_file_ids_are_kept():
    entries = [{"url": "https://a.example/f.pdf", "name": "f.pdf"}, {"fileId": "file_011C", "mediaType": "image/png"}]

    assert files(*entries, context=an_intake_context()) == entries


def test_a_plus_that_a_form_decoded_to_a_space_is_reported():
    """Removing the spaces, as for JSON, would silently pass on a broken file."""
    problem = refused({"files": [{"data": PDF[:8] + " " + PDF[8:]}]}, form=True)["files[0].data"]

    assert "%2B" in problem


def test_an_unknown_field_of_a_file_is_ignored_with_a_warning():
    submission = accepted({"files": [{"data": PDF, "pages": 3}]}, context=an_intake_context())

    assert submission.warnings == ("files[0].pages is not a known field and was ignored",)
    assert submission.request["files"] == [{"data": PDF, "mediaType": "application/pdf"}]


@given(st.binary(max_size=64))
def test_any_bytes_have_a_type_or_none(start):
    assert sniff(start) in (None, "application/pdf", "image/png", "image/jpeg", "image/gif", "image/webp")


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("tail", [b"\xfb\xff\xfe", b"\xff\xff", b"\xff", b"\xfb\xef\xbe plain"])
def test_base64url_is_taken_and_stored_as_base64(tail, padded):
    """CASES F24: Gmail's API and others send the alphabet with - and _, often without padding."""
    raw = b"%PDF-1.7\n" + tail
    data = base64.urlsafe_b64encode(raw).decode()
    [file] = accepted({"files": [{"data": data if padded else data.rstrip("=")}]}).request["files"]

    assert file["data"] == base64.b64encode(raw).decode()
    assert refused({"files": [{"data": data + "+-"}]})["files[0].data"].startswith("is not base64")


def test_a_name_has_at_most_255_characters():
    """Any that people see; none that breaks a line."""
    assert accepted({"files": [{"data": PDF, "name": "å" * 255}]}).request["files"][0]["name"] == "å" * 255
    assert list(refused({"files": [{"data": PDF, "name": "å" * 256}]})) == ["files[0].name"]
    assert list(refused({"files": [{"data": PDF, "name": "a\nb"}]})) == ["files[0].name"]


@pytest.mark.parametrize(
    ("declared", "stored"),
    [("Image/JPG; q=1", "image/jpeg"), ("application/x-pdf", "application/pdf"), ("application/octet-stream", None)],
)
def test_the_type_of_a_file_by_url_is_the_declared_one_unless_that_says_nothing(declared, stored):
    """By the name that Claude uses; it is compared with the bytes once they are there."""
    [file] = accepted({"files": [{"url": "https://a.example/f", "mediaType": declared}]}).request["files"]

    assert file.get("mediaType") == stored
    assert list(refused({"files": [{"url": "https://a.example/f", "mediaType": "text/html"}]})) == [
        "files[0].mediaType"
    ]


def test_a_url_with_a_password_is_refused_and_one_with_an_at_sign_in_its_path_is_not():
    """It would stand in the record of the job."""
    for url in ("https://u:p@a.example/f", "https://u@a.example"):
        assert "user name or password" in refused({"files": [{"url": url}]})["files[0].url"]
    for url in ("https://a.example/@f", "https://a.example/f?a=@b"):
        assert accepted({"files": [{"url": url}]}).request["files"] == [{"url": url}]
