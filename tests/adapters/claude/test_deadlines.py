"""Calls that the relay ends: deadlines, cost limit, stop."""

import threading

import pytest

from claude_relay.claude import CallTimeouts
from claude_relay.core.jobs.failure import Completion, ErrorType, Failure, Remedy
from tests.support.claude_caller import HALF, HALF_USAGE, PING, SONNET, TEXT, Caller, a_prompt
from tests.support.eventually import eventually
from tests.support.fake_claude import Drip, Hang, Wait, chunk, event, head, stopped, written

#: Of each limit that a test reaches, only that one is short: a busy machine reaches no other before it.
NO_START, NO_EVENT, NO_CONTENT = {"first_byte": 0.3}, {"idle": 0.3}, {"patience": 0.01}


@pytest.mark.parametrize(
    ("steps", "limits", "reason", "words"),
    [
        ((Hang(),), NO_START, "first_byte_timeout", "did not begin to answer"),
        ((b"HTTP/1.1 200 OK\r\n", Drip(b"x-a: b\r\n", 0.02)), NO_START, "first_byte_timeout", "did not begin"),
        ((head(), Hang()), NO_START, "first_byte_timeout", "did not begin to answer"),
        ((head(), Drip(PING, 0.02)), NO_START, "first_byte_timeout", "did not begin to answer"),
        ((*HALF, Hang()), NO_EVENT, "idle_timeout", "stalled"),
        ((*HALF, Drip(chunk(b"data: "), 0.02)), NO_EVENT, "idle_timeout", "stalled"),
        ((*HALF, Drip(PING, 0.02)), NO_CONTENT, "idle_timeout", "nothing but pings"),
    ],
)
def test_silence_drips_and_endless_pings_are_ended(fake, caller_with, steps, limits, reason, words):
    """A read timeout would never fire against most of these. Claude may have worked, so the failure is ambiguous."""
    fake.then(*steps)
    hasty = caller_with(**limits)

    failure = hasty()

    assert (failure.type, failure.remedy, failure.reason) == (ErrorType.TIMEOUT, Remedy.RETRY, reason)
    assert words in failure.message
    assert (failure.sent, failure.ambiguous) == (True, True)
    assert hasty.seconds < 60
    eventually(lambda: fake.books and fake.books[0].outcome == "left")


def test_pings_extend_the_idle_timeout_up_to_a_limit(fake):
    """Claude may think for longer than the idle timeout."""
    caller = Caller(fake.url, CallTimeouts(idle=2.0, patience=60.0, check_interval=0.02))
    fake.then(*HALF, Drip(PING, 0.02, times=110), *stopped())

    assert isinstance(caller(), Completion)
    caller.messages.close()


def test_the_call_timeout_holds_for_an_active_stream(fake):
    caller = Caller(fake.url, CallTimeouts(call_timeout=2.0, check_interval=0.02))
    piece = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"})
    fake.then(*HALF, Drip(piece, 0.02))

    failure = caller()
    caller.messages.close()

    assert (failure.type, failure.reason, failure.ambiguous) == (ErrorType.TIMEOUT, "call_timeout", True)
    assert failure.partial.startswith("Half an xx")
    assert caller.seconds < 60


def test_an_answer_that_exceeds_the_cost_limit_is_stopped(fake, caller):
    piece = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "word " * 700})
    fake.then(*HALF, Drip(piece, 0.01))

    failure = caller(a_prompt(max_cost_usd=0.05))

    assert (failure.type, failure.remedy) == (ErrorType.BUDGET, Remedy.FAIL)
    assert len(failure.partial) < 5 * 700 * 10


CANCEL = Failure(type=ErrorType.CANCELLED, message="cancelled", remedy=Remedy.FAIL, reason="cancel")


@pytest.mark.parametrize("steps", [(Hang(),), (*HALF, Hang()), (*HALF, Drip(PING, 0.05))])
def test_a_stop_takes_effect_without_an_event(fake, caller, steps):
    fake.then(*steps)

    def stop():
        """Once the call has come as far as it will."""
        eventually(lambda: fake.books and (len(steps) == 1 or (caller.progress and caller.progress[-1].text)))
        caller.verdict = CANCEL

    thread = threading.Thread(target=stop)
    thread.start()

    failure = caller()
    thread.join()

    assert (failure.type, failure.message, failure.reason) == (ErrorType.CANCELLED, "cancelled", "cancel")
    assert (failure.sent, failure.ambiguous) == (True, True)
    assert caller.seconds < 60
    if len(steps) > 1:
        assert (failure.partial, failure.upstream_request_id, failure.model) == ("Half an ", "req_fake", SONNET)
        assert failure.usage == HALF_USAGE
    eventually(lambda: fake.books and fake.books[0].outcome == "left")


def test_a_stop_takes_effect_at_the_next_event(fake):
    """Without the watchdog, whose interval is a minute here."""
    caller = Caller(fake.url, CallTimeouts(check_interval=60, checkpoint=0))
    go = threading.Event()
    fake.then(*HALF, Wait(go), *written("more", 1), Hang())

    def progress(partial):
        if partial.text:
            caller.verdict = CANCEL
            go.set()

    failure = caller.messages.call(a_prompt(), stop=lambda: caller.verdict, sending=lambda: None, progress=progress)
    caller.messages.close()

    assert (failure.type, failure.partial) == (ErrorType.CANCELLED, "Half an ")


def test_a_stop_before_the_start_sends_nothing(fake, caller):
    caller.verdict = CANCEL

    failure = caller()

    assert (failure.type, failure.sent, failure.ambiguous) == (ErrorType.CANCELLED, False, False)
    assert (caller.sent, fake.books) == ([], [])


def test_a_stop_after_the_end_has_no_effect(fake):
    """A complete answer counts."""
    caller = Caller(fake.url, CallTimeouts(check_interval=60, checkpoint=0))

    def progress(partial):
        if partial.text and "estimated_output_tokens" not in partial.usage:  # `message_delta` has arrived; now the stop
            caller.verdict = CANCEL

    done = caller.messages.call(a_prompt(), stop=lambda: caller.verdict, sending=list, progress=progress)
    caller.messages.close()

    assert caller.verdict is CANCEL
    assert done.text == TEXT


def test_a_failing_stop_flag_does_not_affect_other_calls(fake, caller, caplog):
    """The shared watchdog thread continues."""
    fake.when("first", Hang())
    fake.when("second", Hang())

    def broken():
        if threading.current_thread().name == "claude-watchdog":
            raise RuntimeError("no flag")
        return CANCEL if caller.verdict else None

    first = threading.Thread(
        target=caller.messages.call,
        args=(a_prompt(prompt="first"),),
        kwargs=dict(stop=broken, sending=lambda: None, progress=lambda partial: None),
        daemon=True,
    )
    first.start()
    eventually(lambda: "deadline check failed" in caplog.text)
    threading.Timer(0.1, lambda: setattr(caller, "verdict", CANCEL)).start()

    assert caller(prompt="second").type is ErrorType.CANCELLED


def test_a_single_thread_watches_all_calls(fake, caller):
    earlier = set(threading.enumerate())  # of the tests before
    go = threading.Event()
    fake.when("Hei", *HALF, Wait(go), *stopped())
    results = []
    threads = [threading.Thread(target=lambda: results.append(caller())) for _ in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(fake.books) == 8)

    assert [thread.name for thread in set(threading.enumerate()) - earlier].count("claude-watchdog") == 1
    go.set()
    for thread in threads:
        thread.join()
    assert [type(result) for result in results] == [Completion] * 8
