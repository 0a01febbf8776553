"""Conversations: the earlier turns of a job, their owner and their retention."""

from __future__ import annotations

import base64
import hashlib
import random
from typing import Any

import pytest

from claude_relay.core.files.fetched import FetchedFile
from claude_relay.core.jobs.failure import ErrorType, Remedy
from claude_relay.core.jobs.job import Retain
from claude_relay.core.policy import DAY, Policy
from claude_relay.errors import Conflict, InvalidRequest, RelayError
from claude_relay.ports import Store
from claude_relay.services import ClaimedJob, JobRef, Relay
from tests.support.builders import Clock, QuietNotifier, a_completion, a_failure, a_submission

FOR_GOOD = a_failure(ErrorType.REFUSED, Remedy.FAIL)


def hand_in(relay: Relay, name: str, earlier: str | None = None, *, owner: str = "a", **fields: Any) -> tuple[str, ...]:
    """Submit “say NAME”; returns the warnings."""
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


def answered(relay: Relay, name: str, earlier: str | None = None, **fields: Any) -> None:
    """Submit a job and answer it with its name in capitals."""
    hand_in(relay, name, earlier, **fields)
    answer(relay, name.upper())


def history(relay: Relay, name: str, earlier: str, **fields: Any) -> list[tuple[str, Any]]:
    """Submit and claim a job, and return its earlier turns."""
    hand_in(relay, name, earlier, **fields)
    return [(turn.request.get("prompt", ""), turn.answer) for turn in relay.execution.history(claim(relay))]


def refused(relay: Relay, earlier: str, *, owner: str = "a", **fields: Any) -> str:
    with pytest.raises((Conflict, InvalidRequest)) as caught:
        hand_in(relay, "next", earlier, owner=owner, **fields)
    return str(caught.value)


def test_every_turn_comes_first_at_any_depth(relay: Relay) -> None:
    answered(relay, "n0")
    for number in range(1, 60):
        answered(relay, f"n{number}", f"n{number - 1}")

    assert history(relay, "last", "n59") == [(f"say n{number}", f"N{number}") for number in range(60)]


def test_a_conversation_may_fork(relay: Relay) -> None:
    answered(relay, "root")
    answered(relay, "left", "root")

    assert history(relay, "right", "root") == [("say root", "ROOT")]


def test_a_failed_job_is_skipped_with_a_warning(relay: Relay) -> None:
    answered(relay, "one")
    hand_in(relay, "two", "one")
    relay.execution.fail(claim(relay), FOR_GOOD)

    [warning] = hand_in(relay, "three", "two")

    assert "two failed" in warning
    assert [turn.answer for turn in relay.execution.history(claim(relay))] == ["ONE"]


def test_a_retried_job_counts_with_its_latest_answer(relay: Relay) -> None:
    """Also if a later run failed."""
    answered(relay, "one")
    hand_in(relay, "early", "one", run_at=1_900_000_000.0)
    relay.retry(JobRef(request_id="one"))
    answer(relay, "ONE, AGAIN")
    relay.retry(JobRef(request_id="one"))
    relay.execution.fail(claim(relay), FOR_GOOD)

    assert history(relay, "two", "one") == [("say one", "ONE, AGAIN")]


def test_the_link_keeps_the_run_of_the_time_of_acceptance(relay: Relay, clock: Clock) -> None:
    answered(relay, "one")
    hand_in(relay, "two", "one", run_at=clock() + 100)
    relay.retry(JobRef(request_id="one"))
    answer(relay, "ONE, AGAIN")
    clock.advance(101)

    assert [turn.answer for turn in relay.execution.history(claim(relay))] == ["ONE"]


def test_a_failed_job_that_was_retried_is_a_turn(relay: Relay) -> None:
    answered(relay, "one")
    hand_in(relay, "two", "one")
    relay.execution.fail(claim(relay), FOR_GOOD)
    relay.retry(JobRef(request_id="two"))
    answer(relay, "TWO")

    assert history(relay, "three", "two") == [("say one", "ONE"), ("say two", "TWO")]


