"""Generated documentation of the options: `.env.example` and the tables in the README."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .option import Option

BEGIN, END = "<!-- options:begin -->", "<!-- options:end -->"

_HEAD = """\
# Settings of claude-relay. Copy this file (install -m 600 .env.example .env: it will hold keys) and fill in the keys.
# Settings that are commented out have their default; so do empty ones.
# The environment takes precedence over .env, and .env over /etc/claude-relay/claude-relay.env.
# Durations are 90s 5m 2h 1d, sizes 512KiB 4MiB, rates 100/15m; lists are comma-separated. Written by `make docs`.
"""


def write_env_example(options: Iterable[Option]) -> str:
    """The text of `.env.example`: required settings are open, the others commented out with their default."""
    parts = [_HEAD]
    for title, rows in groupby(options, key=lambda row: row.section):
        parts.append(f"# --- {title} ---\n")
        for row in rows:
            in_file = f" {row.name}_FILE may name a file that holds it." if row.in_file else ""
            parts.append(f"# {row.sentence}{in_file}\n{'' if row.required else '#'}{row.name}={row.default}\n")

    return "\n".join(parts)


def write_table(options: Iterable[Option]) -> str:
    """The settings as Markdown tables, one per section."""
    parts = []
    for title, rows in groupby(options, key=lambda row: row.section):
        lines = [f"**{title}**", "", "| setting | default | meaning |", "|---|---|---|"]
        for row in rows:
            default = f"`{row.default}`" if row.default else ("required" if row.required else "none")
            lines.append(f"| `{row.name}`{' (secret)' if row.secret else ''} | {default} | {row.sentence} |")
        parts.append("\n".join(lines))

    return "\n\n".join(parts) + "\n"


def splice(page: str, table: str) -> str:
    """`page` with `table` between its two markers; raises `ValueError` without them."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} … {END} markers")

    return f"{head}{BEGIN}\n\n{table}\n{END}{tail}"


def rewrite(root: Path, options: Iterable[Option]) -> None:
    """Regenerate both files in the checkout at `root`."""
    options = tuple(options)
    (root / ".env.example").write_text(write_env_example(options), encoding="utf-8")
    page = root / "docs" / "reference" / "settings.md"
    page.write_text(splice(page.read_text(encoding="utf-8"), write_table(options)), encoding="utf-8")
