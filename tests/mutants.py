"""
`make prove-mutants`: random changes of core and services, each of which a test must notice.

First every unit, service, contract, API and dashboard test runs once, and writes which lines it ran (build/mutants).
Then, for the time that is given, a changed copy of the package is tested by the tests that ran the changed line, the
fastest first.

Left out is what no test on SQLite can notice: failpoints, and look-ups that are made ahead of a transaction to save
round trips, which the tests of PostgreSQL count.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[1]
_MAP = ROOT / "build" / "mutants"
_LAYERS = ("core", "services")
_TESTS = ("tests/unit", "tests/service", "tests/contract", "tests/api", "tests/dashboard")
#: Tests of a changed function that are run, and seconds after which they count as noticing the change.
_MOST_TESTS, _TIMEOUT = 300, 180.0
_OPTIONS = ["-m", "not process", *"-q --sqlite-only -p no:cacheprovider -p no:xdist --timeout 60".split()]

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip

_AHEAD = re.compile(r"_?look_(up|ahead)")
_WITHOUT_EFFECT = ("log.", "failpoints.hit(", "tx.prefetch(")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change: the text between two offsets of a file; `function` is its first line, 0 for a module or class."""

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str
    function: int


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Every change of a source text, in the order of the tree."""
    encoded, starts = source.encode(), [0]
    for text in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(text.encode()))

    def visit(node: ast.AST, function: int) -> Iterator[Mutant]:
        if isinstance(node, ast.FunctionDef):
            if _AHEAD.match(node.name):
                return
            function = min((node.lineno, *(each.lineno for each in node.decorator_list)))
        for new in _changes(node):
            assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno and node.end_col_offset is not None
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            yield Mutant(
                file=file, line=node.lineno, start=start, end=end, old=encoded[start:end].decode(), new=new,
                function=function,
            )  # fmt: skip
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(node, ast.JoinedStr):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, function)

    yield from visit(ast.parse(source), 0)


def _changes(node: ast.AST) -> Iterator[str]:
    """The texts that replace a node."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _SWAPS:
            yield f"({ast.unparse(ast.Compare(node.left, [_swapped(operator)], node.comparators))})"
        case ast.BoolOp():
            yield f"({ast.unparse(ast.BoolOp(_swapped(node.op), node.values))})"
        case ast.BinOp() if type(node.op) in _SWAPS:
            yield f"({ast.unparse(ast.BinOp(node.left, _swapped(node.op), node.right))})"
        case ast.UnaryOp(op=ast.Not()):
            yield f"({ast.unparse(node.operand)})"
        case ast.Constant(value=bool()):
            yield str(not node.value)
        case ast.Constant(value=int() | float()):
            yield f"({node.value} + 1)"
        case ast.IfExp():
            yield f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "return None"
        case ast.Expr(value=ast.Call()) if not ast.unparse(node).startswith(_WITHOUT_EFFECT):
            yield "pass"


def _swapped(operator: ast.AST) -> Any:
    return _SWAPS[type(operator)]()


