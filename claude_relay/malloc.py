"""Memory of the daemons: large freed blocks are returned to the system, and threads share their heaps."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of glibc's malloc.h
_LARGE = 1024 * 1024
_ARENAS = 2


def return_large_blocks() -> None:
    """
    Map each block of a megabyte or more separately, so that it is returned when it is freed.

    glibc does so by default until the first large block is freed; from then on it keeps ever larger ones, which become
    fragmented (*measured*: ten jobs with a file of 20 MB leave a worker at 805 MB, and at 109 MB with this; the peak
    falls from 987 MB to 389 MB). No effect with other C libraries.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def share_arenas() -> None:
    """
    Have all threads allocate from two heaps, in place of eight for each processor; before the first thread.

    Each keeps what its threads have freed. One thread runs Python at a time, so that they hardly wait for each other
    (*measured*: the API has 1.8 MB less after 19,000 submits by 16 connections). No effect with other C libraries.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
