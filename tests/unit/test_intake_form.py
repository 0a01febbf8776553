"""Form posts: the same body as names and values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_relay.core.intake import from_form
from claude_relay.errors import InvalidRequest


def refusal(*pairs):
    with pytest.raises(InvalidRequest) as caught:
        from_form(pairs)

    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("pairs", "body"),
    [
        ([], {}),
        ([("prompt", 'Si "hei"\ntil {alle} & [alt]')], {"prompt": 'Si "hei"\ntil {alle} & [alt]'}),
        ([("prompt", '{"a": 1}')], {"prompt": '{"a": 1}'}),
        ([("options.model", "smart"), ("options.maxTokens", "9")], {"options": {"model": "smart", "maxTokens": "9"}}),
        ([("options[model]", "smart")], {"options": {"model": "smart"}}),
        ([("webhookHeaders.x-make-apikey", "k")], {"webhookHeaders": {"x-make-apikey": "k"}}),
        ([("webhookHeaders[x.dotted]", "k")], {"webhookHeaders": {"x.dotted": "k"}}),
        ([("metadata.k", "v"), ("metadata.a.b", "w")], {"metadata": {"k": "v", "a.b": "w"}}),
        ([("metadata.0", "v")], {"metadata": {"0": "v"}}),
        # CASES N5: as PHP's http_build_query and the qs library write them.
        ([("metadata[a][b]", "1"), ("metadata[a][c]", "2")], {"metadata": {"a": {"b": "1", "c": "2"}}}),
        ([("metadata[0]", "v"), ("metadata[a.b]", "w")], {"metadata": {"0": "v", "a.b": "w"}}),
        ([("metadata[tags][0]", "x"), ("metadata[tags][1]", "y")], {"metadata": {"tags": ["x", "y"]}}),
        ([("metadata[tags][]", "x"), ("metadata[tags][]", "y")], {"metadata": {"tags": ["x", "y"]}}),
        ([("options[stopSequences][]", "x")], {"options": {"stopSequences": ["x"]}}),
        ([("options[checks]", '["a == b"]')], {"options": {"checks": ["a == b"]}}),
        ([("options[thinking]", "adaptive")], {"options": {"thinking": "adaptive"}}),
        ([("rows", ' [{"a": "1"}]')], {"rows": [{"a": "1"}]}),
        ([("options[outputSchema]", '{"type": "object"}')], {"options": {"outputSchema": {"type": "object"}}}),
        ([("files[0][data]", "x"), ("files[0][name]", "n")], {"files": [{"data": "x", "name": "n"}]}),
        ([("metadata", '{"k": [1, null]}')], {"metadata": {"k": [1, None]}}),
        ([("files[0].data", "x"), ("files[0].name", "n")], {"files": [{"data": "x", "name": "n"}]}),
        ([("files.1.data", "b"), ("files.0.data", "a")], {"files": [{"data": "a"}, {"data": "b"}]}),
        ([("files[10].data", "c"), ("files[9].data", "b")], {"files": [{"data": "b"}, {"data": "c"}]}),
        ([("files", '[{"data": "x"}]')], {"files": [{"data": "x"}]}),
        ([("messages", '[{"role": "user", "content": "x"}]')], {"messages": [{"role": "user", "content": "x"}]}),
        ([("options.outputSchema", '{"type": "object"}')], {"options": {"outputSchema": {"type": "object"}}}),
        ([("options.raw", '{"a": 1}'), ("options.effort", "")], {"options": {"raw": {"a": 1}, "effort": ""}}),
        ([("options", '{"maxTokens": 9}')], {"options": {"maxTokens": 9}}),
        ([("metadata", ""), ("messages", " ")], {"metadata": "", "messages": " "}),
        ([("unheard", "of")], {"unheard": "of"}),
        ([("metadata[]", '{"a": 1}')], {"metadata": {"a": 1}}),
        ([("metadata.", '{"a": 1}')], {"metadata": {"a": 1}}),
        ([("a.b.c.d.e.f.g.h", "x")], {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": "x"}}}}}}}}),
        ([("n" * 512, "x")], {"n" * 512: "x"}),
        ([("files[9999]", "b"), ("files[]", "c")], {"files": ["c", "b"]}),
        ([("a[99999]", "x")], {"a": {"99999": "x"}}),
        ([("a[0]", "x"), ("a[b]", "y")], {"a": {"0": "x", "b": "y"}}),
    ],
)
def test_names_describe_the_body(pairs, body):
    assert from_form(pairs) == body


@pytest.mark.parametrize(
    ("pairs", "field", "words"),
    [
        ([("prompt", "a"), ("prompt", "b")], "prompt", "twice"),
        ([("options.model", "a"), ("options[model]", "b")], "options[model]", "twice"),
        ([("metadata", '{"a": 1}'), ("metadata.a", "1")], "metadata.a", "as one value and in parts"),
        ([("options.model", "a"), ("options", "{}")], "options", "as one value and in parts"),
        ([("prompt", "a"), ("prompt.b", "c")], "prompt.b", "as one value and in parts"),
        ([("metadata", "k=v")], "metadata", "not valid JSON"),
        ([("metadata[a]", "1"), ("metadata[a][b]", "1")], "metadata[a][b]", "as one value and in parts"),
        ([("messages", '[{"role": "user", "role": "user"}]')], "messages", "“role” twice"),
        ([("options.outputSchema", '{"a": "b\nc"}')], "options.outputSchema", "line 1, column 9"),
        ([("files", "[" * 200 + "]" * 200)], "files", "nested too deeply"),
        ([("", "x")], "body", "not a field name"),
        ([("[0]", "x")], "[0]", "not a field name"),
        ([(".".join("a" * 9), "x")], "a.a.a.a.a.a.a.a.a", "not a field name"),
        ([("a." * 300, "x")], None, "not a field name"),
        ([("n" * 513, "x")], None, "not a field name"),
        ([(" prompt", "x")], "prompt", "begins with a space"),
        ([(" ", "x")], "body", "begins with a space"),
    ],
)
def test_contradictory_pairs_are_refused(pairs, field, words):
    problem = refusal(*pairs)

    assert words in problem.problem and field in (problem.field, None)


NAMES = st.text(max_size=8) | st.sampled_from(
    ["prompt", "options", "options.raw", "options.raw.a", "files[0].data", "files", "files[x]", "metadata", "metadata."]
)


@given(st.lists(st.tuples(NAMES, st.text(max_size=10) | st.sampled_from(["{}", "[1]", "{", "\udc80"])), max_size=8))
def test_any_pairs_are_a_body_or_a_refusal(pairs):
    """There is no other outcome."""
    try:
        body = from_form(pairs)
    except InvalidRequest as exc:
        assert exc.problems
    else:
        assert all(isinstance(name, str) for name in body)
