"""The changes that `make prove-mutants` makes to a source text."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.mutants import exchanged, loaded_functions, marked, mutants_of


def test_the_size_of_a_step_is_tuning_and_a_limit_is_not() -> None:
    """A limit may be promised; a step has the same results whatever its size."""
    source = "_STEP = 100\n_COUNT_EVERY = 1.0\nSTEP = 3\n_LIMIT = 5\n"

    assert [mutant.line for mutant in mutants_of("core/f.py", source)] == [3, 4]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("return a < b", {"return (a <= b)", "return None"}),
        ("return not a", {"return (a)", "return None"}),
        ("x = a and b is None", {"x = (a or b is None)", "x = a and (b is not None)"}),
        ("x = 'æ' * 2", {"x = ('æ' / 2)", "x = 'æ' * (2 + 1)"}),
        ("tx.save(change)", {"pass"}),
        ("log.info('done')", set()),
        ("failpoints.hit('here')", set()),
        ("x = f'{a + 1}'", set()),
        ("x: Literal[1] = a", set()),
        ("x = zip(a, b, strict=True)", set()),
        ("x = sorted(a, reverse=True)", {"x = sorted(a, reverse=False)"}),
    ],
)
def test_each_change_replaces_one_place_and_can_be_parsed(line: str, expected: set[str]) -> None:
    """A log line, a text and an annotation decide nothing, and are left alone."""
    source = f"def f(a, b):\n    {line}\n"
    changed = set()
    for mutant in mutants_of("core/f.py", source):
        assert (mutant.function, mutant.line) == (1, 2)
        text = source.encode()[: mutant.start] + mutant.new.encode() + source.encode()[mutant.end :]
        compile(text, "f.py", "exec")
        changed.add(text.decode().splitlines()[1].strip())

    assert changed == expected


_MODULE = """
import functools

LIMIT = 3

def doubled(function):
    @functools.wraps(function)
    def wrapper(n):
        return 2 * function(n)
    return wrapper

@doubled
def plain(n):
    'Documented.'
    if n > 1:
        return n
    return [x for x in range(4) if x == n][0]

class Thing:
    size = 1

    @property
    def full(self):
        return self.size >= 5

def given(n=4):
    return n
"""


@pytest.fixture
def module(tmp_path: Path) -> Any:
    path = tmp_path / "changed_module.py"
    path.write_text(_MODULE, encoding="utf-8")
    made = ModuleType("changed_module")
    exec(compile(_MODULE, str(path), "exec"), made.__dict__)
    made.path = str(path)  # type: ignore[attr-defined]
    return made


def _change(module: Any, new: str | ast.Module) -> None:
    exchanges = exchanged(loaded_functions()[module.path], module.path, _MODULE, new)
    assert exchanges is not None
    for function, code in exchanges:
        function.__code__ = code


@pytest.mark.parametrize(
    ("old", "new", "call", "before", "after"),
    [
        ("return n\n    return [", "return -n\n    return [", lambda module: module.plain(2), 4, -4),
        ("x == n", "x != n", lambda module: module.plain(1), 2, 0),
        ("2 * function", "3 * function", lambda module: module.plain(2), 4, 6),
        (">= 5", ">= 1", lambda module: module.Thing().full, False, True),
    ],
)
def test_a_change_is_made_in_the_functions_that_are_loaded(
    module: Any, old: str, new: str, call: Any, before: object, after: object
) -> None:
    """Also in those that are decorated, inside of others, or properties, wherever they were imported."""
    assert _MODULE.count(old) == 1 and call(module) == before

    _change(module, _MODULE.replace(old, new))

    assert call(module) == after


@pytest.mark.parametrize(("old", "new"), [("LIMIT = 3", "LIMIT = 4"), ("size = 1", "size = 2"), ("n=4", "n=5")])
def test_a_change_outside_of_functions_is_left_to_another_process(module: Any, old: str, new: str) -> None:
    functions = loaded_functions()[module.path]

    assert exchanged(functions, module.path, _MODULE, _MODULE.replace(old, new)) is None


def test_each_statement_that_runs_is_recorded(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hits: list[tuple[str, int]] = []
    monkeypatch.setitem(sys.modules["builtins"].__dict__, "__hit__", hits.append)
    _change(module, marked("m.py", _MODULE))

    assert module.plain(2) == 4
    lines = [_MODULE.splitlines()[line - 1].strip() for file, line in hits if file == "m.py"]
    assert lines == ["return 2 * function(n)", "if n > 1:", "return n"]
