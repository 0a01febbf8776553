"""
The orders a prompt can give: `[sandbox: slow 5s]`, `[sandbox: overloaded 2]` and so on, read into one `Orders`.

`WORDS` is the whole vocabulary: the form of each word is its documentation and its parser at once, and
`docs/reference/sandbox.md` carries the same table. Orders are read in the last user turn only, so that a conversation does not
repeat old ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from claude_relay.sandbox.directive_types import Directives, Fault, Kind

MAX_LENGTH = 3600.0
MAX_DIRECTIVES = 50
MAX_TIMES = 1000
MAX_WORDS = 100_000
_OPENING = re.compile(r"\[\s*sandbox\s*:", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class InvalidDirective(ValueError):
    """An order that is not in the vocabulary; its message names the words there are."""


@dataclass(frozen=True, kw_only=True)
class DirectiveValues:
    """What stood between the brackets, already in values."""

    time: float | None
    times: int | None
    status: int
    words: int
    text: str
    type: str | None
    early: bool
    name: str


@dataclass(frozen=True)
class Directive:
    """One word of the vocabulary: how it is written, what it means, and what it changes."""

    form: str
    means: str
    change: Callable[[Directives, DirectiveValues], Directives]

    @property
    def name(self) -> str:
        return self.form.split()[0]

    @property
    def pattern(self) -> re.Pattern[str]:
        """The form as an expression: CAPITALS are values, [brackets] may be left out."""
        name, *rest = self.form.split()
        parts = [re.escape(name)]
        for token in rest:
            bare = token.strip("[]")
            part = rf"\s+(?P<{bare.lower()}>{_VALUES[bare]})"
            parts.append(f"(?:{part})?" if token.startswith("[") else part)
        return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


_VALUES = {
    "TIME": r"\d+(?:\.\d+)?(?:ms|s|m|h)",
    "TIMES": r"\d+",
    "STATUS": r"\d{3}",
    "WORDS": r"\d+",
    "TEXT": r".+",
    "NAME": r"[A-Za-z0-9_-]{1,128}",
    "TYPE": r"[a-z]+(?:_[a-z]+)+",
    "early": r"early",
}


def _trouble(kind: Kind, status: int | None = None) -> Callable[[Directives, DirectiveValues], Directives]:
    """A word that adds one trouble to the queue."""

    def change(orders: Directives, said: DirectiveValues) -> Directives:
        trouble = Fault(
            kind=kind,
            times=said.times,
            status=status or said.status,
            wait=said.time,
            error=said.type or "overloaded_error",
            early=said.early,
        )
        return replace(orders, troubles=(*orders.troubles, trouble))

    return change


DIRECTIVES = (
    Directive("slow TIME", "Spreads the answer over that time.", lambda o, s: replace(o, slow=s.time or 0.0)),
    Directive(
        "hang TIME [TIMES]",
        "Sends nothing at all, not even headers, for that time; then answers.",
        lambda o, s: replace(o, hang=s.time or 0.0, hang_times=s.times),
    ),
    Directive(
        "stall [TIME] [TIMES]",
        "Stops in mid-stream and keeps the connection open for that time (without one: until the client leaves, an "
        "hour at most), then closes it.",
        _trouble(Kind.STALL),
    ),
    Directive("overloaded [TIMES]", "Answers 529 `overloaded_error`.", _trouble(Kind.ERROR, 529)),
    Directive(
        "rate-limit [TIME] [TIMES]",
        "Answers 429 `rate_limit_error` with `retry-after` of that time (1s).",
        _trouble(Kind.RATE_LIMIT, 429),
    ),
    Directive(
        "spend-limit [TIMES]",
        "Answers 429 with `enforced_spend_limit_reached` and no `retry-after`.",
        _trouble(Kind.SPEND_LIMIT, 429),
    ),
    Directive("error STATUS [TIMES]", "Answers that status, 400 to 599, with its error type.", _trouble(Kind.ERROR)),
    Directive(
        "stream-error [TYPE] [early] [TIMES]",
        "Sends an error event inside the 200 (`overloaded_error` if no type is named), in mid-text, or before any text "
        "with `early`.",
        _trouble(Kind.STREAM_ERROR),
    ),
    Directive("break [TIMES]", "Cuts the connection in mid-stream.", _trouble(Kind.BREAK)),
    Directive(
        "end-early [TIMES]",
        "Ends the stream tidily in the middle, without `message_stop`.",
        _trouble(Kind.END_EARLY),
    ),
    Directive(
        "refuse",
        "Declines: `stop_reason` is `refusal`, the content is empty.",
        lambda o, s: replace(o, refuse=True),
    ),
    Directive("max-tokens", "Stops half-way with `max_tokens`.", lambda o, s: replace(o, cut_short=True)),
    Directive(
        "pause-turn",
        "Stops half-way with `pause_turn`; sent back with that answer as the last turn, it goes on to the end.",
        lambda o, s: replace(o, pause_turn=True),
    ),
    Directive(
        "tool [NAME]",
        "Asks for that tool of the request's `tools` (the first one), with input that fits its schema; the answer's "
        "`stop_reason` is `tool_use`.",
        lambda o, s: replace(o, tool=s.name),
    ),
    Directive(
        "expire [TIMES]",
        "In a batch: the request expires before it is come to.",
        lambda o, s: replace(o, expire=True, expire_times=s.times),
    ),
    Directive(
        "batch-error STATUS [TIMES]",
        "Refuses a whole batch with that status, when it is made.",
        lambda o, s: replace(o, batch_error=Fault(kind=Kind.ERROR, status=s.status, times=s.times)),
    ),
    Directive("long WORDS", "Answers with that many words.", lambda o, s: replace(o, long=s.words)),
    Directive(
        "say TEXT",
        "Answers with that text. Under a schema it is sent as it is, so it can be JSON that breaks the schema.",
        lambda o, s: replace(o, say=s.text),
    ),
    Directive(
        "badjson [TIMES]",
        "Answers a schema with JSON that cannot be parsed; with 1, the relay's one repair of it is right.",
        lambda o, s: replace(o, bad_json=True, bad_times=s.times),
    ),
)
_BY_NAME = {word.name: word for word in DIRECTIVES}


def parse(text: str) -> Directives:
    """Read every order in a prompt; `NotUnderstood` names the first that is none, and the words there are."""
    orders = Directives()
    for number, (start, end) in enumerate(_spans(text), start=1):
        if number > MAX_DIRECTIVES:
            raise InvalidDirective(f"A prompt can give at most {MAX_DIRECTIVES} [sandbox: …] orders.")
        inner = text[start:end].split(":", 1)[1].removesuffix("]").strip()
        orders = _read(orders, inner)
    return orders


def without_directives(text: str) -> str:
    """The prompt without its orders: what it is really about."""
    kept, at = [], 0
    for start, end in _spans(text):
        kept.append(text[at:start])
        at = end
    return " ".join(" ".join([*kept, text[at:]]).split())


def table() -> str:
    """The vocabulary as the Markdown table of `docs/reference/sandbox.md`."""
    rows = [f"| `[sandbox: {word.form}]` | {word.means} |" for word in DIRECTIVES]
    return "\n".join(["| write | what happens |", "|---|---|", *rows]) + "\n"


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where orders stand; brackets inside one are balanced, so that JSON lists can be said."""
    at = 0
    while opening := _OPENING.search(text, at):
        depth, at = 1, opening.end()
        while at < len(text) and depth:
            depth += {"[": 1, "]": -1}.get(text[at], 0)
            at += 1
        yield opening.start(), at


