"""One job's call, from its claim to what is stored of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import tenacity

from ..core.jobs.failure import Completion, ErrorType, Failure, PartialResponse, Remedy, RequestOutcome, SchemaRepair
from ..core.jobs.job import Job
from ..core.jobs.submission import Exchange
from ..errors import LeaseLost, NotFound, StoreUnavailable
from ..ports import CallRequest, Claude
from ..services import ClaimedJob, Relay
from .files import Files, retry_while_unavailable
from .inflight import InFlightCall
from .pacing import Pacing

T = TypeVar("T")
log = logging.getLogger(__name__)

#: How long a call that was given up may try to store what it had, in seconds.
_LAST_WORDS = 15.0


class CallExecutor:
    """Makes calls. `ending` is set when the time for bringing them home is over."""

    def __init__(
        self,
        relay: Relay,
        claude: Claude,
        files: Files,
        *,
        pacing: Pacing,
        ending: threading.Event,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay = relay
        self._claude = claude
        self._files = files
        self._pacing = pacing
        self._ending = ending
        self._clock, self._steady = clock, steady

    def run(self, running: InFlightCall) -> Job | None:
        """See one job through: None where it was not ours any more at the end."""
        claimed = running.claimed
        family = claimed.job.family
        if self._ending.is_set():
            self._pacing.record_end(family, throttled=False, well=False)
            return self._stored(running, lambda: self._relay.execution.release(claimed))

        began = self._steady()
        running.late = self._when_late(claimed, began)
        end: Completion | Failure | None = None
        try:
            end = self._made(running)
        finally:  # also of what broke: it takes no room any more
            throttled = isinstance(end, Failure) and end.remedy is Remedy.THROTTLE
            self._pacing.record_end(family, throttled=throttled, well=isinstance(end, Completion))
        job = self._stored(running, lambda: self._settle(running, end))
        self._log(running, job, end, self._steady() - began)

        return job

    def _made(self, running: InFlightCall) -> Completion | Failure:
        claimed, stop = running.claimed, lambda: self._asked(running)
        with self._files.whole(claimed, stop, lambda: self._pacing.record_throttle(claimed.job.family)) as request:
            if isinstance(request, Failure):
                return request
            try:
                told = retry_while_unavailable(
                    lambda: (self._relay.execution.history(claimed), self._relay.execution.repair(claimed)), stop
                )
            except NotFound as exc:
                return Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, sent=False)
            if isinstance(told, Failure):
                return replace(told, sent=False)

            return self._call(running, request, *told)

    def _call(
        self, running: InFlightCall, request: dict[str, Any], before: Sequence[Exchange], repair: SchemaRepair | None
    ) -> Completion | Failure:
        claimed = running.claimed

        return self._claude.call(
            CallRequest(
                job=claimed.job,
                request=request,
                history=before,
                repair=repair,
                max_cost_usd=claimed.request.max_cost_usd,
            ),
            stop=lambda: self._why_stop(running),
            sending=lambda: self._sending(running),
            progress=lambda partial: self._checkpoint(running, partial),
            going_on=lambda step: self._going_on(running, step),
        )

    def _sending(self, running: InFlightCall) -> None:
        """On disk before the first byte is out; an error here keeps it in."""
        self._relay.execution.sending(running.claimed)
        running.sent = True

    def _going_on(self, running: InFlightCall, step: RequestOutcome) -> None:
        """What had come until now is in the ledger with its own request; the text is the whole call's."""
        self._relay.execution.start_followup(running.claimed, step)
        running.partial = PartialResponse(text=running.partial.text, model=running.partial.model)

    def _when_late(self, claimed: ClaimedJob, began: float) -> Callable[[], bool]:
        """Whether the deadline has passed: a point in time by the calendar, any other by the steady clock."""
        job = claimed.job
        if (deadline := job.deadline_at) is None:
            return lambda: False
        if job.deadline_fixed:
            return lambda: self._clock() >= deadline
        end = began + deadline - claimed.call.started_at

        return lambda: self._steady() >= end

    def _asked(self, running: InFlightCall) -> Failure | None:
        """The same, where files are waited for in the thread of the call: whoever asks is alive."""
        running.touch()

        return self._why_stop(running)

    def _why_stop(self, running: InFlightCall) -> Failure | None:
        if running.cancelled.is_set():
            return Failure(type=ErrorType.CANCELLED, message="the job was cancelled", remedy=Remedy.FAIL)
        if running.lost.is_set():
            return Failure(type=ErrorType.INTERRUPTED, message="another worker has the job", remedy=Remedy.RETRY)
        if running.late():
            return Failure(type=ErrorType.DEADLINE, message="the deadline passed during the call", remedy=Remedy.FAIL)
        if self._ending.is_set():
            return Failure(type=ErrorType.INTERRUPTED, message="the worker was stopped", remedy=Remedy.RETRY)

        return None

    def _checkpoint(self, running: InFlightCall, partial: PartialResponse) -> None:
        running.partial = partial
        running.touch()
        try:
            self._relay.execution.checkpoint(running.claimed, partial)
        except StoreUnavailable as exc:
            # The next one is a second away, and the text itself is in hand.
            log.info("checkpoint skipped", extra={"requestId": running.claimed.job.request_id, "error": str(exc)})

    def _settle(self, running: InFlightCall, end: Completion | Failure) -> Job:
        work, claimed = self._relay.execution, running.claimed
        if isinstance(end, Completion):
            return work.complete(claimed, end)
        if end.reason == "not_recorded" or (end.type is ErrorType.INTERRUPTED and not running.sent):
            return work.release(claimed)
        if end.type is not ErrorType.INTERRUPTED:
            return work.fail(claimed, end)

        partial = PartialResponse(
            text=end.partial or running.partial.text,
            usage=end.usage or running.partial.usage,
            last_usage=end.last_usage,
            cost_usd=end.cost_usd if end.cost_usd is not None else running.partial.cost_usd,
            first_byte_at=end.first_byte_at or running.partial.first_byte_at,
            model=end.model or running.partial.model,
            upstream_request_id=end.upstream_request_id or running.partial.upstream_request_id,
        )
        return work.interrupt(claimed, partial, why=end.message)

    def _stored(self, running: InFlightCall, write: Callable[[], Job]) -> Job | None:
        """Keep trying: an answer that was paid for is not dropped because the disk is full for a while."""

        def give_up(state: tenacity.RetryCallState) -> bool:
            running.touch()
            late = self._ending.is_set() and (state.seconds_since_start or 0.0) > _LAST_WORDS
            return late or running.lost.is_set()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=10.0),
            stop=give_up,
            sleep=lambda seconds: time.sleep(min(seconds, 0.5)) if self._ending.is_set() else time.sleep(seconds),
            before_sleep=lambda state: log.error(
                "a result waits for the store", extra={"requestId": running.claimed.job.request_id}
            ),
            reraise=True,
        )
        try:
            return retrying(write)
        except LeaseLost:
            log.warning("result refused: the lease was lost", extra={"requestId": running.claimed.job.request_id})
        except StoreUnavailable as exc:
            log.error("result not stored", extra={"requestId": running.claimed.job.request_id, "error": str(exc)})

        return None

    def _log(self, running: InFlightCall, job: Job | None, end: Completion | Failure, seconds: float) -> None:
        if job is None:
            return
        told = {"requestId": job.request_id, "attempt": job.attempt, "ms": round(seconds * 1000), "model": job.model}
        if isinstance(end, Completion):
            log.info("job completed", extra={**told, "usage": end.usage, "stopReason": end.stop_reason})
        else:
            log.info(f"job {job.state.value}", extra={**told, "errorType": end.type.value, "reason": end.reason})
