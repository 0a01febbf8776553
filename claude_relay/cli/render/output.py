"""Where words go: data to stdout, talk to stderr; for a person if one is looking, plain lines for everything else."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console

    from ...config import Settings

F = TypeVar("F", bound=Callable[..., Any])

#: Everything below the space, and what moves the cursor: foreign text must not drive a terminal.
_CONTROL = dict.fromkeys((*range(0, 9), 11, 12, *range(14, 32), 127, *range(128, 160)))


class PipeClosed(Exception):
    """Whoever read our output has gone."""


def _bare() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


@dataclass
class Output:
    """What the command line knows of its surroundings, and how it speaks."""

    json: bool = False
    plain: bool = field(default_factory=_bare)
    verbose: bool = False
    url: str | None = None
    owner: str | None = None
    all_keys: bool = True  # whether a secret's file that cannot be read is a fault
    _settings: Settings | None = None

    @property
    def terminal(self) -> bool:
        """Whether a person reads stdout."""
        return sys.stdout.isatty()

    @property
    def settings(self) -> Settings:
        """Read when they are first needed: `--help` needs none."""
        if self._settings is None:
            from ...config import load

            self._settings = load(overrides={"RELAY_URL": self.url} if self.url else {}, all_keys=self.all_keys)
        return self._settings

    def line(self, text: str = "") -> None:
        """One line of data."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Data as it is."""
        try:
            sys.stdout.write(clean(text) if self.terminal else text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise PipeClosed from None

    def value(self, value: Any) -> None:
        """One JSON value on a line; indented for a person."""
        self.line(json.dumps(value, ensure_ascii=False, indent=2 if self.terminal else None))

    def record(self, value: Any) -> None:
        """One JSON value on one line, whoever looks: lists are read line by line."""
        self.line(json.dumps(value, ensure_ascii=False))

    def message(self, text: str) -> None:
        """Talk, on stderr."""
        print(clean(text), file=sys.stderr, flush=True)

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """A table for a person; tab-separated lines without a head for everything else, cells whole."""
        if not self.terminal or os.environ.get("TERM") == "dumb":
            for row in rows:
                self.line("\t".join(_cell(cell) for cell in row))
            return
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, header_style="" if self.plain else "bold")
        for title in titles:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(Text(_cell(cell)) for cell in row))
        self.console().print(table)

    def console(self) -> Console:
        """rich's, without colour, box or highlight where none is wanted."""
        from rich.console import Console

        if self.plain:
            return Console(color_system=None, highlight=False, no_color=True, markup=False)
        return Console(highlight=False, markup=False)


def clean(text: str) -> str:
    """Without control characters, but for tabs and line ends."""
    return text.translate(_CONTROL)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"

    return " ".join(clean(str(value)).split()) or "-"


def json_option(command: F) -> F:
    """`--json`, for every verb that shows something."""

    def asked(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        ctx.obj.json = ctx.obj.json or value

    option = click.option(
        "--json", is_flag=True, expose_value=False, is_eager=True, callback=asked, help="JSON, for programs."
    )
    return option(command)


pass_output = click.make_pass_decorator(Output)
