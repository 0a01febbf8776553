"""Event streams without a socket: cursors, filters, texts and slow clients."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from claude_relay.core.jobs.events import Event, EventName
from claude_relay.core.jobs.feed import Cursor, FeedEntry
from claude_relay.core.jobs.job import State
from claude_relay.events import Filter, StreamMessage, Subscription
from claude_relay.events.messages import decode, text_messages
from claude_relay.events.subscription import MAX_AGE, MAX_BACKLOG, MAX_STALL, MAX_TEXTS
from claude_relay.ports import TextPiece
from claude_relay.services import TextSoFar
from claude_relay.worker.text_writer import TextWriter

STORE = "1b537ede3660"


class List:
    """A sink that keeps what it gets, with a backlog to set."""

    def __init__(self) -> None:
        self.messages: list[StreamMessage] = []
        self.backlog, self.connected, self.closed, self.comments = 0, True, False, 0

    def write(self, messages: Iterable[StreamMessage]) -> None:
        self.messages.extend(messages)

    def keep_alive(self) -> None:
        self.comments += 1

    def close(self) -> None:
        self.closed = True


def stream(which: Filter, *, seq: int = 0, ended: bool = True) -> tuple[Subscription, List]:
    subscription, sink = Subscription(which, cursor=Cursor(STORE, seq, ended), now=0.0, request_id="r"), List()
    subscription.sink = sink
    return subscription, sink


def entry(seq: int, name: EventName, *, owner: str = "a", group: str = "g", job: str = "j") -> FeedEntry:
    event = Event(job_id=job, subject="job", version=seq, at=0.0, name=name)
    return FeedEntry(seq=seq, request_id="r", owner=owner, group=group, state=State.COMPLETED, event=event)


RUN = [
    entry(number, name)
    for number, name in enumerate(
        (EventName.SUBMITTED, EventName.CLAIMED, EventName.COMPLETED, EventName.DELIVERING), 1
    )
]


@pytest.mark.parametrize("ended", [False, True])
def test_a_cursor_is_read_as_it_was_written(ended):
    """The text of an id is the position, and whether the end was sent."""
    assert Cursor.parse(f" {Cursor(STORE, 7, ended)} ", store=STORE) == Cursor(STORE, 7, ended)


@pytest.mark.parametrize("text", ["7", "nonsense", f"{STORE}:", f"{STORE}:-1", f"{STORE}:7x", "ffffffffffff:7", "é:1"])
def test_a_cursor_of_another_store_or_none_at_all_is_refused(text):
    """Each is an error with a reason, and none begins at some other place."""
    with pytest.raises(ValueError, match=r"store|unchanged"):
        Cursor.parse(text, store=STORE)


def names(sink: List) -> list[str]:
    return [f"{message.name} {message.data.get('status', '')}".strip() for message in sink.messages]


def test_each_event_is_sent_once_with_the_status_after_it():
    """Also where a page brings it a second time; the status is that of the event, not the present one."""
    subscription, sink = stream(Filter())
    for each in (*RUN, *RUN):
        subscription.deliver(each, None)

    assert names(sink) == ["job pending", "job processing", "job completed", "end completed", "job completed"]
    assert [message.id for message in sink.messages][2:4] == [f"{STORE}:3", f"{STORE}:3e"]


@pytest.mark.parametrize("cut", range(6))
def test_a_stream_that_is_cut_anywhere_goes_on_without_gap_or_repeat(cut):
    """Resumed behind any message, the rest is what was missing: no job or end event less or more."""
    whole = stream(Filter())
    for each in RUN:
        whole[0].deliver(each, None)
    first = whole[1].messages[:cut]
    cursor = Cursor.parse(first[-1].id or "", store=STORE) if first else Cursor(STORE, 0, True)
    resumed, sink = stream(Filter(), seq=cursor.seq, ended=cursor.ended)
    for each in RUN:
        resumed.deliver(each, None)

    assert [message.id for message in (*first, *sink.messages)] == [message.id for message in whole[1].messages]


def test_a_filter_has_owner_group_and_status():
    """A key sees its own jobs alone."""
    which = Filter(owner="a", group="g", statuses=frozenset({"completed"}))

    assert which.matches(RUN[2]) and not which.matches(RUN[0])
    assert not which.matches(entry(9, EventName.COMPLETED, owner="b"))
    assert not which.matches(entry(9, EventName.COMPLETED, group="h"))


def test_a_stream_of_a_job_ends_with_its_run_and_the_rest_of_its_text():
    """Text that was not sent yet comes before `end`; then the stream is closed."""
    subscription, sink = stream(Filter(job_id="j"))
    subscription.deliver(RUN[1], None)
    subscription.deliver_text("j", TextSoFar(call=1, offset=0, text="Hei "))
    for each in RUN:
        subscription.deliver(each, TextSoFar(call=1, offset=0, text="Hei du") if each.ends_run else None)

    assert [message.data["text"] for message in sink.messages if message.name == "text"] == ["Hei ", "du"]
    assert sink.messages[-1].name == "end" and sink.closed


def test_text_has_no_gap_and_another_call_replaces_it():
    """Pieces overlap, come twice, too early or from an older call: what is sent is each character once."""
    subscription, sink = stream(Filter(job_id="j"))
    subscription.follow_text("j", "r")
    for call, offset, text in (
        (1, 0, "ab"),
        (1, 4, "ef"),
        (1, 1, "bcd"),
        (1, 0, "abcdef"),
        (2, 3, "x"),
        (2, 0, "A"),
        (1, 6, "g"),
    ):
        subscription.deliver_text("j", TextSoFar(call=call, offset=offset, text=text))

    sent = [(message.data["call"], message.data["offset"], message.data["text"]) for message in sink.messages]
    assert sent == [(1, 0, "ab"), (1, 2, "cd"), (1, 4, "ef"), (2, 0, "A")]


def test_a_full_client_gets_no_text_until_it_reads():
    """CONTRACT-NEXT §A: nothing is buffered without bound, also where many calls write at once."""
    subscription, sink = stream(Filter(texts=True))
    for number in range(MAX_TEXTS + 5):
        subscription.follow_text(f"j{number}", "r")
    sink.backlog = MAX_BACKLOG + 1
    refused = subscription.deliver_text("j0", TextSoFar(call=1, offset=0, text="ab"))
    sink.backlog = 0

    assert len(subscription.texts) == MAX_TEXTS and not refused
    assert subscription.deliver_text("j0", TextSoFar(call=1, offset=0, text="ab"))
    assert [message.data["text"] for message in sink.messages] == ["ab"]


@pytest.mark.parametrize("statuses", [frozenset(), frozenset({"processing"})])
def test_a_call_that_has_ended_leaves_its_place_to_another(statuses):
    """Also where the filter leaves its end out: the text of later calls is sent however many have ended."""
    subscription, sink = stream(Filter(texts=True, statuses=statuses))
    for number in range(3 * MAX_TEXTS):
        subscription.deliver(entry(2 * number + 1, EventName.CLAIMED, job=f"j{number}"), None)
        assert subscription.deliver_text(f"j{number}", TextSoFar(call=1, offset=0, text="a"))
        subscription.deliver(entry(2 * number + 2, EventName.COMPLETED, job=f"j{number}"), None)

    assert not subscription.texts
    assert sum(message.name == "text" for message in sink.messages) == 3 * MAX_TEXTS


def test_a_slow_client_gets_no_more_and_is_disconnected():
    """Nothing is buffered beyond the limit; a client that reads again catches up from its cursor."""
    subscription, sink = stream(Filter())
    sink.backlog = MAX_BACKLOG + 1

    assert not subscription.ready(1.0) and subscription.behind and not sink.closed
    sink.backlog = MAX_BACKLOG
    assert subscription.ready(MAX_STALL + 0.5)
    sink.backlog = MAX_BACKLOG + 1
    assert not subscription.ready(MAX_STALL + 1.0) and not sink.closed
    assert not subscription.ready(2 * MAX_STALL + 1.0) and sink.closed


def test_a_list_stream_ends_by_its_age_and_a_silent_one_is_kept_alive():
    """Every 15 seconds of silence a comment; after five minutes the end, and the client resumes."""
    subscription, sink = stream(Filter())
    for second in range(31):
        subscription.keep_alive(float(second), 15.0)

    assert sink.comments == 2
    assert subscription.ready(MAX_AGE) and not subscription.ready(MAX_AGE + 1) and sink.closed


def test_a_message_is_read_as_it_was_encoded():
    """Line breaks and other scripts survive; a long text has several messages."""
    messages = [StreamMessage(name="text", data={"text": "a\nb\r\n\u2028é😀"}), StreamMessage(id="x:1")]
    raw = b"".join(message.encode() for message in messages).decode()

    assert list(decode(raw.split("\n"))) == messages
    pieces = list(text_messages("r", 1, 5, "x" * 40_000))
    assert [piece.data["offset"] for piece in pieces] == [5, 16_389, 32_773]


def test_the_halves_of_a_character_count_as_one():
    """Offsets are code points: an emoji that arrives in two events is one of them."""
    pieces: list[TextPiece] = []

    class Sink:
        def put(self, piece: TextPiece) -> None:
            pieces.append(piece)

        def close(self) -> None: ...

    writer = TextWriter(Sink(), "j", 1)
    for text in ("a\ud83d", "\ude00", "b"):
        writer.write(text)

    assert [(piece.offset, piece.text) for piece in pieces] == [(0, "a"), (1, "😀"), (2, "b")]
