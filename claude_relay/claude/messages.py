"""The `Claude` port: one streamed call, seen to its end or told why not."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome
from ..core.jobs.job import family_of
from ..core.money.prices import PriceList
from ..errors import InvalidRequest
from ..ports import CallRequest, Stop, UploadCache
from . import models, request, schema
from .batches import AnthropicBatches
from .caching import Caching
from .call_session import CallSession
from .classify import classify
from .client import AnthropicClient, ConnectionBroken, StatusError
from .deadlines import CallDeadlines, CallTimeouts, DeadlineThread
from .files import FilesTooLarge, FileUploads
from .max_cost import exceeds_limit
from .pdf_inspector import PdfInspector
from .rate_limits import RateLimits
from .ttl_set import TtlSet

log = logging.getLogger(__name__)

_DAY = 86_400.0

#: How Anthropic says that a file is not there (any more): in the words of a `Failure.reason`.
_FILE_GONE = ("http_404", "file_expired", "http_410")


class AnthropicMessages:
    """
    Calls Claude through Anthropic's Messages API. All threads share one of these.

    `on_limits(family, limits)` hears what each answer's headers say about the rate limits of a model family.
    """

    def __init__(
        self,
        *,
        api_key: str,
        prices: PriceList,
        base_url: str | None = None,
        limits: CallTimeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_limits: Callable[[str, RateLimits], None] | None = None,
        shelf: UploadCache | None = None,
        keep_files: float = _DAY,
        window: Callable[[str], int | None] = lambda model: None,
    ) -> None:
        self._limits, self._prices = limits or CallTimeouts(), prices
        self._clock, self._wall, self._on_limits = clock, wall, on_limits
        self._upstream = AnthropicClient(api_key=api_key, base_url=base_url, limits=self._limits)
        self._watchdog = DeadlineThread(every=self._limits.look)
        self._inspector = PdfInspector()
        self._attached = FileUploads(
            self._upstream,
            self._inspector,
            shelf=shelf,
            account=hashlib.sha256(f"{base_url}\0{api_key}".encode()).hexdigest()[:16],
            keep=keep_files,
            window=window,
            wall=wall,
        )
        self._caching = Caching(clock=clock)
        self._too_much = TtlSet(seconds=_DAY, clock=clock)

    def batches(self) -> AnthropicBatches:
        """Message Batches, through the same client and with the same plan of a call."""
        return AnthropicBatches(
            self._upstream, plan=self._plan_once, reading=self._reading, prices=self._prices, wall=self._wall
        )

    def open(self) -> None:
        """Import the SDK now, which takes seconds, rather than at the first call."""
        self._upstream.open()

    def call(
        self,
        prompt: CallRequest,
        *,
        stop: Stop,
        sending: Callable[[], None],
        progress: Callable[[PartialResponse], None],
        going_on: Callable[[RequestOutcome], None] = lambda step: None,
    ) -> Completion | Failure:
        """Make the call. Never raises."""
        watch = CallDeadlines(stop=stop, sending=sending, going_on=going_on, limits=self._limits, clock=self._clock)
        exchange = CallSession(
            self._upstream,
            watch,
            model=prompt.job.model,
            prices=self._prices,
            max_cost_usd=prompt.max_cost_usd,
            spent=prompt.job.cost_usd or 0.0,
            progress=progress,
            heard_limits=self._heard_limits,
            checkpoint=self._limits.checkpoint,
            clock=self._clock,
            wall=self._wall,
        )
        try:
            with self._watchdog.expired(watch):
                return self._whole(exchange, prompt)
        except InvalidRequest as exc:
            failure = Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, reason="unsendable")
        except Exception:
            # The port's promise: whatever goes wrong is a Failure.
            log.exception("a call broke on a fault of the relay's own", extra={"job_id": prompt.job.id})
            failure = Failure(
                type=ErrorType.INTERNAL,
                message="the relay could not make sense of the call",
                remedy=Remedy.RETRY,
                ambiguous=watch.written,
                reason="fault",
            )
        return exchange.failed(failure)

    def models(self) -> list[dict[str, Any]] | Failure:
        """What `GET /v1/models` lists, all pages. Never raises."""
        return models.fetch(self._upstream)

    def close(self) -> None:
        """End the watchdog and close every connection."""
        self._watchdog.close()
        self._upstream.close()
        self._inspector.close()

    def _whole(self, exchange: CallSession, prompt: CallRequest) -> Completion | Failure:
        """With its files checked, and stored where that is better; once more where one of them was gone from there."""
        if (failure := exceeds_limit(prompt, self._prices)) is not None:
            return failure
        try:
            ready = self._attached.ready(prompt)
        except (FilesTooLarge, StatusError, ConnectionBroken) as exc:
            return self._not_ready(exc)
        done = self._run(exchange, ready.prompt)
        if not isinstance(done, Failure):
            return done
        if done.reason in _FILE_GONE and self._attached.forget_missing(ready.used):
            gone = exchange.step(done.type.value, done.message)
            try:
                return self._run(exchange, self._attached.ready(prompt).prompt, after=gone)
            except (FilesTooLarge, StatusError, ConnectionBroken) as exc:
                return replace(self._not_ready(exc), sent=True)
        if done.reason == "http_400" and ready.broken:
            return replace(
                done, message=f"{done.message} ({' and '.join(ready.broken)} could not be read as a PDF here)"
            )

        return done

    def _not_ready(self, exc: FilesTooLarge | StatusError | ConnectionBroken) -> Failure:
        if isinstance(exc, FilesTooLarge):
            return exc.failure
        if isinstance(exc, StatusError):
            failure = classify(status=exc.status, headers={}, now=self._wall(), **exc.error)
        else:
            failure = Failure(type=ErrorType.UPSTREAM, message=str(exc), remedy=Remedy.RETRY, reason=exc.reason)
        return replace(failure, message=f"a file could not be stored at Anthropic: {failure.message}", sent=False)

    def _run(
        self, exchange: CallSession, prompt: CallRequest, *, after: RequestOutcome | None = None
    ) -> Completion | Failure:
        wanted = (prompt.request.get("options") or {}).get("outputSchema")
        if wanted is None:
            return self._send(exchange, self._plan(prompt, native=True), after=after)

        schema.validate(wanted)
        key = json.dumps(wanted, sort_keys=True)
        plan = self._plan(prompt, native=key not in self._too_much)
        done = self._send(exchange, plan, after=after)
        if not (plan.native and isinstance(done, Failure) and done.reason == "http_400"):
            return done

        # It may be the schema that is refused: Claude's structured output has limits of size and shape that it does not
        # tell beforehand. A refusal is free, so it is asked for once more in words, and checked here as ever.
        refused = exchange.step(done.type.value, done.message)
        again = self._send(exchange, self._plan(prompt, native=False), after=refused)
        if isinstance(again, Failure) and again.reason == "http_400":
            return replace(again, message=done.message)
        self._too_much.add(key)

        return again

    def _plan_once(self, prompt: CallRequest) -> request.Plan:
        """For a batch, where nothing can be asked twice: the schema as it is known to be taken."""
        self._attached.check(prompt)
        reading = self._reading(prompt)
        if reading.schema is not None:
            schema.validate(reading.schema)

        return self._plan(prompt, native=reading.schema is None or reading.native)

    def _reading(self, prompt: CallRequest) -> request.Plan:
        """What of a plan an answer is read by."""
        wanted = (prompt.request.get("options") or {}).get("outputSchema")
        if wanted is None:
            return request.Plan(body={})
        native = json.dumps(wanted, sort_keys=True) not in self._too_much and schema.adapt_schema(wanted) is not None

        return request.Plan(body={}, schema=wanted, native=native)

    def _plan(self, prompt: CallRequest, *, native: bool) -> request.Plan:
        return request.build(
            prompt.request,
            model=prompt.job.model,
            before=prompt.history,
            repair=prompt.repair,
            native=native,
        )

    def _send(
        self, exchange: CallSession, plan: request.Plan, *, after: RequestOutcome | None = None
    ) -> Completion | Failure:
        body, begun = self._caching.marked(plan.body)

        return exchange.run(replace(plan, body=body), after=after, begun=begun)

    def _heard_limits(self, model: str, limits: RateLimits) -> None:
        if self._on_limits is not None:
            self._on_limits(family_of(model), limits)
