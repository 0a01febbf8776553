"""The `BatchApi` port: Message Batches, through the same client, plan of a call and reading of answers as live ones."""

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

from ..core.jobs.failure import Completion, ErrorType, Failure, Remedy
from ..core.money.prices import PriceList
from ..errors import InvalidRequest
from ..ports import BatchRequest, BatchStatus, CallRequest, ResultsUnavailable
from . import caching, stream_failures
from .accumulator import MalformedStream
from .call_session import CallSession
from .classify import classify
from .client import AnthropicClient, ConnectionBroken, StatusError
from .deadlines import CallDeadlines, CallTimeouts, DeadlineThread
from .files import FilesTooLarge
from .max_cost import affordable, exceeds_limit
from .request import Plan

log = logging.getLogger(__name__)

_PATH = "/v1/messages/batches"
_PAGE = 100
#: One line of results is a whole answer; longer than this it is none.
_LONGEST_LINE = 64 * 1024 * 1024
#: A short question to the API, and a batch's way there, in seconds.
_ASK = CallTimeouts(call_timeout=60.0, first_byte=45.0, idle=30.0)
_SEND = CallTimeouts(call_timeout=600.0, first_byte=180.0, idle=60.0)
_READ = CallTimeouts(call_timeout=1200.0, first_byte=120.0, idle=120.0)
_STOPPED = Failure(type=ErrorType.INTERRUPTED, message="the worker was stopped", remedy=Remedy.RETRY, reason="stopped")
#: Not in a batch: it is never streamed, and no faster for more money.
_LEFT_OUT = ("stream", "speed")


