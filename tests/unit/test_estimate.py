"""Estimates, compared with published counts and with an independent rule."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.config import load_prices
from claude_relay.core.files.media_size import count_pages, image_size
from claude_relay.core.jobs.submission import Exchange
from claude_relay.core.money.estimate import estimate
from claude_relay.core.money.prices import PriceList
from claude_relay.sandbox import tokens

SONNET = "claude-sonnet-5-5"
PRICES = load_prices(None)
FAKTURA = Path(__file__).parents[2] / "examples" / "faktura" / "faktura.pdf"


def png(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))


def of(prompt="Hei", *, model=SONNET, mode="live", before=(), files=(), prices=PRICES, **options):
    request = {"prompt": prompt, "options": {"model": model, "maxTokens": 1000, **options}}
    request |= {"files": [{"data": base64.b64encode(data).decode(), "mediaType": kind} for data, kind in files]}
    return estimate(request, model=model, prices=prices, mode=mode, before=before)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=40, max_size=2000))
def test_the_range_contains_a_count_by_bytes(text: str) -> None:
    """The sandbox counts a token per 3.6 bytes of UTF-8 in any script."""
    span = of(text).tokens

    assert span.low <= tokens.of_text(text) <= span.high
    assert span.low <= span.likely <= span.high


@pytest.mark.parametrize(
    ("text", "count"),
    [
        # Plain words are about a token each, digits are cut into twos and threes, Japanese by signs or syllables.
        ("The quick brown fox jumps over the lazy dog. " * 100, 1000),
        ("0123456789" * 100, 400),
        ("私は学生です。" * 100, 800),
    ],
)
def test_the_range_contains_the_counts_of_tokenisers(text: str, count: int) -> None:
    span = of(text).tokens

    assert span.low <= count <= span.high
    assert span.high <= 8 * span.low  # wide, and still worth something


def test_newer_models_use_smaller_tokens() -> None:
    """Sonnet 5 counts about 30 % more than 4.6; an unknown model counts as new."""
    text = "Some words of a prompt. " * 200
    older, newer, unknown = (of(text, model=name).tokens for name in ("claude-sonnet-4-6", "claude-sonnet-5", "x"))

    assert 1.15 < newer.likely / older.likely < 1.45
    assert newer == unknown


def test_the_price_range_is_the_minimum_and_maximum_cost() -> None:
    result = of("word " * 1000)

    assert result.least == PRICES.cost(SONNET, {"input_tokens": result.tokens.low, "output_tokens": 1})
    assert result.most == PRICES.cost(SONNET, {"input_tokens": result.tokens.high, "output_tokens": 1000})
    assert (of("x", mode="batch").least, of("x", mode="batch").most) == (of("x").least / 2, of("x").most / 2)
    assert (of("x", mode="auto").least, of("x", mode="auto").most) == (of("x").least / 2, of("x").most)
    assert of("x", raw={"max_tokens": 7}).output == 7


def test_without_a_price_the_tokens_are_still_estimated() -> None:
    result = of("word " * 100, prices=PriceList(dated=""))

    assert (result.least, result.most) == (None, None)
    assert result.tokens.likely > 100


def test_every_part_of_the_request_counts() -> None:
    """System prompt, schema, tools, earlier exchanges and message blocks each add tokens."""
    long = "Some words that count. " * 100
    plain = of("Hei").tokens.low
    earlier = (Exchange(request={"prompt": long}, answer=long),)
    turns = {"messages": [{"role": "user", "content": [{"type": "text", "text": long}]}], "options": {}}

    assert of("Hei", systemPrompt=long).tokens.low > plain + 300
    assert of("Hei", outputSchema={"description": long}).tokens.low > plain + 300
    assert of("Hei", raw={"tools": [{"name": "x", "description": long}]}).tokens.low > plain + 300
    assert of("Hei", before=earlier).tokens.low > plain + 600
    assert estimate(turns, model=SONNET, prices=PRICES).tokens.low > plain + 300


def test_messages_of_raw_replace_the_prompt() -> None:
    """As in the call, and also in earlier exchanges."""
    long = [{"role": "user", "content": "word " * 2000}]

    assert of("x" * 9000, raw={"messages": [{"role": "user", "content": "Hei"}]}).tokens.high < 100
    assert of(raw={"messages": long}).tokens.low > 1900
    earlier = Exchange(request={"prompt": "", "options": {"raw": {"messages": long}}}, answer="Hei")
    assert of(before=[earlier]).tokens.low > 1900


def test_pages_and_pixels_are_counted() -> None:
    pdf = FAKTURA.read_bytes()
    assert count_pages(pdf) == tokens.pages(pdf) == 2
    pages = of(files=[(pdf, "application/pdf")]).tokens
    assert pages.low <= 2 * 2000 <= pages.high

    for width, height in ((100, 100), (1000, 800), (8000, 8000)):
        picture = png(width, height)
        assert image_size(picture) == (width, height)
        span = of(files=[(picture, "image/png")]).tokens
        assert span.low <= tokens.of_image(picture) <= span.high


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"GIF89a" + struct.pack("<HH", 3, 4), (3, 4)),
        (b"\xff\xd8\xff\xe0\x00\x10" + bytes(14) + b"\xff\xc0\x00\x11\x08\x00\x05\x00\x06" + bytes(9), (6, 5)),
        (b"RIFF\x24\0\0\0WEBPVP8X" + bytes(8) + b"\x07\x00\x00\x08\x00\x00", (8, 9)),
        (b"RIFF\x24\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + (7 | 8 << 14).to_bytes(4, "little"), (8, 9)),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 8, 9), (8, 9)),
        (b"\xff\xd8\xff", None),
        (b"nothing", None),
    ],
)
def test_the_size_of_every_image_type_is_read(data: bytes, size: tuple[int, int] | None) -> None:
    assert image_size(data) == size


def test_uncountable_parts_are_warned_about() -> None:
    """A file by URL, a PDF with compressed objects, and Claude's own tools."""
    by_address = {"prompt": "x", "files": [{"url": "https://x.example/a.pdf"}], "options": {}}
    packed = b"%PDF-1.7\n" + b"\x01" * 100_000

    assert "files[0] is not counted" in estimate(by_address, model=SONNET, prices=PRICES).warnings[0]
    result = of(files=[(packed, "application/pdf")])
    assert "1 to 25 are assumed" in result.warnings[0]
    assert result.tokens.low < 1_000 and result.tokens.high > 100_000
    tools = [{"type": "web_search_20260209", "name": "web_search"}]
    assert "search" in of(raw={"tools": tools}).warnings[0]
