"""`ports.BatchApi` over Message Batches: builds requests and reads answers exactly as live calls do."""

from __future__ import annotations

import io
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

from ..core.jobs.failure import Completion, ErrorType, Failure, Remedy, relay_fault, worker_stopped
from ..core.money.prices import PriceList
from ..errors import InvalidRequest
from ..ports import BatchRequest, BatchStatus, CallRequest, ResultsUnavailable
from . import caching, stream_failures
from .accumulator import MalformedStream
from .batch_lines import OVERSIZED, UNREADABLE, parse_result, split_lines
from .call_session import CallSession
from .classify import classify
from .client import AnthropicClient, ConnectionBroken, StatusError
from .deadlines import CallDeadlines, CallTimeouts, DeadlineThread
from .files import FilesTooLarge
from .max_cost import affordable, cost_failure
from .request import Plan

log = logging.getLogger(__name__)

_PATH = "/v1/messages/batches"
_PAGE = 100
#: Time limits of a short API request, of sending a batch, and of reading its results, in seconds.
_SHORT = CallTimeouts(call_timeout=60.0, first_byte=45.0, idle=30.0)
_UPLOAD = CallTimeouts(call_timeout=600.0, first_byte=180.0, idle=60.0)
_RESULTS = CallTimeouts(call_timeout=1200.0, first_byte=120.0, idle=120.0)
_STOPPED = worker_stopped(reason="stopped")
#: Fields that a batch does not accept: it is never streamed, and has no faster tier.
_LEFT_OUT = ("stream", "speed")


