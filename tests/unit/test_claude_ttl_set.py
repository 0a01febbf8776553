"""`TtlSet`."""

from claude_relay.claude.ttl_set import TtlSet


def test_an_added_string_is_contained_until_it_expires():
    now = [0.0]
    recent = TtlSet(seconds=10, clock=lambda: now[0])

    assert "a" not in recent
    recent.add("a")
    now[0] = 9.9
    assert "a" in recent
    now[0] = 10.0
    assert "a" not in recent


def test_the_oldest_string_is_removed_when_the_set_is_full():
    recent = TtlSet(seconds=10, clock=lambda: 0.0, size=2)
    for text in ("a", "b", "a", "c"):
        recent.add(text)

    assert [text in recent for text in "abc"] == [True, False, True]
