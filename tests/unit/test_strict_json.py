"""Strict JSON: bounded, with errors in plain words."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.text.json_values import find_problems, find_unencodable, json_path, safe_quote, strip_fence
from claude_relay.core.text.strict_json import MAX_VALUES, loads
from claude_relay.errors import InvalidRequest


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        loads(data)

    [problem] = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    "data",
    [
        b'{"prompt": "Hei p\xc3\xa5 deg", "options": {"maxTokens": 4096}}',
        b'\xef\xbb\xbf{"prompt": "x"}',
        b' [1, -2.5e3, true, null, "\\ud83d\\ude00", "\\\\ud800"] \n',
        b"[" * 100 + b"]" * 100,
        b'[{"a":' * 50 + b"1" + b"}]" * 50,
        b"99999999999999999999",
        b'{"prompt": "' + b"[{,}]" * 1000 + b'"}',
    ],
)
def test_valid_json_is_read_unchanged(data):
    """A byte order mark is tolerated; brackets inside strings are no nesting."""
    assert json.loads(data.decode("utf-8-sig")) == loads(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["body is empty"]),
        (b" \r\n", ["body is empty"]),
        (b"\xef\xbb\xbf", ["body is empty"]),
        (b'{"prompt": "a\nb"}', ["line 1, column 14", "a line break inside a string", "Create JSON", "form"]),
        (b'{\n "prompt": "a\tb"}', ["line 2, column 14", "a tab", "Transform to JSON"]),
        (b'{"prompt": "a\x01b"}', ["control character (U+0001)", "\\u0001"]),
        (b'{"prompt": "say "hi" now"}', ["column 18", "probably contains an unescaped quote", "x-www-form-urlencoded"]),
        (b'{"prompt": ""hi" she said"}', ["column 14", "probably contains an unescaped quote"]),
        (b'{"prompt": "C:\\dir"}', ["column 15", "backslash"]),
        (b'{"prompt": "\\u12"}', ["four hexadecimal digits"]),
        (b'{"prompt": "abc', ["column 12", "never ends"]),
        (b'{"prompt": "abc"', ["ends too early"]),
        (b'{"maxTokens": }', ["a value is missing", "null"]),
        (b'{"maxTokens": ', ["ends too early"]),
        (b'{"a": 1,}', ["line 1, column ", "comma"]),
        (b"[1,]", ["line 1, column ", "comma"]),
        (b"{'a': 1}", ["not single ones"]),
        ("{“a”: 1}".encode(), ["not typographic ones"]),
        (b'{"a": hello}', ["column 7", "need double quotes"]),
        (b"prompt=hello", ["not valid JSON"]),
        (b"{} {}", ["more text after the end"]),
        (b"[1 2]", ["line 1, column 4", "expecting ',' delimiter"]),
        (b'{"a": 1, "b": 2, "a": 3}', ["“a” twice"]),
        (b'{"x": {"k": 1, "k": 1}}', ["“k” twice"]),
        (b"[NaN]", ["NaN", "(line 1, column 2)"]),
        (b"NaN", ["NaN", "(line 1, column 1)"]),
        (b"[-Infinity]", ["-Infinity"]),
        (b"[1e999]", ["1e999", "too large"]),
        (b'{"a": "1e999 \\" 1e999",\n "b": [11e9, 1e999, 1e9991]}', ["1e999", "(line 2, column 14)"]),
        (b'["NaN, \\\\", {"NaN": NaN}]', ["NaN", "(line 1, column 21)"]),
        (b"[-1e999]", ["too large"]),
        (b"1e999", ["1e999", "(line 1, column 1)"]),
        (b"[123456789012345678901.5, 123456789012345678901]", ["20 digits", "(line 1, column 27)"]),
        (b"[0.123456789012345678901, 123456789012345678901]", ["20 digits", "(line 1, column 27)"]),
        (b"[-123456789012345678901.5,\n123456789012345678901]", ["20 digits", "(line 2, column 1)"]),
        (b"[123456789012345678901]", ["more than 20 digits"]),
        (b"[-123456789012345678901]", ["more than 20 digits"]),
        (b"[" + b"1" * 5000 + b"]", ["more than 20 digits"]),
        (b"[0." + b"1" * 5000 + b"]", ["too long"]),
        (b'{"prompt": "\\ud83d"}', ["prompt contains half a character"]),
        (b'{"files": [{"name": "x\\uDE00"}]}', ["files[0].name contains half a character"]),
        (b'{"a\\ud800": 1}', ["field name"]),
        (b"[" * 101 + b"]" * 101, ["nested too deeply", "100"]),
        (b'{"a":' * 101 + b"1" + b"}" * 101, ["nested too deeply"]),
        (b"[" * 5000, ["nested too deeply"]),
        (b'[{"a":' * 50 + b"[]" + b"}]" * 50, ["nested too deeply"]),
        (b'{"a":[' * 50 + b"{}" + b"]}" * 50, ["nested too deeply"]),
        (b'{"prompt": "bl\xe5b\xe6r"}', ["not UTF-8", "byte 15"]),
        (b"\xff\xfe{\x00}\x00", ["not UTF-8"]),
    ],
)
def test_invalid_json_is_refused_with_the_problem(data, words):
    """Each problem has its position, where there is one, and its cure."""
    message = refusal(data)

    assert all(word in message for word in words), message


def test_a_problem_never_quotes_the_prompt():
    """Messages are logged, and the text around the error may be private."""
    assert "hemmelig" not in refusal(b'{"prompt": "hemmelig "brev" hemmelig"}')


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[" * 16_000_000, "nested too deeply"),
        (b'{"a":' * 6_000_000, "nested too deeply"),
        (b"[" + b"[]," * 10_000_000 + b"[]]", "too many values"),
        (b'["' + b'","' * 10_000_000 + b'"]', "too many values"),
    ],
)
def test_a_hostile_body_is_refused_before_it_takes_memory(data, words):
    """32 MiB of brackets would be gigabytes of values; at most a few copies of the body are allowed."""
    tracemalloc.start()
    try:
        message = refusal(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert words in message
    assert peak < 4 * len(data)


def test_a_place_is_that_in_the_body_that_the_text_is_a_part_of():
    """The first line begins behind what was cut off; the others begin at their own start."""
    for data, place in (
        (b'{"a": x}', "line 7, column 10"),
        (b'{\n"a": x}', "line 8, column 6"),
        (b"[NaN]", "line 7, column 5"),
    ):
        with pytest.raises(InvalidRequest, match=place):
            loads(data, line=7, indent=3)


def test_as_many_values_as_the_limit_are_accepted_and_none_more():
    """Beside a text whose commas are no values."""
    values = b",1" * (MAX_VALUES - 1)

    assert len(loads(b'["a,b"' + values + b"]")) == MAX_VALUES
    assert "too many values" in refusal(b'["a,b"' + values + b",1]")


def test_a_long_prompt_full_of_commas_is_accepted():
    """Only commas outside strings count as values."""
    prompt = 'a,b[c]{d}\\"' * (MAX_VALUES // 3)

    assert {"prompt": prompt} == loads(json.dumps({"prompt": prompt}).encode())


@given(st.binary() | st.text().map(str.encode) | st.text(alphabet='[]{}",:\\u0dD8a1e-. \n').map(str.encode))
def test_any_bytes_are_a_value_or_a_refusal(data):
    """There is no other outcome; an accepted value can be serialised again."""
    try:
        value = loads(data)
    except InvalidRequest as exc:
        assert exc.problems
    else:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"a": [1, {"b": "\ud800"}]}, "a[1].b"),
        ({"a": float("nan")}, "a"),
        ({"a": 10**20}, "a"),
        ({"a": b"bytes"}, "a"),
        ({"a": {1: 2}}, "a"),
        ("\udc80", "body"),
    ],
)
def test_values_from_other_sources_get_the_same_checks(value, field):
    """A form or a command line can contain values that JSON cannot."""
    [problem] = find_problems(value)

    assert field == problem.field


def test_quoted_names_are_short_and_printable():
    """A caller's own word never breaks or fills a log line."""
    assert safe_quote("a\nb") == "a\ufffdb"
    assert len(safe_quote("x" * 1000)) == 65
    assert json_path(["files", 0, "data"]) == "files[0].data"
    assert safe_quote("x" * 64) == "x" * 64 and safe_quote("x" * 65) == "x" * 64 + "…"


