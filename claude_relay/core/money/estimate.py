"""
Cost estimates of requests before they are sent, as a (wide) range.

No model's tokeniser is public. Characters, pages and pixels give a rough number of tokens; parts of unknown size (a
file that is fetched when the job runs) are left out, with a warning.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..files.media_size import count_pages, image_size
from ..lazy_dataclass import dataclass

if TYPE_CHECKING:
    from ..jobs.submission import Exchange
    from .prices import PriceList

#: ASCII characters per token: maximum, usual, minimum (digits, code). Models from 4.7 on use smaller tokens.
_OLDER, _NEWER = (5.0, 3.8, 2.6), (5.0, 3.0, 2.0)
_VERSION = re.compile(r"claude-[a-z]+-([0-9])(?:-([0-9]))?(?![0-9])")
#: Tokens per character of other scripts: minimum, usual, maximum; and ASCII characters per accented Latin letter.
_SCRIPTS, _ACCENTED = (0.5, 1.1, 2.5), 1.6
_MESSAGE = (2, 4, 12)
_PAGE = (800, 2_500, 6_500)  # its text and its image
_IMAGE = (60, 1_500, 4_900)
_PIXELS_PER_TOKEN, _MAX_IMAGE = 750, (1_600, 1_600, 4_900)
_TOOLS = (200, 400, 1_000)
_PDF, _START = "application/pdf", 350_000  # base64 characters at the start, which contain the size of an image
_BYTES_PER_PAGE = 4_000  # a compressed PDF has at most its size divided by this
_MAX_PAGES = 600


@dataclass(frozen=True, kw_only=True)
class TokenRange:
    """Numbers of tokens: minimum, likely, maximum."""

    low: int = 0
    likely: int = 0
    high: int = 0

    def __add__(self, other: TokenRange) -> TokenRange:
        return TokenRange(low=self.low + other.low, likely=self.likely + other.likely, high=self.high + other.high)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate; `least` and `most` are dollars, None without a known price."""

    model: str
    tokens: TokenRange
    output: int
    least: float | None
    most: float | None
    warnings: tuple[str, ...] = ()


