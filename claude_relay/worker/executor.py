"""The call of one job, from its claim to the stored result."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import tenacity

from ..core.jobs.failure import (
    THROTTLES,
    Completion,
    ErrorType,
    Failure,
    PartialResponse,
    Remedy,
    Repair,
    RequestOutcome,
    job_lost,
    worker_stopped,
)
from ..core.jobs.job import Job, State
from ..core.jobs.submission import Exchange
from ..errors import LeaseLost, NotFound, StoreUnavailable
from ..ports import CallRequest, Claude, NoTracer, TextSink, Tracer
from ..services import ClaimedJob, Relay
from . import faults
from .call_spans import end_call, start_call, trace_wait
from .checkpoints import CheckpointWriter, shorten
from .files import Files
from .inflight import InFlightCall
from .meters import Meters
from .outage import STORE
from .store_retry import retry_while_unavailable
from .text_writer import TextWriter

log = logging.getLogger(__name__)

#: Seconds in which an interrupted call may retry to store its partial result.
_INTERRUPT_GRACE = 15.0


class CallExecutor:
    """Runs calls. `ending` is set once the time to drain them is over; without `checkpoints` a call waits for each."""

    def __init__(
        self,
        relay: Relay,
        claude: Claude,
        files: Files,
        *,
        ending: threading.Event,
        texts: TextSink | None = None,
        meters: Meters | None = None,
        tracer: Tracer | None = None,
        checkpoints: CheckpointWriter | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay = relay
        self._claude = claude
        self._files = files
        self._ending, self._texts, self._meters = ending, texts, meters
        self._tracer = tracer or NoTracer()
        self._checkpoints = checkpoints
        self._clock, self._monotonic = clock, monotonic

    def run(self, running: InFlightCall) -> Job | None:
        """Run one job to its end; None if this worker no longer had it, or could not store the result."""
        claimed = running.claimed
        if self._ending.is_set():
            running.paced.ended()
            return self._store(running, lambda: self._relay.execution.release(claimed))

        trace_wait(self._tracer, claimed)
        if self._meters is not None:
            self._meters.started(claimed.call.started_at - max(claimed.job.run_started_at, claimed.job.due_at))
        began = self._monotonic()
        running.late = self._deadline_check(claimed, began)
        pause: float | None = None
        try:
            end = self._attempt(running)
            if isinstance(end, Failure) and (end.remedy is Remedy.THROTTLE or end.type in THROTTLES):
                pause = self._refused(running, end)
        except Exception as exc:
            log.exception("call failed with an internal error", extra={"requestId": claimed.job.request_id})
            end = faults.during_call(running, exc)
        finally:  # also after a fault: the call takes no capacity any more
            running.paced.ended()
            if self._checkpoints is not None:
                self._checkpoints.drop(running)
        job = self._store_outcome(running, end, pause)
        seconds = self._monotonic() - began
        self._log(running, job, end, seconds)
        if self._meters is not None:
            self._meters.called(claimed.call.model or claimed.job.model, seconds)

        return job

    def _attempt(self, running: InFlightCall) -> Completion | Failure:
        claimed, stop = running.claimed, lambda: self._stop_while_waiting(running)
        with self._files.with_files(claimed, stop, running.paced.set_aside) as request:
            if isinstance(request, Failure):
                return request
            try:
                context = retry_while_unavailable(
                    lambda: (self._relay.execution.history(claimed), self._relay.execution.repair(claimed)), stop
                )
            except NotFound as exc:
                return Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, sent=False)
            if isinstance(context, Failure):
                return replace(context, sent=False)

            return self._call(running, request, *context)

    def _call(
        self, running: InFlightCall, request: dict[str, Any], history: Sequence[Exchange], repair: Repair | None
    ) -> Completion | Failure:
        claimed = running.claimed

        span = start_call(self._tracer, claimed)
        end = self._claude.call(
            CallRequest(
                job=claimed.job,
                request=request,
                history=history,
                repair=repair,
                max_cost_usd=claimed.request.max_cost_usd,
                traceparent=span.traceparent,
                on_text=self._text_writer(running),
            ),
            stop=lambda: self._stop_reason(running),
            sending=lambda: self._sending(running),
            accepted=running.paced.accepted,
            preparing=running.paced.set_aside,
            progress=lambda partial: self._checkpoint(running, partial),
            on_followup=lambda step: self._start_followup(running, step),
        )
        end_call(span, claimed, end)

        return end

    def _text_writer(self, running: InFlightCall) -> Callable[[str], None] | None:
        if self._texts is None:
            return None
        running.writer = TextWriter(self._texts, running.job_id, running.claimed.call.number)

        return running.writer.write

    def _refused(self, running: InFlightCall, failure: Failure) -> float:
        """Note the throttle of a call, which may be one in mid-stream; returns the pause of its family."""
        # A shortage of this machine and a refused upload say no more of the limit on calls than an overload does.
        overloaded = failure.type is not ErrorType.RATE_LIMIT or not failure.sent

        return running.paced.refused(retry_after=failure.retry_after, overloaded=overloaded)

    def _sending(self, running: InFlightCall) -> None:
        """Store that the call is being sent, before its first byte; an error here prevents the sending."""
        self._relay.execution.sending(running.claimed)
        running.sent = True

    def _start_followup(self, running: InFlightCall, step: RequestOutcome) -> None:
        """Close the ledger entry of the request that ended; the text goes on through the whole call."""
        if self._checkpoints is not None:
            self._checkpoints.drop(running)
        self._relay.execution.start_followup(running.claimed, step)
        running.followups += 1
        if running.writer is not None:
            running.writer.call += 1
        running.partial = PartialResponse(text=running.partial.text, model=running.partial.model)

    def _deadline_check(self, claimed: ClaimedJob, began: float) -> Callable[[], bool]:
        """A check for the deadline: a fixed point in time by the wall clock, any other by the monotonic clock."""
        job = claimed.job
        if (deadline := job.deadline_at) is None:
            return lambda: False
        if job.deadline_fixed:
            return lambda: self._clock() >= deadline
        end = began + deadline - claimed.call.started_at

        return lambda: self._monotonic() >= end

    def _stop_while_waiting(self, running: InFlightCall) -> Failure | None:
        """The stop reason, while the call's thread waits for files or the store: that it asks is progress."""
        running.touch()

        return self._stop_reason(running)

    def _stop_reason(self, running: InFlightCall) -> Failure | None:
        if running.cancelled.is_set():
            return Failure(type=ErrorType.CANCELLED, message="the job was cancelled", remedy=Remedy.FAIL)
        if running.lost.is_set():
            return job_lost()
        if running.late():
            return Failure(type=ErrorType.DEADLINE, message="the deadline passed during the call", remedy=Remedy.FAIL)
        if self._ending.is_set():
            return worker_stopped()

        return None

    def _checkpoint(self, running: InFlightCall, partial: PartialResponse) -> None:
        running.partial = partial
        running.touch()
        if self._checkpoints is not None:
            self._checkpoints.put(running, partial)
            return
        try:
            self._relay.execution.checkpoint(running.claimed, partial)
            shorten(running, partial)
        except StoreUnavailable as exc:
            # The next one is a second away, and the text is in memory.
            STORE.failed(exc, requestId=running.claimed.job.request_id)

    def _settle(self, running: InFlightCall, end: Completion | Failure, pause: float | None) -> Job:
        execution, claimed = self._relay.execution, running.claimed
        if isinstance(end, Completion):
            return execution.complete(claimed, end)
        if end.reason == "not_recorded" or (end.type is ErrorType.INTERRUPTED and not running.sent):
            return execution.release(claimed)
        if end.type is not ErrorType.INTERRUPTED:
            return execution.fail(claimed, end, pause=pause)

        partial = PartialResponse(
            text=end.partial or running.partial.text,
            usage=end.usage or running.partial.usage,
            last_usage=end.last_usage,
            cost_usd=end.cost_usd if end.cost_usd is not None else running.partial.cost_usd,
            first_byte_at=end.first_byte_at or running.partial.first_byte_at,
            model=end.model or running.partial.model,
            upstream_request_id=end.upstream_request_id or running.partial.upstream_request_id,
        )
        return execution.interrupt(claimed, partial, why=end.message)

    def _store_outcome(self, running: InFlightCall, end: Completion | Failure, pause: float | None) -> Job | None:
        """Store the outcome, or in its place that it cannot be stored: the job must not wait for its lease."""
        for substitute in faults.substitutes(end):
            try:
                return self._store(running, functools.partial(self._settle, running, substitute, pause))
            except Exception:
                log.exception("outcome could not be stored", extra={"requestId": running.claimed.job.request_id})

        return None

    def _store(self, running: InFlightCall, write: Callable[[], Job]) -> Job | None:
        """Retry while the store is unavailable: a temporarily full disk must not lose a paid answer."""

        def give_up(state: tenacity.RetryCallState) -> bool:
            running.touch()
            overdue = self._ending.is_set() and (state.seconds_since_start or 0.0) > _INTERRUPT_GRACE
            return overdue or running.lost.is_set()

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StoreUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=10.0),
            stop=give_up,
            sleep=lambda seconds: time.sleep(min(seconds, 0.5)) if self._ending.is_set() else time.sleep(seconds),
            before_sleep=self._wait_for_store(running),
            reraise=True,
        )
        try:
            return retrying(write)
        except LeaseLost:
            log.warning("result refused: the lease was lost", extra={"requestId": running.claimed.job.request_id})
        except StoreUnavailable as exc:
            log.error("result not stored", extra={"requestId": running.claimed.job.request_id, "error": str(exc)})

        return None

    def _wait_for_store(self, running: InFlightCall) -> Callable[[tenacity.RetryCallState], None]:
        """Log once that a paid result waits for the store: an outage may last for hours."""

        def log_first(state: tenacity.RetryCallState) -> None:
            if state.attempt_number == 1:
                log.error("a result waits for the store", extra={"requestId": running.claimed.job.request_id})

        return log_first

    def _log(self, running: InFlightCall, job: Job | None, end: Completion | Failure, seconds: float) -> None:
        if job is None:
            return
        fields = {"requestId": job.request_id, "attempt": job.attempt, "ms": round(seconds * 1000), "model": job.model}
        if isinstance(end, Completion) and job.state is State.COMPLETED:
            log.info("job completed", extra={**fields, "usage": end.usage, "stopReason": end.stop_reason})
        elif isinstance(end, Completion):
            log.info(f"job {job.state.value}", extra={**fields, "errorType": ErrorType.CHECKS.value})
        else:
            log.info(f"job {job.state.value}", extra={**fields, "errorType": end.type.value, "reason": end.reason})
