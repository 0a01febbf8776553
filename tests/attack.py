"""
Attacks on the relay, by kind, in a few minutes: `make attack` prints a table of what was tried and found.

Each kind is a set of tests that generate their input; `--proof` gives them another seed each time, and more of it.
"""

from __future__ import annotations

import argparse
import logging
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import bitflips

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of attack: the right outcome of all of them, and the tests that make them."""

    name: str
    expected: str
    tests: Sequence[str] = ()  # none: flipped bits


KINDS = (
    Kind(
        name="malformed bodies, forms and JSON",
        expected="a value, or a 400 in bounded memory",
        tests=(
            "tests/unit/test_strict_json.py",
            "tests/unit/test_intake_body.py",
            "tests/unit/test_intake_form.py",
            "tests/api/test_bulk_limits.py",
        ),
    ),
    Kind(
        name="addresses of private networks",
        expected="refused; none is connected to",
        tests=("tests/unit/test_ssrf_guard.py", "tests/unit/test_webhook_url.py", "tests/process/test_guard.py"),
    ),
    Kind(
        name="request framing",
        expected="400, or one request for each head",
        tests=("tests/api/test_framing.py", "tests/api/test_forwarded.py"),
    ),
    Kind(
        name="slow and many connections",
        expected="/health is answered throughout",
        tests=("tests/api/test_connections.py", "tests/api/test_admission.py"),
    ),
    Kind(
        name="bombs: gzip, schemas, patterns, files",
        expected="refused or failed; time and memory bounded",
        tests=(
            "tests/adapters/claude/test_gateways.py",
            "tests/adapters/claude/test_schema_check.py",
            "tests/adapters/claude/test_safe_schema.py",
            "tests/adapters/claude/test_pdf_inspector.py",
            "tests/process/test_memory.py",
        ),
    ),
    Kind(
        name="scopes and keys",
        expected="nothing that the scopes forbid",
        tests=("tests/api/test_scopes.py", "tests/api/test_keys.py", "tests/api/test_limits.py"),
    ),
    Kind(name="flipped bits in store and log", expected="detected, or without effect"),
)
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")


def run_tests(paths: Sequence[str], seed: int) -> tuple[int, int, str]:
    """Run those tests; returns how many were tried, how many failed, and the first failure."""
    command = [sys.executable, "-Im", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "120", "--proof"]
    command += ["--proof-seed", str(seed), *paths]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    counts = {word: int(number) for number, word in _COUNT.findall(output.rstrip().rpartition("\n")[2])}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    first = next((line for line in output.splitlines() if line.startswith(("FAILED", "ERROR "))), "")

    return counts.get("passed", 0) + failed, failed, first


def flip_bits(flips: int, seed: int) -> tuple[int, int, str]:
    """Flip bits of a store and its log; those that change something in silence count as failed."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        results = bitflips.flip_all(Path(folder), flips=flips, seed=seed)
    silent = [item for item in results if item.verdict.startswith(("silent", "deep"))]

    return len(results), len(silent), str(silent[0]) if silent else ""


def main() -> int:
    """Print a row for each kind; exit 1 if one of them has failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--kind", help="only kinds whose name has this word")
    args = parser.parse_args()
    print(f"seed {args.seed}\n{'kind':39}{'tried':>6}  {'expected':44}found", flush=True)
    total = 0
    for kind in KINDS:
        if args.kind and args.kind not in kind.name:
            continue
        began = time.monotonic()
        tried, failed, first = run_tests(kind.tests, args.seed) if kind.tests else flip_bits(args.flips, args.seed)
        found = f"{failed} otherwise: {first}" if failed else "as expected" if tried else "nothing was tried"
        took = time.monotonic() - began
        print(f"{kind.name:39}{tried:6}  {kind.expected:44}{found} ({took:.0f} s)", flush=True)
        total += failed or not tried

    return 1 if total else 0


if __name__ == "__main__":
    raise SystemExit(main())
