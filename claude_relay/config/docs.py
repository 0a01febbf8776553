"""The table of options as people read it: `.env.example` and the settings in the README."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from .option import Option

BEGIN, END = "<!-- options:begin -->", "<!-- options:end -->"

_HEAD = """\
# claude-relay's settings. Copy it (install -m 600 .env.example .env: it will hold keys) and fill in
# the keys; what stays commented out has its default.
# The environment goes before .env, and .env before /etc/claude-relay/claude-relay.env. An empty value is the default.
# Durations are 90s 5m 2h 1d, sizes 512KiB 4MiB, rates 100/15m, lists have commas between. Written by `make docs`.
"""


def write_env_example(options: Iterable[Option]) -> str:
    """The whole text of `.env.example`: what must be set is open, the rest commented out at its default."""
    parts = [_HEAD]
    for title, rows in groupby(options, key=lambda row: row.section):
        parts.append(f"# --- {title} ---\n")
        for row in rows:
            twin = f" {row.name}_FILE may name a file that holds it." if row.in_file else ""
            parts.append(f"# {row.sentence}{twin}\n{'' if row.required else '#'}{row.name}={row.default}\n")

    return "\n".join(parts)


def write_table(options: Iterable[Option]) -> str:
    """The settings as Markdown tables, one a section."""
    parts = []
    for title, rows in groupby(options, key=lambda row: row.section):
        lines = [f"**{title}**", "", "| setting | default | meaning |", "|---|---|---|"]
        for row in rows:
            default = f"`{row.default}`" if row.default else ("required" if row.required else "none")
            lines.append(f"| `{row.name}`{' (secret)' if row.secret else ''} | {default} | {row.sentence} |")
        parts.append("\n".join(lines))

    return "\n\n".join(parts) + "\n"


def splice(page: str, table: str) -> str:
    """`page` with `table` between its two markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} … {END} to write between")

    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def rewrite(root: Path, options: Iterable[Option]) -> None:
    """Bring both files of the checkout at `root` up to date."""
    options = tuple(options)
    (root / ".env.example").write_text(write_env_example(options), encoding="utf-8")
    readme = root / "README.md"
    readme.write_text(splice(readme.read_text(encoding="utf-8"), write_table(options)), encoding="utf-8")