class AnthropicBatches:
    """
    Message Batches through Anthropic's API.

    `plan` builds the body of a live call, from which `prepare` drops the fields that a batch does not accept.
    `response_plan` is the part of a plan that is needed to read an answer, which may come a day and a restart later.

    A failed request is a `Failure`, `sent` and `ambiguous` as for a live call: only a 4xx response, or a throttled
    request, proves that no batch was created.
    """

    def __init__(
        self,
        upstream: AnthropicClient,
        *,
        plan: Callable[[CallRequest], Plan],
        response_plan: Callable[[CallRequest], Plan],
        clock: Callable[[], float] = time.monotonic,
        prices: PriceList,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._prices = prices
        self._upstream, self._plan, self._response_plan = upstream, plan, response_plan
        self._clock, self._wall = clock, wall
        self._watchdog = DeadlineThread(every=_SHORT.check_interval)
        self._closed = False

    def close(self) -> None:
        """Abort the running requests and stop the watchdog."""
        self._closed = True
        self._watchdog.close()

    def prepare(self, custom_id: str, prompt: CallRequest) -> BatchRequest | Failure:
        """Build the request of one job for a batch."""
        if (failure := cost_failure(prompt, self._prices)) is not None:
            return failure
        try:
            plan = self._plan(prompt)
            params = {key: value for key, value in plan.body.items() if key not in _LEFT_OUT}
            params["max_tokens"] = affordable(prompt, params["max_tokens"], self._prices)
            body = _encode({"custom_id": custom_id, "params": params})
        except FilesTooLarge as exc:
            return exc.failure
        except (InvalidRequest, TypeError, ValueError) as exc:
            return replace(_invalid_request(exc), sent=False)
        except Exception:
            # The port never raises here: any error becomes a Failure.
            log.exception("batch request failed with an internal error", extra={"job_id": prompt.job.id})
            return replace(_failure("the relay failed to build the request", "fault"), sent=False)

        return BatchRequest(custom_id=custom_id, body=body, betas=plan.betas, begins=caching.shareable_prefixes(params))

    def create(self, requests: Sequence[BatchRequest], *, sending: Callable[[], None]) -> BatchStatus | Failure:
        """Create a batch. `sending` is called just before the first byte goes out; an error there prevents that."""
        betas = requests[0].betas if requests else ()
        deadlines = self._deadlines(_UPLOAD, sending)
        result = self._request_status("POST", _PATH, deadlines=deadlines, content=_body(requests), betas=betas)
        if not isinstance(result, Failure) or not deadlines.sent:
            return result

        status = deadlines.status
        rejected = result.remedy is Remedy.THROTTLE or (status is not None and 400 <= status < 500)
        return replace(result, sent=True, ambiguous=not rejected)

    def status(self, upstream_id: str) -> BatchStatus | Failure:
        """Fetch the status of a batch."""
        return self._request_status("GET", f"{_PATH}/{quote(upstream_id, safe='')}", deadlines=self._deadlines(_SHORT))

    def cancel(self, upstream_id: str) -> BatchStatus | Failure:
        """Cancel a batch. Requests that Claude has begun are still answered."""
        path = f"{_PATH}/{quote(upstream_id, safe='')}/cancel"

        return self._request_status("POST", path, deadlines=self._deadlines(_SHORT), content=b"{}")

    def recent(self, *, since: float) -> Sequence[BatchStatus] | Failure:
        """All batches created since then, newest first."""
        recent: list[BatchStatus] = []
        cursor = ""
        while True:
            page = self._json("GET", f"{_PATH}?limit={_PAGE}{cursor}", deadlines=self._deadlines(_SHORT))
            if isinstance(page, Failure):
                return page
            try:
                batches = [_parse_status(entry) for entry in page["data"]]
                more = bool(page.get("has_more")) and bool(batches)
            except (KeyError, TypeError, AttributeError, ValueError):
                return _not_anthropic()
            recent += [batch for batch in batches if batch.created_at >= since]
            if not more or batches[-1].created_at < since:
                return recent
            cursor = f"&after_id={quote(batches[-1].id, safe='')}"

    def results(self, upstream_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Stream the results as (custom_id, result), in any order; raises `ResultsUnavailable`."""
        # Not the URL in `results_url`: the key is sent only to the host that the operator has configured.
        path = f"{_PATH}/{quote(upstream_id, safe='')}/results"
        deadlines = self._deadlines(_RESULTS)
        foreign = 0
        try:
            with self._watchdog.watch(deadlines):
                for line in split_lines(self._upstream.chunks("GET", path, deadlines=deadlines)):
                    if (parsed := parse_result(line)) is not None:
                        yield parsed
                    else:
                        foreign += 1
            if foreign:  # after the others were read
                raise MalformedStream(f"{foreign} lines of the results belong to no request")
        except StatusError as exc:
            raise ResultsUnavailable(self._classified(exc, deadlines)) from exc
        except (ConnectionBroken, MalformedStream) as exc:
            failure = deadlines.verdict or stream_failures.connection_lost(exc, deadlines, open_=False)
            raise ResultsUnavailable(failure) from exc

    def outcome(self, result: Mapping[str, Any], prompt: CallRequest) -> Completion | Failure:
        """Evaluate one result by the rules of a live answer, at half its price. Never raises."""
        try:
            return self._outcome(result, prompt)
        except Exception:
            # An exception would keep the other results from being read.
            log.exception("batch result failed with an internal error", extra={"job_id": prompt.job.id})
            return relay_fault("process the answer")

    def _outcome(self, result: Mapping[str, Any], prompt: CallRequest) -> Completion | Failure:
        kind = result.get("type")
        if kind == "succeeded":
            return self._answer(result, prompt)
        if kind == "expired":
            message = "the batch expired before Claude reached this request"
            return Failure(
                type=ErrorType.TIMEOUT, message=message, remedy=Remedy.RETRY, cost_usd=0.0, reason="batch_expired"
            )
        if kind == "canceled":
            message = "the batch was canceled before Claude reached this request"
            return Failure(
                type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, cost_usd=0.0, reason="batch_canceled"
            )
        if kind == "errored":
            return self._errored(result, prompt)

        if kind == OVERSIZED:
            return stream_failures.too_large()
        if kind == UNREADABLE:
            return replace(_failure("a result of the batch is not valid JSON", "batch_result"), ambiguous=True)

        return _failure(f"Anthropic sent a result of an unknown type ({str(kind)[:40]})", "batch_result")

    def _answer(self, result: Mapping[str, Any], prompt: CallRequest) -> Completion | Failure:
        deadlines = self._deadlines(_RESULTS)
        deadlines.sent = deadlines.written = True
        session = CallSession(
            self._upstream,
            deadlines,
            model=prompt.job.model,
            prices=self._prices,
            max_cost_usd=None,
            spent=0.0,
            progress=lambda partial: None,
            on_limits=lambda model, limits: None,
            checkpoint=0.0,
            clock=self._clock,
            wall=self._wall,
            batch=True,
        )
        try:
            done = session.read(self._response_plan(prompt), result["message"])
        except (MalformedStream, KeyError) as exc:
            return replace(_failure(f"a result of the batch is malformed: {exc}", "batch_result"), ambiguous=True)
        except InvalidRequest as exc:  # a fault of the schema that shows only in validation
            return session.complete_failure(_invalid_request(exc))
        except Exception:
            log.exception("batch result failed with an internal error", extra={"job_id": prompt.job.id})
            return session.try_complete_failure(relay_fault("process the answer"))
        if isinstance(done, Failure):
            return done
        if done.stop_reason == "pause_turn":
            message = "Claude paused, which a batch cannot continue: the job is called live"
            return session.complete_failure(
                Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, reason="pause_turn")
            )
        full = self._prices.cost(done.model, done.usage)
        saved = None if full is None or done.cost_usd is None else full - done.cost_usd

        return replace(done, saved_usd=saved)

    def _errored(self, result: Mapping[str, Any], prompt: CallRequest) -> Failure:
        details = self._upstream.error_details(result.get("error"))
        kind = details.get("kind") or "error"
        failure = classify(status=None, now=self._wall(), **details)
        failure = replace(
            failure, cost_usd=0.0, reason=details.get("code") or f"batch_{kind}"
        )  # only answers are billed
        if failure.type is ErrorType.INVALID_REQUEST and self._response_plan(prompt).native:
            # The schema may be the cause. A live call finds out, and then puts it into the prompt.
            return replace(failure, remedy=Remedy.RETRY, reason="schema_refused")
        if failure.type is ErrorType.TOO_LARGE:
            # A live call uploads the files of a long conversation first, and refers to them by id.
            return replace(failure, remedy=Remedy.RETRY, reason="item_too_large")

        return failure

    def _request_status(
        self,
        method: str,
        path: str,
        *,
        deadlines: CallDeadlines,
        content: bytes | None = None,
        betas: Sequence[str] = (),
    ) -> BatchStatus | Failure:
        body = self._json(method, path, deadlines=deadlines, content=content, betas=betas)
        if isinstance(body, Failure):
            return body
        try:
            return _parse_status(body)
        except (KeyError, TypeError, AttributeError, ValueError):
            return _not_anthropic()

    def _json(
        self,
        method: str,
        path: str,
        *,
        deadlines: CallDeadlines,
        content: bytes | None = None,
        betas: Sequence[str] = (),
    ) -> dict[str, Any] | Failure:
        try:
            with self._watchdog.watch(deadlines):
                chunks = self._upstream.chunks(method, path, deadlines=deadlines, content=content, betas=betas)
                body = json.loads(b"".join(chunks))
        except StatusError as exc:
            return self._classified(exc, deadlines)
        except ConnectionBroken as exc:
            failure = deadlines.verdict or stream_failures.connection_lost(exc, deadlines, open_=False)
            return replace(failure, sent=deadlines.sent)
        except (ValueError, RecursionError):
            return _not_anthropic()
        except Exception:
            # The port never raises here: any error becomes a Failure.
            log.exception("batch API request failed with an internal error")
            return _failure("the relay failed to process Anthropic's response", "fault")

        return body if isinstance(body, dict) else _not_anthropic()

    def _classified(self, exc: StatusError, deadlines: CallDeadlines) -> Failure:
        return classify(status=exc.status, headers=deadlines.headers, now=self._wall(), **exc.error)

    def _deadlines(self, limits: CallTimeouts, sending: Callable[[], None] = lambda: None) -> CallDeadlines:
        return CallDeadlines(
            stop=lambda: _STOPPED if self._closed else None,
            sending=sending,
            on_followup=lambda outcome: None,
            limits=limits,
            clock=self._clock,
        )


def _body(requests: Sequence[BatchRequest]) -> bytes:
    """Body of a batch, written item by item, because several copies of it would take too much memory."""
    body = io.BytesIO()
    body.write(b'{"requests":[')
    for number, item in enumerate(_with_breakpoints(requests)):
        body.write(b"," if number else b"")
        body.write(item)
    body.write(b"]}")

    return body.getvalue()


def _with_breakpoints(requests: Sequence[BatchRequest]) -> Iterator[bytes]:
    """The bytes of each request, with a cache breakpoint after each prefix that many of them share."""
    common = caching.shared_prefixes([parcel.begins for parcel in requests])
    for parcel in requests:
        places = {place: prefix for place, prefix in parcel.begins.items() if prefix in common}
        if places:
            item = json.loads(parcel.body)
            yield _encode({**item, "params": caching.with_breakpoints(item["params"], places)})
        else:
            yield parcel.body


def _parse_status(body: Mapping[str, Any]) -> BatchStatus:
    counts = body.get("request_counts") or {}

    return BatchStatus(
        id=_text(body["id"]),
        ended=body["processing_status"] == "ended",
        count=sum(count for count in counts.values() if isinstance(count, int)),
        created_at=_timestamp(body["created_at"]),
        expires_at=_timestamp(body["expires_at"]) if body.get("expires_at") else None,
        erased=body.get("archived_at") is not None,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("an id was expected")

    return value


def _timestamp(value: Any) -> float:
    return datetime.fromisoformat(_text(value).replace("Z", "+00:00")).timestamp()


def _encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _not_anthropic() -> Failure:
    return _failure(
        "the server at ANTHROPIC_BASE_URL answered a batch request, but not as Anthropic does", "not_a_batch"
    )


def _invalid_request(exc: Exception) -> Failure:
    return Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, reason="unsendable")


def _failure(message: str, reason: str) -> Failure:
    return Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, reason=reason)
