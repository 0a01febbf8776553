"""One call from first byte to outcome: one request, and further ones if Claude pauses."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from ..core.money.prices import PriceList, unpriced
from ..core.text.json_values import find_unencodable
from . import request, schema, stream_failures
from .accumulator import MalformedStream, MessageAccumulator, content_for_callback, has_more_than_text
from .classify import classify
from .client import AnthropicClient, ConnectionBroken, StatusError
from .deadlines import CallDeadlines
from .rate_limits import RateLimits

log = logging.getLogger(__name__)

#: Maximum number of pauses (`pause_turn`, a long run of Claude's own tools) after which a call is continued.
MAX_PAUSES = 10

_TRUNCATED = "the answer was cut at its token limit, so there is no json: raise options.maxTokens"
_EXTRA = (
    "costUsd leaves out parts that are not billed by the price list (Claude's own tools, another tier or region, "
    "the share of another model): see RELAY_PRICES"
)
_UNMETERED = "costUsd is unknown: the answer came without its token counts, and those in usage are estimated or missing"
_NO_STOP_REASON = "the answer came without its stop reason: whether it was cut at its token limit is unknown"
_NOT_NATIVE = (
    "outputSchema is beyond Claude's structured output: it was put into the prompt, and the answer was validated"
)


class CallSession:
    """Requests and responses of one call, and its outcome."""

    def __init__(
        self,
        upstream: AnthropicClient,
        deadlines: CallDeadlines,
        *,
        model: str,
        prices: PriceList,
        max_cost_usd: float | None,
        spent: float,
        progress: Callable[[PartialResponse], None],
        on_limits: Callable[[str, RateLimits], None],
        checkpoint: float,
        clock: Callable[[], float],
        wall: Callable[[], float],
        batch: bool = False,
        on_text: Callable[[str], None] | None = None,
        traceparent: str | None = None,
    ) -> None:
        self._on_text, self._traceparent = on_text, traceparent
        self._batch = batch
        self._upstream, self._deadlines, self._model = upstream, deadlines, model
        self._prices, self._max_cost, self._spent = prices, max_cost_usd, spent
        self._progress, self._on_limits = progress, on_limits
        self._checkpoint, self._clock, self._wall = checkpoint, clock, wall
        self._turns: list[MessageAccumulator] = []
        self._on_answer: Callable[[], None] = lambda: None
        self._reported_at, self._unreported = 0.0, False
        self._text_reported = False
        self._request_id: str | None = None
        self._read_headers: dict[str, str] | None = None
        self._first_byte_at: float | None = None

    def run(
        self,
        plan: request.Plan,
        *,
        previous: RequestOutcome | None = None,
        on_answer: Callable[[], None] = lambda: None,
    ) -> Completion | Failure:
        """
        Send the request, and a continuation after each pause, until the call ends.

        `previous`: outcome of an earlier request of the same call. `on_answer` is called when the answer begins.
        """
        self._on_answer = on_answer
        self._turns.clear()
        self._unreported = False
        body = plan.body
        for _ in range(MAX_PAUSES + 1):
            failure = self._send(body, plan.betas, previous)
            if failure is not None:
                return self.complete_failure(failure)
            if self._turns[-1].stop_reason != "pause_turn":
                return self._finish(plan)
            previous = self.last_outcome("paused")
            body = request.with_continuation(body, self._turns[-1].blocks())

        message = f"Claude paused {MAX_PAUSES + 1} times without finishing"
        return self.complete_failure(
            Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.FAIL, reason="pauses")
        )

    def last_outcome(self, outcome: str, detail: str | None = None) -> RequestOutcome:
        """Outcome of the request that has just ended, for the ledger."""
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
        """Evaluate a complete message by the same rules as a streamed one."""
        answer = MessageAccumulator.parse(message)
        self._turns[:] = [answer]
        if not answer.complete:
            return self.complete_failure(stream_failures.incomplete_stream(answer, self._deadlines))

        return self._finish(plan)

    def complete_failure(self, failure: Failure) -> Failure:
        """Complete a failure with the partial answer, usage and cost."""
        if len(self._turns) > 1 and not self._deadlines.request_started:
            # This request was never sent: the open ledger entry is the previous one, which closes with its own cost.
            self._turns.pop()
        usage, last = self._usage(), self._last_usage()

        return replace(
            failure,
            sent=self._deadlines.sent,
            partial=self._text(),
            usage=usage or None,
            last_usage=last if len(self._turns) > 1 else None,
            cost_usd=self._cost(last) if last else None,
            model=next((turn.model for turn in reversed(self._turns) if turn.model), None),
            upstream_request_id=self._request_id,
            first_byte_at=self._first_byte_at,
        )

    def report_silence(self) -> None:
        """Report what came since the last report, while no further event does; for the watchdog's thread."""
        now = self._clock()
        if self._unreported and now - self._reported_at >= self._checkpoint:
            self._report_progress(now)

    def try_complete_failure(self, failure: Failure) -> Failure:
        """Complete a failure as far as the answer that caused it can be read. Never raises."""
        try:
            return self.complete_failure(failure)
        except Exception:
            log.exception("the partial answer of a failed call cannot be read")
            return replace(failure, sent=self._deadlines.sent)

    def _send(self, body: dict[str, Any], betas: tuple[str, ...], previous: RequestOutcome | None) -> Failure | None:
        deadlines = self._deadlines
        deadlines.begin_request(previous)
        self._first_byte_at = self._request_id = None
        answer = MessageAccumulator()
        answer.on_text = self._on_text
        self._turns.append(answer)
        failure = None
        events = self._upstream.events(body, betas=betas, deadlines=deadlines, traceparent=self._traceparent)
        try:
            for event in events:
                failure = self._process(event, answer)
                if failure is not None or answer.ended:
                    break
            else:
                failure = self._stop_failure()
        except StatusError as exc:
            failure = self._classified(exc.status, exc.error)
        except (ConnectionBroken, MalformedStream) as exc:
            failure = self._stop_failure() or stream_failures.connection_lost(exc, deadlines, open_=self._open())
        finally:
            events.close()
            self._note_headers()

        return failure or (None if answer.complete else stream_failures.incomplete_stream(answer, deadlines))

    def _process(self, event: dict[str, Any], answer: MessageAccumulator) -> Failure | None:
        kind = event.get("type")
        self._first_byte_at = self._first_byte_at or self._wall()
        if kind == "error":
            return self._classified(None, self._upstream.error_details(event))
        self._deadlines.record_event(content=kind != "ping")
        if kind == "message":  # not streamed, though that was asked for
            self._on_answer()
            answer.feed_message(event)
        else:
            answer.feed(event)
        if answer.length > self._deadlines.max_answer:
            return stream_failures.too_large()
        if answer.ended:
            return None
        if self._deadlines.check() is not None:
            return self._stop_failure()

        now = self._clock()
        # The first text is reported at once, so that a follower sees that the answer has begun.
        first_text = not self._text_reported and answer.length > 0
        if kind == "message_start":
            self._on_answer()
        self._unreported = True
        if kind == "message_start" or first_text or now - self._reported_at >= self._checkpoint:
            self._text_reported = answer.length > 0
            self._note_headers()
            self._report_progress(now)

        return self._over_budget()

    def _finish(self, plan: request.Plan) -> Completion | Failure:
        answer, value = self._turns[-1], None
        if answer.stop_reason == "refusal":
            return self.complete_failure(stream_failures.refusal(answer))

        blocks = [block for turn in self._turns for block in turn.blocks()]
        if (problem := find_unencodable(blocks)) is not None:
            message = f"the answer is not valid JSON: a part of it {problem}"
            return self.complete_failure(
                Failure(type=ErrorType.SCHEMA, message=message, remedy=Remedy.RETRY, reason="schema")
            )
        warnings = self._price_warnings()
        if answer.stop_reason is None:
            warnings = (*warnings, _NO_STOP_REASON)
        done = Completion(
            text=self._text(),
            model=answer.model,
            stop_reason=answer.likely_stop_reason,
            usage=self._usage(),
            last_usage=self._last_usage() if len(self._turns) > 1 else None,
            message_id=answer.message_id,
            upstream_request_id=self._request_id,
            content=content_for_callback(blocks),
            blocks=blocks if has_more_than_text(blocks) else None,
            cost_usd=self._cost(self._last_usage()),
            first_byte_at=self._first_byte_at,
            warnings=warnings,
        )
        if plan.schema is None:
            return done

        warnings = warnings if plan.native else (*warnings, _NOT_NATIVE)
        if done.truncated:
            warnings = (*warnings, _TRUNCATED)
        elif answer.stop_reason != "tool_use":
            try:
                value = schema.parse_answer(done.text, plan.schema)
            except schema.SchemaMismatch as exc:
                failure = Failure(type=ErrorType.SCHEMA, message=str(exc), remedy=Remedy.RETRY, reason="schema")
                return self.complete_failure(failure)

        return replace(done, json=value, warnings=warnings)

    def _stop_failure(self) -> Failure | None:
        """The failure if the deadlines or `stop` ended the call."""
        verdict = self._deadlines.verdict

        return verdict and replace(verdict, ambiguous=verdict.ambiguous or self._open())

    def _classified(self, status: int | None, error: dict[str, Any]) -> Failure:
        began = any(turn.began for turn in self._turns)
        failure = classify(status=status, headers=self._deadlines.headers, began=began, now=self._wall(), **error)
        # A throttled request was rejected. Anything else after `message_start` may be billed.
        started = any(turn.started for turn in self._turns) and failure.remedy is not Remedy.THROTTLE

        return replace(failure, ambiguous=failure.ambiguous or started)

    def _over_budget(self) -> Failure | None:
        if self._max_cost is None or self._turns[-1].counted:  # complete, and billed
            return None

        cost = self._minimum_cost()
        if cost is None or self._spent + cost <= self._max_cost:
            return None

        earlier = " with the cost of earlier attempts" if self._spent else ""
        message = f"the answer was stopped because it cost more than maxCostUsd ({self._max_cost:g}){earlier}"
        return Failure(
            type=ErrorType.BUDGET, message=message, remedy=Remedy.FAIL, ambiguous=self._open(), reason="max_cost"
        )

    def _open(self) -> bool:
        """Whether Claude may have worked on something whose end was not received."""
        deadlines = self._deadlines

        return len(self._turns) > 1 or (deadlines.written and (deadlines.status is None or deadlines.status < 300))

    def _report_progress(self, now: float) -> None:
        self._reported_at, self._unreported = now, False
        try:
            usage, model = self._last_usage(), self._turns[-1].model
            partial = PartialResponse(
                text=self._text(),
                usage=usage,
                cost_usd=self._cost(usage),
                first_byte_at=self._first_byte_at,
                model=model,
                upstream_request_id=self._request_id,
            )
            self._progress(partial)
        except Exception:
            # A lost checkpoint costs half an answer at most; ending the call would cost a complete one.
            log.warning("checkpoint failed", exc_info=True)

    def _note_headers(self) -> None:
        """Read the headers of the current response, once."""
        headers, status = self._deadlines.headers, self._deadlines.status
        if not headers or headers is self._read_headers:
            return

        self._read_headers = headers
        self._first_byte_at = self._first_byte_at or self._wall()
        self._request_id = headers.get("request-id") or self._request_id
        try:
            self._on_limits(self._model, RateLimits.parse(headers, now=self._wall(), status=status))
        except Exception:
            log.warning("rate limits could not be recorded", exc_info=True)

    def _text(self) -> str:
        return "".join(turn.text for turn in self._turns)

    def _usage(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for turn in self._turns:
            total.update(turn.estimated_usage)

        return dict(total)

    def _last_usage(self) -> dict[str, int]:
        return dict(self._turns[-1].estimated_usage) if self._turns else {}

    def _cost(self, usage: dict[str, int]) -> float | None:
        if any(turn.extra_price or (turn.ended and not turn.metered) for turn in self._turns):
            return None

        return self._prices.cost(self._answering_model(), usage, batch=self._batch)

    def _minimum_cost(self) -> float | None:
        """
        Minimum cost of the answer so far, priced per request, because long inputs have a higher price per token.

        Tokens only: other billed items may have no price, and the limit must hold all the same.
        """
        costs = []
        for turn in self._turns:
            tokens = {kind: count for kind, count in turn.estimated_usage.items() if not kind.endswith("_requests")}
            costs.append(self._prices.cost(self._answering_model(), tokens, batch=self._batch))

        return None if None in costs else sum(cost or 0.0 for cost in costs)

    def _answering_model(self) -> str:
        """The model that answers, as named in the response."""
        return next((turn.model for turn in reversed(self._turns) if turn.model), self._model)

    def _price_warnings(self) -> tuple[str, ...]:
        """Warnings if the bookkeeping of the answer is incomplete, or some of its usage has no price."""
        if any(not turn.metered for turn in self._turns):
            return (_UNMETERED,)
        model = self._answering_model()
        if self._prices.of(model) is None:
            return (unpriced(self._model),)
        priced = all(not turn.extra_price and self._prices.cost(model, turn.usage) is not None for turn in self._turns)

        return () if priced else (_EXTRA,)