class AnthropicBatches:
    """
    `plan` is how a live call would be asked; `parcel` takes that without what a batch does not know. `reading` is as
    much of a plan as the reading of an answer needs, which may come a day and a restart later.

    What goes wrong with a request is a `Failure`, `sent` and `ambiguous` as for a live call: only an answer of 4xx, or
    one that was throttled, says for certain that nothing was made.
    """

    def __init__(
        self,
        upstream: AnthropicClient,
        *,
        plan: Callable[[CallRequest], Plan],
        reading: Callable[[CallRequest], Plan],
        clock: Callable[[], float] = time.monotonic,
        prices: PriceList,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._prices = prices
        self._upstream, self._plan, self._reading, self._clock, self._wall = upstream, plan, reading, clock, wall
        self._watchdog = DeadlineThread(every=_ASK.look)
        self._closed = False

    def close(self) -> None:
        """End what is still being asked: nobody waits for it."""
        self._closed = True
        self._watchdog.close()

    def prepare(self, custom_id: str, prompt: CallRequest) -> BatchRequest | Failure:
        """The request as it goes into a batch."""
        if (failure := exceeds_limit(prompt, self._prices)) is not None:
            return failure
        try:
            plan = self._plan(prompt)
            params = {key: value for key, value in plan.body.items() if key not in _LEFT_OUT}
            params["max_tokens"] = affordable(prompt, params["max_tokens"], self._prices)
            body = _encoded({"custom_id": custom_id, "params": params})
        except FilesTooLarge as exc:
            return exc.failure
        except (InvalidRequest, TypeError, ValueError) as exc:
            return replace(_unsendable(exc), sent=False)
        except Exception:
            # The port's promise: whatever goes wrong is a Failure.
            log.exception("a request broke on a fault of the relay's own", extra={"job_id": prompt.job.id})
            return replace(_failure("the relay could not make sense of the request", "fault"), sent=False)

        return BatchRequest(custom_id=custom_id, body=body, betas=plan.betas, begins=caching.shareable(params))

    def create(self, parcels: Sequence[BatchRequest], *, sending: Callable[[], None]) -> BatchStatus | Failure:
        """Have it made. `sending` is called just before the first byte goes out; an error there keeps it in."""
        betas = parcels[0].betas if parcels else ()
        watch = self._watch(_SEND, sending)
        found = self._asked("POST", _PATH, watch=watch, content=_body(parcels), betas=betas)
        if not isinstance(found, Failure) or not watch.sent:
            return found

        turned_away = found.remedy is Remedy.THROTTLE or (watch.status is not None and 400 <= watch.status < 500)
        return replace(found, sent=True, ambiguous=not turned_away)

    def status(self, upstream_id: str) -> BatchStatus | Failure:
        """How far it is."""
        return self._asked("GET", f"{_PATH}/{quote(upstream_id, safe='')}", watch=self._watch(_ASK))

    def cancel(self, upstream_id: str) -> BatchStatus | Failure:
        """Ask for its end. What Claude has begun with is still answered."""
        path = f"{_PATH}/{quote(upstream_id, safe='')}/cancel"

        return self._asked("POST", path, watch=self._watch(_ASK), content=b"{}")

    def recent(self, *, since: float) -> Sequence[BatchStatus] | Failure:
        """All batches that were made since then, newest first."""
        found: list[BatchStatus] = []
        after = ""
        while True:
            page = self._json("GET", f"{_PATH}?limit={_PAGE}{after}", watch=self._watch(_ASK))
            if isinstance(page, Failure):
                return page
            try:
                batches = [_seen(one) for one in page["data"]]
                more = bool(page.get("has_more")) and bool(batches)
            except (KeyError, TypeError, AttributeError, ValueError):
                return _strange()
            found += [one for one in batches if one.created_at >= since]
            if not more or batches[-1].created_at < since:
                return found
            after = f"&after_id={quote(batches[-1].id, safe='')}"

    def results(self, upstream_id: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each result as (custom_id, result), in any order, never all in memory; raises `ResultsAway`."""
        # Not the address in `results_url`: the key goes where the operator has said it may, and nowhere else.
        path = f"{_PATH}/{quote(upstream_id, safe='')}/results"
        watch = self._watch(_READ)
        try:
            with self._watchdog.expired(watch):
                for line in _lines(self._upstream.chunks("GET", path, watch=watch)):
                    yield _result(line)
        except StatusError as exc:
            raise ResultsUnavailable(self._classified(exc, watch)) from exc
        except (ConnectionBroken, MalformedStream) as exc:
            raise ResultsUnavailable(watch.verdict or stream_failures.connection_lost(exc, watch, open_=False)) from exc

    def outcome(self, result: Mapping[str, Any], prompt: CallRequest) -> Completion | Failure:
        """What one result amounts to; by the rules of a live answer, at half its price."""
        kind = result.get("type")
        if kind == "succeeded":
            return self._answer(result, prompt)
        if kind == "expired":
            message = "the batch expired before Claude came to this request"
            return Failure(
                type=ErrorType.TIMEOUT, message=message, remedy=Remedy.RETRY, cost_usd=0.0, reason="batch_expired"
            )
        if kind == "canceled":
            message = "the batch was canceled before Claude came to this request"
            return Failure(
                type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, cost_usd=0.0, reason="batch_canceled"
            )
        if kind == "errored":
            return self._errored(result, prompt)

        return _failure(f"Anthropic sent a result of an unknown kind ({str(kind)[:40]})", "batch_result")

    def _answer(self, result: Mapping[str, Any], prompt: CallRequest) -> Completion | Failure:
        watch = self._watch(_READ)
        watch.sent = watch.written = True
        exchange = CallSession(
            self._upstream,
            watch,
            model=prompt.job.model,
            prices=self._prices,
            max_cost_usd=None,
            spent=0.0,
            progress=lambda partial: None,
            heard_limits=lambda model, limits: None,
            checkpoint=0.0,
            clock=self._clock,
            wall=self._wall,
            batch=True,
        )
        try:
            done = exchange.read(self._reading(prompt), result["message"])
        except (MalformedStream, KeyError) as exc:
            return replace(_failure(f"a result of the batch makes no sense: {exc}", "batch_result"), ambiguous=True)
        except InvalidRequest as exc:  # the schema's own fault, which shows as an answer is held against it
            return exchange.failed(_unsendable(exc))
        except Exception:
            # The port's promise, and what is raised here would keep the results of all others from being read.
            log.exception("a result broke on a fault of the relay's own", extra={"job_id": prompt.job.id})
            return exchange.failed(_failure("the relay could not make sense of the answer", "fault"))
        if isinstance(done, Failure):
            return done
        if done.stop_reason == "pause_turn":
            message = "Claude paused, and a batch cannot go on after that: it is called live"
            return exchange.failed(
                Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, reason="pause_turn")
            )
        full = self._prices.cost(done.model, done.usage)
        saved = None if full is None or done.cost_usd is None else full - done.cost_usd

        return replace(done, saved_usd=saved)

    def _errored(self, result: Mapping[str, Any], prompt: CallRequest) -> Failure:
        told = self._upstream.error_details(result.get("error"))
        kind = told.get("kind") or "error"
        failure = classify(status=None, now=self._wall(), **told)
        failure = replace(failure, cost_usd=0.0, reason=told.get("code") or f"batch_{kind}")  # only answers are billed
        if failure.type is ErrorType.INVALID_REQUEST and self._reading(prompt).native:
            # It may be the schema that is refused. A live call finds out, and asks for it in words then.
            return replace(failure, remedy=Remedy.RETRY, reason="schema_refused")
        if failure.type is ErrorType.TOO_LARGE:
            # A live call stores the files of a long conversation first, and names them by their ids.
            return replace(failure, remedy=Remedy.RETRY, reason="item_too_large")

        return failure

    def _asked(
        self, method: str, path: str, *, watch: CallDeadlines, content: bytes | None = None, betas: Sequence[str] = ()
    ) -> BatchStatus | Failure:
        found = self._json(method, path, watch=watch, content=content, betas=betas)
        if isinstance(found, Failure):
            return found
        try:
            return _seen(found)
        except (KeyError, TypeError, AttributeError, ValueError):
            return _strange()

    def _json(
        self, method: str, path: str, *, watch: CallDeadlines, content: bytes | None = None, betas: Sequence[str] = ()
    ) -> dict[str, Any] | Failure:
        try:
            with self._watchdog.expired(watch):
                chunks = self._upstream.chunks(method, path, watch=watch, content=content, betas=betas)
                found = json.loads(b"".join(chunks))
        except StatusError as exc:
            return self._classified(exc, watch)
        except ConnectionBroken as exc:
            return replace(watch.verdict or stream_failures.connection_lost(exc, watch, open_=False), sent=watch.sent)
        except (ValueError, RecursionError):
            return _strange()
        except Exception:
            # The port's promise: whatever goes wrong is a Failure.
            log.exception("a question about a batch broke on a fault of the relay's own")
            return _failure("the relay could not make sense of Anthropic's answer", "fault")

        return found if isinstance(found, dict) else _strange()

    def _classified(self, refused: StatusError, watch: CallDeadlines) -> Failure:
        return classify(status=refused.status, headers=watch.headers, now=self._wall(), **refused.error)

    def _watch(self, limits: CallTimeouts, sending: Callable[[], None] = lambda: None) -> CallDeadlines:
        return CallDeadlines(
            stop=lambda: _STOPPED if self._closed else None,
            sending=sending,
            going_on=lambda step: None,
            limits=limits,
            clock=self._clock,
        )


def _body(parcels: Sequence[BatchRequest]) -> bytes:
    """All of them, written one by one: they are too large to be there in several copies."""
    body = io.BytesIO()
    body.write(b'{"requests":[')
    for number, one in enumerate(_marked(parcels)):
        body.write(b"," if number else b"")
        body.write(one)
    body.write(b"]}")

    return body.getvalue()


def _marked(parcels: Sequence[BatchRequest]) -> Iterator[bytes]:
    """Their bytes, with a breakpoint behind each beginning that many of them share."""
    common = caching.common([parcel.begins for parcel in parcels])
    for parcel in parcels:
        places = {place: begin for place, begin in parcel.begins.items() if begin in common}
        if places:
            whole = json.loads(parcel.body)
            yield _encoded({**whole, "params": caching.with_marks(whole["params"], places)})
        else:
            yield parcel.body


def _seen(body: Mapping[str, Any]) -> BatchStatus:
    counts = body.get("request_counts") or {}

    return BatchStatus(
        id=_text(body["id"]),
        ended=body["processing_status"] == "ended",
        count=sum(count for count in counts.values() if isinstance(count, int)),
        created_at=_moment(body["created_at"]),
        expires_at=_moment(body["expires_at"]) if body.get("expires_at") else None,
        erased=body.get("archived_at") is not None,
    )


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("an id was expected")

    return value


def _moment(value: Any) -> float:
    return datetime.fromisoformat(_text(value).replace("Z", "+00:00")).timestamp()


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of a body that comes in pieces; one without its end is half a line, and an error."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
        if len(rest) > _LONGEST_LINE:
            raise MalformedStream("a line of the results is endless")
    if rest.strip():
        yield rest


def _result(line: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        found = json.loads(line)
        custom_id, result = found["custom_id"], found["result"]
        if not isinstance(custom_id, str) or not isinstance(result, dict):
            raise TypeError("a name and an object were expected")
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise MalformedStream("a line of the results has not the shape it should have") from exc

    return custom_id, result


def _encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _strange() -> Failure:
    return _failure("the address in ANTHROPIC_BASE_URL answered on a batch, but not as Anthropic does", "not_a_batch")


def _unsendable(exc: Exception) -> Failure:
    return Failure(type=ErrorType.INVALID_REQUEST, message=str(exc), remedy=Remedy.FAIL, reason="unsendable")


def _failure(message: str, reason: str) -> Failure:
    return Failure(type=ErrorType.UPSTREAM, message=message, remedy=Remedy.RETRY, reason=reason)