def test_a_path_of_more_than_eight_steps_is_shortened():
    """Eight are shown with all of them, a ninth as dots."""
    eight = ["a", 1, "b", 2, "c", 3, "d", 4]

    assert json_path(eight) == "a[1].b[2].c[3].d[4]"
    assert json_path([*eight, "e"]) == "a[1].b[2].c[3].d[4]…"


@pytest.mark.parametrize(
    "value", [10**20 - 1, -(10**20 - 1), 1e300, True, None, "\U0001f600", {"\U0001f600": ["x" * 70_000]}]
)
def test_values_at_the_limits_have_no_problem(value):
    """The largest integers, characters outside of the first plane, and a string of several pieces."""
    assert find_problems([value]) == []


@pytest.mark.parametrize("value", [10**20, -(10**20), float("inf"), "x" * 70_000 + "\ud800", {"x\ud800": 1}, {1: 2}])
def test_values_beyond_the_limits_have_one(value):
    """Wherever it stands; the second entry of a list as well as the last piece of a string."""
    [problem] = find_problems({"a": [1, [value]]})

    assert problem.field.startswith("a[1][0]")


def nested(depth, value):
    for _ in range(depth):
        value = [value]

    return value


def test_a_hundred_levels_are_allowed_in_values_from_anywhere():
    """An empty list at the deepest of them is a level, too; so it is in what Claude answers."""
    assert find_problems(nested(100, 1)) == [] and len(find_problems(nested(100, []))) == 1
    assert find_unencodable(nested(100, 1)) is None and "nested too deeply" in str(find_unencodable(nested(101, 1)))


def test_a_number_of_an_answer_that_no_json_can_hold_is_named():
    """Beside others, at any depth; digits without end are one that Python can write."""
    assert find_unencodable({"a": [1.5, 10**400, "x", None]}) is None
    for number in (float("nan"), float("-inf")):
        assert find_unencodable({"a": [1.5, {"b": number}]}) == "is a number that is out of range"


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("```json\n{}\n```", "{}"),
        (" \n``` JSON \r\n[1,\n2]\r\n```\n", "[1,\n2]"),
        ("```\n{}```", "{}"),
        ("{}", "{}"),
        ("See ```json\n{}\n```", "See ```json\n{}\n```"),
        ("```yaml\na: 1\n```", "```yaml\na: 1\n```"),
    ],
)
def test_a_code_fence_around_the_whole_text_is_taken_off(text, content):
    """One of JSON or of no language; any other text stays as it is."""
    assert strip_fence(text) == content