def test_a_failed_first_job_is_skipped_and_the_conversation_starts_again(relay: Relay) -> None:
    """To get its answer, retry it: then it counts as any retried job."""
    hand_in(relay, "one", options={"systemPrompt": "Be brief."})
    relay.execution.fail(claim(relay), FOR_GOOD)
    warnings = hand_in(relay, "two", "one")
    two = claim(relay)

    assert warnings == (
        "job one failed and has no answer, and there is no earlier turn: the conversation starts again, without its "
        "prompt",
    )
    assert list(relay.execution.history(two)) == []
    assert two.request.request["options"]["systemPrompt"] == "Be brief."
    relay.execution.complete(two, a_completion("TWO"))
    assert history(relay, "three", "two") == [("say two", "TWO")]


def test_a_job_that_has_not_ended_is_a_conflict(relay: Relay) -> None:
    hand_in(relay, "one")

    assert "still waiting: send this again" in refused(relay, "one")
    claim(relay)
    assert "still running" in refused(relay, "one")


def test_the_job_of_another_owner_is_refused_like_an_unknown_one(relay: Relay) -> None:
    """With the same message, for the admin, too: a conversation has one owner."""
    answered(relay, "one")

    for owner in ("b", "admin"):
        foreign, unknown = refused(relay, "one", owner=owner), refused(relay, "two", owner=owner)
        assert foreign.replace("one", "two") == unknown


def test_earlier_turns_are_kept_as_long_as_a_job_continues_them(relay: Relay, clock: Clock) -> None:
    """Earlier turns are part of a job's prompt: they are purged with it."""
    answered(relay, "one")
    answered(relay, "two", "one")
    hand_in(relay, "three", "two", run_at=clock() + 3 * DAY)
    clock.advance(2 * DAY)

    assert relay.maintenance.purge() == 0
    clock.advance(2 * DAY)
    claimed = claim(relay)
    assert [turn.answer for turn in relay.execution.history(claimed)] == ["ONE", "TWO"]

    relay.execution.complete(claimed, a_completion())
    clock.advance(2 * DAY)
    assert [relay.maintenance.purge() for _ in range(4)] == [1, 1, 1, 0]
    assert "was purged at" in refused(relay, "two")


def test_a_job_whose_content_is_not_kept_cannot_be_continued(relay: Relay) -> None:
    answered(relay, "one", retain=Retain.METADATA)

    assert "retain: metadata" in refused(relay, "one")


def test_model_system_prompt_and_tools_are_inherited(relay: Relay) -> None:
    raw = {"tools": [{"name": "clock"}], "max_tokens": 5}
    options = {"model": "claude-opus-5-5", "systemPrompt": "Be brief.", "effort": "low", "raw": raw}
    answered(relay, "one", model="claude-opus-5-5", options=options)
    hand_in(relay, "two", "one")
    two = claim(relay)

    assert two.job.model == "claude-opus-5-5"
    assert two.request.request["options"] == {
        "model": "claude-opus-5-5",
        "systemPrompt": "Be brief.",
        "raw": {"tools": [{"name": "clock"}]},
    }


def test_options_are_fitted_to_the_model_of_the_conversation(store: Store, clock: Clock) -> None:
    """Intake fitted them to the default model, and the inherited model may be retired. The 202 warns of both."""
    relay = Relay(store, QuietNotifier(), Policy(model="claude-sonnet-5-5"), rng=random.Random(7))
    plain = {"effort": {"supported": False}}
    listed = [{"id": "claude-haiku-4-5", "line": "haiku", "capabilities": plain}, {"id": "claude-sonnet-5-5"}]
    relay.maintenance.set_shared("models", {"fetchedAt": clock(), "models": listed})
    options = {"model": "claude-haiku-4-5"}
    answered(relay, "one", model="claude-haiku-4-5", options=options)
    [dropped] = hand_in(relay, "two", "one", options={"model": "claude-sonnet-5-5", "effort": "max"})
    assert dropped == "options.effort max was ignored: claude-haiku-4-5 does not support it"
    assert claim(relay).request.request["options"] == options

    listed[0]["lifecycle"] = "retired"
    relay.maintenance.set_shared("models", {"fetchedAt": clock(), "models": listed})
    later = Relay(store, QuietNotifier(), Policy(model="claude-sonnet-5-5"), rng=random.Random(8))
    [retired] = hand_in(later, "three", "one")
    assert "claude-haiku-4-5 was retired" in retired and "claude-sonnet-5-5 is used instead" in retired
    assert claim(later).job.model == "claude-sonnet-5-5"