class _Recorder:
    """A pytest plugin that writes the lines of the layers which each test runs, and its duration."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, Any]] = {}
        self.lines: dict[str, set[int]] = defaultdict(set)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.lines, self.began = defaultdict(set), time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
        self.tests[nodeid] = {
            "seconds": time.monotonic() - self.began,
            "lines": {file: sorted(lines) for file, lines in self.lines.items()},
        }

    def pytest_sessionfinish(self) -> None:
        (_MAP / f"{os.getpid()}.json").write_text(json.dumps(self.tests), encoding="utf-8")

    def _trace(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        file = frame.f_code.co_filename
        if "/claude_relay/core/" not in file and "/claude_relay/services/" not in file:
            return None
        lines = self.lines[file.rpartition("/claude_relay/")[2]]
        lines.add(frame.f_lineno)

        def line(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
            lines.add(frame.f_lineno)
            return line

        return line


def record(selected: Sequence[str]) -> None:
    """Run the tests in this process and write the map."""
    import pytest

    sys.exit(pytest.main([*_OPTIONS, *selected], plugins=[_Recorder()]))


def tests_by_line(maps: Iterator[Path]) -> Callable[[Mutant], list[str]]:
    """The tests of a mutant, the fastest first: those that ran its line, or else its function, or used its module."""
    tests: dict[tuple[str, int], list[tuple[float, str]]] = defaultdict(list)
    for path in maps:
        for name, test in json.loads(path.read_text(encoding="utf-8")).items():
            for file, lines in test["lines"].items():
                for line in (0, *lines):
                    tests[file, line].append((test["seconds"], name))

    def tests_of(mutant: Mutant) -> list[str]:
        ran = tests.get((mutant.file, mutant.line if mutant.function else 0))
        return [name for _, name in sorted(ran or tests[mutant.file, mutant.function])][:_MOST_TESTS]

    return tests_of


def noticed(mutant: Mutant, tests: Sequence[str], checkout: Path) -> bool:
    """Whether a test fails in a checkout with that change, or never ends."""
    path, names = checkout / "claude_relay" / mutant.file, checkout / "tests.txt"
    source = path.read_bytes()
    names.write_text("\n".join(tests), encoding="utf-8")
    path.write_bytes(source[: mutant.start] + mutant.new.encode() + source[mutant.end :])
    try:
        command = [sys.executable, "-m", "pytest", *_OPTIONS, "-x", f"@{names}"]
        given = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=checkout, env=given, capture_output=True, timeout=_TIMEOUT, check=False)
        return done.returncode != 0
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_bytes(source)


def main() -> int:
    """Print each change and a table; exit 1 if fewer than 95 in a hundred were noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[""], help="parts of file names")
    parser.add_argument("--record", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.record is not None:
        record(given.record)
    sources = {path: path.read_text(encoding="utf-8") for layer in _LAYERS
               for path in sorted((ROOT / "claude_relay" / layer).rglob("*.py"))}  # fmt: skip
    newest = max(path.stat().st_mtime for path in sources)
    if not any(path.stat().st_mtime > newest for path in _MAP.glob("*.json")):
        shutil.rmtree(_MAP, ignore_errors=True)
        _MAP.mkdir(parents=True)
        print("recording which tests call which function …", flush=True)
        parts = [[name] for name in _TESTS]
        for child in [subprocess.Popen([sys.executable, "-m", "tests.mutants", "--record", *part], cwd=ROOT,
                                       stdout=subprocess.DEVNULL) for part in parts]:  # fmt: skip
            child.wait()
    tests_of = tests_by_line(iter(sorted(_MAP.glob("*.json"))))
    mutants = [each for path, text in sources.items() if any(part in str(path) for part in given.only)
               for each in mutants_of(str(path.relative_to(ROOT / "claude_relay")), text)]  # fmt: skip
    random.Random(given.seed).shuffle(mutants)
    counts: Counter[tuple[str, bool]] = Counter()
    until, queue, lock = time.monotonic() + given.seconds, iter(mutants), threading.Lock()

    def work(checkout: Path) -> None:
        for name in ("claude_relay", "tests", "docs", "examples", "bin", "pyproject.toml", "setup.cfg"):
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, checkout / name)
        first = True
        while time.monotonic() < until:
            with lock:
                mutant = next(queue, None)
            if mutant is None:
                return
            tests = tests_of(mutant)
            if first and tests:
                first = False
                assert not noticed(replace(mutant, new=mutant.old), tests, checkout), "the tests fail without a change"
            killed = bool(tests) and noticed(mutant, tests, checkout)
            with lock:
                counts[mutant.file.partition("/")[0], killed] += 1
                change = f"{' '.join(mutant.old.split())} -> {' '.join(mutant.new.split())}"
                verdict = "killed  " if killed else "SURVIVED" if tests else "UNTESTED"
                print(f"{verdict} {mutant.file}:{mutant.line} {change[:160]}", flush=True)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        checkouts = [Path(folder) / name for name in ("a", "b")]
        for checkout in checkouts:
            checkout.mkdir()
        list(pool.map(work, checkouts))
    for layer in _LAYERS:
        print(f"{layer}: {counts[layer, True]} of {counts[layer, True] + counts[layer, False]} noticed")
    every = sum(counts.values())

    return int(sum(number for (_, killed), number in counts.items() if killed) < 0.95 * every)


if __name__ == "__main__":
    sys.exit(main())
