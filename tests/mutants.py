"""
`make prove-mutants`: random changes of core and services, each of which a test must notice.

The unit, service, contract, API and dashboard tests are collected once, in one process. A fork of it runs each of them,
and writes which statements it ran (build/mutants). Then, for the time that is given, each change is made in a fork, in
the code of the functions that are loaded, and tested by the tests that ran the statement, the fastest first. A change
outside of functions is made in a copy of the package, by a process of its own.

Left out is what no test on SQLite can notice: failpoints, and look-ups that are made ahead of a transaction to save
round trips, which the tests of PostgreSQL count. Also left out is what makes no difference to a caller: annotations,
decorators (the sizes of caches), texts in f-strings, lines of the log, `strict` of `zip`, which asserts that two lists
of the relay have one length, and private constants of a module that are named as the size of a step, piece, page or
block, or as how often something is looked at: results are the same with any.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import gc
import importlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]
_PACKAGE = ROOT / "claude_relay"
_MAP = ROOT / "build" / "mutants" / "statements.jsonl"
_LAYERS = ("core", "services")
_TESTS = ("tests/unit", "tests/service", "tests/contract", "tests/api", "tests/dashboard")
#: Tests of a changed function that are run, and the seconds of CPU with which they count as noticing the change: other
#: load of the machine is no notice. A test that waits forever ends by its own timeout.
_MOST_TESTS, _CPU_SECONDS = 1_000, 180
_OPTIONS = ["-m", "not process", *"-q --sqlite-only -p no:cacheprovider -p no:xdist --timeout 60".split()]

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip

#: Tests that compare values of every module with a document or a rule, first for a change outside of functions.
_COMPARING = tuple(f"tests/unit/test_{name}.py" for name in ("promised_numbers", "config_docs", "repr"))
_TUNING = re.compile(r"_\w*(STEP|PIECE|PAGE|BLOCK|EVERY)\w*")
_AHEAD = re.compile(r"_?look_(up|ahead)")
_WITHOUT_EFFECT = ("log.", "failpoints.hit(", "tx.prefetch(")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """
    One change: the text between two offsets of a file.

    `function` and `statement` are the first lines of the innermost ones around it, 0 where there is none.
    """

    file: str
    line: int
    start: int
    end: int
    old: str
    new: str
    function: int
    statement: int


def mutants_of(file: str, source: str) -> Iterator[Mutant]:
    """Every change of a source text, in the order of the tree."""
    encoded, starts = source.encode(), [0]
    for text in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(text.encode()))

    def visit(node: ast.AST, function: int, statement: int) -> Iterator[Mutant]:
        if isinstance(node, ast.FunctionDef):
            if _AHEAD.match(node.name):
                return
            function = min((node.lineno, *(each.lineno for each in node.decorator_list)))
        if not function and isinstance(node, ast.Assign) and _TUNING.match(ast.unparse(node.targets[0])):
            return
        if isinstance(node, ast.stmt):
            statement = 0 if isinstance(node, ast.FunctionDef | ast.ClassDef) else node.lineno
        for new in _changes(node):
            assert isinstance(node, ast.expr | ast.stmt) and node.end_lineno and node.end_col_offset is not None
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            yield Mutant(
                file=file, line=node.lineno, start=start, end=end, old=encoded[start:end].decode(), new=new,
                function=function, statement=statement,
            )  # fmt: skip
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params") or isinstance(node, ast.JoinedStr):
                continue
            if name == "keywords" and isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, function, statement)

    yield from visit(ast.parse(source), 0, 0)


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
            yield f"({node.value!r} + 1)"
        case ast.IfExp():
            yield f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield "return None"
        case ast.Expr(value=ast.Call()) if not ast.unparse(node).startswith(_WITHOUT_EFFECT):
            yield "pass"


def _swapped(operator: ast.AST) -> Any:
    return _SWAPS[type(operator)]()


def marked(file: str, source: str) -> ast.Module:
    """The tree of a source text, with a call of `__hit__` before each statement of a function."""

    def mark(statements: list[ast.stmt]) -> list[ast.stmt]:
        together: list[ast.stmt] = []
        for each in statements:
            documents = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
            if not documents and not isinstance(each, ast.Global | ast.Nonlocal):
                hit = ast.parse(f"__hit__(({file!r}, {each.lineno}))").body[0]
                together.append(ast.copy_location(hit, each))
            together.append(each)
            if isinstance(each, ast.FunctionDef | ast.ClassDef):
                continue
            for name in ("body", "orelse", "finalbody"):
                if inner := getattr(each, name, None):
                    setattr(each, name, mark(inner))
            for branch in (*getattr(each, "handlers", ()), *getattr(each, "cases", ())):
                branch.body = mark(branch.body)

        return together

    tree = ast.parse(source)
    for node in list(ast.walk(tree)):
        if isinstance(node, ast.FunctionDef):
            node.body = mark(node.body)

    return ast.fix_missing_locations(tree)


def loaded_functions() -> dict[str, list[FunctionType]]:
    """Every function of this process by its file."""
    functions: dict[str, list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        if isinstance(each, FunctionType):
            functions[each.__code__.co_filename].append(each)

    return functions


def exchanged(
    functions: Iterable[FunctionType], file: str, old: str, new: str | ast.Module
) -> list[tuple[FunctionType, CodeType]] | None:
    """
    The functions of a file whose code is different in a new source, with that code.

    None where no loaded function has the difference: it is in a default, a class or a module.
    """
    before, after = (_codes(compile(source, file, "exec")) for source in (old, new))
    # A change may take functions out of the one that it is made in: that one is exchanged.
    by_place = {(code.co_qualname, code.co_firstlineno): (code, becomes)
                for name, codes in before.items() if len(codes) == len(after[name])
                for code, becomes in zip(codes, after[name], strict=True)}  # fmt: skip
    found = []
    for function in functions:
        code = function.__code__
        was, becomes = by_place.get((code.co_qualname, code.co_firstlineno), (code, code))
        if _meaning(was) != _meaning(becomes):
            if becomes.co_freevars != code.co_freevars:
                return None
            found.append((function, becomes))

    return found or None


def _codes(code: CodeType) -> dict[str, list[CodeType]]:
    """The code in a code by its qualified name, in the order of the source."""
    codes: dict[str, list[CodeType]] = defaultdict(list)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            codes[each.co_qualname].append(each)
            for name, inner in _codes(each).items():
                codes[name] += inner

    return codes


def _meaning(code: CodeType) -> tuple[object, ...]:
    """What a code does, without its place in the file."""
    constants = tuple(_meaning(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts)

    return (code.co_code, code.co_names, code.co_varnames, code.co_freevars, constants)


class _Proof:
    """A pytest plugin that tests changes in place of running the tests."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.status, self._in_fork = given, 1, False
        self._sources = {str(path.relative_to(_PACKAGE)): path.read_text(encoding="utf-8") for layer in _LAYERS
                         for path in sorted((_PACKAGE / layer).rglob("*.py"))}  # fmt: skip

    def pytest_configure(self) -> None:
        """Examples that fail are not made smaller: that they fail is all that counts."""
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", hypothesis.settings.get_profile("tests"), phases=phases)
        hypothesis.settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
        """End a fork at its first failure."""
        skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
        if self._in_fork and call.excinfo is not None and not skipped:
            os._exit(1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for file in self._sources:  # `Relay` imports parts of itself when they are first used
            module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            importlib.import_module(f"claude_relay.{module}")
        gc.collect()
        self._session, self._items = session, {item.nodeid: item for item in session.items}
        self._functions = loaded_functions()
        gc.freeze()  # forks share the pages of what is loaded
        self._record()
        self._prove()
        return True

    def _record(self) -> None:
        """Write which statements each test runs: all tests once a source has changed, else those of changed files."""
        written = _MAP.stat().st_mtime if _MAP.exists() else 0.0
        if any((_PACKAGE / file).stat().st_mtime > written for file in self._sources):
            _MAP.unlink(missing_ok=True)
            written = 0.0
        stale = [item for item in self._session.items if item.path.stat().st_mtime > written]
        if not stale:
            return
        print(f"recording what {len(stale)} tests run …", flush=True)
        _MAP.parent.mkdir(parents=True, exist_ok=True)
        exchanges = [
            pair for file, source in self._sources.items()
            for pair in exchanged(self._functions[str(_PACKAGE / file)], file, source, marked(file, source)) or ()
        ]  # fmt: skip

        def run() -> None:
            hits: set[tuple[str, int]] = set()
            builtins.__hit__ = hits.add  # type: ignore[attr-defined]
            self._in_fork = False
            with _MAP.open("a", encoding="utf-8") as output:
                for item, following in zip(stale, (*stale[1:], None), strict=True):
                    hits.clear()
                    began = time.monotonic()
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                    row = {"test": item.nodeid, "seconds": time.monotonic() - began, "hits": sorted(hits)}
                    print(json.dumps(row), file=output, flush=True)

        assert self._fork(exchanges, run, seconds=7_200) == 0, "the tests could not be run"

    def _prove(self) -> None:
        """Test changes until the time is over, and print each and a table."""
        mutants = [each for file, text in self._sources.items() if any(part in file for part in self.given.only)
                   for each in mutants_of(file, text)]  # fmt: skip
        random.Random(self.given.seed).shuffle(mutants)
        tests_of = tests_by_statement(_MAP)
        counts: Counter[tuple[str, bool]] = Counter()
        until = time.monotonic() + self.given.seconds
        with tempfile.TemporaryDirectory() as folder:
            checkout = Path(folder)
            for name in ("claude_relay", "tests", "docs", "examples", "bin", "pyproject.toml", "setup.cfg"):
                source = ROOT / name
                (shutil.copytree if source.is_dir() else shutil.copy)(source, checkout / name)
            for mutant in mutants:
                if time.monotonic() > until:
                    break
                tests = [name for name in tests_of(mutant) if name in self._items][:_MOST_TESTS]
                if tests and not counts:
                    assert not self._run((), tests), "the tests fail without a change"
                killed = bool(tests) and self._noticed(mutant, tests, checkout)
                counts[mutant.file.partition("/")[0], killed] += 1
                change = f"{' '.join(mutant.old.split())} -> {' '.join(mutant.new.split())}"
                verdict = "killed  " if killed else "SURVIVED" if tests else "UNTESTED"
                print(f"{verdict} {mutant.file}:{mutant.line} {change[:160]}", flush=True)
        for layer in _LAYERS:
            print(f"{layer}: {counts[layer, True]} of {counts[layer, True] + counts[layer, False]} noticed")
        number = sum(count for (_, killed), count in counts.items() if killed)
        self.status = int(number < 0.95 * sum(counts.values()))

    def _noticed(self, mutant: Mutant, tests: Sequence[str], checkout: Path) -> bool:
        path, source = _PACKAGE / mutant.file, self._sources[mutant.file].encode()
        new = (source[: mutant.start] + mutant.new.encode() + source[mutant.end :]).decode()
        pairs = exchanged(self._functions[str(path)], str(path), source.decode(), new)
        if pairs is None:
            return noticed_in_a_copy(mutant, tests, checkout)

        return self._run(pairs, tests)

    def _run(self, exchanges: Iterable[tuple[FunctionType, CodeType]], tests: Sequence[str]) -> bool:
        """Whether one of these tests fails with that code, or never ends."""

        def run() -> None:
            items = [self._items[name] for name in tests]
            for item, following in zip(items, (*items[1:], None), strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)

        return self._fork(exchanges, run, seconds=_CPU_SECONDS) != 0

    def _fork(
        self, exchanges: Iterable[tuple[FunctionType, CodeType]], run: Callable[[], None], *, seconds: int
    ) -> int:
        """Run something in a fork of this process in which functions have other code; the fork's exit status."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            if not (child := os.fork()):
                try:
                    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
                    config, nowhere = self._session.config, os.open(os.devnull, os.O_RDWR)
                    for descriptor in (1, 2):
                        os.dup2(nowhere, descriptor)
                    config.pluginmanager.unregister(name="terminalreporter")
                    config._tmp_path_factory._basetemp = Path(folder)  # type: ignore[attr-defined]
                    self._in_fork = True
                    for function, code in exchanges:
                        function.__code__ = code
                    run()
                    os._exit(0)
                finally:
                    os._exit(1)

            return os.waitpid(child, 0)[1]


def tests_by_statement(path: Path) -> Callable[[Mutant], list[str]]:
    """
    The tests of a mutant, the fastest first: those that ran its statement.

    Outside of functions: the tests of the files that import its module, then those that ran a function of it.
    """
    seconds: dict[str, float] = {}
    tests: dict[tuple[str, int], set[str]] = defaultdict(set)
    latest = {row["test"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    for name, row in latest.items():
        seconds[name] = row["seconds"]
        for file, line in row["hits"]:
            tests[file, line].add(name)
            tests[file, 0].add(name)
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in {name.partition("::")[0] for name in latest}
             if (ROOT / file).exists()}  # fmt: skip

    def tests_of(mutant: Mutant) -> list[str]:
        if mutant.function and mutant.statement:
            return sorted(tests.get((mutant.file, mutant.statement), ()), key=seconds.__getitem__)
        package, _, module = mutant.file.removesuffix(".py").replace("/", ".").rpartition(".")
        imports = re.compile(rf"{package}\.{module}\b|{package} import [^)]*?\b{module}\b")
        importing = {file for file, text in texts.items() if imports.search(text)} | set(_COMPARING)
        named = {name for name in latest if name.partition("::")[0] in importing}

        def order(name: str) -> tuple[bool, bool, float]:
            return name.partition("::")[0] not in _COMPARING, name not in named, seconds[name]

        return sorted(named | tests[mutant.file, 0], key=order)

    return tests_of


def noticed_in_a_copy(mutant: Mutant, tests: Sequence[str], checkout: Path) -> bool:
    """Whether a test fails in a checkout with that change, or never ends."""
    path, names = checkout / "claude_relay" / mutant.file, checkout / "tests.txt"
    source = path.read_bytes()
    names.write_text("\n".join(tests), encoding="utf-8")
    path.write_bytes(source[: mutant.start] + mutant.new.encode() + source[mutant.end :])
    try:
        command = [sys.executable, "-m", "pytest", *_OPTIONS, "-x", f"@{names}"]
        given = {**os.environ, "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
        limit = f'ulimit -t {_CPU_SECONDS}; exec "$@"'
        done = subprocess.run(
            ["sh", "-c", limit, "sh", *command], cwd=checkout, env=given, capture_output=True, check=False
        )
        return done.returncode != 0
    finally:
        path.write_bytes(source)


def main() -> int:
    """Print each change and a table; exit 1 if fewer than 95 in a hundred were noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=[""], help="parts of file names")
    proof = _Proof(parser.parse_args())
    os.chdir(ROOT)
    pytest.main([*_OPTIONS, *_TESTS], plugins=[proof])

    return proof.status


if __name__ == "__main__":
    sys.exit(main())
