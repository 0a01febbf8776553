"""The setting of the C library that returns large freed blocks."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from claude_relay.malloc import return_large_blocks


def test_blocks_of_a_megabyte_are_mapped_on_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """CASES M12: `M_MMAP_THRESHOLD` of glibc, whose growth ends with the first call."""
    calls: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda *args: calls.append(args))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    return_large_blocks()

    assert calls == [(-3, 2**20)]


@pytest.mark.parametrize("error", [OSError, None])
def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None) -> None:
    """CASES M12: musl has no `mallopt`; the daemons start all the same."""

    def load(name: str | None) -> object:
        if error is not None:
            raise error
        return object()

    monkeypatch.setattr(ctypes, "CDLL", load)
    return_large_blocks()