def estimate(
    request: Mapping[str, Any], *, model: str, prices: PriceList, before: Sequence[Exchange] = (), mode: str = "live"
) -> Estimate:
    """
    Estimate the stored request after its earlier exchanges (`before`).

    Minimum: the fewest tokens, and a one-token answer. Maximum: the most tokens, and an answer of the maximum length.
    A batch costs half, and `auto` may be either.
    """
    warnings: list[str] = []
    options = request.get("options") or {}
    tokens = _request(request, model, warnings)
    for exchange in before:
        answer = exchange.answer
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        raw = {"messages": ((exchange.request.get("options") or {}).get("raw") or {}).get("messages")}
        tokens += _request({**exchange.request, "options": {"raw": raw}}, model, warnings) + _text(text, model)
    output = _output(options)

    return Estimate(
        model=model,
        tokens=tokens,
        output=output,
        least=prices.cost(model, {"input_tokens": tokens.low, "output_tokens": 1}, batch=mode != "live"),
        most=prices.cost(model, {"input_tokens": tokens.high, "output_tokens": output}, batch=mode == "batch"),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def reservation(
    request: Mapping[str, Any], *, model: str, prices: PriceList, mode: str = "live", before: int = 0
) -> float | None:
    """
    The cost to reserve for a call in flight: the likely input, and an answer of the maximum length.

    It is computed as jobs are claimed, so files are estimated by size and not unpacked. `before` is the number of
    tokens of the conversation so far.
    """
    files = [file if file.get("mediaType") != _PDF else _by_size(file) for file in request.get("files") or ()]
    tokens = _request({**request, "files": files}, model, [])
    usage = {"input_tokens": before + tokens.likely, "output_tokens": _output(request.get("options") or {})}

    return prices.cost(model, usage, batch=mode == "batch")


def _by_size(file: Mapping[str, Any]) -> dict[str, Any]:
    """A stand-in for a PDF that has only its size."""
    return {"pdf": len(file.get("data") or "") * 3 // 4}


def _output(options: Mapping[str, Any]) -> int:
    raw = (options.get("raw") or {}).get("max_tokens")

    return raw if isinstance(raw, int) and not isinstance(raw, bool) else int(options.get("maxTokens", 4096))


def _request(request: Mapping[str, Any], model: str, warnings: list[str]) -> TokenRange:
    options, total = request.get("options") or {}, _span(_MESSAGE)
    raw = options.get("raw") or {}
    # The messages of `raw` replace the others, like all fields of `raw`.
    messages = _dicts(raw.get("messages")) or _dicts(request.get("messages"))
    total += _text(request.get("prompt") or "", model) if not messages else TokenRange()
    for message in messages:
        total += _span(_MESSAGE) + _content(message.get("content"), model)
    for number, file in enumerate(request.get("files") or ()):
        total += _file(file, f"files[{number}]", warnings)
    for text in (options.get("systemPrompt"), raw.get("system")):
        total += _content(text, model)
    for extra in (options.get("outputSchema"), raw.get("tools")):
        if extra:
            total += _text(json.dumps(extra, ensure_ascii=False), model) + _span(_TOOLS)
    if any(str(tool.get("type", "")).rpartition("_")[2].isdigit() for tool in _dicts(raw.get("tools"))):
        warnings.append("the tokens and fees of Claude's own tools (search, code) are not counted")

    return total


def _content(content: Any, model: str) -> TokenRange:
    """Tokens of a string, or of blocks of text, documents and images."""
    if isinstance(content, str):
        return _text(content, model) if content else TokenRange()
    total, unused = TokenRange(), list[str]()
    for block in _dicts(content):
        source = block.get("source")
        if isinstance(source, Mapping) and isinstance(source.get("data"), str):
            total += _file({"data": source["data"], "mediaType": source.get("media_type")}, "messages", unused)
        else:
            total += _text(json.dumps(block, ensure_ascii=False) if "text" not in block else str(block["text"]), model)

    return total


def _text(text: str, model: str) -> TokenRange:
    plain = text.encode("ascii", "ignore")
    others = len(text) - len(plain)
    accented = sum(1 for char in text if "\x7f" < char < "\u0250") if others else 0
    scripts = others - accented
    ascii_length = len(plain) + _ACCENTED * accented
    low, likely, high = (
        ascii_length / width + scripts * rate for width, rate in zip(_widths(model), _SCRIPTS, strict=True)
    )

    return TokenRange(low=math.floor(low), likely=math.ceil(likely), high=math.ceil(high) + 1)


def _widths(model: str) -> tuple[float, float, float]:
    version = _VERSION.search(model)
    older = version is not None and (int(version[1]), int(version[2] or 0)) < (4, 7)

    return _OLDER if older else _NEWER


def _file(file: Mapping[str, Any], at: str, warnings: list[str]) -> TokenRange:
    data = file.get("data")
    if "pdf" in file:
        return _compressed_pdf(file["pdf"])
    if not isinstance(data, str):
        warnings.append(f"{at} is not counted: its size is unknown until the job runs")
        return TokenRange()
    if file.get("mediaType") == _PDF:
        pdf = _bytes(data)
        pages = count_pages(pdf)
        if pages is not None:
            return _span(tuple(pages * rate for rate in _PAGE))
        most = _max_pages(len(pdf))
        warnings.append(f"the pages of {at} cannot be counted without unpacking it: 1 to {most} are assumed")
        return _compressed_pdf(len(pdf))
    size = image_size(_bytes(data[:_START]))
    if size is None:
        return _span(_IMAGE)
    exact = size[0] * size[1] / _PIXELS_PER_TOKEN
    low, likely, high = (min(exact, most) for most in _MAX_IMAGE)

    return TokenRange(low=math.floor(low * 0.8), likely=math.ceil(likely), high=math.ceil(high * 1.2) + 10)


def _max_pages(size: int) -> int:
    return min(_MAX_PAGES, max(1, size // _BYTES_PER_PAGE))


def _compressed_pdf(size: int) -> TokenRange:
    """Tokens of a PDF of that many bytes whose pages cannot be counted."""
    most = _max_pages(size)

    return TokenRange(low=_PAGE[0], likely=_PAGE[1] * max(1, most // 8), high=_PAGE[2] * most)


def _bytes(data: str) -> bytes:
    """Decode base64 that may be truncated."""
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _span(values: Iterable[float]) -> TokenRange:
    low, likely, high = (int(value) for value in values)

    return TokenRange(low=low, likely=likely, high=high)


def _dicts(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []
