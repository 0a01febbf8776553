"""
Man pages, generated from the click commands: one for each verb, and one for the program.

`python -m claude_relay.cli.man_pages FOLDER` writes them (`make man`). click-man would be the library for this, but it
does not see commands that are imported lazily, cuts NAME at 45 characters and does not escape dots and backslashes.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from .. import __version__
from ..config import OPTIONS
from .examples import EXAMPLES
from .main import cli

NAME = "claude-relay"

#: Meanings of the exit codes; the README has the same table.
EXITS = {
    0: "done",
    1: "unexpected error",
    2: "wrong usage",
    3: "not found",
    4: "key refused",
    5: "the job failed",
    6: "answered, not delivered",
    9: "nothing to do, or conflict",
    65: "bad input",
    69: "relay or store unreachable",
    75: "try again later",
    78: "invalid configuration",
    124: "timed out while waiting",
    130: "Ctrl-C",
    141: "the reader of a pipe closed it",
}

FILES = {
    "/etc/claude-relay/claude-relay.env": "The settings of this machine.",
    "/etc/claude-relay/credentials/": "The secrets, one file each; systemd passes each to the daemon that needs it.",
    ".env": "Settings of the current folder; they take precedence over the machine's.",
    "/var/lib/claude-relay/relay.db": "The store: every job, answer and callback.",
    "/var/log/claude-relay/": "error.log and combined.log, where RELAY_LOG_DIR names it.",
}


def pages() -> dict[str, str]:
    """All pages by file name, such as `claude-relay-submit.1`."""
    root = click.Context(cli, info_name=NAME, **cli.context_settings)

    return {f"{name}.1": text for name, text in _pages(root)}


def _pages(ctx: click.Context) -> Iterator[tuple[str, str]]:
    name = ctx.command_path.replace(" ", "-")
    yield name, _page(name, ctx)
    if isinstance(ctx.command, click.Group):
        for verb in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, verb)
            if command is not None and not command.hidden:
                yield from _pages(click.Context(command, info_name=verb, parent=ctx, **command.context_settings))


def _page(name: str, ctx: click.Context) -> str:
    is_program = ctx.parent is None
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    first, *rest = re.split(r"\n{2,}", inspect.cleandoc(ctx.command.help or ""), maxsplit=1)
    lines = [f'.TH {_quoted(name.upper())} 1 {day} {_quoted(f"{NAME} {__version__}")} "User Commands"', ".nh", ".ad l"]
    lines += [".SH NAME", f"{_text(name)} \\- {_text(_summary(first))}"]
    lines += [".SH SYNOPSIS", f".B {_text(ctx.command_path)}", _text(" ".join(ctx.command.collect_usage_pieces(ctx)))]
    lines += [".SH DESCRIPTION", *_paragraphs("\n\n".join((first, *rest)))]
    lines += _section("OPTIONS", _options(ctx))
    if isinstance(ctx.command, click.Group):
        lines += _section("COMMANDS", _verbs(name, ctx))
    if is_program:
        lines += _section("EXIT STATUS", [(str(code), meaning) for code, meaning in EXITS.items()])
        lines += _section("ENVIRONMENT", [(row.name, f"{row.sentence} {_default(row.default)}") for row in OPTIONS])
        lines += _section("FILES", list(FILES.items()))
    lines += _examples(ctx.command_path.partition(" ")[2])
    lines += [".SH SEE ALSO", _see_also(ctx)]

    return "\n".join(lines) + "\n"


def _examples(verb: str) -> list[str]:
    lines = [".SH EXAMPLES"] if verb in EXAMPLES else []
    for number, (purpose, command) in enumerate(EXAMPLES.get(verb, {}).items()):
        lines += [*([".PP"] if number else []), _text(purpose), ".PP", ".nf", ".RS", _text(command), ".RE", ".fi"]

    return lines


def _options(ctx: click.Context) -> list[tuple[str, str]]:
    records = [param.get_help_record(ctx) for param in ctx.command.get_params(ctx)]

    return [record for record in records if record is not None]


def _verbs(name: str, ctx: click.Context) -> list[tuple[str, str]]:
    assert isinstance(ctx.command, click.Group)
    rows = []
    for verb in ctx.command.list_commands(ctx):
        command = ctx.command.get_command(ctx, verb)
        if command is not None and not command.hidden:
            first = re.split(r"\n{2,}", inspect.cleandoc(command.help or ""))[0]
            rows.append((verb, f"{_line(first)} See {name}-{verb}(1)."))

    return rows


def _see_also(ctx: click.Context) -> str:
    if ctx.parent is None:
        return ", ".join(_reference(each) for each in ("systemctl", "journalctl"))
    parent = ctx.parent.command_path.replace(" ", "-")

    return ", ".join(_reference(each) for each in dict.fromkeys((parent, NAME)))


def _reference(name: str) -> str:
    return f"\\fB{_text(name)}\\fR(1)"


def _section(title: str, entries: Sequence[tuple[str, str]]) -> list[str]:
    lines = [f".SH {title}"] if entries else []
    for term, meaning in entries:
        lines += [".TP", f".B {_text(term)}", _text(_line(meaning))]

    return lines


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for part in re.split(r"\n{2,}", text):
        lines += [".PP", *textwrap.wrap(_text(_line(part)), 100, break_long_words=False, break_on_hyphens=False)]

    return [_guarded(line) for line in lines[1:]] if lines else []


def _default(default: str) -> str:
    return f"Default: {default}." if default else ""


def _summary(text: str) -> str:
    """The first clause, for NAME and for apropos(1)."""
    return re.split(r"[.;:](?: |$)", _line(text), maxsplit=1)[0]


def _line(text: str) -> str:
    return " ".join(text.split())


def _text(text: str) -> str:
    """Escape text for roff: hyphens stay hyphens when copied, and no line starts like a request."""
    return _guarded(text.replace("\\", "\\e").replace("-", "\\-"))


def _guarded(line: str) -> str:
    return f"\\&{line}" if line[:1] in (".", "'") and line != ".PP" else line


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "'").replace("-", "\\-") + '"'


def write(folder: Path) -> int:
    """Write all pages into `folder`; return their number."""
    folder.mkdir(parents=True, exist_ok=True)
    by_name = pages()
    for name, text in by_name.items():
        (folder / name).write_text(text, encoding="utf-8")

    return len(by_name)


if __name__ == "__main__":
    sys.stderr.write(f"{write(Path(sys.argv[1]))} man pages in {sys.argv[1]}\n")
