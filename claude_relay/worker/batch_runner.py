"""Message batches, in threads of their own: plan, send, poll, and record the results one by one."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..core.batches import EXPIRED_AFTER, MOST_BYTES, RESULTS_PATIENCE, SKEW, Batch, BatchState
from ..core.jobs.failure import Completion, ErrorType, Failure, Remedy, relay_fault, worker_stopped
from ..core.jobs.job import Job
from ..errors import Conflict, NotFound, StoreUnavailable
from ..ports import BatchApi, BatchRequest, BatchStatus, CallRequest, NoTracer, ResultsUnavailable, Tracer
from ..services import BatchEntry, Relay
from . import faults
from .call_spans import trace_batched_call
from .files import Files
from .outage import STORE
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: Batches processed at once. Each may need as much memory as Anthropic's largest request body.
THREADS = 4
_POLL = 1.0
#: Seconds between a fault in a step of a batch and its next step.
PAUSE_AFTER_FAULT = 1.0
_STOPPED = worker_stopped(sent=False)


class BatchRunner:
    """
    Processes batches. All its state is in the store: it may stop at any point, and another worker continues.

    `news` is called after each final result, as a delivery may be due. `most`: bytes of requests in one batch.
    """

    def __init__(
        self,
        relay: Relay,
        api: BatchApi,
        files: Files,
        *,
        worker: str,
        news: Callable[[], None] = lambda: None,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.time,
        most: int = MOST_BYTES,
    ) -> None:
        self._relay, self._api, self._files, self._worker = relay, api, files, worker
        self._news, self._clock, self._most = news, clock, most
        self._tracer = tracer or NoTracer()
        self._settle_time = relay.policy.batch_settle
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="batch")
        self._lock = threading.Condition()
        self._busy = 0
        self._stopping = threading.Event()
        self._foreign_batches: set[str] = set()  # upstream ids of batches that are not this store's
        self.loop = PeriodicThread("batches", self._round)

    def start(self) -> None:
        """Start the thread; due batches of stopped workers come first."""
        self.loop.start()

    def stop(self, timeout: float) -> None:
        """Start no other step and wait up to `timeout` seconds for running ones; any worker can repeat a step."""
        self._stopping.set()
        self.loop.stop()
        with self._lock:
            self._lock.wait_for(lambda: self._busy == 0, timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def turn(self) -> bool:
        """Process one step of one due batch in this thread; whether one was due."""
        self._relay.batches.promote()
        self._relay.batches.plan(self._worker)
        batch = self._relay.batches.claim_due(self._worker)
        if batch is not None:
            self._run_step(batch)

        return batch is not None

    def _promote_and_plan(self) -> None:
        for job in self._relay.batches.promote():
            log.info("job moved from batch to live", extra={"requestId": job.request_id, "reason": "needBy"})
        while self._relay.batches.plan(self._worker) is not None:
            pass

    def _round(self) -> float:
        with _logged_faults():  # batches that were sent go on
            self._promote_and_plan()
        while (batch := self._claim()) is not None:
            self._pool.submit(self._process, batch)
        due = self._relay.batches.next_at()

        return _POLL if due is None else min(_POLL, max(0.02, due - self._clock()))

    def _claim(self) -> Batch | None:
        with self._lock:
            if self._busy >= THREADS or self._stopping.is_set():
                return None
            self._busy += 1
        batch = None
        try:
            batch = self._relay.batches.claim_due(self._worker)
        finally:
            if batch is None:
                self._end_step()

        return batch

    def _process(self, batch: Batch) -> None:
        try:
            self._run_step(batch)
        finally:
            self._end_step()
            self.loop.wake()

    def _end_step(self) -> None:
        with self._lock:
            self._busy -= 1
            self._lock.notify_all()

    def _run_step(self, batch: Batch) -> None:
        """Run the next step of a batch and survive its faults; afterwards the batch is released in any case."""
        step = {
            BatchState.PLANNED: self._send,
            BatchState.CREATING: self._search,
            BatchState.CREATED: self._poll,
            BatchState.ENDED: self._read,
        }[batch.state]
        try:
            step(batch)
            return
        except Conflict as exc:
            log.info("batch taken over", extra={"batch": batch.id, "error": str(exc)})
            return
        except StoreUnavailable as exc:
            STORE.failed(exc, batch=batch.id)
        except Exception:
            log.exception("a step of a batch failed; going on", extra={"batch": batch.id})
        while not self._stopping.wait(PAUSE_AFTER_FAULT):
            try:
                self._relay.batches.release(batch, self._worker)
                return
            except Exception as exc:
                log.warning("a batch cannot be released yet", extra={"batch": batch.id, "error": type(exc).__name__})

    def _send(self, batch: Batch) -> None:
        batches = self._relay.batches
        requests, rest = self._prepare(batches.contents(batch))
        if self._stopping.is_set():
            batches.release(batch, self._worker)
            return
        if not requests:
            batches.mark_empty(batch)
            return
        groups = _group_by_betas(requests)
        custom_ids = [[request.custom_id for request in group] for group in groups]
        if len(groups) > 1 or rest:
            batch = batches.split(batch, [*custom_ids, rest])
            requests = groups[0]
        sent = batch

        def sending() -> None:
            nonlocal sent
            sent = batches.sending(batch, custom_ids[0])

        result = self._api.create(requests, sending=sending)
        fields = {"batch": batch.id, "jobs": len(requests)}
        if isinstance(result, BatchStatus):
            batches.mark_created(sent, result)
            log.info("batch sent", extra={**fields, "upstreamId": result.id})
            return
        fields |= {"errorType": result.type.value, "reason": result.reason, "error": result.message}
        if result.reason == "not_recorded":
            batches.release(batch, self._worker)
        elif result.reason == "not_recordable":
            batches.reschedule_poll(batch, detail=result.message)
        elif result.sent and result.ambiguous:
            log.warning("batch create not answered; searching for it upstream", extra=fields)
            batches.mark_create_unknown(sent, result)
        else:
            log.warning("batch refused", extra=fields)
            batches.mark_create_refused(sent, result)

    def _prepare(self, contents: Sequence[BatchEntry]) -> tuple[list[BatchRequest], list[str]]:
        """
        Complete requests, as many as fit into a batch, and the custom ids of the rest.

        A request grows here: files named by URL and the earlier turns of its conversation are put in.
        """
        requests: list[BatchRequest] = []
        size = 0
        for number, entry in enumerate(contents):
            request: BatchRequest | Failure = relay_fault("build the request", remedy=Remedy.RETRY, sent=False)
            with _logged_faults():
                request = self._prepare_entry(entry)
            if isinstance(request, Failure):
                if self._stopping.is_set():
                    return [], []
                if not self._record_outcome(entry, request):
                    raise RuntimeError("a job whose request cannot be built cannot be recorded either")
                continue
            size += len(request.body)
            if requests and size > self._most:
                return requests, [left_over.item.custom_id for left_over in contents[number:]]
            requests.append(request)

        return requests, []

    def _prepare_entry(self, entry: BatchEntry) -> BatchRequest | Failure:
        def stop() -> Failure | None:
            return _STOPPED if self._stopping.is_set() else None

        if entry.damage is not None:
            return Failure(type=ErrorType.INTERNAL, message=entry.damage, remedy=Remedy.FAIL, sent=False)
        with self._files.with_files(entry.as_claimed, stop) as request:
            if isinstance(request, Failure):
                return request
            try:
                history, repair = self._relay.batches.history(entry), self._relay.batches.repair(entry)
            except NotFound as exc:
                return Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, sent=False)
            prompt = CallRequest(
                job=entry.job,
                request=request,
                history=history,
                repair=repair,
                max_cost_usd=entry.request.max_cost_usd if entry.request else None,
            )
            return self._api.prepare(entry.item.custom_id, prompt)

    def _search(self, batch: Batch) -> None:
        """
        Search upstream for a batch whose creation was not answered.

        Candidates have the same number of requests and were created around that time; the match is the one whose
        results have this batch's custom ids. A candidate shows no ids before it has ended, so that is waited for.
        """
        batches, sent_at = self._relay.batches, batch.sent_at or batch.planned_at
        recent = self._api.recent(since=batch.planned_at - SKEW)
        if isinstance(recent, Failure):
            batches.reschedule_poll(batch, detail=f"search: {recent.message}")
            return
        recent = [status for status in recent if status.count == batch.count and status.created_at <= sent_at + SKEW]
        excluded = batches.known_upstream({status.id for status in recent}) | self._foreign_batches
        candidates = [status for status in recent if status.id not in excluded]
        for status in [status for status in candidates if status.ended]:
            try:
                custom_id = next(iter(self._api.results(status.id)), ("", {}))[0]
            except ResultsUnavailable as exc:
                log.info(
                    "results of a candidate batch are unavailable", extra={"upstreamId": status.id, "error": str(exc)}
                )
                continue
            owner = batches.batch_of(custom_id)
            if owner == batch.id:
                log.info("batch found upstream", extra={"batch": batch.id, "upstreamId": status.id})
                batches.mark_created(batch, status)
                return
            candidates.remove(status)
            if owner is None:  # else it is another of this store's batches, which is searched for too
                self._foreign_batches.add(status.id)
        if candidates or self._clock() - sent_at < self._settle_time:
            batches.reschedule_poll(batch)
            return
        log.warning("batch was not created: its jobs go into another", extra={"batch": batch.id, "jobs": batch.count})
        batches.mark_not_created(batch)

    def _poll(self, batch: Batch) -> None:
        batches, upstream_id = self._relay.batches, batch.upstream_id or ""
        status = self._api.status(upstream_id)
        if isinstance(status, Failure):
            self._record_miss(batch, status, missing=status.reason == "http_404")
            return
        if status.ended:
            self._read(batches.mark_ended(batch))
            return
        late = batch.give_up_at is not None and self._clock() >= batch.give_up_at
        if batch.cancelled_at is None and (late or not batches.awaited(batch)):
            cancel = self._api.cancel(upstream_id)
            log.info("batch given up", extra={"batch": batch.id, "upstreamId": upstream_id})
            if not isinstance(cancel, Failure):
                batch = batches.mark_cancel_requested(batch)
        batches.reschedule_poll(batch)

    def _read(self, batch: Batch) -> None:
        batches = self._relay.batches
        try:
            for custom_id, result in self._api.results(batch.upstream_id or ""):
                if self._stopping.is_set():
                    batches.release(batch, self._worker)
                    return
                self._record_item(batch, custom_id, result)
        except ResultsUnavailable as exc:
            status = self._api.status(batch.upstream_id or "")
            erased = isinstance(status, BatchStatus) and status.erased
            missing = isinstance(status, Failure) and status.reason == "http_404"
            late = self._clock() - (batch.ended_at or 0.0) >= RESULTS_PATIENCE
            self._record_miss(batch, exc.failure, missing=missing, at_once=erased or late)
            return
        if batches.finish_if_complete(batch):
            log.info("batch settled", extra={"batch": batch.id, "upstreamId": batch.upstream_id})
            return
        message = "Anthropic's results of the batch leave requests out"
        incomplete = Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, reason="batch_results")
        self._record_miss(batch, incomplete, missing=True)

    def _record_item(self, batch: Batch, custom_id: str, result: Mapping[str, Any]) -> None:
        """Record one result; a fault in it is the outcome of its job alone."""
        for _ in range(2):  # the fault may be a passing one
            with _logged_faults():
                if (entry := self._relay.batches.content(batch, custom_id)) is None:
                    return
                end = self._api.outcome(result, _call_request(entry))
                break
        else:
            with _logged_faults():
                self._relay.batches.record_fault(custom_id, relay_fault("read the answer"))
            return
        canceled = result.get("type") == "canceled"  # before Claude came to this item
        if self._record_outcome(entry, end, canceled=canceled) and entry.awaited and not canceled:
            trace_batched_call(self._tracer, entry.as_claimed, end, batch, now=self._clock())

    def _record_outcome(self, entry: BatchEntry, end: Completion | Failure, *, canceled: bool = False) -> bool:
        """Record an outcome, or in its place that it cannot be stored; whether one of them was."""
        for substitute in faults.substitutes(end):
            with _logged_faults():
                job = self._relay.batches.record_result(entry, substitute, canceled=canceled)
                self._log_result(entry, job, substitute)
                return True

        return False

    def _record_miss(self, batch: Batch, failure: Failure, *, missing: bool, at_once: bool = False) -> None:
        """
        Poll again later, as the batch or some of its results are unavailable.

        Its results count as lost at once with `at_once`, else after EXPIRED_AFTER misses in which it was `missing`.
        """
        fields = {
            "batch": batch.id,
            "upstreamId": batch.upstream_id,
            "reason": failure.reason,
            "error": failure.message,
        }
        if at_once or (missing and batch.misses + 1 >= EXPIRED_AFTER):
            log.error("batch results lost: its jobs are retried", extra=fields)
            self._relay.batches.mark_results_lost(batch, failure)
            return
        log.warning("batch unavailable", extra=fields)
        self._relay.batches.reschedule_poll(batch, missed=missing, detail=failure.message)

    def _log_result(self, entry: BatchEntry, job: Job | None, end: Completion | Failure) -> None:
        """Log the end of a job's part in a batch; `job` is None where the result changed nothing."""
        if job is None:
            return
        fields = {"requestId": job.request_id, "attempt": job.attempt, "model": job.model, "batch": entry.item.batch_id}
        if isinstance(end, Completion):
            log.info(f"job {job.state.value}", extra={**fields, "usage": end.usage, "stopReason": end.stop_reason})
        else:
            log.info(f"job {job.state.value}", extra={**fields, "errorType": end.type.value, "reason": end.reason})
        if job.state.final:
            self._news()


@contextlib.contextmanager
def _logged_faults() -> Iterator[None]:
    """Log an exception that concerns one job, so that the others go on; a store that is unavailable concerns all."""
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("a job of a batch met a fault of the relay; the others go on")


def _call_request(entry: BatchEntry) -> CallRequest:
    return CallRequest(job=entry.job, request=entry.request.request if entry.request else {})


def _group_by_betas(requests: Sequence[BatchRequest]) -> list[list[BatchRequest]]:
    """Groups that may share a batch: betas apply to a batch as a whole."""
    groups: dict[tuple[str, ...], list[BatchRequest]] = {}
    for request in requests:
        groups.setdefault(tuple(sorted(request.betas)), []).append(request)

    return list(groups.values())
