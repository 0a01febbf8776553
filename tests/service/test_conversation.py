"""Conversations: what a job goes on from, whose it is, and how long it is kept."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from claude_relay.core.files.fetched import FetchedFile
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.jobs.job import Retain
from claude_relay.core.policy import DAY, Policy
from claude_relay.errors import Conflict, InvalidRequest, RelayError
from claude_relay.ports import Store
from claude_relay.services import JobRef, Relay
from claude_relay.services.context import ClaimedJob
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

FOR_GOOD = a_failure(ErrorType.REFUSED, Remedy.FAIL)


def hand_in(relay: Relay, name: str, earlier: str | None = None, *, owner: str = "a", **fields: Any) -> tuple[str, ...]:
    """Submit “say NAME”; the warnings."""
    request = {"prompt": f"say {name}", "options": fields.pop("options", {"model": "claude-sonnet-5-5"})}
    if earlier:
        request["continueFrom"] = earlier
    request |= fields.pop("request", {})
    return relay.submit(a_submission(name, request=request, webhook_url=None, **fields), owner=owner).warnings


def claim(relay: Relay) -> ClaimedJob:
    [claimed] = relay.execution.claim("w", limit=1)
    return claimed


def answer(relay: Relay, text: str, **fields: Any) -> None:
    relay.execution.complete(claim(relay), a_completion(text, **fields))


def told(relay: Relay, name: str, earlier: str | None = None, **fields: Any) -> None:
    """A job that was answered with its name in capitals."""
    hand_in(relay, name, earlier, **fields)
    answer(relay, name.upper())


def before(relay: Relay, name: str, earlier: str, **fields: Any) -> list[tuple[str, Any]]:
    """Submit, claim, and see what was said before; the job stays claimed."""
    hand_in(relay, name, earlier, **fields)
    return [(one.request.get("prompt", ""), one.answer) for one in relay.execution.history(claim(relay))]


def refused(relay: Relay, earlier: str, *, owner: str = "a", **fields: Any) -> str:
    with pytest.raises((Conflict, InvalidRequest)) as caught:
        hand_in(relay, "next", earlier, owner=owner, **fields)
    return str(caught.value)


def test_every_turn_comes_first_at_any_depth(relay: Relay) -> None:
    told(relay, "n0")
    for number in range(1, 60):
        told(relay, f"n{number}", f"n{number - 1}")

    assert before(relay, "last", "n59") == [(f"say n{number}", f"N{number}") for number in range(60)]


def test_a_conversation_may_fork(relay: Relay) -> None:
    told(relay, "root")
    told(relay, "left", "root")

    assert before(relay, "right", "root") == [("say root", "ROOT")]


def test_a_failed_job_is_passed_over_with_a_warning(relay: Relay) -> None:
    told(relay, "one")
    hand_in(relay, "two", "one")
    relay.execution.fail(claim(relay), FOR_GOOD)

    [warning] = hand_in(relay, "three", "two")

    assert "two failed" in warning
    assert [one.answer for one in relay.execution.history(claim(relay))] == ["ONE"]


def test_a_retried_job_counts_with_its_latest_answer(relay: Relay) -> None:
    """Also where a later run failed; and what was linked before stays what it was."""
    told(relay, "one")
    hand_in(relay, "early", "one", run_at=1_900_000_000.0)
    relay.retry(JobRef(request_id="one"))
    answer(relay, "ONE, AGAIN")
    relay.retry(JobRef(request_id="one"))
    relay.execution.fail(claim(relay), FOR_GOOD)

    assert before(relay, "two", "one") == [("say one", "ONE, AGAIN")]


def test_the_link_holds_the_run_that_was_accepted(relay: Relay, clock: Clock) -> None:
    told(relay, "one")
    hand_in(relay, "two", "one", run_at=clock() + 100)
    relay.retry(JobRef(request_id="one"))
    answer(relay, "ONE, AGAIN")
    clock.advance(101)

    assert [one.answer for one in relay.execution.history(claim(relay))] == ["ONE"]


def test_a_failed_job_that_was_retried_carries_the_conversation_on(relay: Relay) -> None:
    told(relay, "one")
    hand_in(relay, "two", "one")
    relay.execution.fail(claim(relay), FOR_GOOD)
    relay.retry(JobRef(request_id="two"))
    answer(relay, "TWO")

    assert before(relay, "three", "two") == [("say one", "ONE"), ("say two", "TWO")]


def test_a_first_job_that_failed_is_passed_over_too_and_the_conversation_begins_anew(relay: Relay) -> None:
    """Whoever wants its answer first retries it: then it counts, as every retried job does."""
    hand_in(relay, "one", options={"systemPrompt": "Be brief."})
    relay.execution.fail(claim(relay), FOR_GOOD)
    warnings = hand_in(relay, "two", "one")
    two = claim(relay)

    assert warnings == (
        "job one failed and has no answer, and nothing was said before it: the conversation begins anew, "
        "without its prompt",
    )
    assert list(relay.execution.history(two)) == []
    assert two.request.request["options"]["systemPrompt"] == "Be brief."
    relay.execution.complete(two, a_completion("TWO"))
    assert before(relay, "three", "two") == [("say two", "TWO")]


def test_what_has_not_ended_yet_is_a_conflict_with_the_cure(relay: Relay) -> None:
    hand_in(relay, "one")

    assert "still waiting: send this again" in refused(relay, "one")
    claim(relay)
    assert "still running" in refused(relay, "one")


def test_another_owners_job_is_as_unknown_as_one_that_never_was(relay: Relay) -> None:
    """The same words for both, and for the admin as for anyone: a conversation has one owner."""
    told(relay, "one")

    for owner in ("b", "admin"):
        mine, nobodys = refused(relay, "one", owner=owner), refused(relay, "two", owner=owner)
        assert mine.replace("one", "two") == nobodys


def test_earlier_turns_outlive_the_retention_as_long_as_someone_goes_on_from_them(relay: Relay, clock: Clock) -> None:
    """What a job goes on from is part of its prompt: it goes when that job goes, and not before."""
    told(relay, "one")
    told(relay, "two", "one")
    hand_in(relay, "three", "two", run_at=clock() + 3 * DAY)
    clock.advance(2 * DAY)

    assert relay.maintenance.purge() == 0
    clock.advance(2 * DAY)
    claimed = claim(relay)
    assert [one.answer for one in relay.execution.history(claimed)] == ["ONE", "TWO"]

    relay.execution.complete(claimed, a_completion())
    clock.advance(2 * DAY)
    assert [relay.maintenance.purge() for _ in range(4)] == [1, 1, 1, 0]
    assert "was purged at" in refused(relay, "two")


def test_what_is_not_to_be_kept_is_not_gone_on_from(relay: Relay) -> None:
    told(relay, "one", retain=Retain.METADATA)

    assert "retain: metadata" in refused(relay, "one")


def test_model_system_prompt_and_tools_hold_for_the_whole_conversation(relay: Relay) -> None:
    raw = {"tools": [{"name": "clock"}], "max_tokens": 5}
    options = {"model": "claude-opus-5-5", "systemPrompt": "Be brief.", "effort": "low", "raw": raw}
    told(relay, "one", model="claude-opus-5-5", options=options)
    hand_in(relay, "two", "one")
    two = claim(relay)

    assert two.job.model == "claude-opus-5-5"
    assert two.request.request["options"] == {
        "model": "claude-opus-5-5",
        "systemPrompt": "Be brief.",
        "raw": {"tools": [{"name": "clock"}]},
    }


def test_options_are_fitted_to_the_model_of_the_conversation(store: Store, clock: Clock) -> None:
    """The door knew only the default one; and the conversation's may be gone by now. The 202 says both."""
    relay = Relay(store, QuietNotifier(), Policy(model="claude-sonnet-5-5"))
    plain = {"effort": {"supported": False}}
    listed = [{"id": "claude-haiku-4-5", "line": "haiku", "capabilities": plain}, {"id": "claude-sonnet-5-5"}]
    relay.maintenance.set_shared("models", {"fetchedAt": clock(), "models": listed})
    options = {"model": "claude-haiku-4-5"}
    told(relay, "one", model="claude-haiku-4-5", options=options)
    [dropped] = hand_in(relay, "two", "one", options={"model": "claude-sonnet-5-5", "effort": "max"})
    assert dropped == "options.effort max was ignored: claude-haiku-4-5 does not support it"
    assert claim(relay).request.request["options"] == options

    listed[0]["lifecycle"] = "retired"
    relay.maintenance.set_shared("models", {"fetchedAt": clock(), "models": listed})
    later = Relay(store, QuietNotifier(), Policy(model="claude-sonnet-5-5"))
    [gone] = hand_in(later, "three", "one")
    assert "claude-haiku-4-5 was retired" in gone and "claude-sonnet-5-5 is used instead" in gone
    assert claim(later).job.model == "claude-sonnet-5-5"


