"""One setting: its name in the environment, its default, how it is read, and one sentence on what it is for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

_PASSWORD = re.compile(r"(//[^/:@]*):.*@|(password=)[^&\s]*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Option:
    """A row of the table."""

    name: str
    default: str
    parse: Callable[[str], Any]
    sentence: str
    secret: bool = False
    required: bool = False
    aliases: tuple[str, ...] = ()
    section: str = ""

    @property
    def attribute(self) -> str:
        """The name it has on `Settings`."""
        return self.name.removeprefix("RELAY_").lower()

    def show(self, text: str) -> str:
        """`text` as it may be shown: a secret never, an address without its password."""
        if self.secret:
            return "[hidden]" if text else ""

        return _PASSWORD.sub(
            lambda found: f"{found[1] or ''}{':***@' if found[1] is not None else 'password=***'}", text
        )


def option(
    name: str,
    default: str,
    parse: Callable[[str], T],
    sentence: str,
    *,
    secret: bool = False,
    required: bool = False,
    aliases: tuple[str, ...] = (),
) -> T:
    """
    A field of a settings dataclass that carries its row.

    Typed as what the parser returns, so that mypy holds the annotation beside it to the parser.
    """
    row = Option(
        name=name,
        default=default,
        parse=parse,
        sentence=sentence,
        secret=secret,
        required=required,
        aliases=aliases,
    )
    made: T = field(default=parse(default), metadata={"option": row})
    return made
