"""The model catalogue of the sandbox, filtered and paged, and its token estimates."""

from datetime import datetime, timezone

import pytest

from claude_relay.sandbox import models, tokens
from claude_relay.sandbox.problem import ApiError


def ids(page):
    return [row["id"] for row in page["data"]]


def test_retired_models_are_listed_only_on_request():
    usual = models.page({})
    retired = models.page({"lifecycle[]": ["retired"]})

    assert {row["lifecycle"] for row in usual["data"]} == {"active", "deprecated"}
    assert ids(retired) == ["claude-3-5-sonnet-20241022"]
    assert retired["data"][0]["retires_at"] is not None


def test_pages_follow_each_other_without_gap_or_overlap():
    everything = ids(models.page({"limit": ["1000"]}))
    seen, query = [], {"limit": ["5"]}
    while True:
        page = models.page(query)
        seen += ids(page)
        if not page["has_more"]:
            break
        query = {"limit": ["5"], "after_id": [page["last_id"]]}

    assert seen == everything


def test_pages_can_be_read_backwards():
    everything = ids(models.page({"limit": ["1000"]}))
    page = models.page({"limit": ["2"], "before_id": [everything[3]]})

    assert ids(page) == everything[1:3]
    assert page["has_more"]
    assert not models.page({"limit": ["9"], "before_id": [everything[3]]})["has_more"]


@pytest.mark.parametrize(
    "query", [{"limit": ["0"]}, {"limit": ["1001"]}, {"limit": ["x"]}, {"after_id": ["none"]}, {"lifecycle": ["old"]}]
)
def test_a_bad_query_is_a_400(query):
    with pytest.raises(ApiError) as caught:
        models.page(query)

    assert caught.value.status == 400


def test_an_alias_finds_its_dated_model():
    assert models.find("claude-sonnet-4-5").id == "claude-sonnet-4-5-20250929"


def test_a_deprecated_model_answers_and_a_retired_one_does_not():
    assert models.usable("claude-sonnet-4-5").lifecycle == "deprecated"
    assert models.find("claude-sonnet-4-5").info()["retires_at"] > f"{datetime.now(timezone.utc):%Y-%m-%d}"
    with pytest.raises(ApiError, match="was retired on 2025-10-28"):
        models.usable("claude-3-5-sonnet-20241022")


@pytest.mark.parametrize("text", ["", "a", "Blåbærsyltetøy " * 50, "日本語のテキスト"])
@pytest.mark.parametrize("limit", [0, 1, 7, 1000])
def test_a_cut_text_costs_no_more_than_its_limit(text, limit):
    part = tokens.cut(text, limit)

    assert text.startswith(part)
    assert not part or tokens.of_text(part) <= limit


def test_tokens_of_an_image_follow_its_size():
    jpeg = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08" + (100).to_bytes(2, "big") + (750).to_bytes(2, "big")

    assert tokens.of_image(jpeg) == 100
    assert tokens.of_image(b"GIF89a" + (750).to_bytes(2, "little") + (10).to_bytes(2, "little")) == 10
    assert tokens.of_image(b"RIFF....WEBP") == tokens.AN_UNKNOWN_IMAGE


@pytest.mark.parametrize(
    ("pdf", "pages"),
    [(b"%PDF /Type /Page /Type /Page /Type /Pages /Count 9", 2), (b"%PDF /Type /Pages /Count 3", 3), (b"%PDF", 1)],
)
def test_pdf_pages_are_counted_or_estimated(pdf, pages):
    assert tokens.pages(pdf) == pages
