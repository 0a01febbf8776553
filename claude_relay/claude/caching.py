"""
Automatic prompt caching: prefixes that repeat within the cache's lifetime get a breakpoint.

A cache write costs a quarter more than uncached input, a hit nine tenths less: so the first request with a prefix is
sent without a breakpoint, the second writes the cache, and from the third on Claude reads from it. Requests with their
own breakpoints (`cache_control` anywhere) are not changed.

The requests of a batch have no order, and whether one hits the cache entry of another is luck: 30 to 98 percent do,
says Anthropic. A write pays off from 22 percent on, so a prefix that many of a batch share is marked in all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from ..core.lazy_dataclass import dataclass
from .ttl_set import TtlSet

#: Lifetime of Claude's shorter cache since its last use, in seconds.
LIFETIME = 300.0

#: Minimum length of a cacheable prefix in characters: about 1,024 tokens; the actual limit depends on the model.
MIN_LENGTH = 3500

#: Minimum number of requests of a batch that share a prefix: fewer may all run at once, without a hit.
MIN_SHARED = 4

_MARK = {"type": "ephemeral"}
_SYSTEM, _FILES, _END = "system", "files", "end"


@dataclass(frozen=True, kw_only=True)
class Prefixes:
    """
    Hashes of the prefixes of one request that are long enough to cache.

    `places`: tools and system prompt; these plus the earlier turns and the files of the last turn; the complete
    request. `turns`: the prefixes up to each earlier turn, any of which may be the complete request of an earlier call.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    turns: Sequence[str] = ()


class Caching:
    """
    Prefixes that were sent recently, and those in Claude's cache. Shared by all threads.

    Kept in memory per worker: another worker, or this one after a restart, starts empty, at the cost of one call
    without a breakpoint.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._sent = TtlSet(seconds=LIFETIME, clock=clock)
        self._written = TtlSet(seconds=LIFETIME, clock=clock)
        self._writing = TtlSet(seconds=60.0, clock=clock)

    def mark(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[], None]]:
        """
        Return the body with breakpoints, and a callback for the start of the answer, when the cache is written.

        Of several calls that start at once only one writes: the others cannot read yet, and would all pay for a write.
        """
        if _has_own_breakpoints(body):
            return dict(body), lambda: None

        current = prefixes(body)
        wanted = {place for place in (_SYSTEM, _FILES) if current.places.get(place, "") in self._sent}
        if _END in current.places and any(turn in self._sent for turn in current.turns):
            wanted.add(_END)
        chosen = {place: current.places[place] for place in wanted if self._may_mark(current.places[place])}

        def on_answer() -> None:
            for prefix in current.places.values():
                self._sent.add(prefix)
            for prefix in chosen.values():
                self._written.add(prefix)

        return with_breakpoints(body, chosen), on_answer

    def _may_mark(self, prefix: str) -> bool:
        """Whether to mark the prefix: it is in the cache, or no other call is writing it at the moment."""
        if prefix in self._written:
            return True
        if prefix in self._writing:
            return False
        self._writing.add(prefix)
        return True


def shareable_prefixes(body: Mapping[str, Any]) -> Mapping[str, str]:
    """The prefixes that other requests of a batch may share; none if the caller has set breakpoints."""
    if _has_own_breakpoints(body):
        return {}

    return {place: prefix for place, prefix in prefixes(body).places.items() if place != _END}


def shared_prefixes(requests: Sequence[Mapping[str, str]]) -> set[str]:
    """The prefixes that enough requests share to make a cache write worthwhile."""
    counts = Counter(prefix for places in requests for prefix in places.values())

    return {prefix for prefix, count in counts.items() if count >= MIN_SHARED}


def prefixes(body: Mapping[str, Any]) -> Prefixes:
    """The prefixes of a body at which a breakpoint may be worthwhile."""
    head = {name: body.get(name) for name in ("model", "tools", "system", "thinking", "output_config", "tool_choice")}
    digest = hashlib.sha256(_text(head).encode("utf-8", "surrogatepass"))
    size = len(_text(body.get("tools") or "")) + len(_text(body.get("system") or ""))
    places: dict[str, str] = {}
    if size >= MIN_LENGTH:
        places[_SYSTEM] = digest.hexdigest()

    turns: list[str] = []
    messages = body["messages"]
    for number, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]
        last_file = max((n for n, block in enumerate(blocks) if _is_file(block)), default=None)
        for at, block in enumerate(blocks):
            for piece in _pieces(message["role"], block):
                digest.update(piece.encode("utf-8", "surrogatepass"))
                size += len(piece)
            # The size of a stored file is not visible here; only large files are stored.
            size += MIN_LENGTH if _is_file(block) else 0
            if number == len(messages) - 1 and at == last_file and size >= MIN_LENGTH:
                places[_FILES] = digest.hexdigest()
        if number < len(messages) - 1:
            turns.append(digest.hexdigest())
    if size >= MIN_LENGTH:
        places[_END] = digest.hexdigest()

    return Prefixes(places=places, turns=turns)


def with_breakpoints(body: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """A copy of the body with a breakpoint at each of those places."""
    marked = dict(body)
    if _SYSTEM in places:
        # Tools precede the system prompt, so a mark there covers both.
        name = "system" if body.get("system") else "tools"
        given = body[name]
        blocks = [{"type": "text", "text": given}] if isinstance(given, str) else list(given)
        marked[name] = [*blocks[:-1], {**blocks[-1], "cache_control": _MARK}]
    if not {_FILES, _END} & set(places):
        return marked

    *earlier, last = body["messages"]
    content = last["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    ends = [len(blocks) - 1] if _END in places else []
    if _FILES in places:
        ends.append(max(n for n, block in enumerate(blocks) if _is_file(block)))
    for end in ends:
        blocks[end] = {**blocks[end], "cache_control": _MARK}
    marked["messages"] = [*earlier, {**last, "content": blocks}]

    return marked


def _has_own_breakpoints(body: Mapping[str, Any]) -> bool:
    """Whether the caller has set breakpoints anywhere; also True for a malformed body, which is not changed."""
    parts = [body.get("tools") or [], body.get("system") or [], *(turn.get("content") for turn in body["messages"])]
    if "cache_control" in body or not all(isinstance(part, (str, list)) for part in parts) or not all(parts[2:]):
        return True

    return any(_has_breakpoint(block) if isinstance(block, Mapping) else True for block in _blocks(body))


def _has_breakpoint(value: Any) -> bool:
    """Whether `value` contains a breakpoint at any depth, also inside a tool result."""
    if isinstance(value, Mapping):
        return "cache_control" in value or any(_has_breakpoint(item) for item in value.values())

    return isinstance(value, list) and any(_has_breakpoint(item) for item in value)


def _blocks(body: Mapping[str, Any]) -> Iterator[Any]:
    for part in (body.get("tools"), body.get("system"), *(turn["content"] for turn in body["messages"])):
        if isinstance(part, list):
            yield from part


def _pieces(role: str, block: Mapping[str, Any]) -> Iterator[str]:
    """
    A block as JSON.

    A file's data is taken as is, as encoding dozens of megabytes would stop all other calls.
    """
    source = block.get("source")
    data = source.get("data") if isinstance(source, Mapping) else None
    if isinstance(source, Mapping) and isinstance(data, str):
        yield _text([role, {**block, "source": {**source, "data": len(data)}}])
        yield data
    else:
        yield _text([role, block])


def _is_file(block: Mapping[str, Any]) -> bool:
    return block.get("type") in ("image", "document")


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
