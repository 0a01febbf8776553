"""API keys: one name for each, no way back after a revocation, and changes that hold at once."""

from __future__ import annotations

import pytest

from claude_relay.core.keys import Scope
from claude_relay.errors import Conflict, InvalidRequest, NotFound
from claude_relay.services import Relay
from tests.support.builders import Clock

SUBMIT = frozenset({Scope.SUBMIT})


def test_a_key_is_found_by_its_text_until_it_is_revoked(relay: Relay, clock: Clock) -> None:
    key, text = relay.keys.add("make", SUBMIT)
    assert (relay.keys.find(text), relay.keys.active(key.id)) == (key, key)
    assert relay.keys.find(text[:-1]) is None and relay.keys.find("") is None and relay.keys.active("none") is None
    clock.advance(5)

    revoked = relay.keys.revoke("make")
    assert (revoked.name, revoked.revoked_at) == ("make", clock())
    assert relay.keys.find(text) is None and relay.keys.active(key.id) is None
    assert list(relay.keys.all()) == [revoked]


def test_a_revoked_name_is_not_used_again_and_keeps_no_budget(relay: Relay) -> None:
    """The jobs of a key belong to its name."""
    relay.keys.add("make", SUBMIT)
    relay.keys.revoke("make")
    for refused in (
        lambda: relay.keys.add("make", SUBMIT),
        lambda: relay.keys.revoke("make"),
        lambda: relay.keys.set_budget("make", 5.0),
    ):
        with pytest.raises(Conflict):
            refused()


def test_budget_and_weight_of_a_key_are_changed(relay: Relay) -> None:
    """None is no budget; a value out of range changes nothing."""
    relay.keys.add("make", SUBMIT)
    assert relay.keys.set_budget("make", 5.0).daily_budget_usd == 5.0
    assert relay.keys.set_weight("make", 2.0).weight == 2.0
    with pytest.raises(InvalidRequest):
        relay.keys.set_budget("make", -1.0)
    with pytest.raises(InvalidRequest):
        relay.keys.set_weight("make", 1e9)

    [key] = relay.keys.all()
    assert (key.daily_budget_usd, key.weight) == (5.0, 2.0)
    assert relay.keys.set_budget("make", None).daily_budget_usd is None


@pytest.mark.parametrize("action", ["revoke", "set_budget", "set_weight"])
def test_a_name_without_a_key_is_not_found(relay: Relay, action: str) -> None:
    relay.keys.add("make", SUBMIT)
    arguments = ["other"] if action == "revoke" else ["other", 1.0]
    with pytest.raises(NotFound, match="named other"):
        getattr(relay.keys, action)(*arguments)
