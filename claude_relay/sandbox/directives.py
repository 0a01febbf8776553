"""
Directives in a prompt: `[sandbox: slow 5s]`, `[sandbox: overloaded 2]` and so on, parsed into one `Directives`.

`DIRECTIVES` lists all of them: the form of each is its documentation and its parser at once, and
`docs/reference/sandbox.md` has the same table. Only the last user turn is parsed, so that a conversation does not
repeat old directives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from claude_relay.sandbox.directive_types import Directives, Fault, Kind

MAX_LENGTH = 3600.0
MAX_DIRECTIVES = 50
MAX_TIMES = 1000
MAX_WORDS = 100_000
_OPENING = re.compile(r"\[\s*sandbox\s*:", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class InvalidDirective(ValueError):
    """An unknown or malformed directive; the message names the valid ones."""


@dataclass(frozen=True, kw_only=True)
class DirectiveValues:
    """The parsed values of a directive."""

    time: float | None
    times: int | None
    status: int
    words: int
    text: str = field(repr=False)
    type: str | None
    early: bool
    name: str


@dataclass(frozen=True)
class Directive:
    """One directive: its form, its documentation, and its effect."""

    form: str
    effect: str
    apply: Callable[[Directives, DirectiveValues], Directives]

    @property
    def name(self) -> str:
        return self.form.split()[0]

    @property
    def pattern(self) -> re.Pattern[str]:
        """The form as a regular expression: CAPITALS are values, [brackets] are optional."""
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


def _fault(
    kind: Kind, status: int | None = None, *, words: str = "", code: str | None = None
) -> Callable[[Directives, DirectiveValues], Directives]:
    """The effect of a directive that adds a fault to the queue."""

    def add_fault(directives: Directives, values: DirectiveValues) -> Directives:
        fault = Fault(
            kind=kind,
            times=values.times,
            status=status or values.status,
            wait=values.time,
            error=values.type or "overloaded_error",
            early=values.early,
            words=words,
            code=code,
        )
        return replace(directives, faults=(*directives.faults, fault))

    return add_fault


DIRECTIVES = (
    Directive("slow TIME", "Spreads the answer over that time.", lambda d, v: replace(d, slow=v.time or 0.0)),
    Directive(
        "hang TIME [TIMES]",
        "Sends nothing at all, not even headers, for that time; then answers.",
        lambda d, v: replace(d, hang=v.time or 0.0, hang_times=v.times),
    ),
    Directive(
        "stall [TIME] [TIMES]",
        "Stops in mid-stream and keeps the connection open for that time (without one: until the client leaves, an "
        "hour at most), then closes it.",
        _fault(Kind.STALL),
    ),
    Directive("overloaded [TIMES]", "Answers 529 `overloaded_error`.", _fault(Kind.ERROR, 529)),
    Directive(
        "rate-limit [TIME] [TIMES]",
        "Answers 429 `rate_limit_error` with `retry-after` of that time (1s).",
        _fault(Kind.RATE_LIMIT, 429),
    ),
    Directive(
        "spend-limit [TIMES]",
        "Answers 429 with `enforced_spend_limit_reached` and no `retry-after`.",
        _fault(Kind.SPEND_LIMIT, 429),
    ),
    Directive(
        "credit-low [TIMES]",
        "Answers 400 `invalid_request_error` with the words of an account without credit, and no error code.",
        _fault(Kind.ACCOUNT, 400, words="Your credit balance is too low to access the Anthropic API."),
    ),
    Directive(
        "usage-limit [TIMES]",
        "Answers 400 `invalid_request_error` with the words of a usage limit that ends next month, and no error code.",
        _fault(Kind.ACCOUNT, 400, words="You have reached your specified API usage limits. You will regain access on"),
    ),
    Directive(
        "on-hold [TIMES]",
        "Answers 400 with `organization_on_hold`.",
        _fault(Kind.ACCOUNT, 400, words="The organization is on hold.", code="organization_on_hold"),
    ),
    Directive(
        "no-review [TIMES]",
        "Answers 400 with `workspace_human_review_disabled`; with 1, the live call that follows a batch is answered.",
        _fault(Kind.ACCOUNT, 400, words="The feature needs human review.", code="workspace_human_review_disabled"),
    ),
    Directive("error STATUS [TIMES]", "Answers that status, 400 to 599, with its error type.", _fault(Kind.ERROR)),
    Directive(
        "stream-error [TYPE] [early] [TIMES]",
        "Sends an error event inside the 200 (`overloaded_error` if no type is named), in mid-text, or before any text "
        "with `early`.",
        _fault(Kind.STREAM_ERROR),
    ),
    Directive("break [TIMES]", "Cuts the connection in mid-stream.", _fault(Kind.BREAK)),
    Directive(
        "end-early [TIMES]",
        "Ends the stream tidily in the middle, without `message_stop`.",
        _fault(Kind.END_EARLY),
    ),
    Directive(
        "refuse",
        "Declines: `stop_reason` is `refusal`, the content is empty.",
        lambda d, v: replace(d, refuse=True),
    ),
    Directive("max-tokens", "Stops half-way with `max_tokens`.", lambda d, v: replace(d, cut_short=True)),
    Directive(
        "pause-turn",
        "Stops half-way with `pause_turn`; sent back with that answer as the last turn, it goes on to the end.",
        lambda d, v: replace(d, pause_turn=True),
    ),
    Directive(
        "tool [NAME]",
        "Asks for that tool of the request's `tools` (the first one), with input that fits its schema; the answer's "
        "`stop_reason` is `tool_use`.",
        lambda d, v: replace(d, tool=v.name),
    ),
    Directive(
        "expire [TIMES]",
        "In a batch: the request expires before it is processed.",
        lambda d, v: replace(d, expire=True, expire_times=v.times),
    ),
    Directive(
        "batch-error STATUS [TIMES]",
        "Refuses a whole batch with that status, when it is created.",
        lambda d, v: replace(d, batch_error=Fault(kind=Kind.ERROR, status=v.status, times=v.times)),
    ),
    Directive("long WORDS", "Answers with that many words.", lambda d, v: replace(d, long=v.words)),
    Directive(
        "say TEXT",
        "Answers with that text. Under a schema it is sent as it is, so it can be JSON that breaks the schema.",
        lambda d, v: replace(d, say=v.text),
    ),
    Directive(
        "badjson [TIMES]",
        "Answers a schema with JSON that cannot be parsed; with 1, the relay's one repair of it is right.",
        lambda d, v: replace(d, bad_json=True, bad_times=v.times),
    ),
)
_BY_NAME = {directive.name: directive for directive in DIRECTIVES}


def parse(text: str) -> Directives:
    """Parse every directive in a prompt; raises `InvalidDirective` at the first that is not valid."""
    directives = Directives()
    for number, (start, end) in enumerate(_spans(text), start=1):
        if number > MAX_DIRECTIVES:
            raise InvalidDirective(f"A prompt can have at most {MAX_DIRECTIVES} [sandbox: …] directives.")
        inner = text[start:end].split(":", 1)[1].removesuffix("]").strip()
        directives = _apply(directives, inner)
    return directives


def without_directives(text: str) -> str:
    """The prompt without its directives."""
    kept, at = [], 0
    for start, end in _spans(text):
        kept.append(text[at:start])
        at = end
    return " ".join(" ".join([*kept, text[at:]]).split())


def table() -> str:
    """The directives as the Markdown table of `docs/reference/sandbox.md`."""
    rows = [f"| `[sandbox: {directive.form}]` | {directive.effect} |" for directive in DIRECTIVES]
    return "\n".join(["| write | what happens |", "|---|---|", *rows]) + "\n"


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each directive; brackets inside one are balanced, so that it can contain JSON lists."""
    at = 0
    while opening := _OPENING.search(text, at):
        depth, at = 1, opening.end()
        while at < len(text) and depth:
            depth += {"[": 1, "]": -1}.get(text[at], 0)
            at += 1
        yield opening.start(), at


