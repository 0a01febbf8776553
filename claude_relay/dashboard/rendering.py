"""Templates: the jinja2 environment, and filters that show times, money, sizes and hostile text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    import jinja2

#: Controls that change how the text around them is shown: C0 and C1, zero-width, bidi and line separators, and lone
#: surrogates, which have no encoding.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d{3})?Z")


def visible(text: str) -> str:
    """The text with its invisible characters written out, as `⟨U+202E⟩`."""
    return _INVISIBLE.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text.replace("\r\n", "\n"))


def age(seconds: float | None, units: int = 2) -> str:
    """A duration in its largest two units, `2 h 5 min`, or in one: `2.1 h`."""
    if seconds is None:
        return "–"
    seconds = max(0.0, seconds)
    if 0 < seconds < 10:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    if seconds < 60:
        return f"{seconds:.0f}\N{NO-BREAK SPACE}s"
    for number, (size, unit) in enumerate(_UNITS):
        if seconds >= size and units == 1:
            return f"{seconds / size:.1f}".removesuffix(".0") + f"\N{NO-BREAK SPACE}{unit}"
        if seconds >= size:
            rest_size, rest_unit = _UNITS[number + 1] if number + 1 < len(_UNITS) else (1, "s")
            rest = int(seconds % size // rest_size)
            words = f"{int(seconds // size)} {unit}" + (f" {rest} {rest_unit}" if rest else "")
            return words.replace(" ", "\N{NO-BREAK SPACE}")

    return f"{seconds:.0f}\N{NO-BREAK SPACE}s"


def milliseconds(value: float | None) -> str:
    """A duration in milliseconds: `340 ms`, `2.1 s`."""
    if value is None:
        return "–"

    return f"{value:.0f}\N{NO-BREAK SPACE}ms" if value < 1000 else age(value / 1000)


def money(usd: float | None) -> str:
    """Dollars, never rounded to nothing: `$0.00042`."""
    if usd is None:
        return "–"
    if usd == 0:
        return "$0"
    if usd >= 0.01:
        return f"${usd:,.2f}"

    return f"${usd:.{max(2, 1 - int(f'{usd:e}'.partition('e')[2]))}f}"


def size(count: float | None) -> str:
    """Bytes: `3 B`, `12.3 kB`, `4 MB`."""
    if count is None:
        return "–"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.{0 if count >= 100 * factor else 1}f} {unit}"

    return f"{count:.0f} B"


def integer(value: float | None) -> str:
    """A whole number with separators."""
    return "–" if value is None else f"{value:,.0f}"


def moment(value: float | str | None) -> Markup:
    """A time as `<time>`: UTC, without milliseconds."""
    if value is None:
        return Markup("–")
    at = datetime.fromtimestamp(value, tz=timezone.utc) if isinstance(value, (int, float)) else _parse(value)
    if at is None:
        return Markup(escape(visible(str(value))))

    return Markup('<time datetime="{}">{}</time>').format(f"{at:%Y-%m-%dT%H:%M:%SZ}", f"{at:%Y-%m-%d %H:%M:%S}")


def plain_times(text: str) -> str:
    """A text in which times are written as elsewhere on the pages: `2026-01-15 10:30:00`."""
    return _TIME.sub(r"\1 \2", text)


def clipped(text: str, limit: int = 4000) -> str:
    """The beginning of a text."""
    return text if len(text) <= limit else text[:limit] + " …"


def pretty(value: Any) -> str:
    """JSON, indented."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def _parse(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None


def _finalize(value: Any) -> Any:
    """Every value that a template prints, unless it is markup of a filter above."""
    if value is None:
        return "–"

    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def environment(asset: Callable[[str], str]) -> jinja2.Environment:
    """The templates of this package; `asset` is the URL of a static file."""
    import jinja2  # with the first page: most processes that accept jobs show none

    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("claude_relay.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    templates.filters |= {
        "age": age,
        "clipped": clipped,
        "integer": integer,
        "milliseconds": milliseconds,
        "moment": moment,
        "money": money,
        "plain_times": plain_times,
        "pretty": pretty,
        "size": size,
        # The value of a form field goes back as it was, and is only escaped.
        "unchanged": lambda text: Markup(escape(text)),
    }
    templates.globals |= {"asset": asset}

    return templates
