"""One call, from its first byte to its outcome: more than one request only where Claude paused and is to go on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from ..core.money.prices import PriceList, unpriced
from . import request, schema, stream_failures
from .accumulator import MalformedStream, MessageAccumulator, content_for_callback, worth_keeping
from .classify import classify
from .client import AnthropicClient, ConnectionBroken, StatusError
from .deadlines import CallDeadlines
from .rate_limits import RateLimits

log = logging.getLogger(__name__)

#: How often Claude may pause (a long run of its own tools) and be asked to go on.
PAUSES = 10

_TRUNCATED = "the answer was cut at its token limit, so that there is no json: raise options.maxTokens"
_EXTRA = (
    "costUsd leaves out what is not billed by the list of prices (a tool of Claude's own, another tier or place, "
    "another model's part): see RELAY_PRICES"
)
_UNFIT = "outputSchema is more than Claude's structured output can hold to: it was asked for in words, and checked"


class CallSession:
    """What has been sent and heard for one call, and what that amounts to."""

    def __init__(
        self,
        upstream: AnthropicClient,
        watch: CallDeadlines,
        *,
        model: str,
        prices: PriceList,
        max_cost_usd: float | None,
        spent: float,
        progress: Callable[[PartialResponse], None],
        heard_limits: Callable[[str, RateLimits], None],
        checkpoint: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
        batch: bool = False,
    ) -> None:
        self._batch = batch
        self._upstream, self._watch, self._model = upstream, watch, model
        self._prices, self._max_cost, self._spent = prices, max_cost_usd, spent
        self._progress, self._heard_limits = progress, heard_limits
        self._checkpoint, self._clock, self._wall = checkpoint, clock, wall
        self._turns: list[MessageAccumulator] = []
        self._begun: Callable[[], None] = lambda: None
        self._told_at = 0.0
        self._told_words = False
        self._request_id: str | None = None
        self._heard: dict[str, str] | None = None
        self._first_byte_at: float | None = None

    def run(
        self, plan: request.Plan, *, after: RequestOutcome | None = None, begun: Callable[[], None] = lambda: None
    ) -> Completion | Failure:
        """
        Send it, and go on after each pause, to the end.

        `after`: how another request ended that this one follows. `begun` is called when Claude begins to answer.
        """
        self._begun = begun
        self._turns.clear()
        body = plan.body
        for _ in range(PAUSES + 1):
            failure = self._turn(body, plan.betas, after)
            if failure is not None:
                return self.failed(failure)
            if self._turns[-1].stop_reason != "pause_turn":
                return self._ended(plan)
            after = self.step("paused")
            body = request.with_continuation(body, self._turns[-1].blocks())

        message = f"Claude paused {PAUSES + 1} times and did not come to an end"
        return self.failed(Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.FAIL, reason="pauses"))

    def step(self, outcome: str, detail: str | None = None) -> RequestOutcome:
        """The request that has just ended, as the ledger has it."""
        turn = self._turns[-1]

        return RequestOutcome(
            outcome=outcome,
            detail=detail,
            usage=turn.usage or None,
            cost_usd=self._cost(turn.usage) if turn.usage else None,
            model=turn.model or None,
            upstream_request_id=self._request_id,
            first_byte_at=self._first_byte_at,
            text_length=len(turn.text),
        )

    def read(self, plan: request.Plan, message: Mapping[str, Any]) -> Completion | Failure:
        """A message that came as a whole, by the same rules as one that was streamed."""
        answer = MessageAccumulator.parse(message)
        self._turns[:] = [answer]
        if not answer.whole:
            return self.failed(stream_failures.incomplete_stream(answer, self._watch))

        return self._ended(plan)

    def failed(self, failure: Failure) -> Failure:
        """The failure, with all that had come and what it cost."""
        if len(self._turns) > 1 and not self._watch.on_its_way:
            # This request never went out: what is open in the ledger is the one before, and ends with its own cost.
            self._turns.pop()
        usage, last = self._usage(), self._last_usage()

        return replace(
            failure,
            sent=self._watch.sent,
            partial=self._text(),
            usage=usage or None,
            last_usage=last if len(self._turns) > 1 else None,
            cost_usd=self._cost(last) if last else None,
            model=next((turn.model for turn in reversed(self._turns) if turn.model), None),
            upstream_request_id=self._request_id,
            first_byte_at=self._first_byte_at,
        )

    def _turn(self, body: dict[str, Any], betas: tuple[str, ...], after: RequestOutcome | None) -> Failure | None:
        watch = self._watch
        watch.begin_request(after)
        self._first_byte_at = self._request_id = None
        answer = MessageAccumulator()
        self._turns.append(answer)
        failure = None
        events = self._upstream.events(body, betas=betas, watch=watch)
        try:
            for event in events:
                failure = self._take(event, answer)
                if failure is not None or answer.ended:
                    break
            else:
                failure = self._stopped()
        except StatusError as exc:
            failure = self._classified(exc.status, exc.error)
        except (ConnectionBroken, MalformedStream) as exc:
            failure = self._stopped() or stream_failures.connection_lost(exc, watch, open_=self._open())
        finally:
            events.close()
            self._headers()

        return failure or (None if answer.whole else stream_failures.incomplete_stream(answer, watch))

    def _take(self, event: dict[str, Any], answer: MessageAccumulator) -> Failure | None:
        kind = event.get("type")
        self._first_byte_at = self._first_byte_at or self._wall()
        if kind == "error":
            return self._classified(None, self._upstream.error_details(event))
        self._watch.record_event(content=kind != "ping")
        answer.feed(event)
        if answer.ended:
            return None
        if self._watch.check() is not None:
            return self._stopped()

        now = self._clock()
        # The first words at once: whoever follows the answer sees that it has begun.
        first_words = not self._told_words and answer.length > 0
        if kind == "message_start":
            self._begun()
        if kind == "message_start" or first_words or now - self._told_at >= self._checkpoint:
            self._told_at = now
            self._told_words = answer.length > 0
            self._headers()
            self._tell()

        return self._over_budget()

    def _ended(self, plan: request.Plan) -> Completion | Failure:
        answer, value = self._turns[-1], None
        if answer.stop_reason == "refusal":
            return self.failed(stream_failures.refusal(answer))

        blocks = [block for turn in self._turns for block in turn.blocks()]
        warnings = self._unpriced()
        done = Completion(
            text=self._text(),
            model=answer.model,
            stop_reason=answer.stop_reason or "",
            usage=self._usage(),
            last_usage=self._last_usage() if len(self._turns) > 1 else None,
            message_id=answer.message_id,
            upstream_request_id=self._request_id,
            content=content_for_callback(blocks),
            blocks=blocks if worth_keeping(blocks) else None,
            cost_usd=self._cost(self._last_usage()),
            first_byte_at=self._first_byte_at,
            warnings=warnings,
        )
        if plan.schema is None:
            return done

        warnings = warnings if plan.native else (*warnings, _UNFIT)
        if done.truncated:
            warnings = (*warnings, _TRUNCATED)
        elif answer.stop_reason != "tool_use":
            try:
                value = schema.parsed(done.text, plan.schema)
            except schema.SchemaMismatch as exc:
                failure = Failure(type=ErrorType.SCHEMA, message=str(exc), remedy=Remedy.RETRY, reason="schema")
                return self.failed(failure)

        return replace(done, json=value, warnings=warnings)

    def _stopped(self) -> Failure | None:
        """Why the watch ended it, if it did."""
        verdict = self._watch.verdict

        return verdict and replace(verdict, ambiguous=verdict.ambiguous or self._open())

    def _classified(self, status: int | None, error: dict[str, Any]) -> Failure:
        began = any(turn.began for turn in self._turns)
        failure = classify(status=status, headers=self._watch.headers, began=began, now=self._wall(), **error)
        # What was throttled was turned away. Anything else after `message_start` may be on the bill.
        started = any(turn.started for turn in self._turns) and failure.remedy is not Remedy.THROTTLE

        return replace(failure, ambiguous=failure.ambiguous or started)

    def _over_budget(self) -> Failure | None:
        if self._max_cost is None or self._turns[-1].counted:  # it is whole, and paid for
            return None

        cost = self._at_least()
        if cost is None or self._spent + cost <= self._max_cost:
            return None

        before = " with what earlier tries had cost" if self._spent else ""
        message = f"the answer was stopped as it came to more than maxCostUsd ({self._max_cost:g}){before}"
        return Failure(
            type=ErrorType.BUDGET, message=message, remedy=Remedy.FAIL, ambiguous=self._open(), reason="max_cost"
        )

    def _open(self) -> bool:
        """Whether Claude may have been at work on something of which the end was not seen."""
        watch = self._watch

        return len(self._turns) > 1 or (watch.written and (watch.status is None or watch.status < 300))

    def _tell(self) -> None:
        usage, model = self._last_usage(), self._turns[-1].model
        partial = PartialResponse(
            text=self._text(),
            usage=usage,
            cost_usd=self._cost(usage),
            first_byte_at=self._first_byte_at,
            model=model,
            upstream_request_id=self._request_id,
        )
        try:
            self._progress(partial)
        except Exception:
            # A checkpoint that cannot be written costs half an answer at most; ending the call would cost a whole one.
            log.warning("a call's progress could not be kept", exc_info=True)

    def _headers(self) -> None:
        """Hear a response's headers, once."""
        headers, status = self._watch.headers, self._watch.status
        if not headers or headers is self._heard:
            return

        self._heard = headers
        self._first_byte_at = self._first_byte_at or self._wall()
        self._request_id = headers.get("request-id") or self._request_id
        try:
            self._heard_limits(self._model, RateLimits.parse(headers, now=self._wall(), status=status))
        except Exception:
            log.warning("rate limits could not be told", exc_info=True)

    def _text(self) -> str:
        return "".join(turn.text for turn in self._turns)

    def _usage(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for turn in self._turns:
            total.update(turn.known_usage)

        return dict(total)

    def _last_usage(self) -> dict[str, int]:
        return dict(self._turns[-1].known_usage) if self._turns else {}

    def _cost(self, usage: dict[str, int]) -> float | None:
        if any(turn.extra_price for turn in self._turns):
            return None

        return self._prices.cost(self._answering(), usage, batch=self._batch)

    def _at_least(self) -> float | None:
        """
        What has come so far costs at least, each request by itself, as a long input is dearer as a whole.

        The tokens alone: what is billed beside them may have no price, and must not let the limit go.
        """
        costs = []
        for turn in self._turns:
            tokens = {kind: count for kind, count in turn.known_usage.items() if not kind.endswith("_requests")}
            costs.append(self._prices.cost(self._answering(), tokens, batch=self._batch))

        return None if None in costs else sum(cost or 0.0 for cost in costs)

    def _answering(self) -> str:
        """The model that answers, as it says itself."""
        return next((turn.model for turn in reversed(self._turns) if turn.model), self._model)

    def _unpriced(self) -> tuple[str, ...]:
        """What there is to say where not all of it has a price."""
        model = self._answering()
        if self._prices.of(model) is None:
            return (unpriced(self._model),)
        whole = all(not turn.extra_price and self._prices.cost(model, turn.usage) is not None for turn in self._turns)

        return () if whole else (_EXTRA,)
