"""Templates: placeholders, substitution, limits and names."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake.templated import written_hash
from claude_relay.core.templates import (
    MAX_BYTES,
    Compiled,
    Variables,
    missing_problems,
    parse_reference,
    read_variables,
    unused_warning,
)
from claude_relay.core.text import strict_json
from claude_relay.errors import InvalidRequest

LIMIT = 2**25


def variables(**values: object) -> Variables:
    made, problems = read_variables(values, at="variables")
    assert problems == []
    return made


def filled(text: object, **values: object) -> object:
    return Compiled({"prompt": text}).fill(variables(**values), limit=LIMIT).body["prompt"]


def problem_of(text: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        Compiled({"prompt": text})
    return caught.value.problems[0].problem


def test_a_number_keeps_the_digits_of_its_request() -> None:
    """1.10 in a row is 1.10 in the prompt, also inside an object; alone it stays a number."""
    sent = strict_json.loads(
        b'{"sum": 1.10, "big": 12345678901234567.89, "exp": 1e3, "o": {"k": [2.50, "\xc3\xa6", null]}}'
    )
    made, problems = read_variables(sent, at="variables")
    body = Compiled({"prompt": "{{sum}} {{big}} {{exp}} {{o}}", "n": "{{sum}}"}).fill(made, limit=LIMIT).body

    assert not problems and body["prompt"] == '1.10 12345678901234567.89 1e3 {"k":[2.50,"æ",null]}'
    assert body["n"] == 1.1 and json.dumps(body["n"]) == "1.1"
    assert copy.deepcopy(sent) == pickle.loads(pickle.dumps(sent)) == sent


def test_values_that_are_no_text_are_kept() -> None:
    """Also beside a placeholder, in lists and objects."""
    body = {"prompt": "{{a}}", "options": {"maxTokens": 100, "raw": {"x": [1.5, True, None, "{{a}}"]}}}

    assert Compiled(body).fill(variables(a="b"), limit=LIMIT).body == {
        "prompt": "b",
        "options": {"maxTokens": 100, "raw": {"x": [1.5, True, None, "b"]}},
    }


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Read {{a}}.", "Read x."),
        ("{{ a }}{{a}}", "xx"),
        ("{{missing|some text}}!", "some text!"),
        ("{{missing|}}!", "!"),
        ("{{a|default}}", "x"),
        ("{{{{a}}", "{{a}}"),
        ("{{{{{{a}}", "{{x"),
        ("{{{a}}}", "{x}"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ("{{n}} {{t}} {{f}} {{o}} {{l}}", '12.5 true false {"k":"v"} [1,"æ"]'),
        ("{{empty}}|", "|"),
    ],
)
def test_placeholders_become_values(text: str, expected: str) -> None:
    """Each kind of value as the contract has it; four braces are a literal pair."""
    values = dict(a="x", n=12.5, t=True, f=False, o={"k": "v"}, l=[1, "æ"], empty="")

    assert filled(text, **values) == expected


@pytest.mark.parametrize("value", [500, 1.5, True, {"a": [1]}, [1, 2], "text", ""])
def test_a_string_of_one_placeholder_becomes_the_value_itself(value: object) -> None:
    assert filled("{{v}}", v=value) == value


def test_a_value_with_braces_stays_as_it_is() -> None:
    """There is no second pass, in either kind of string."""
    assert filled("{{a}}", a="{{b}}", b="no") == "{{b}}"
    assert filled("<{{a}}>", a="{{{{b}}", b="no") == "<{{{{b}}>"


def test_null_and_absent_are_missing_and_an_empty_string_is_not() -> None:
    made = Compiled({"prompt": "{{a}}{{b}}{{c}}", "group": "{{d|g}}"}).fill(variables(a=None, b=""), limit=LIMIT)

    assert (made.missing, made.body["group"]) == (("a", "c"), "g")


def test_names_are_trimmed_compared_after_nfc_and_case_sensitive() -> None:
    """Any column title is a name, in either form of its letters."""
    composed, decomposed = unicodedata.normalize("NFC", "Beløp é"), unicodedata.normalize("NFD", "Beløp é")
    made, _ = read_variables({f" {decomposed} ": "12", "beløp é": "no"}, at="variables")

    assert Compiled({"p": f"{{{{{composed}}}}}"}).fill(made, limit=LIMIT).body == {"p": "12"}
    assert Compiled({"p": f"{{{{ {decomposed}}}}}"}).placeholders == (composed,)


def test_two_variables_of_one_name_are_refused() -> None:
    _, problems = read_variables({"a": 1, " a ": 2}, at="rows[3]")

    assert [problem.field for problem in problems] == ["rows[3]. a "]


def test_placeholders_stand_in_values_and_not_in_keys() -> None:
    made = Compiled({"metadata": {"{{k}}": ["{{v}}", {"deep": "<{{v}}>"}]}})

    assert made.placeholders == ("v",)
    assert made.fill(variables(v=1), limit=LIMIT).body == {"metadata": {"{{k}}": [1, {"deep": "<1>"}]}}


@pytest.mark.parametrize("text", ["a {{", "{{}}", "{{ }}", "{{a", "{{a\n}}", "{{a}b}}", "{{a|{{b}}}}", "{{|x}}"])
def test_a_malformed_placeholder_is_refused(text: str) -> None:
    """With its position, or the length of its name."""
    assert "placeholder" in problem_of(text)


def test_a_name_of_over_100_characters_is_refused() -> None:
    assert "101 characters" in problem_of("{{" + "n" * 101 + "}}")
    assert Compiled({"prompt": "{{" + "n" * 100 + "}}"}).placeholders == ("n" * 100,)


def test_at_most_1000_placeholders() -> None:
    """5,000 are counted in the message."""
    assert len(Compiled({"prompt": "".join(f"{{{{v{n}}}}}" for n in range(1_000))}).placeholders) == 1_000
    assert "5,000 placeholders" in problem_of("{{v}}" * 5_000)


def test_a_variable_of_2_mib_is_refused_and_the_whole_body_is_bounded() -> None:
    """CASES: a variable of its own, and a thousand places for one of 1 MiB."""
    _, problems = read_variables({"big": "x" * (MAX_BYTES + 1), "also": ["é" * MAX_BYTES]}, at="variables")
    assert [problem.field for problem in problems] == ["variables.big", "variables.also"]

    began = time.thread_time()
    with pytest.raises(InvalidRequest, match="more than 33,554,432 bytes"):
        filled("{{v}}" * 1_000, v="x" * MAX_BYTES)
    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("{{a}}", 3),
        ("<{{a}}>", 5),
        ("{{{{{{a}}", 5),
        ("{{missing|default}}", 0),
        ("{{missing|def}}.", 1),
        ("æ{{a}}", 4),
    ],
)
def test_the_bytes_of_variables_and_of_the_text_beside_them_count(text: str, size: int) -> None:
    """A value of its own counts as one inside a text does; as many as the limit are taken, and none more."""
    body = Compiled({"prompt": text, "metadata": ["{{a}}", {"b": "{{n}}"}]})
    given = variables(a="øx", n=[1, None])

    assert body.fill(given, limit=size + 3 + 8).missing in ((), ("missing",))
    with pytest.raises(InvalidRequest, match=f"more than {size + 10} bytes"):
        body.fill(given, limit=size + 10)


@pytest.mark.parametrize("unit", ["{{a|", "{{", "{{a", "{{a|{", "{", "{{a|x}"])
def test_a_hostile_template_is_read_in_linear_time(unit: str) -> None:
    """1 MiB of beginnings of placeholders takes no more than a moment."""
    began = time.thread_time()
    with contextlib.suppress(InvalidRequest):
        Compiled({"prompt": unit * (2**20 // len(unit))})

    assert time.thread_time() - began < 10


@given(st.text(), st.text(), st.text(st.characters(exclude_characters="{}|\r\n"), min_size=1, max_size=20))
def test_text_around_a_placeholder_is_never_changed(before: str, after: str, value: str) -> None:
    """Whatever stands before and after it, with its braces escaped."""
    template = before.replace("{{", "{{{{").replace("}", "").replace("{", "(") + "{{v}}" + after.replace("{", "(")

    assert filled(template, v=value) == template.replace("{{v}}", value) if template != "{{v}}" else True


def test_parts_without_placeholders_are_shared_by_all_bodies() -> None:
    """A schema is not copied for each of 10,000 rows."""
    body = {"prompt": "{{v}}", "options": {"outputSchema": {"type": "object"}}}
    made = Compiled(body)

    assert made.fill(variables(v=1), limit=LIMIT).body["options"] is body["options"]


@pytest.mark.parametrize(
    "text, expected",
    [("a", ("a", None)), ("a-b.c_1@12", ("a-b.c_1", 12)), ("a@0", None), ("a@", None), (".a", None), ("x" * 65, None)],
)
def test_references(text: str, expected: object) -> None:
    assert parse_reference(text) == expected


def test_the_json_text_of_values_is_compact() -> None:
    assert filled("v={{o}}", o={"a": [1, None]}) == "v=" + json.dumps({"a": [1, None]}, separators=(",", ":"))


def test_ten_unused_variables_are_named_and_the_others_are_dots() -> None:
    names = [f"n{number:02d}" for number in range(11)]

    assert unused_warning(["used"], ["used"]) is None
    assert unused_warning([*names[:10], "used"], ["used"]) == (
        "the template has no placeholder for: n00, n01, n02, n03, n04, n05, n06, n07, n08, n09"
    )
    assert str(unused_warning(names, [])).endswith("n09 …")


def test_the_hash_of_what_a_caller_wrote_leaves_out_empty_fields_also_in_the_options() -> None:
    """A form sends every field of its page, and numbers as text: the same request from JSON is the same job."""
    written = {"template": "a", "options": {"model": "fast", "maxTokens": 5}, "priority": 3}
    form = {**written, "group": "", "options": {"model": "fast", "maxTokens": "5", "effort": ""}, "priority": "3"}

    assert written_hash(form) == written_hash(written)
    assert written_hash({**written, "options": {"model": "fast", "maxTokens": 6}}) != written_hash(written)
    assert written_hash({**written, "metadata": {"a": ""}}) != written_hash(written)
    kept = {**written, "metadata": {"maxTokens": 5}}
    assert written_hash({**written, "metadata": {"maxTokens": "5"}}) != written_hash(kept)  # the caller's own data
    assert written_hash({**written, "options": "none"}) != written_hash(written)


@pytest.mark.parametrize(
    "one, other, same",
    [
        (1.0, 1, True),
        ("2.5", 2.5, True),
        ("1e3", 1000, True),
        ("2.5", 2, False),
        ("2.5", "2.6", False),
        ("nan", "inf", False),
        ("1e400", "-1e400", False),
        ("x", "y", False),
        (True, 1, False),
    ],
)
def test_the_hash_of_a_number_is_that_of_its_value_in_each_notation(one: object, other: object, same: bool) -> None:
    """As in `Fields.number`; what is no number has the hash of its text, and raises nothing."""
    for place in (lambda value: {"priority": value}, lambda value: {"options": {"temperature": value}}):
        assert (written_hash(place(one)) == written_hash(place(other))) is same


def test_a_missing_variable_is_named_with_the_template_and_the_columns_that_it_may_be_one_of() -> None:
    """A column that is there and empty is not misspelt; of many columns ten are shown."""
    columns = [f"c{number}" for number in range(11)]

    def texts(name: str, **how: object) -> list[str]:
        return [f"{each.field}: {each.problem}" for each in missing_problems([name], at="rows[0]", **how)]  # type: ignore[arg-type]

    assert texts("a", reference="t@1") == ["rows[0].a: is missing: the template t@1 needs it"]
    assert texts("a", reference="") == ["rows[0].a: is missing: the template needs it"]
    assert texts("c1", reference="", columns=columns) == ["rows[0].c1: is missing: the template needs it"]
    [text] = texts("a", reference="", columns=columns)
    assert text.endswith(", and the row's columns are c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 …")
    [text] = texts("a", reference="", columns=columns[:10])
    assert text.endswith("c8, c9")
