"""The entries of the search index: no job that has a text is ever left out."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from claude_relay.core.filter_marks import Facts, marks_of
from claude_relay.core.jobs.job import Retain, State
from claude_relay.core.search import Needle
from claude_relay.core.search_index import (
    _PIECE,
    MAX_MARKS,
    NUMBERS_PER_TICK,
    Era,
    Indexable,
    asked_marks,
    end_before,
    entry,
    era_mark,
    first_id,
    first_number,
    merge,
    next_era,
    owner_mark,
)
from claude_relay.core.text.ids import ulid

_FACTS = Facts(owner="admin", group="default", model="claude-sonnet-5-5", state=State.QUEUED)
_ALPHABET = 'abcÆæßẞİıςΣ語字🙂\u0301"\\\n 1é'


def a_job(prompt: str = "nothing", **fields: Any) -> Indexable:
    request = json.dumps({"prompt": prompt, "options": {"systemPrompt": "be brief"}}, ensure_ascii=False)
    defaults: dict[str, Any] = dict(
        job_id="01K", request_id="Order-7", retain=Retain.FULL, request=request, outcome=None, facts=_FACTS
    )
    return Indexable(**(defaults | fields))


def test_every_piece_of_a_text_is_a_candidate_in_any_case() -> None:
    """Seeded texts of several scripts, with characters that fold to several."""
    rng = random.Random(14)
    for _ in range(300):
        text = "".join(rng.choices(_ALPHABET, k=rng.randrange(3, 40)))
        start = rng.randrange(len(text) - 2)
        needle = text[start : rng.randrange(start + 3, len(text) + 1)]
        for sought in (needle, needle.upper(), needle.casefold()):
            job = a_job(text)
            if Needle(sought).matches(job.request_id, job.request, job.outcome):
                assert set(asked_marks(sought, "admin")) <= entry(job).marks, (text, sought)


def test_a_text_across_two_pieces_of_a_long_prompt_is_a_candidate() -> None:
    for start in range(_PIECE - 8, _PIECE + 4):
        prompt = "x" * start + "Größe 7" + "y" * 50
        assert set(asked_marks("grösse 7", "admin")) <= entry(a_job(prompt)).marks


@pytest.mark.parametrize("text", ["order-7", "BE BRIEF", "nothing", "Oslo"])
def test_id_system_prompt_and_answer_are_indexed(text: str) -> None:
    job = a_job(outcome=json.dumps({"response": "In Oslo"}).encode())
    assert set(asked_marks(text, None)) <= entry(job).marks


def test_the_index_names_few_jobs() -> None:
    """Neither those of other owners nor those without the text."""
    assert not set(asked_marks("nothing", "someone")) <= entry(a_job()).marks
    assert not set(asked_marks("nothings", "admin")) <= entry(a_job()).marks
    assert len(asked_marks("a long text " + "".join(map(chr, range(40, 500))), "admin")) <= 17


def test_texts_that_are_erased_after_the_delivery_are_not_indexed() -> None:
    """`retain: metadata`; nor is a text with more marks than an entry may have."""
    hidden = entry(a_job("secret", retain=Retain.METADATA))
    rng = random.Random(1)
    large = entry(a_job("".join(rng.choices(_ALPHABET[:4] + "".join(map(chr, range(300, 900))), k=MAX_MARKS * 2))))

    for each in (hidden, large):
        assert each.opaque
        assert each.marks == {owner_mark("admin"), *marks_of(_FACTS), *asked_marks("order-7", None)}
    assert "secret" not in repr(a_job("secret")) and not entry(a_job("{}", request="{", outcome=b"{")).opaque


def test_numbers_sort_as_the_times_of_ids() -> None:
    times = [1.795e9, 1.795e9 + 0.2, 1.795e9 + 86_400, 4e9]
    numbers = [first_number(ulid(at, bytes([255] * 10))) for at in times]

    assert numbers == sorted(set(numbers)) and all(number % NUMBERS_PER_TICK == 0 for number in numbers)
    for at, number in zip(times, numbers, strict=True):
        assert first_id(number) <= ulid(at, bytes(10))
        assert end_before(first_id(number)) == number and end_before(ulid(at, b"\1" * 10)) == number + NUMBERS_PER_TICK
        assert first_number(first_id(number)) == first_number(first_id(number + NUMBERS_PER_TICK - 1)) == number


def test_merged_ids_go_as_far_down_as_every_stream() -> None:
    assert merge((["d", "b"], None), (["c"], None)) == (["d", "c", "b"], None)
    assert merge((["d", "b"], "b"), (["c", "a"], None)) == (["d", "c", "b"], "b")
    assert merge((["d", "b"], "b"), (["e", "c"], "c")) == (["e", "d", "c"], "c")


def test_an_era_begins_with_the_time_of_the_oldest_job_that_it_takes_along() -> None:
    """The first with all jobs; each has a mark of its own, which is that of every number up to the next."""
    first = next_era([], [])
    second = next_era([first], [9 * NUMBERS_PER_TICK + 5, 7 * NUMBERS_PER_TICK + 3])
    third = next_era([first, second], [20 * NUMBERS_PER_TICK])
    eras = [first, second, third]

    assert [era.first for era in eras] == [0, 8 * NUMBERS_PER_TICK, 21 * NUMBERS_PER_TICK]
    assert [era.mark - first.mark for era in eras] == [0, 1, 2]
    assert first == Era(first=0, mark=first.mark) and first.mark not in (owner_mark("admin"), owner_mark("a"))
    for number, era in ((0, first), (second.first - 1, first), (second.first, second), (third.first, third)):
        assert era_mark(number, eras) == era.mark
