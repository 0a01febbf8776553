"""One setting: its name in the environment, default, parser and one sentence about its purpose."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar

from ..core.lazy_dataclass import dataclass

T = TypeVar("T")

# Between the first colon and the last @, even in a malformed URL; a file has neither.
_PASSWORD = r"((?<!/)(?<!sqlite:)//[^:]*):.*@"
# After a colon without an @ comes a port, or the password of an incomplete URL.
_HALF = r"((?:(?<!/)(?<!sqlite:)//|\*\*\*@)[^/:?\[\s]*):(?!\*\*\*@|\d{1,5}(?:[/?,]|$)).*"
_NAMED = r"(?i)(password\s*=\s*)(?:'[^']*'|\"[^\"]*\"|[^&\s]*)"


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
    """Shown with any password hidden; may be in a file of its own or a credential, like a secret."""

    @property
    def attribute(self) -> str:
        """Its attribute on `Settings`."""
        return self.name.removeprefix("RELAY_").lower()

    @property
    def in_file(self) -> bool:
        """Whether NAME_FILE may name a file that holds it."""
        return self.secret or self.may_hold_secret

    def show(self, text: str) -> str:
        """`text` as it may be displayed: secrets are hidden, URLs lose their password."""
        if self.secret:
            return "[hidden]" if text else ""

        hidden = re.sub(_HALF, r"\1:***", re.sub(_PASSWORD, r"\1:***@", text))

        return re.sub(_NAMED, r"\1***", hidden)


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
    A field of a settings dataclass, with its row in the metadata.

    Its type is the parser's result, so that mypy checks the field's annotation against the parser.
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
    value: T = field(default=parse(default), metadata={"option": row})
    return value
