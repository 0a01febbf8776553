"""Output streams: data on stdout, messages on stderr; tables on a terminal, plain lines elsewhere."""

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

#: Marks that change the direction of text, and separators that are line ends to some terminals and programs.
_MARKS = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
#: Control characters, also those that move the cursor: text from elsewhere must not drive a terminal.
_CONTROL = dict.fromkeys((*range(0, 9), 11, 12, *range(14, 32), 127, *range(128, 160), *_MARKS))
#: In JSON they are escaped: a pipe may end in a terminal.
_ESCAPED = {code: f"\\u{code:04x}" for code in (*range(127, 160), *_MARKS)}


class PipeClosed(Exception):
    """The reader of our output has closed the pipe."""


def _is_plain() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


@dataclass
class Output:
    """The global options of the command line, its settings, and its output streams."""

    json: bool = False
    plain: bool = field(default_factory=_is_plain)
    verbose: bool = False
    url: str | None = None
    owner: str | None = None
    all_keys: bool = True  # whether a secret's file that cannot be read is an error
    _settings: Settings | None = None

    @property
    def terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return sys.stdout.isatty()

    @property
    def settings(self) -> Settings:
        """The settings, read on first use: `--help` needs none."""
        if self._settings is None:
            from ...config import load

            self._settings = load(overrides={"RELAY_URL": self.url} if self.url else {}, all_keys=self.all_keys)
        return self._settings

    def line(self, text: str = "") -> None:
        """Write one line of data."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        """Write data as it is; on a terminal without control characters."""
        try:
            sys.stdout.write(clean(text) if self.terminal else text)
            sys.stdout.flush()
        except UnicodeEncodeError:
            # An ASCII or Latin-1 stdout: the answer is paid for, so show what it can show.
            encoding = sys.stdout.encoding or "ascii"
            self.write(text.encode(encoding, "replace").decode(encoding))
        except BrokenPipeError:
            raise PipeClosed from None

    def value(self, value: Any) -> None:
        """Write one JSON value; indented on a terminal, otherwise on one line."""
        self.line(_json(value, indent=2 if self.terminal else None))

    def record(self, value: Any) -> None:
        """Write one JSON value on one line, also on a terminal: lists are read line by line."""
        self.line(_json(value))

    def json_text(self, text: str) -> None:
        """Write JSON as it was received, except for what stdout cannot carry and for control characters."""
        self.line(text.translate(_ESCAPED) if _is_unicode() else _json(json.loads(text)))

    def message(self, text: str) -> None:
        """Write a message to stderr."""
        print(clean(text), file=sys.stderr, flush=True)

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a table on a terminal; elsewhere tab-separated lines without a head and without shortened cells."""
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
        """The console of `rich`, without colour where none is wanted, and without highlighting or markup."""
        from rich.console import Console

        if self.plain:
            return Console(color_system=None, highlight=False, no_color=True, markup=False)
        return Console(highlight=False, markup=False)


def _json(value: Any, *, indent: int | None = None) -> str:
    """JSON that stdout can carry, with control characters escaped."""
    return json.dumps(value, ensure_ascii=not _is_unicode(), indent=indent).translate(_ESCAPED)


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"


def clean(text: str) -> str:
    """Remove control characters and marks of direction, except tabs and line ends."""
    return text.translate(_CONTROL)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"

    return " ".join(clean(str(value)).split()) or "-"


def json_option(command: F) -> F:
    """Add `--json` to a verb that prints data."""

    def store(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        ctx.obj.json = ctx.obj.json or value

    option = click.option(
        "--json", is_flag=True, expose_value=False, is_eager=True, callback=store, help="Print JSON, for programs."
    )
    return option(command)


pass_output = click.make_pass_decorator(Output)
