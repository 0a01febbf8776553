"""Checks of a secret's text for placeholders, quotes, line ends, and complete lines of a shell."""

from __future__ import annotations

import re

from .table import OPTIONS

_ASSIGNMENT = re.compile(r"\s*(?:export\s+|set\s+|setx\s+)?[A-Z][A-Z0-9_]{2,}\s*=")
_PLACEHOLDER = re.compile(
    r"…|\.\.\.|<[^>]*>|^(sk(-ant)?-?|x{3,}|\*{3,}|change-?me|your[-_ ].*|the key|paste .*)$", re.IGNORECASE
)
_QUOTED = re.compile(r"(?s)([\"'`“‘]).*[\"'`”’]")
_PARSERS = {row.name: row.parse for row in OPTIONS if row.in_file}


def secret_problem(name: str, text: str) -> str | None:
    """The problem of a secret's text as its file has it, None without one; never a part of the text."""
    bare = text.strip()
    if not bare:
        return None
    if _ASSIGNMENT.match(bare):
        return f"it is written as a setting ({name}=…): write the value alone"
    if len(bare.splitlines()) > 1:
        return f"it has {len(bare.splitlines())} lines: write one"
    if _QUOTED.fullmatch(bare):
        return "it is in quotes, which are taken as part of it: write it without them"
    if _PLACEHOLDER.search(bare):
        return "it is a placeholder: write the secret itself"
    if "\r" in text:
        return "its line ends with a carriage return, as on Windows: save it with Unix line ends"
    try:
        _PARSERS[name](bare)
    except KeyError:
        return None
    except ValueError as exc:
        return str(exc)

    return None