def _read(orders: Directives, inner: str) -> Directives:
    name = inner.split(maxsplit=1)[0].lower() if inner else ""
    word = _BY_NAME.get(name)
    if word is None:
        raise InvalidDirective(f"[sandbox: {name[:40]}] is not a word of the sandbox. It knows: {', '.join(_BY_NAME)}.")

    found = word.pattern.fullmatch(inner)
    if found is None:
        raise InvalidDirective(
            f"[sandbox: {inner[:60]}] is not understood: write [sandbox: {word.form}], where what stands in brackets "
            "may be left out, TIME is such as 500ms, 5s or 2m, and the other capitals are numbers, a name or a text."
        )
    return word.change(orders, _said(found.groupdict()))


def _said(values: dict[str, str | None]) -> DirectiveValues:
    return DirectiveValues(
        time=_seconds(values["time"]) if values.get("time") else None,
        times=_within("TIMES", values.get("times"), 1, MAX_TIMES),
        status=_within("STATUS", values.get("status"), 400, 599) or 529,
        words=_within("WORDS", values.get("words"), 1, MAX_WORDS) or 1,
        text=(values.get("text") or "").strip(),
        type=(values.get("type") or "").lower() or None,
        early=bool(values.get("early")),
        name=values.get("name") or "",
    )


def _within(name: str, value: str | None, least: int, most: int) -> int | None:
    if value is None:
        return None
    if len(value) > 9 or not least <= int(value) <= most:
        raise InvalidDirective(f"{name} in a [sandbox: …] order must be from {least} to {most}.")
    return int(value)


def _seconds(value: str | None) -> float:
    found = re.fullmatch(r"([\d.]+)([a-z]+)", (value or "").lower())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if seconds > MAX_LENGTH:
        raise InvalidDirective("TIME in a [sandbox: …] order must be at most 1h.")
    return seconds
