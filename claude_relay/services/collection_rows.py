"""The rows of a collection: read, checked and stored in pieces that are visible once all of them are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import wire
from ..core.collections import collection as rules
from ..core.collections.collection import Collection, Kind, Phase
from ..core.collections.rows import PIECE_BYTES, PIECE_ROWS, RowReader, row_problems, weight
from ..core.intake.templated import check_template
from ..core.jobs.change import Outcome
from ..core.jobs.failure import ErrorType
from ..core.jobs.job import Job, State
from ..core.jobs.submission import Continuation, StoredRequest, Submission
from ..errors import Conflict, InvalidRequest, Problem, RelayError
from .acks import ack_url
from .collection_end import settle
from .conversation import join
from .outcomes import create_delivery
from .submit import new_job
from .transactions import transaction

if TYPE_CHECKING:
    from ..core.collections.intake import CollectionRequest
    from ..core.intake import IntakeContext
    from ..ports import Store, Transaction
    from .context import Context
    from .templates import Templates

_MOST_PROBLEMS = 100
_DISCARD, _ANNOUNCE = 100, 50
#: After this many rows the interpreter lock is given up, so that threads that answer other requests run (*measured* on
#: a busy machine: the slowest of their submits took 36–156 ms with it, 87–292 ms without).
_YIELD = 8
#: The place of a row in its request, the row as parsed, and as its caller wrote it.
_Row = tuple[int, Submission | InvalidRequest, Any]


class RowStore:
    """Stores the rows of a request after those that a collection has already."""

    def __init__(self, context: Context, templates: Templates, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._templates, self._clock = context, templates, clock
        self._store = context.store

    def add(
        self,
        collection: Collection,
        request: CollectionRequest,
        intake: IntakeContext,
        now: float,
        may_continue: bool,
    ) -> tuple[int, tuple[str, ...]]:
        """Store the rows in pieces; after the first problem they are only checked. Raises `InvalidRequest` for any."""
        body = collection.template_body
        compiled = check_template(body, now=now, context=intake, at="template") if body is not None else None
        webhook = _row_webhook(self._store, collection)
        reader = RowReader(
            collection,
            compiled,
            self._templates.lookup(collection.job.owner),
            webhook=webhook,
            context=intake,
            now=now,
        )
        path = Kind.JOBS.value if collection.kind is Kind.JOBS else Kind.ROWS.value
        problems: list[Problem] = []
        piece: list[_Row] = []
        bytes_left, size = PIECE_BYTES, PIECE_ROWS

        def place(index: int) -> dict[str, Any]:
            lines = request.table.lines
            return {
                "path": f"{path}[{index}]",
                "row": collection.total + index + 1,
                "line": lines[index] if lines else None,
            }

        def flush() -> None:
            nonlocal bytes_left, size
            if piece and not problems:
                failed, took = self._add_piece(collection, piece, may_continue, webhook)
                for index, error in failed:
                    problems.extend(row_problems(error, **place(index)))
                size = size.after(took)
            piece.clear()
            bytes_left = PIECE_BYTES

        for index, item in enumerate(request.table.rows):
            if index % _YIELD == 0:
                time.sleep(0)
            try:
                parsed: Submission | InvalidRequest = replace(reader.read(item), traceparent=request.traceparent)
            except InvalidRequest as exc:
                parsed = InvalidRequest(problems=exc.problems)
                if collection.on_invalid == "refuse":
                    problems.extend(row_problems(parsed, **place(index)))
                    if len(problems) >= _MOST_PROBLEMS:
                        break
                    continue
            piece.append((index, parsed, item))
            bytes_left -= weight(parsed) if isinstance(parsed, Submission) else 0
            if len(piece) >= size.size or bytes_left <= 0:
                flush()
        flush()
        limit = collection.max_cost_usd
        if limit is not None and reader.least_usd > limit:
            text = (
                f"is {limit:g}, but the input of all rows costs at least {reader.least_usd:.6g}; raise it, or send less"
            )
            problems.append(Problem(field="maxCostUsd", problem=text))
        if reader.unpriced is not None:
            text = f"cannot be enforced: {reader.unpriced} has no known price; leave it out, or choose another model"
            problems.append(Problem(field="maxCostUsd", problem=text))
        if problems:
            raise InvalidRequest(problems=problems[:_MOST_PROBLEMS])

        return len(request.table.rows), reader.warnings

    def discard(self, identity: str) -> None:
        """Delete rows that were stored and will not be visible; a collection that never was one is deleted, too."""
        while self._discard_step(identity):
            pass

    def announce_invalid(self, identity: str) -> None:
        """Create the callbacks of visible rows that were invalid, where they have none."""
        while self._announce_step(identity):
            pass

    @transaction
    def _announce_step(self, tx: Transaction, identity: str) -> bool:
        rows = tx.unannounced_rows(identity, limit=_ANNOUNCE)
        for row in rows:
            if (target := tx.webhook_target(row.id)) is not None and target.urls:
                create_delivery(tx, row, target.urls[0], self._context)

        return len(rows) == _ANNOUNCE

    @transaction
    def _discard_step(self, tx: Transaction, identity: str) -> bool:
        return discard_step(tx, identity, self._context)

    @transaction
    def _add_piece(
        self,
        tx: Transaction,
        collection: Collection,
        piece: Sequence[_Row],
        may_continue: bool,
        webhook: Mapping[str, Any],
    ) -> tuple[Sequence[tuple[int, InvalidRequest]], float]:
        """
        Store rows that are not visible yet.

        Returns those that name an earlier job which cannot be continued, and the seconds for which other writers
        waited, without the commit: it takes as long for few rows.
        """
        began = self._clock()
        current = tx.collection(collection.id)
        if current is None or current.phase not in (Phase.STAGING, Phase.OPEN):
            raise Conflict(f"collection {collection.collection_id} was cancelled while its rows were being stored")
        tx.save_collection(rules.keep_storing(current, now=tx.now))
        names = [collection.row_id(collection.total + index + 1) for index, _, _ in piece]
        if taken := tx.taken_ids(collection.job.owner, names):
            raise Conflict(
                f"requestId {min(taken)} is taken by another job, and would be a row of this collection: "
                "use another collectionId"
            )
        rows: list[tuple[Job, StoredRequest, Outcome | None]] = []
        failed: list[tuple[int, InvalidRequest]] = []
        links: list[tuple[str, Continuation]] = []
        for index, item, written in piece:
            number = collection.total + index + 1
            parsed, earlier = item, None
            if isinstance(item, Submission) and item.request.get("continueFrom"):
                try:
                    if not may_continue:
                        raise InvalidRequest.at("continueFrom", "is not allowed for this key: it lacks the scope read")
                    joined = join(tx, item, collection.job.owner, self._context)
                except RelayError as exc:
                    failed.append((index, _as_problem(exc)))
                    continue
                if joined is not None:
                    parsed, earlier = joined.submission, joined.earlier
            rows.append(self._new_row(tx, parsed, written, collection, number, webhook))
            if earlier is not None:
                links.append((rows[-1][0].id, earlier))
        if not failed:
            tx.add_rows(rows)
            for job_id, link in links:
                tx.add_continuation(job_id, link)

        return failed, self._clock() - began

    def _new_row(
        self,
        tx: Transaction,
        parsed: Submission | InvalidRequest,
        written: Any,
        collection: Collection,
        number: int,
        webhook: Mapping[str, Any],
    ) -> tuple[Job, StoredRequest, Outcome | None]:
        name, now = collection.row_id(number), tx.now
        submission = parsed
        if isinstance(parsed, InvalidRequest):
            is_input = collection.kind is Kind.ROWS and isinstance(written, dict)
            submission = Submission(
                request_id=name,
                body_hash="",
                request={},
                model="",
                prompt_length=0,
                group=collection.job.group,
                variables=written if is_input else None,  # results repeat them
                **webhook,
            )
        assert isinstance(submission, Submission)
        job = new_job(
            submission,
            self._context,
            owner=collection.job.owner,
            request_id=name,
            now=now,
            collection=collection.id,
            row=number,
        )
        if not isinstance(parsed, InvalidRequest):
            return job, StoredRequest.of(job.id, submission), None
        job = replace(
            job,
            state=State.FAILED,
            finished_at=now,
            error_type=ErrorType.INVALID_REQUEST.value,
            error=str(parsed),
        )
        body = wire.failure_body(
            job,
            partial="",
            metadata=None,
            warnings=(),
            ack_url=ack_url(tx, job, self._context) if webhook else None,
            now=now,
        )
        outcome = Outcome(job_id=job.id, run=1, at=now, status=body["status"], body=wire.encode(body))

        return job, StoredRequest.of(job.id, submission), outcome


def discard_step(tx: Transaction, identity: str, context: Context) -> bool:
    """Delete some of the rows after `total`; whether there is more to do."""
    collection = tx.collection(identity)
    if collection is None:
        return False
    if tx.discard_rows(identity, after_row=collection.total, limit=_DISCARD):
        return True
    if collection.phase is Phase.STAGING:
        tx.delete_collection(identity)
        tx.purge_jobs([identity], tombstones=False)
    elif collection.phase is Phase.OPEN and not collection.claimable:
        tx.save_collection(rules.abandon_rows(collection))
    else:
        settle(tx, identity, context)  # cancelled meanwhile

    return False


def _row_webhook(store: Store, collection: Collection) -> dict[str, Any]:
    """The fields of a submission for a callback of each row, where the collection has `each`."""
    if not collection.each:
        return {}
    target = store.read(lambda tx: tx.webhook_target(collection.id))

    if target is None:
        return {}

    return {"webhook_url": next(iter(target.urls), None), "webhook_headers": target.headers or {}}


def _as_problem(exc: RelayError) -> InvalidRequest:
    return exc if isinstance(exc, InvalidRequest) else InvalidRequest.at("continueFrom", str(exc))
