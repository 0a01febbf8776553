"""The extent of a seeded proof: short in every test run, long under `make prove-…` (pytest --proof)."""

from __future__ import annotations

import os

#: Set by tests/conftest.py from --proof and --proof-seed, for every test process.
SEED = "PROOF_SEED"


def size(short: int, long: int) -> int:
    """How much to try: `short` in a test run, `long` in a proof."""
    return long if SEED in os.environ else short


def seed(fixed: int) -> int:
    """The seed: `fixed` in a test run, that of --proof-seed in a proof."""
    return int(os.environ.get(SEED, fixed))
