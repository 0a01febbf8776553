"""
What a request will come to, before anything is sent: a range, and honestly a wide one.

No model's tokeniser is public. Letters, pages and pixels tell roughly; what tells nothing (a file that is fetched only
when the job runs) is left out and said.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..files.media_size import count_pages, image_size
from ..jobs.submission import Exchange
from .prices import PriceList

#: ASCII letters to a token: the most, the usual, the fewest (digits, code). Models from 4.7 on cut text finer.
_OLDER, _NEWER = (5.0, 3.8, 2.6), (5.0, 3.0, 2.0)
_VERSION = re.compile(r"claude-[a-z]+-([0-9])(?:-([0-9]))?(?![0-9])")
#: Tokens to a letter of other scripts: the fewest, the usual, the most. Accented Latin letters count as so many ASCII.
_SCRIPTS, _ACCENTED = (0.5, 1.1, 2.5), 1.6
_A_TURN = (2, 4, 12)
_A_PAGE = (800, 2_500, 6_500)  # its text and its picture
_A_PICTURE = (60, 1_500, 4_900)
_PIXELS_A_TOKEN, _MOST_FOR_A_PICTURE = 750, (1_600, 1_600, 4_900)
_TOOLS = (200, 400, 1_000)
_PDF, _START = "application/pdf", 350_000  # base64 letters in which a picture's size is found
_BYTES_A_PAGE = 4_000  # a packed PDF has no more pages than its size over this
_MOST_PAGES = 600


@dataclass(frozen=True, kw_only=True)
class TokenRange:
    """Tokens: at least, likely, at most."""

    low: int = 0
    likely: int = 0
    high: int = 0

    def __add__(self, other: TokenRange) -> TokenRange:
        return TokenRange(low=self.low + other.low, likely=self.likely + other.likely, high=self.high + other.high)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """`least` and `most` are dollars; None where no price is known."""

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
    What the stored request will come to, after the turns that came before it.

    At least: the fewest tokens, and one word of answer. At most: the most tokens, and an answer as long as it may be.
    A batch is half the price, and `auto` may be either.
    """
    warnings: list[str] = []
    options = request.get("options") or {}
    tokens = _request(request, model, warnings)
    for one in before:
        said = one.answer if isinstance(one.answer, str) else json.dumps(one.answer, ensure_ascii=False)
        turns = {"messages": ((one.request.get("options") or {}).get("raw") or {}).get("messages")}
        tokens += _request({**one.request, "options": {"raw": turns}}, model, warnings) + _text(said, model)
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
    What to set aside for a call while it is under way: the likely input, and an answer as long as it may be.

    It is asked as jobs are claimed, so that files are reckoned by their size and not unpacked. `before`: the tokens of
    what was said earlier in its conversation.
    """
    files = [file if file.get("mediaType") != _PDF else _by_size(file) for file in request.get("files") or ()]
    tokens = _request({**request, "files": files}, model, [])
    usage = {"input_tokens": before + tokens.likely, "output_tokens": _output(request.get("options") or {})}

    return prices.cost(model, usage, batch=mode == "batch")


def _by_size(file: Mapping[str, Any]) -> dict[str, Any]:
    """A PDF of which only the size is looked at."""
    return {"pdf": len(file.get("data") or "") * 3 // 4}


def _output(options: Mapping[str, Any]) -> int:
    raw = (options.get("raw") or {}).get("max_tokens")

    return raw if isinstance(raw, int) and not isinstance(raw, bool) else int(options.get("maxTokens", 4096))


def _request(request: Mapping[str, Any], model: str, warnings: list[str]) -> TokenRange:
    options, total = request.get("options") or {}, _span(_A_TURN)
    raw = options.get("raw") or {}
    # The turns of `raw` take the place of the others, as everything of `raw` does.
    turns = _dicts(raw.get("messages")) or _dicts(request.get("messages"))
    total += _text(request.get("prompt") or "", model) if not turns else TokenRange()
    for turn in turns:
        total += _span(_A_TURN) + _content(turn.get("content"), model)
    for number, file in enumerate(request.get("files") or ()):
        total += _file(file, f"files[{number}]", warnings)
    for text in (options.get("systemPrompt"), raw.get("system")):
        total += _content(text, model)
    for extra in (options.get("outputSchema"), raw.get("tools")):
        if extra:
            total += _text(json.dumps(extra, ensure_ascii=False), model) + _span(_TOOLS)
    if any(str(tool.get("type", "")).rpartition("_")[2].isdigit() for tool in _dicts(raw.get("tools"))):
        warnings.append("what Claude's own tools (search, code) bring in and cost is not counted")

    return total


def _content(content: Any, model: str) -> TokenRange:
    """A text, or blocks of which texts, documents and pictures are told apart."""
    if isinstance(content, str):
        return _text(content, model) if content else TokenRange()
    total, unheard = TokenRange(), list[str]()
    for block in _dicts(content):
        source = block.get("source")
        if isinstance(source, Mapping) and isinstance(source.get("data"), str):
            total += _file({"data": source["data"], "mediaType": source.get("media_type")}, "messages", unheard)
        else:
            total += _text(json.dumps(block, ensure_ascii=False) if "text" not in block else str(block["text"]), model)

    return total


def _text(text: str, model: str) -> TokenRange:
    plain = text.encode("ascii", "ignore")
    others = len(text) - len(plain)
    accented = sum(1 for letter in text if "\x7f" < letter < "\u0250") if others else 0
    scripts = others - accented
    letters = len(plain) + _ACCENTED * accented
    low, likely, high = (letters / width + scripts * each for width, each in zip(_widths(model), _SCRIPTS, strict=True))

    return TokenRange(low=math.floor(low), likely=math.ceil(likely), high=math.ceil(high) + 1)


def _widths(model: str) -> tuple[float, float, float]:
    version = _VERSION.search(model)
    older = version is not None and (int(version[1]), int(version[2] or 0)) < (4, 7)

    return _OLDER if older else _NEWER


def _file(file: Mapping[str, Any], at: str, warnings: list[str]) -> TokenRange:
    data = file.get("data")
    if "pdf" in file:
        return _packed(file["pdf"])
    if not isinstance(data, str):
        warnings.append(f"{at} is not counted: its size is only known when the job runs")
        return TokenRange()
    if file.get("mediaType") == _PDF:
        pdf = _bytes(data)
        pages = count_pages(pdf)
        if pages is not None:
            return _span(tuple(pages * each for each in _A_PAGE))
        most = _most_pages(len(pdf))
        warnings.append(f"the pages of {at} cannot be counted without unpacking it: 1 to {most} are reckoned with")
        return _packed(len(pdf))
    size = image_size(_bytes(data[:_START]))
    if size is None:
        return _span(_A_PICTURE)
    exact = size[0] * size[1] / _PIXELS_A_TOKEN
    low, likely, high = (min(exact, most) for most in _MOST_FOR_A_PICTURE)

    return TokenRange(low=math.floor(low * 0.8), likely=math.ceil(likely), high=math.ceil(high * 1.2) + 10)


def _most_pages(size: int) -> int:
    return min(_MOST_PAGES, max(1, size // _BYTES_A_PAGE))


def _packed(size: int) -> TokenRange:
    """A PDF of that many bytes, whose pages nobody has counted."""
    most = _most_pages(size)

    return TokenRange(low=_A_PAGE[0], likely=_A_PAGE[1] * max(1, most // 8), high=_A_PAGE[2] * most)


def _bytes(data: str) -> bytes:
    """The bytes of base64 that may be cut off."""
    try:
        return base64.b64decode(data[: len(data) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""


def _span(three: Iterable[float]) -> TokenRange:
    low, likely, high = (int(each) for each in three)

    return TokenRange(low=low, likely=likely, high=high)


def _dicts(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)] if isinstance(values, list) else []
