"""
The answer to a submit, which is ready before its job is stored, and leaves once it is.

No thread waits for the commit: that of the request goes on to the next one, and the main loop sends all answers of a
commit. A thread that waits is woken, wins the interpreter lock and wakes the main loop, for each answer (*measured* at
16 connections: 5.2 context switches a request, and 1.3 without; 380 and 290 µs of CPU).
"""

from __future__ import annotations

from collections.abc import Callable

from ..services import Accepted, Outcome

#: Key of the response in the WSGI environment: set by a server that can defer one.
ENVIRON = "claude_relay.deferred"
#: Larger bodies, in bytes, keep their thread, so that there are no more of them in memory than threads.
MAX_BODY = 256 * 1024


class DeferredResponse:
    """
    The way of an answer from the app to the server, and back where another one is needed.

    The app answers as if the job were stored, and sets `store`, which the server calls once it has the bytes. If the
    outcome is another, such as the job that had this requestId before, the app answers again by `outcome`.
    """

    def __init__(self) -> None:
        self.store: Callable[[Callable[[Outcome], None]], None] | None = None
        self.outcome: Outcome | None = None
        #: The bytes of the response, and whether the connection ends with it.
        self.content = b""
        self.closes = False

    def settle(self, outcome: Outcome) -> None:
        """Note what became of the job; without content the app has to answer again."""
        self.store = None
        if not isinstance(outcome, Accepted) or outcome.duplicate:
            self.outcome, self.content = outcome, b""

    def accepted(self) -> Accepted | None:
        """The outcome of which the app answers; None where it is not known yet. Raises its error."""
        if isinstance(self.outcome, BaseException):
            raise self.outcome

        return self.outcome


class ResponseDeferred(BaseException):
    """Leaves `HTTPChannel.service` before it ends the request, whose response is deferred. Never an error."""
