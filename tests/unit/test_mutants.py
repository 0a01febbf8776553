"""The changes that `make prove-mutants` makes to a source text."""

from __future__ import annotations

import pytest

from tests.mutants import mutants_of


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
