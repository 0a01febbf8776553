"""Batches, in threads of their own: gather jobs, send them off, look, and take the results in one by one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ..core.batches import EXPIRED_AFTER, MOST_BYTES, RESULTS_PATIENCE, SKEW, Batch, BatchState
from ..core.jobs.failure import Completion, ErrorType, Failure, Remedy
from ..core.jobs.job import Job
from ..errors import Conflict, NotFound, StoreUnavailable
from ..ports import BatchApi, BatchRequest, BatchStatus, CallRequest, ResultsUnavailable
from ..services import BatchEntry, Relay
from .files import Files
from .periodic import PeriodicThread

log = logging.getLogger(__name__)

#: Batches in hand at once. Each may hold as many bytes as Anthropic takes in one.
THREADS = 4
_LOOK = 1.0
_STOPPED = Failure(type=ErrorType.INTERRUPTED, message="the worker was stopped", remedy=Remedy.RETRY, sent=False)


class BatchRunner:
    """
    Sees batches through. All that it knows is in the store, so that it may end at any point and another goes on.

    `news` is called when a result has come in: there may be something to deliver. `most`: bytes of requests in a batch.
    """

    def __init__(
        self,
        relay: Relay,
        api: BatchApi,
        files: Files,
        *,
        worker: str,
        news: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        most: int = MOST_BYTES,
    ) -> None:
        self._relay, self._api, self._files, self._worker = relay, api, files, worker
        self._news, self._clock, self._most = news, clock, most
        self._settle_time = relay.policy.batch_settle
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="batch")
        self._lock = threading.Condition()
        self._busy = 0
        self._stopping = threading.Event()
        self._strangers: set[str] = set()
        self.loop = PeriodicThread("batches", self._round)

    def start(self) -> None:
        """Begin with what another worker has left behind."""
        self.loop.start()

    def stop(self, timeout: float) -> None:
        """Begin nothing more. What is in hand may end, for that many seconds; what does not is found again."""
        self._stopping.set()
        self.loop.stop()
        with self._lock:
            self._lock.wait_for(lambda: self._busy == 0, timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def turn(self) -> bool:
        """One batch that is due, seen one step on, in this thread; whether there was one."""
        self._relay.batches.promote()
        self._relay.batches.plan(self._worker)
        batch = self._relay.batches.claim_due(self._worker)
        if batch is not None:
            self._safely(batch)

        return batch is not None

    def _round(self) -> float:
        for job in self._relay.batches.promote():
            log.info("job goes live", extra={"requestId": job.request_id, "reason": "needBy"})
        while self._relay.batches.plan(self._worker) is not None:
            pass
        while (batch := self._take()) is not None:
            self._pool.submit(self._in_hand, batch)
        due = self._relay.batches.next_at()

        return _LOOK if due is None else min(_LOOK, max(0.02, due - self._clock()))

    def _take(self) -> Batch | None:
        with self._lock:
            if self._busy >= THREADS or self._stopping.is_set():
                return None
            self._busy += 1
        batch = None
        try:
            batch = self._relay.batches.claim_due(self._worker)
        finally:
            if batch is None:
                self._let_go()

        return batch

    def _in_hand(self, batch: Batch) -> None:
        try:
            self._safely(batch)
        finally:
            self._let_go()
            self.loop.wake()

    def _let_go(self) -> None:
        with self._lock:
            self._busy -= 1
            self._lock.notify_all()

    def _safely(self, batch: Batch) -> None:
        """A step, after which nobody has the batch in hand, whatever happened."""
        step = {
            BatchState.PLANNED: self._send,
            BatchState.CREATING: self._search,
            BatchState.CREATED: self._look,
            BatchState.ENDED: self._read,
        }[batch.state]
        try:
            step(batch)
            return
        except Conflict as exc:
            log.info("batch taken over", extra={"batch": batch.id, "error": str(exc)})
            return
        except StoreUnavailable as exc:
            log.warning("a batch waits for the store", extra={"batch": batch.id, "error": str(exc)})
        except Exception:
            log.exception("a step of a batch failed; going on", extra={"batch": batch.id})
        while not self._stopping.wait(1.0):
            try:
                self._relay.batches.release(batch, self._worker)
                return
            except StoreUnavailable:
                continue

    def _send(self, batch: Batch) -> None:
        batches = self._relay.batches
        parcels, rest = self._packed(batches.contents(batch))
        if self._stopping.is_set():
            batches.release(batch, self._worker)
            return
        if not parcels:
            batches.mark_empty(batch)
            return
        groups = _together(parcels)
        names = [[parcel.custom_id for parcel in group] for group in groups]
        if len(groups) > 1 or rest:
            batch = batches.split(batch, [*names, rest])
            parcels = groups[0]
        sent = batch

        def sending() -> None:
            nonlocal sent
            sent = batches.sending(batch, names[0])

        made = self._api.create(parcels, sending=sending)
        told = {"batch": batch.id, "jobs": len(parcels)}
        if isinstance(made, BatchStatus):
            batches.mark_created(sent, made)
            log.info("batch sent", extra={**told, "upstreamId": made.id})
            return
        told |= {"errorType": made.type.value, "reason": made.reason, "error": made.message}
        if made.reason == "not_recorded":
            batches.release(batch, self._worker)
        elif made.sent and made.ambiguous:
            log.warning("batch not answered: it is looked for", extra=told)
            batches.mark_create_unknown(sent, made)
        else:
            log.warning("batch refused", extra=told)
            batches.mark_create_refused(sent, made)

    def _packed(self, contents: Sequence[BatchEntry]) -> tuple[list[BatchRequest], list[str]]:
        """
        Requests made whole, as many as fit into a batch, and the names of the rest.

        What is stored is less than what is sent: files by address, and what was said before, come in here.
        """
        parcels: list[BatchRequest] = []
        size = 0
        for number, one in enumerate(contents):
            parcel = self._parcel(one)
            if isinstance(parcel, Failure):
                if self._stopping.is_set():
                    return [], []
                self._took_in(one, self._relay.batches.record_result(one, parcel), parcel)
                continue
            size += len(parcel.body)
            if parcels and size > self._most:
                return parcels, [each.item.custom_id for each in contents[number:]]
            parcels.append(parcel)

        return parcels, []

    def _parcel(self, one: BatchEntry) -> BatchRequest | Failure:
        def stop() -> Failure | None:
            return _STOPPED if self._stopping.is_set() else None

        with self._files.whole(one.as_claimed, stop) as request:
            if isinstance(request, Failure):
                return request
            try:
                before, repair = self._relay.batches.history(one), self._relay.batches.repair(one)
            except NotFound as exc:
                return Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, sent=False)
            prompt = CallRequest(
                job=one.job,
                request=request,
                history=before,
                repair=repair,
                max_cost_usd=one.request.max_cost_usd if one.request else None,
            )
            return self._api.prepare(one.item.custom_id, prompt)

    def _search(self, batch: Batch) -> None:
        """
        It was sent, and nobody knows whether it arrived: among those made around that time, of that many requests, the
        one whose results bear its names. While one of them is at work its names cannot be seen, so it is waited for.
        """
        batches, sent_at = self._relay.batches, batch.sent_at or batch.planned_at
        recent = self._api.recent(since=batch.planned_at - SKEW)
        if isinstance(recent, Failure):
            batches.reschedule_poll(batch, detail=f"looked for: {recent.message}")
            return
        recent = [one for one in recent if one.count == batch.count and one.created_at <= sent_at + SKEW]
        known = batches.known_upstream({one.id for one in recent}) | self._strangers
        maybe = [one for one in recent if one.id not in known]
        for one in [one for one in maybe if one.ended]:
            try:
                name = next(iter(self._api.results(one.id)), ("", {}))[0]
            except ResultsUnavailable as exc:
                log.info(
                    "results of a batch that may be ours are away", extra={"upstreamId": one.id, "error": str(exc)}
                )
                continue
            belongs_to = batches.batch_of(name)
            if belongs_to == batch.id:
                log.info("batch found again", extra={"batch": batch.id, "upstreamId": one.id})
                batches.mark_created(batch, one)
                return
            maybe.remove(one)
            if belongs_to is None:  # else it is another one that is looked for
                self._strangers.add(one.id)
        if maybe or self._clock() - sent_at < self._settle_time:
            batches.reschedule_poll(batch)
            return
        log.warning("batch never arrived: its jobs go into another", extra={"batch": batch.id, "jobs": batch.count})
        batches.mark_not_created(batch)

    def _look(self, batch: Batch) -> None:
        batches, upstream_id = self._relay.batches, batch.upstream_id or ""
        seen = self._api.status(upstream_id)
        if isinstance(seen, Failure):
            self._missed(batch, seen, gone=seen.reason == "http_404")
            return
        if seen.ended:
            self._read(batches.mark_ended(batch))
            return
        late = batch.give_up_at is not None and self._clock() >= batch.give_up_at
        if batch.cancelled_at is None and (late or not batches.awaited(batch)):
            asked = self._api.cancel(upstream_id)
            log.info("batch given up", extra={"batch": batch.id, "upstreamId": upstream_id})
            if not isinstance(asked, Failure):
                batch = batches.mark_cancel_requested(batch)
        batches.reschedule_poll(batch)

    def _read(self, batch: Batch) -> None:
        batches = self._relay.batches
        try:
            for name, result in self._api.results(batch.upstream_id or ""):
                if self._stopping.is_set():
                    batches.release(batch, self._worker)
                    return
                if (one := batches.content(batch, name)) is None:
                    continue
                end = self._api.outcome(result, _prompt(one))
                self._took_in(one, batches.record_result(one, end, canceled=result.get("type") == "canceled"), end)
        except ResultsUnavailable as exc:
            seen = self._api.status(batch.upstream_id or "")
            erased = isinstance(seen, BatchStatus) and seen.erased
            gone = isinstance(seen, Failure) and seen.reason == "http_404"
            late = self._clock() - (batch.ended_at or 0.0) >= RESULTS_PATIENCE
            self._missed(batch, exc.failure, gone=gone, at_once=erased or late)
            return
        if batches.finish_if_complete(batch):
            log.info("batch settled", extra={"batch": batch.id, "upstreamId": batch.upstream_id})
            return
        words = "Anthropic's results of the batch leave requests out"
        left_out = Failure(type=ErrorType.UPSTREAM, message=words, remedy=Remedy.RETRY, reason="batch_results")
        self._missed(batch, left_out, gone=True)

    def _missed(self, batch: Batch, failure: Failure, *, gone: bool, at_once: bool = False) -> None:
        """It, or something of it, was not to be had: again later, and in the end it is believed."""
        told = {"batch": batch.id, "upstreamId": batch.upstream_id, "reason": failure.reason, "error": failure.message}
        if at_once or (gone and batch.misses + 1 >= EXPIRED_AFTER):
            log.error("batch lost: what it held is tried again", extra=told)
            self._relay.batches.mark_results_lost(batch, failure)
            return
        log.warning("batch not to be had now", extra=told)
        self._relay.batches.reschedule_poll(batch, missed=gone, detail=failure.message)

    def _took_in(self, one: BatchEntry, job: Job | None, end: Completion | Failure) -> None:
        if job is None:
            return
        told = {"requestId": job.request_id, "attempt": job.attempt, "model": job.model, "batch": one.item.batch_id}
        if isinstance(end, Completion):
            log.info(f"job {job.state.value}", extra={**told, "usage": end.usage, "stopReason": end.stop_reason})
        else:
            log.info(f"job {job.state.value}", extra={**told, "errorType": end.type.value, "reason": end.reason})
        if job.state.final:
            self._news()


def _prompt(one: BatchEntry) -> CallRequest:
    request = one.request

    return CallRequest(job=one.job, request=request.request if request else {})


def _together(parcels: Sequence[BatchRequest]) -> list[list[BatchRequest]]:
    """In groups that may share a batch: those with the same betas, which hold for the whole of it."""
    groups: dict[tuple[str, ...], list[BatchRequest]] = {}
    for parcel in parcels:
        groups.setdefault(tuple(sorted(parcel.betas)), []).append(parcel)

    return list(groups.values())
