"""One setting: its name in the environment, its default, how it is read, and one sentence on what it is for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

# Between the first colon and the last @, whatever is wrong with the address; a file has neither.
_PASSWORD = re.compile(r"((?<!/)(?<!sqlite:)//[^:]*):.*@")
# What stands behind a colon without an @ is a port, or a password whose address is not whole.
_HALF = re.compile(r"((?:(?<!/)(?<!sqlite:)//|\*\*\*@)[^/:?\[\s]*):(?!\*\*\*@|\d{1,5}(?:[/?,]|$)).*")
_NAMED = re.compile(r"(password\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^&\s]*)", re.IGNORECASE)


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
    may_hold_secret: bool = False
    """It is shown, but for a password in it; and may lie in a file of its own, or be a credential, as secrets may."""

    @property
    def attribute(self) -> str:
        """The name it has on `Settings`."""
        return self.name.removeprefix("RELAY_").lower()

    @property
    def in_file(self) -> bool:
        """Whether NAME_FILE may name a file that holds it."""
        return self.secret or self.may_hold_secret

    def show(self, text: str) -> str:
        """`text` as it may be shown: a secret never, an address without its password."""
        if self.secret:
            return "[hidden]" if text else ""

        hidden = _HALF.sub(r"\1:***", _PASSWORD.sub(r"\1:***@", text))

        return _NAMED.sub(r"\1***", hidden)


def option(
    name: str,
    default: str,
    parse: Callable[[str], T],
    sentence: str,
    *,
    secret: bool = False,
    required: bool = False,
    aliases: tuple[str, ...] = (),
    may_hold_secret: bool = False,
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
        may_hold_secret=may_hold_secret,
    )
    made: T = field(default=parse(default), metadata={"option": row})
    return made
