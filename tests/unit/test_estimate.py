"""Estimates, compared with published counts and with an independent rule."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_relay.config import load_prices
from claude_relay.core.files.media_size import count_pages, image_size
from claude_relay.core.jobs.submission import Exchange
from claude_relay.core.money.estimate import estimate, reservation
from claude_relay.core.money.prices import PriceList
from claude_relay.sandbox import tokens

SONNET = "claude-sonnet-5-5"
PRICES = load_prices(None)
_PROMPT = {"prompt": "a" * 30}
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


@pytest.mark.parametrize(
    ("answer", "tokens_"),
    [('"' * 30, (6, 10, 16)), ([{"type": "text", "text": "Hei, Åse"}], (7, 13, 21)), ("", (0, 0, 1))],
)
def test_an_earlier_exchange_is_its_request_and_its_answer(answer: Any, tokens_: tuple[int, int, int]) -> None:
    """A text as it is, blocks as their JSON; the options of that request are not sent again."""
    earlier = Exchange(request={**_PROMPT, "options": {"systemPrompt": "a" * 300}}, answer=answer)
    found = estimate(_PROMPT, model=SONNET, prices=PRICES, before=[earlier]).tokens

    assert (found.low - 16, found.likely - 28, found.high - 56) == tokens_


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
        (b"GIF89a" + struct.pack("<HH", 3, 4) + b"\xf0\x00\x00", (3, 4)),
        (b"RIFF\x24\0\0\0WEBPVP8X" + bytes(8) + b"\x07\x00\x00\x08\x00\x00ALPH", (8, 9)),
        (b"RIFF\x24\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + (7 | 8 << 14).to_bytes(4, "little") + b"\xff", (8, 9)),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 8, 9) + b"\xff", (8, 9)),
        (b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", 5, 6) + b"\x03", (6, 5)),
        (b"\xff\xd8\xff\xe0\x00\x10" + bytes(14) + b"\xff\xc0\x00\x11\x08\x00\x05\x00\x06" + bytes(9), (6, 5)),
        *(
            (
                b"\xff\xd8\xff" + marker + b"\x00\x06" + bytes(4) + b"\xff\xc2\x00\x11\x08\x00\x05\x00\x06" + bytes(9),
                (6, 5),
            )
            for marker in (b"\xc4", b"\xc8", b"\xcc", b"\xbf", b"\xd0")  # none of them begins a frame
        ),
        (b"\xff\xd8\xff\xcf\x00\x11\x08\x00\x05\x00\x06", (6, 5)),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x00\x00\x06", None),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x05\x00", None),
        (b"RIFF\x24\0\0\0WEBPVP8X" + bytes(8) + b"\x07\x00\x00\x08\x00", None),
        (b"RIFF\x24\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + (7 | 8 << 14).to_bytes(3, "little"), None),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HB", 8, 9), None),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 8 | 1 << 14, 9 | 3 << 14), (8, 9)),
        (b"RIFF\x24\0\0\0WEBPNONE" + bytes(20), None),
        (b"RIFF\x24\0\0\0WEBPVP8X" + bytes(8) + b"\x07\x00\x00\x08\x00\x00", (8, 9)),
        (b"RIFF\x24\0\0\0WEBPVP8L" + bytes(4) + b"\x2f" + (7 | 8 << 14).to_bytes(4, "little"), (8, 9)),
        (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 8, 9), (8, 9)),
        (b"\xff\xd8\xff", None),
        (b"nothing", None),
        (b"nothing of a picture, and longer than the heads of all of them", None),
        (png(3, 4)[:24], (3, 4)),
        (png(3, 4)[:23], None),
        *((png(*size), None) for size in ((0, 4), (3, 0))),
        (b"GIF87a" + struct.pack("<HH", 3, 4)[:3], None),
        *((b"GIF89a" + struct.pack("<HH", *size), None) for size in ((0, 4), (3, 0))),
        *((b"\xff\xd8\xff\xc0\x00\x11\x08" + struct.pack(">HH", *size), None) for size in ((0, 4), (3, 0))),
        (b"RIFF\x24\0\0\0AVI VP8X" + bytes(8) + b"\x07\x00\x00\x08\x00\x00", None),
        (b"RIFX\x24\0\0\0WEBPVP8X" + bytes(8) + b"\x07\x00\x00\x08\x00\x00", None),
        (b"RIFF\x24\0\0\0WEBPVP8X" + bytes(8) + b"\x01\x02\x03\x04\x05\x06", (0x30202, 0x60505)),
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


def _image(width: int, height: int) -> dict[str, str]:
    return {"data": base64.b64encode(png(width, height)).decode(), "mediaType": "image/png"}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({"prompt": ""}, (2, 4, 13)),
        (_PROMPT, (8, 14, 28)),
        ({"prompt": "æ" * 10}, (5, 10, 21)),
        ({"prompt": "\u024f" * 10}, (5, 10, 21)),
        ({"prompt": "\u0250" * 10}, (7, 15, 38)),
        ({"prompt": "中" * 10}, (7, 15, 38)),
        ({**_PROMPT, "options": {"systemPrompt": "a" * 30}}, (14, 24, 44)),
        ({**_PROMPT, "options": {"raw": {"system": [{"type": "text", "text": "a" * 30}]}}}, (14, 24, 44)),
        ({**_PROMPT, "options": {"outputSchema": {"type": "object"}}}, (211, 420, 1038)),
        ({**_PROMPT, "options": {"raw": {"tools": [{"name": "x"}]}}}, (211, 419, 1037)),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "abc"}]}]}, (12, 22, 46)),
        ({"messages": [{"role": "user", "content": "a" * 30}] * 2}, (18, 32, 68)),
        ({**_PROMPT, "files": [_image(1000, 750)]}, (808, 1014, 1238)),
        ({**_PROMPT, "files": [_image(8000, 8000)]}, (1288, 1614, 5918)),
        ({**_PROMPT, "files": [{"data": "eHh4eHh4", "mediaType": "image/png"}]}, (68, 1514, 4928)),
        ({**_PROMPT, "files": [{"url": "https://x.example/a.pdf"}]}, (8, 14, 28)),
    ],
)
def test_the_tokens_of_each_part_of_a_request(request_: dict[str, Any], expected: tuple[int, int, int]) -> None:
    """Minimum, likely, maximum: characters by script, messages, schemas and tools, pixels, and unknown pictures."""
    result = estimate(request_, model=SONNET, prices=PRICES)

    assert (result.tokens.low, result.tokens.likely, result.tokens.high) == expected
    assert result.output == 4096


@pytest.mark.parametrize(
    ("size", "tokens_"),
    [
        (0, (800, 2_500, 6_500)),
        (7_999, (800, 2_500, 6_500)),
        (8_000, (800, 2_500, 13_000)),
        (64_000, (800, 5_000, 104_000)),
        (2_400_000, (800, 187_500, 3_900_000)),
        (9_000_000, (800, 187_500, 3_900_000)),
    ],
)
def test_a_pdf_that_is_not_unpacked_is_estimated_by_its_size(size: int, tokens_: tuple[int, int, int]) -> None:
    """4,000 bytes a page at least, and 600 pages at most; likely an eighth of them."""
    file = {"data": base64.b64encode(b"%PDF" + b"\x01" * (size - 4)).decode(), "mediaType": "application/pdf"}
    found = estimate({"prompt": "", "files": [file]}, model=SONNET, prices=PRICES).tokens
    reserved = reservation({"prompt": "", "files": [file]}, model=SONNET, prices=PRICES)

    assert (found.low - 2, found.likely - 4, found.high - 13) == tokens_
    assert reserved == PRICES.cost(SONNET, {"input_tokens": tokens_[1] + 4, "output_tokens": 4096})


def test_what_is_reserved_for_a_call_has_the_conversation_and_the_longest_answer() -> None:
    """A batch costs half; a picture is estimated by its pixels, and `max_tokens` of `raw` wins."""
    request = {**_PROMPT, "files": [_image(1000, 750)], "options": {"maxTokens": 50, "raw": {"max_tokens": 70}}}
    cost = PRICES.cost(SONNET, {"input_tokens": 1014 + 900, "output_tokens": 70})

    assert cost is not None
    assert reservation(request, model=SONNET, prices=PRICES, before=900) == cost
    assert reservation(request, model=SONNET, prices=PRICES, before=900, mode="batch") == cost / 2
    assert reservation({**_PROMPT, "options": {"raw": {"max_tokens": True}}}, model=SONNET, prices=PRICES) == (
        PRICES.cost(SONNET, {"input_tokens": 14, "output_tokens": 4096})
    )


@pytest.mark.parametrize(
    ("model", "older"),
    [("claude-opus-4-6", True), ("claude-haiku-3", True), ("claude-opus-4", True), ("claude-opus-4-7", False),
     ("claude-sonnet-5", False), ("claude-opus-10", False), ("another", False)],
)  # fmt: skip
def test_the_tokens_of_models_before_4_7_are_larger(model: str, older: bool) -> None:
    found = estimate(_PROMPT, model=model, prices=PRICES).tokens

    assert (found.low, found.likely, found.high) == ((8, 12, 25) if older else (8, 14, 28))


def test_a_jpeg_of_millions_of_segments_has_no_size() -> None:
    """CASES S12, a sibling: the walk over them is bounded, so that no call of another job waits for it."""
    frame = b"\xff\xc0\x00\x11\x08\x00\x10\x00\x20"
    segment = b"\xff\xe0\x00\x02"

    assert image_size(b"\xff\xd8" + segment * 5_000 + frame) == (32, 16)
    assert image_size(b"\xff\xd8" + segment * 20_000 + frame) is None
