"""Checks of a secret's text for placeholders, quotes, line ends, and complete lines of a shell."""

from __future__ import annotations

import re

from .table import OPTIONS

_ASSIGNMENT = r"\s*(?:export\s+|set\s+|setx\s+)?[A-Z][A-Z0-9_]{2,}\s*="
_PLACEHOLDER = r"(?i)…|\.\.\.|<[^>]*>|^(sk(-ant)?-?|x{3,}|\*{3,}|change-?me|your[-_ ].*|the key|paste .*)$"
_QUOTED = r"(?s)([\"'`“‘]).*[\"'`”’]"
_PARSERS = {row.name: row.parse for row in OPTIONS if row.in_file}


def secret_problem(name: str, text: str) -> str | None:
    """The problem of a secret's text as its file has it, None without one; never a part of the text."""
    bare = text.strip()
    if not bare:
        return None
    if re.match(_ASSIGNMENT, bare):
        return f"it is written as a setting ({name}=…): write the value alone"
    if len(bare.splitlines()) > 1:
        return f"it has {len(bare.splitlines())} lines: write one"
    if re.fullmatch(_QUOTED, bare):
        return "it is in quotes, which are taken as part of it: write it without them"
    if re.search(_PLACEHOLDER, bare):
        return "it is a placeholder: write the secret itself"
    if "\r" in text:
        return "its line ends with a carriage return, as on Windows: save it with Unix line ends"
    if name == "API_SECRET_KEY" and bare.count(",") > 1:
        return "its commas make it one key: write one key, or two with one comma between them"
    try:
        _PARSERS[name](bare)
    except KeyError:
        return None
    except ValueError as exc:
        return str(exc)

    return None
