"""Validation of `options.raw.betas`, which is sent as the `anthropic-beta` header."""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


def read_betas(value: Any) -> tuple[str, ...]:
    """The names from a comma-separated string or a list; `ValueError` with the rule if one is invalid."""
    names = value.split(",") if isinstance(value, str) else [] if value is None else value
    if not isinstance(names, (list, tuple)):
        names = [names]
    valid = tuple(name.strip() for name in names if isinstance(name, str) and _NAME.fullmatch(name.strip()))
    if len(valid) != len(names) and value != "":
        raise ValueError("must be a list of names such as output-300k-2026-03-24")

    return valid
