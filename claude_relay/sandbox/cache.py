"""
The prompt cache: which beginning of a request was read before, and what is written of it now.

A breakpoint (`cache_control`) is looked up where it stands and up to twenty blocks before it, as upstream does; what it
writes lives for five minutes or an hour from its last use. Beginnings of less than 1,024 tokens are not kept.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from claude_relay.sandbox import blocks, tokens
from claude_relay.sandbox.problem import invalid

LEAST = 1024
MOST_MARKS = 4
LOOK_BACK = 20
_LIVES = {"5m": 300.0, "1h": 3600.0}
_MOST_ENTRIES = 10_000


@dataclass(frozen=True)
class Prefix:
    """A request up to the end of one block: its hash, its tokens, and the life of the breakpoint there, if any."""

    digest: str
    tokens: int
    life: str | None


@dataclass(frozen=True, kw_only=True)
class Cached:
    """What of a request's input came out of the cache, and what went in."""

    read: int = 0
    written: int = 0
    life: str = "5m"


NONE = Cached()


class Cache:
    """Safe for the threads of a server; bounded, the entry that was used longest ago goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: OrderedDict[str, float] = OrderedDict()

    def use(self, found: Sequence[Prefix], now: float) -> Cached:
        """Read what is there, write what is marked."""
        marks = [index for index, one in enumerate(found) if one.life and one.tokens >= LEAST]
        if not marks:
            return NONE
        with self._lock:
            near = {index for mark in marks for index in range(max(0, mark - LOOK_BACK), mark + 1)}
            hits = [index for index in near if self._until.get(found[index].digest, 0.0) > now]
            read = max((found[index].tokens for index in hits), default=0)
            for index in marks:
                one = found[index]
                self._until[one.digest] = now + _LIVES[one.life or "5m"]
                self._until.move_to_end(one.digest)
            while len(self._until) > _MOST_ENTRIES:
                self._until.popitem(last=False)
        last = found[marks[-1]]

        return Cached(read=read, written=max(0, last.tokens - read), life=last.life or "5m")


def prefixes(body: Mapping[str, Any], turns: Sequence[blocks.Turn]) -> tuple[Prefix, ...]:
    """Every beginning of a request, shortest first: tools, system, then the turns; none where nothing is marked."""
    parts = list(_parts(body, turns))
    marks = sum(life is not None for _, _, life in parts)
    if marks > MOST_MARKS:
        raise invalid(
            "cache_control", f"a maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {marks}."
        )
    if not marks:
        return ()

    said, total, found = hashlib.sha256(str(body.get("model")).encode()), 0, []
    for text, weight, life in parts:
        said.update(text.encode("utf-8", "surrogatepass"))
        total += weight
        found.append(Prefix(said.hexdigest(), total, life))

    return tuple(found)


def _parts(body: Mapping[str, Any], turns: Sequence[blocks.Turn]) -> Iterator[tuple[str, int, str | None]]:
    """Each block's text, weight and breakpoint."""
    tools = body.get("tools")
    if isinstance(tools, list) and tools:
        # Tools are weighed together, so that a breakpoint on any of them counts as one on the last.
        lives = [life for index, tool in enumerate(tools) if (life := _life(tool, f"tools.{index}"))]
        yield _text(tools), tokens.of_text(_text(tools)), lives[-1] if lives else None
    system = body.get("system")
    for index, block in enumerate([{"text": system}] if isinstance(system, str) else system or ()):
        yield _text(block), tokens.of_text(block["text"]), _life(block, f"system.{index}")
    for number, (message, turn) in enumerate(zip(body["messages"], turns, strict=True)):
        content = message["content"]
        listed = [{"text": content}] if isinstance(content, str) else content
        for index, (block, weight) in enumerate(zip(listed, turn.weights, strict=True)):
            extra = tokens.A_MESSAGE if index == 0 else 0
            life = _life(block, f"messages.{number}.content.{index}")
            yield f"{turn.role}{_text(block)}", weight + extra, life


def _life(block: Any, where: str) -> str | None:
    control = block.get("cache_control") if isinstance(block, Mapping) else None
    if control is None:
        return None
    if not isinstance(control, dict) or control.get("type") != "ephemeral" or control.get("ttl", "5m") not in _LIVES:
        raise invalid(f"{where}.cache_control", "Input should be {'type': 'ephemeral'}, with a ttl of 5m or 1h")
    return str(control.get("ttl", "5m"))


def _text(value: Any) -> str:
    """The same with and without a breakpoint, and for a text and the one block that says it."""
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key not in ("cache_control", "type")}
    elif isinstance(value, list):
        return "".join(_text(item) for item in value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