def test_options_of_the_caller_replace_inherited_ones(relay: Relay) -> None:
    answered(relay, "one", options={"model": "claude-opus-5-5", "systemPrompt": "Be brief.", "raw": {"system": "old"}})
    own = {"model": "claude-haiku-5-5", "systemPrompt": "Be long."}
    hand_in(relay, "two", "one", model="claude-haiku-5-5", chosen_model=True, options=own)

    assert claim(relay).request.request["options"] == own


def test_an_answer_with_tool_calls_is_sent_back_block_by_block(relay: Relay) -> None:
    blocks = [{"type": "text", "text": "Look."}, {"type": "tool_use", "id": "t1", "name": "clock", "input": {}}]
    hand_in(relay, "one")
    answer(relay, "Look.", blocks=blocks, stop_reason="tool_use")
    result = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "noon"}]}]

    assert "tool_result for t1" in refused(relay, "one")
    assert history(relay, "two", "one", request={"messages": result}) == [("say one", blocks)]


def test_a_file_from_a_url_is_sent_as_it_was_fetched(relay: Relay) -> None:
    """Files of earlier turns are not fetched again: the URL may no longer exist."""
    hand_in(relay, "one", request={"files": [{"url": "https://a.example/f.pdf"}]})
    claimed = claim(relay)
    sha256 = hashlib.sha256(b"%PDF-").hexdigest()
    file = FetchedFile(number=0, media_type="application/pdf", size=5, sha256=sha256, at=0.0, name="f.pdf")
    relay.fetched_files.keep(claimed, file, b"%PDF-", ms=1)
    relay.execution.complete(claimed, a_completion("ONE"))
    hand_in(relay, "two", "one")

    [earlier] = relay.execution.history(claim(relay))
    [sent] = earlier.request["files"]
    assert (base64.b64decode(sent["data"]), sent["mediaType"], sent["name"]) == (b"%PDF-", "application/pdf", "f.pdf")


def test_a_duplicate_is_accepted_although_its_conversation_was_purged(relay: Relay, clock: Clock) -> None:
    """Idempotency comes first: a job that was accepted once is not refused later."""
    answered(relay, "one")
    answered(relay, "two", "one")
    clock.advance(2 * DAY)
    while relay.maintenance.purge():
        pass
    submission = a_submission("two", request={"prompt": "say two", "continueFrom": "one"})

    assert relay.submit(submission, owner="a").duplicate


def test_a_refused_submission_does_not_stop_the_others(relay: Relay) -> None:
    lost = a_submission("x", request={"prompt": "x", "options": {}, "continueFrom": "nothing"})

    results = relay.submit_many([lost, a_submission("y")], owner="a")

    assert [isinstance(result, RelayError) for result in results] == [True, False]
    assert relay.queries.status(JobRef(request_id="y"))["status"] == "pending"


def test_an_estimate_has_the_turns_and_the_options_that_the_job_would_have(relay: Relay) -> None:
    """Without `continueFrom` the submission is as it was."""
    answered(relay, "one", options={"model": "claude-opus-5-5"})
    next_turn = a_submission("two", request={"prompt": "say two", "options": {}, "continueFrom": "one"})
    resolved, turns = relay.queries.resolve_conversation(next_turn, "a")

    assert (resolved.model, [turn.answer for turn in turns]) == ("claude-opus-5-5", ["ONE"])
    alone = a_submission("three")
    assert relay.queries.resolve_conversation(alone, "a") == (alone, ())


def test_a_batch_sends_the_earlier_turns_too(relay: Relay, clock: Clock) -> None:
    """As a live call does; a request that continues none has none before it."""
    hand_in(relay, "one")
    answer(relay, "first answer")
    hand_in(relay, "two", "one", mode="batch")
    hand_in(relay, "alone", mode="batch")
    clock.advance(15)
    batch = relay.batches.plan("w")
    assert batch is not None
    turns = {entry.job.request_id: relay.batches.history(entry) for entry in relay.batches.contents(batch)}

    assert [(turn.request["prompt"], turn.answer) for turn in turns["two"]] == [("say one", "first answer")]
    assert turns["alone"] == ()