def test_what_the_caller_names_is_taken_instead(relay: Relay) -> None:
    told(relay, "one", options={"model": "claude-opus-5-5", "systemPrompt": "Be brief.", "raw": {"system": "old"}})
    own = {"model": "claude-haiku-5-5", "systemPrompt": "Be long."}
    hand_in(relay, "two", "one", model="claude-haiku-5-5", chosen_model=True, options=own)

    assert claim(relay).request.request["options"] == own


def test_an_answer_of_more_than_text_goes_back_block_by_block(relay: Relay) -> None:
    blocks = [{"type": "text", "text": "Look."}, {"type": "tool_use", "id": "t1", "name": "clock", "input": {}}]
    hand_in(relay, "one")
    answer(relay, "Look.", blocks=blocks, stop_reason="tool_use")
    result = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "noon"}]}]

    assert "tool_result for t1" in refused(relay, "one")
    assert before(relay, "two", "one", request={"messages": result}) == [("say one", blocks)]


def test_a_file_by_address_goes_along_as_it_was_fetched_then(relay: Relay) -> None:
    """The address may be gone by now: nothing of an earlier turn is fetched again."""
    hand_in(relay, "one", request={"files": [{"url": "https://a.example/f.pdf"}]})
    claimed = claim(relay)
    file = FetchedFile(number=0, media_type="application/pdf", size=5, sha256="s", at=0.0, name="f.pdf")
    relay.fetched_files.keep(claimed, file, b"%PDF-", ms=1)
    relay.execution.complete(claimed, a_completion("ONE"))
    hand_in(relay, "two", "one")

    [earlier] = relay.execution.history(claim(relay))
    [sent] = earlier.request["files"]
    assert (base64.b64decode(sent["data"]), sent["mediaType"], sent["name"]) == (b"%PDF-", "application/pdf", "f.pdf")


def test_a_repeat_is_known_although_its_conversation_is_gone(relay: Relay, clock: Clock) -> None:
    """Idempotency comes first: what was accepted once is not refused for what has become of its past."""
    told(relay, "one")
    told(relay, "two", "one")
    clock.advance(2 * DAY)
    while relay.maintenance.purge():
        pass
    submission = a_submission("two", request={"prompt": "say two", "continueFrom": "one"})

    assert relay.submit(submission, owner="a").duplicate


def test_one_that_is_refused_sinks_no_other(relay: Relay) -> None:
    lost = a_submission("x", request={"prompt": "x", "options": {}, "continueFrom": "nothing"})

    verdicts = relay.submit_many([lost, a_submission("y")], owner="a")

    assert [isinstance(verdict, RelayError) for verdict in verdicts] == [True, False]
    assert relay.queries.status(JobRef(request_id="y"))["status"] == "pending"
