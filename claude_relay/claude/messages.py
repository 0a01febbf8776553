"""`ports.Claude` over the Messages API: one streamed call to its completion or failure."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from ..core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome, relay_fault
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
from .max_cost import cost_failure
from .pdf_inspector import PdfInspector
from .rate_limits import RateLimits
from .ttl_set import TtlSet

log = logging.getLogger(__name__)

_DAY = 86_400.0

#: Values of `Failure.reason` for a file that is no longer stored at Anthropic.
_FILE_MISSING = ("http_404", "file_expired", "http_410")


class AnthropicMessages:
    """
    Calls Claude through Anthropic's Messages API. Shared by all threads.

    `on_limits(family, limits)` is called with the rate limits of a model family from each response's headers.
    `upload_cache` caches which files are uploaded; `window` returns the context window of a model, if known.
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
        upload_cache: UploadCache | None = None,
        file_lifetime: float = _DAY,
        window: Callable[[str], int | None] = lambda model: None,
    ) -> None:
        self._limits, self._prices = limits or CallTimeouts(), prices
        self._clock, self._wall, self._on_limits = clock, wall, on_limits
        self._base_url = base_url
        self._upstream = AnthropicClient(api_key=api_key, base_url=base_url, limits=self._limits)
        self._watchdog = DeadlineThread(every=self._limits.check_interval)
        self._inspector = PdfInspector()
        self._files = FileUploads(
            self._upstream,
            self._inspector,
            cache=upload_cache,
            account=_account(base_url, api_key),
            keep=file_lifetime,
            window=window,
            wall=wall,
        )
        self._caching = Caching(clock=clock)
        self._rejected_schemas = TtlSet(seconds=_DAY, clock=clock)

    def batches(self) -> AnthropicBatches:
        """Message Batches through the same client, built like live calls."""
        return AnthropicBatches(
            self._upstream,
            plan=self._plan_for_batch,
            response_plan=self._response_plan,
            prices=self._prices,
            wall=self._wall,
        )

    def replace_key(self, api_key: str) -> None:
        """Use this key for every call that begins from now on."""
        self._files.account = _account(self._base_url, api_key)
        self._upstream.replace_key(api_key)

    def open(self) -> None:
        """Import the SDK now, which takes seconds, instead of at the first call."""
        self._upstream.open()

    def call(
        self,
        prompt: CallRequest,
        *,
        stop: Stop,
        sending: Callable[[], None],
        progress: Callable[[PartialResponse], None],
        on_followup: Callable[[RequestOutcome], None] = lambda step: None,
        accepted: Callable[[], None] = lambda: None,
        preparing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Completion | Failure:
        """Make the call. Never raises."""
        deadlines = CallDeadlines(
            stop=stop,
            sending=sending,
            on_followup=on_followup,
            accepted=accepted,
            limits=self._limits,
            clock=self._clock,
        )
        session = CallSession(
            self._upstream,
            deadlines,
            model=prompt.job.model,
            prices=self._prices,
            max_cost_usd=prompt.max_cost_usd,
            spent=prompt.job.cost_usd or 0.0,
            progress=progress,
            on_limits=self._record_limits,
            checkpoint=self._limits.checkpoint,
            clock=self._clock,
            wall=self._wall,
            on_text=prompt.on_text,
            traceparent=prompt.traceparent,
        )
        try:
            with self._watchdog.watch(deadlines, session.report_silence):
                return self._run_with_files(session, prompt, preparing)
        except InvalidRequest as exc:
            failure = Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, reason="unsendable")
        except Exception:
            # The port never raises: any error becomes a Failure.
            log.exception("call failed with an internal error", extra={"job_id": prompt.job.id})
            # A request that was sent is not paid for twice.
            remedy = Remedy.FAIL if deadlines.sent else Remedy.RETRY
            failure = relay_fault("process the call", remedy=remedy, sent=deadlines.sent)
        return session.try_complete_failure(failure)

    def models(self) -> list[dict[str, Any]] | Failure:
        """All pages of `GET /v1/models`. Never raises."""
        return models.fetch(self._upstream)

    def close(self) -> None:
        """Stop the watchdog and close every connection."""
        self._watchdog.close()
        self._upstream.close()
        self._inspector.close()

    def _run_with_files(
        self,
        session: CallSession,
        prompt: CallRequest,
        preparing: Callable[[], AbstractContextManager[None]],
    ) -> Completion | Failure:
        """Check the files and upload the large ones; run again once if an uploaded file is no longer stored."""
        if (failure := cost_failure(prompt, self._prices)) is not None:
            return failure
        try:
            with preparing() if self._files.any(prompt) else nullcontext():
                ready = self._files.prepare(prompt)
        except (FilesTooLarge, StatusError, ConnectionBroken) as exc:
            return self._upload_failure(exc)
        done = self._run(session, ready.prompt)
        if not isinstance(done, Failure):
            return done
        if done.reason in _FILE_MISSING and self._files.forget_missing(ready.used):
            expired = session.last_outcome(done.type.value, done.message)
            try:
                return self._run(session, self._files.prepare(prompt).prompt, previous=expired)
            except (FilesTooLarge, StatusError, ConnectionBroken) as exc:
                return replace(self._upload_failure(exc), sent=True)
        if done.reason == "http_400" and ready.broken:
            return replace(
                done, message=f"{done.message} ({' and '.join(ready.broken)} could not be parsed as a PDF here)"
            )

        return done

    def _upload_failure(self, exc: FilesTooLarge | StatusError | ConnectionBroken) -> Failure:
        if isinstance(exc, FilesTooLarge):
            return exc.failure
        if isinstance(exc, StatusError):
            failure = classify(status=exc.status, headers={}, now=self._wall(), **exc.error)
        else:
            failure = Failure(type=ErrorType.UPSTREAM, message=str(exc), remedy=Remedy.RETRY, reason=exc.reason)
        return replace(failure, message=f"a file could not be uploaded to Anthropic: {failure.message}", sent=False)

    def _run(
        self, session: CallSession, prompt: CallRequest, *, previous: RequestOutcome | None = None
    ) -> Completion | Failure:
        output_schema = (prompt.request.get("options") or {}).get("outputSchema")
        if output_schema is None:
            return self._send(session, self._plan(prompt, native=True), previous=previous)

        schema.validate(output_schema)
        key = json.dumps(output_schema, sort_keys=True)
        plan = self._plan(prompt, native=key not in self._rejected_schemas)
        done = self._send(session, plan, previous=previous)
        if not (plan.native and isinstance(done, Failure) and done.reason == "http_400"):
            return done

        # The schema may be the cause: Claude's structured output has undocumented limits of size and structure. A
        # rejection is free, so the call is repeated with the schema in the prompt; the answer is validated as usual.
        rejected = session.last_outcome(done.type.value, done.message)
        second = self._send(session, self._plan(prompt, native=False), previous=rejected)
        if isinstance(second, Failure) and second.reason == "http_400":
            return replace(second, message=done.message)
        self._rejected_schemas.add(key)

        return second

    def _plan_for_batch(self, prompt: CallRequest) -> request.Plan:
        """Plan a request in a batch, which cannot be repeated: rejected schemas go into the prompt at once."""
        self._files.check(prompt)
        expected = self._response_plan(prompt)
        if expected.schema is not None:
            schema.validate(expected.schema)

        return self._plan(prompt, native=expected.schema is None or expected.native)

    def _response_plan(self, prompt: CallRequest) -> request.Plan:
        """The part of a plan that is needed to read its answer."""
        output_schema = (prompt.request.get("options") or {}).get("outputSchema")
        if output_schema is None:
            return request.Plan(body={})
        native = (
            json.dumps(output_schema, sort_keys=True) not in self._rejected_schemas
            and schema.adapt_schema(output_schema) is not None
        )

        return request.Plan(body={}, schema=output_schema, native=native)

    def _plan(self, prompt: CallRequest, *, native: bool) -> request.Plan:
        return request.build(
            prompt.request,
            model=prompt.job.model,
            history=prompt.history,
            repair=prompt.repair,
            native=native,
        )

    def _send(
        self, session: CallSession, plan: request.Plan, *, previous: RequestOutcome | None = None
    ) -> Completion | Failure:
        body, on_answer = self._caching.mark(plan.body)

        return session.run(replace(plan, body=body), previous=previous, on_answer=on_answer)

    def _record_limits(self, model: str, limits: RateLimits) -> None:
        if self._on_limits is not None:
            self._on_limits(family_of(model), limits)


def _account(base_url: str | None, api_key: str) -> str:
    """The account that owns uploaded files, as a digest."""
    return hashlib.sha256(f"{base_url}\0{api_key}".encode()).hexdigest()[:16]