def _apply(directives: Directives, inner: str) -> Directives:
    name = inner.split(maxsplit=1)[0].lower() if inner else ""
    directive = _BY_NAME.get(name)
    if directive is None:
        raise InvalidDirective(
            f"[sandbox: {name[:40]}] is not a directive of the sandbox. Valid: {', '.join(_BY_NAME)}."
        )

    match = directive.pattern.fullmatch(inner)
    if match is None:
        raise InvalidDirective(
            f"[sandbox: {inner[:60]}] is malformed: write [sandbox: {directive.form}], where values in brackets are "
            "optional, TIME is such as 500ms, 5s or 2m, and the other capitals are numbers, a name or a text."
        )
    return directive.apply(directives, _values(match.groupdict()))


def _values(groups: dict[str, str | None]) -> DirectiveValues:
    return DirectiveValues(
        time=_seconds(groups["time"]) if groups.get("time") else None,
        times=_within("TIMES", groups.get("times"), 1, MAX_TIMES),
        status=_within("STATUS", groups.get("status"), 400, 599) or 529,
        words=_within("WORDS", groups.get("words"), 1, MAX_WORDS) or 1,
        text=(groups.get("text") or "").strip(),
        type=(groups.get("type") or "").lower() or None,
        early=bool(groups.get("early")),
        name=groups.get("name") or "",
    )


def _within(name: str, value: str | None, least: int, most: int) -> int | None:
    if value is None:
        return None
    if len(value) > 9 or not least <= int(value) <= most:
        raise InvalidDirective(f"{name} in a [sandbox: …] directive must be from {least} to {most}.")
    return int(value)


def _seconds(value: str | None) -> float:
    match = re.fullmatch(r"([\d.]+)([a-z]+)", (value or "").lower())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if seconds > MAX_LENGTH:
        raise InvalidDirective("TIME in a [sandbox: …] directive must be at most 1h.")
    return seconds
