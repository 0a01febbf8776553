"""The `Claude` port: one streamed call, seen to its end or told why not."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..core.failure import Completion, ErrorType, Failure, Partial, Remedy, Step
from ..core.job import family_of
from ..core.prices import PriceList
from ..errors import InvalidRequest
from ..ports import Prompt, Stop
from . import models, request, schema
from .batches import Batches
from .budget import beyond
from .caching import Caching
from .exchange import Exchange
from .ratelimits import RateLimits
from .recent import Recent
from .upstream import Upstream
from .watch import Limits, Watch, Watchdog

log = logging.getLogger(__name__)

_DAY = 86_400.0


class Messages:
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
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        on_limits: Callable[[str, RateLimits], None] | None = None,
    ) -> None:
        self._limits, self._prices = limits or Limits(), prices
        self._clock, self._wall, self._on_limits = clock, wall, on_limits
        self._upstream = Upstream(api_key=api_key, base_url=base_url, limits=self._limits)
        self._watchdog = Watchdog(every=self._limits.look)
        self._caching = Caching(clock=clock)
        self._too_much = Recent(seconds=_DAY, clock=clock)

    def batches(self) -> Batches:
        """Message Batches, through the same client and with the same plan of a call."""
        return Batches(
            self._upstream, plan=self._plan_once, reading=self._reading, prices=self._prices, wall=self._wall
        )

    def open(self) -> None:
        """Import the SDK now, which takes seconds, rather than at the first call."""
        self._upstream.open()

    def call(
        self,
        prompt: Prompt,
        *,
        stop: Stop,
        sending: Callable[[], None],
        progress: Callable[[Partial], None],
        going_on: Callable[[Step], None] = lambda step: None,
    ) -> Completion | Failure:
        """Make the call. Never raises."""
        watch = Watch(stop=stop, sending=sending, going_on=going_on, limits=self._limits, clock=self._clock)
        exchange = Exchange(
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
            with self._watchdog.over(watch):
                return self._run(exchange, prompt)
        except InvalidRequest as exc:
            failure = Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, reason="unsendable")
        except Exception:
            # The port's promise: whatever goes wrong is a Failure.
            log.exception("a call broke on a fault of the relay's own", extra={"job_id": prompt.job.id})
            failure = Failure(
                type=ErrorType.INTERNAL,
                message="the relay could not make sense of the call",
                remedy=Remedy.SOON,
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

    def _run(self, exchange: Exchange, prompt: Prompt) -> Completion | Failure:
        if (failure := beyond(prompt, self._prices)) is not None:
            return failure
        wanted = (prompt.request.get("options") or {}).get("outputSchema")
        if wanted is None:
            return self._send(exchange, self._plan(prompt, native=True))

        schema.checked(wanted)
        key = json.dumps(wanted, sort_keys=True)
        plan = self._plan(prompt, native=key not in self._too_much)
        done = self._send(exchange, plan)
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

    def _plan_once(self, prompt: Prompt) -> request.Plan:
        """For a batch, where nothing can be asked twice: the schema as it is known to be taken."""
        reading = self._reading(prompt)
        if reading.schema is not None:
            schema.checked(reading.schema)

        return self._plan(prompt, native=reading.schema is None or reading.native)

    def _reading(self, prompt: Prompt) -> request.Plan:
        """What of a plan an answer is read by."""
        wanted = (prompt.request.get("options") or {}).get("outputSchema")
        if wanted is None:
            return request.Plan(body={})
        native = json.dumps(wanted, sort_keys=True) not in self._too_much and schema.fitted(wanted) is not None

        return request.Plan(body={}, schema=wanted, native=native)

    def _plan(self, prompt: Prompt, *, native: bool) -> request.Plan:
        return request.build(
            prompt.request,
            model=prompt.job.model,
            before=prompt.before,
            repair=prompt.repair,
            native=native,
        )

    def _send(self, exchange: Exchange, plan: request.Plan, *, after: Step | None = None) -> Completion | Failure:
        body, begun = self._caching.marked(plan.body)

        return exchange.run(replace(plan, body=body), after=after, begun=begun)

    def _heard_limits(self, model: str, limits: RateLimits) -> None:
        if self._on_limits is not None:
            self._on_limits(family_of(model), limits)
