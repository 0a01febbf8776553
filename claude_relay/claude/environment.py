"""Checks of the environment variables from which the HTTP client takes proxies and certificates."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_NAMES = (*_PROXIES, "no_proxy", "ssl_cert_file", "ssl_cert_dir")


def client_faults(environ: Mapping[str, str]) -> Sequence[str]:
    """
    A sentence for each variable with which the client for Anthropic cannot be built or could reach nothing.

    Such a fault belongs to this machine: found in a call, it would fail that job. Each variable is tried alone, with
    the client's own rules, in the environment of this process: call it before there are threads.
    """
    given = {name: value for name, value in environ.items() if name.lower() in _NAMES and value}

    return [_sentence(name, value) for name, value in given.items() if _is_wrong(name, value)]


def _is_wrong(name: str, value: str) -> bool:
    if name.lower() == "ssl_cert_dir" and not Path(value).is_dir():
        return True  # accepted, and then no certificate is trusted
    if name.lower() in _PROXIES and value.strip("'\" ") != value:
        return True

    return not _builds(name, value)


def _sentence(name: str, value: str) -> str:
    if name.lower() == "no_proxy":
        wrong = [entry.strip() for entry in value.split(",") if not _builds(name, entry)]
        return (
            f"{name} in the environment has entries that the client for Anthropic cannot use: {', '.join(wrong)}. "
            "Write names and addresses, IPv6 addresses without brackets and no IPv6 networks."
        )
    if name.lower() in _PROXIES:
        socks = " SOCKS is not supported." if "socks" in value.lower() else ""
        return (
            f"{name} in the environment is no proxy that the client for Anthropic can use.{socks} "
            f"Write http://HOST:PORT without quotes, or unset {name}."
        )

    return (
        f"{name} in the environment is {value}, which cannot be read as certificates: calls to Anthropic would fail. "
        f"Correct the path, or unset {name}."
    )


def _builds(name: str, value: str) -> bool:
    from .client import can_be_built

    with _only(name, value):
        return can_be_built()


@contextmanager
def _only(name: str, value: str) -> Iterator[None]:
    """The process's environment with that one of the variables."""
    kept = {other: os.environ.pop(other) for other in list(os.environ) if other.lower() in (*_NAMES, "sslkeylogfile")}
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        os.environ.update(kept)
