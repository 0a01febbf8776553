"""
Prompt caching without thinking of it: what repeats within the cache's life gets its breakpoint.

A write costs a quarter more than reading the same afresh, a hit nine tenths less: so the first of its kind is sent
plain, the second is written, and from the third on Claude reads it from its cache. Whoever places breakpoints
themselves (`cache_control` anywhere in their request) is left alone.

In a batch nothing comes first, and whether a request finds what another one has written is luck: between 30 and 98 in
a hundred do, says Anthropic. A write pays from 22 on, so what many of a batch share is marked in all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .ttl_set import TtlSet

#: The life of Claude's shorter cache, from its last use, in seconds.
LIFE = 300.0

#: Less is not cached upstream: about 1,024 tokens, by the model.
MIN_TOKENS = 3500

#: So many of a batch must begin alike: of fewer, all may be at work at once and none finds anything.
MIN_SHARED = 4

_MARK = {"type": "ephemeral"}
_SYSTEM, _FILES, _END = "system", "files", "end"


@dataclass(frozen=True, kw_only=True)
class Prefixes:
    """
    The beginnings of one request, by hash, where they are long enough: tools and system prompt; that, the earlier turns
    and the files of the last one; all of it. `turns` are the ends of the earlier turns: an earlier call's whole, maybe.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    turns: Sequence[str] = ()


class Caching:
    """
    What was sent lately, and which of it is in Claude's cache. All threads share one of these.

    It is the worker's own memory: another worker, or this one after a restart, learns it anew for the price of one call
    that is not marked.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._met = TtlSet(seconds=LIFE, clock=clock)
        self._written = TtlSet(seconds=LIFE, clock=clock)
        self._writing = TtlSet(seconds=60.0, clock=clock)

    def marked(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[], None]]:
        """
        The body with its breakpoints, and whom to tell when Claude has begun to answer: by then it is in the cache.

        Of many that begin at once only one writes: the others could not read yet, and would all pay for writing.
        """
        if _has_own(body):
            return dict(body), lambda: None

        found = prefixes(body)
        wanted = {place for place in (_SYSTEM, _FILES) if found.places.get(place, "") in self._met}
        if _END in found.places and any(turn in self._met for turn in found.turns):
            wanted.add(_END)
        chosen = {place: found.places[place] for place in wanted if self._take(found.places[place])}

        def begun() -> None:
            for prefix in found.places.values():
                self._met.add(prefix)
            for prefix in chosen.values():
                self._written.add(prefix)

        return with_marks(body, chosen), begun

    def _take(self, prefix: str) -> bool:
        """Whether to mark it: it is in the cache, or nobody is writing it there just now."""
        if prefix in self._written:
            return True
        if prefix in self._writing:
            return False
        self._writing.add(prefix)
        return True


def shareable(body: Mapping[str, Any]) -> Mapping[str, str]:
    """The beginnings that other requests of a batch may have, too; none where the caller has set breakpoints."""
    if _has_own(body):
        return {}

    return {place: begin for place, begin in prefixes(body).places.items() if place != _END}


def common(requests: Sequence[Mapping[str, str]]) -> set[str]:
    """Which of these beginnings are shared by enough requests to be worth writing."""
    counts = Counter(begin for begins in requests for begin in begins.values())

    return {begin for begin, count in counts.items() if count >= MIN_SHARED}


def prefixes(body: Mapping[str, Any]) -> Prefixes:
    """The places in a body where a breakpoint may be worth something."""
    head = {name: body.get(name) for name in ("model", "tools", "system", "thinking", "output_config", "tool_choice")}
    said = hashlib.sha256(_text(head).encode("utf-8", "surrogatepass"))
    size = len(_text(body.get("tools") or "")) + len(_text(body.get("system") or ""))
    places: dict[str, str] = {}
    if size >= MIN_TOKENS:
        places[_SYSTEM] = said.hexdigest()

    turns: list[str] = []
    messages = body["messages"]
    for number, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else [{"text": message["content"]}]
        last_file = max((n for n, block in enumerate(blocks) if _is_file(block)), default=None)
        for at, block in enumerate(blocks):
            for written in _pieces(message["role"], block):
                said.update(written.encode("utf-8", "surrogatepass"))
                size += len(written)
            # How much is behind the id of a stored file cannot be seen; nobody stores a small one.
            size += MIN_TOKENS if _is_file(block) else 0
            if number == len(messages) - 1 and at == last_file and size >= MIN_TOKENS:
                places[_FILES] = said.hexdigest()
        if number < len(messages) - 1:
            turns.append(said.hexdigest())
    if size >= MIN_TOKENS:
        places[_END] = said.hexdigest()

    return Prefixes(places=places, turns=turns)


def with_marks(body: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    """The body with a breakpoint at each of those places; nothing of the caller's is changed."""
    marked = dict(body)
    if _SYSTEM in places:
        # Tools come first: a mark on the system prompt is on both.
        name = "system" if body.get("system") else "tools"
        given = body[name]
        blocks = [{"type": "text", "text": given}] if isinstance(given, str) else list(given)
        marked[name] = [*blocks[:-1], {**blocks[-1], "cache_control": _MARK}]
    if not {_FILES, _END} & set(places):
        return marked

    *before, last = body["messages"]
    content = last["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    ends = [len(blocks) - 1] if _END in places else []
    if _FILES in places:
        ends.append(max(n for n, block in enumerate(blocks) if _is_file(block)))
    for end in ends:
        blocks[end] = {**blocks[end], "cache_control": _MARK}
    marked["messages"] = [*before, {**last, "content": blocks}]

    return marked


def _has_own(body: Mapping[str, Any]) -> bool:
    """Whether the caller has set breakpoints, wherever; what is not as it should be is left alone, too."""
    parts = [body.get("tools") or [], body.get("system") or [], *(turn.get("content") for turn in body["messages"])]
    if "cache_control" in body or not all(isinstance(part, (str, list)) for part in parts) or not all(parts[2:]):
        return True

    return any(_carries(block) if isinstance(block, Mapping) else True for block in _blocks(body))


def _carries(value: Any) -> bool:
    """Whether there is a breakpoint in it, at any depth: one inside of a tool's result counts, too."""
    if isinstance(value, Mapping):
        return "cache_control" in value or any(_carries(each) for each in value.values())

    return isinstance(value, list) and any(_carries(each) for each in value)


def _blocks(body: Mapping[str, Any]) -> Iterator[Any]:
    for part in (body.get("tools"), body.get("system"), *(turn["content"] for turn in body["messages"])):
        if isinstance(part, list):
            yield from part


def _pieces(role: str, block: Mapping[str, Any]) -> Iterator[str]:
    """A block in writing; a file's data as it is, since writing out dozens of megabytes would stop every other call."""
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
