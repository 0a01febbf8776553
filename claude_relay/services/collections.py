"""Collections: accept rows in pieces that become visible together, close, and look at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core.collections import bodies
from ..core.collections import collection as rules
from ..core.collections.collection import MARK, Collection, Kind, Phase, Tally
from ..core.collections.rows import check_row_template
from ..core.intake.templated import check_template
from ..core.jobs import transitions
from ..core.jobs.job import Retain, State
from ..core.jobs.submission import StoredRequest, Submission
from ..core.keys import ADMIN
from ..core.lazy_dataclass import dataclass
from ..core.text.ids import uuid7
from ..errors import Ambiguous, Busy, Conflict, InvalidRequest, NotFound
from .collection_end import settle, tally
from .collection_rows import RowStore
from .submit import new_job, purged_job
from .transactions import query, transaction
from .wait_reasons import WaitReasons

if TYPE_CHECKING:
    from ..core.collections.intake import CollectionRequest
    from ..core.intake import IntakeContext
    from ..ports import ReadTransaction, Transaction
    from .admission import Admission
    from .context import Context
    from .gone_endpoints import GoneEndpoints
    from .templates import Templates

_PURGED = (
    "this collection ran before and was purged after its retention: nothing runs again; use a new collectionId for that"
)
_REUSED = "collectionId {} was used before, for another body; use a new one"


@dataclass(frozen=True, kw_only=True)
class CollectionRef:
    """A collection by the id that its caller knows. `owner` None: of any owner, for the admin."""

    collection_id: str
    owner: str | None = None


@dataclass(frozen=True, kw_only=True)
class AcceptedRows:
    """A collection whose rows are on disk. `duplicate`: they had been sent before."""

    collection: Collection
    tally: Tally
    warnings: tuple[str, ...] = ()
    duplicate: bool = False
    webhook_empty: bool = False
    purged: bool = False

    def body(self, *, now: float, base: str | None, show_state: bool = True) -> dict[str, Any]:
        """The body of the 202; without `show_state` a duplicate has the status of the first answer."""
        return bodies.accepted_body(
            self.collection,
            self.tally,
            now=now,
            base=base,
            warnings=(*self.warnings, _PURGED) if self.purged and show_state else self.warnings,
            duplicate=self.duplicate,
            show_state=show_state,
            webhook_empty=self.webhook_empty,
        )


class Collections:
    """The use cases of callers that send and read collections."""

    def __init__(
        self, context: Context, admission: Admission, templates: Templates, gone_endpoints: GoneEndpoints
    ) -> None:
        self._context, self._admission, self._templates = context, admission, templates
        self._gone_endpoints = gone_endpoints
        self._store = context.store
        self._rows = RowStore(context, templates)

    def create(
        self,
        request: CollectionRequest,
        intake: IntakeContext,
        *,
        owner: str = ADMIN,
        now: float,
        may_continue: bool = True,
    ) -> AcceptedRows:
        """
        Store a collection with its rows: all of them or none.

        The same collectionId with the same body returns the existing collection; with another body it is a `Conflict`.
        """
        if (existing := self._existing(request, owner)) is not None:
            if existing.phase is not Phase.STAGING:
                self._announce(existing)
                return self._repeated(existing)
            self._rows.discard(existing.id)  # by a request that died
        template = self._resolve(request, intake, owner=owner, now=now)
        if (refusal := self._admission.refusal(len(request.table.rows), owner)) is not None:
            raise refusal
        collection, request = self._begin(request, template, owner)
        try:
            added, warnings = self._rows.add(collection, request, intake.for_bulk(), now, may_continue)
            collection = self._publish(collection.id, request, added)
        except BaseException:
            self._rows.discard(collection.id)
            raise
        self._announce(collection)
        self._context.notifier.notify()

        return AcceptedRows(
            collection=collection,
            tally=self._tally(collection),
            warnings=(*request.warnings, *warnings)[:20],
            webhook_empty=request.webhook_empty,
        )

    def add_rows(
        self,
        ref: CollectionRef,
        request: CollectionRequest,
        intake: IntakeContext,
        *,
        key: str | None,
        now: float,
        may_continue: bool = True,
    ) -> AcceptedRows:
        """Store more rows of an open collection; repeated under the same Idempotency-Key they are stored once."""
        collection, repeated = self._begin_more(ref, request, key)
        if repeated:
            self._announce(collection)
            return self._repeated(collection)
        try:
            if (refusal := self._admission.refusal(len(request.table.rows), collection.job.owner)) is not None:
                raise refusal
            added, warnings = self._rows.add(collection, request, intake.for_bulk(), now, may_continue)
            collection = self._publish(collection.id, request, added, key=key)
        except BaseException:
            self._rows.discard(collection.id)
            raise
        self._announce(collection)
        self._context.notifier.notify()

        return AcceptedRows(
            collection=collection, tally=self._tally(collection), warnings=(*request.warnings, *warnings)[:20]
        )

    def close(self, ref: CollectionRef, *, key: str | None = None) -> bool:
        """End the intake of rows. True: the same request had done so before; raises `Conflict` for another one."""
        repeated = self._close(ref, key)
        self._context.notifier.notify()

        return repeated

    @query
    def show(self, tx: ReadTransaction, ref: CollectionRef) -> dict[str, Any]:
        """The status of a collection, and why none of its rows runs."""
        collection = get_collection(tx, ref)
        body = _status(tx, collection)

        return {**body, "waitingFor": self._waiting_for(tx, collection, body)}

    @query
    def all(
        self, tx: ReadTransaction, *, owner: str | None, before: str | None = None, limit: int = 50
    ) -> tuple[Sequence[dict[str, Any]], str | None]:
        """A page of collections, newest first, and the cursor of the next page."""
        matches = tx.collections(owner, before=before, limit=limit + 1)
        page = matches[:limit]

        return [_status(tx, each) for each in page], page[-1].id if len(matches) > limit else None

    def _waiting_for(self, tx: ReadTransaction, collection: Collection, body: Mapping[str, Any]) -> str | None:
        """The reason of its first waiting row, where none runs; None also where only a free slot is missing."""
        if not body["pending"] or body["processing"] or not collection.claimable:
            return None
        rows = tx.rows(collection.id, states=(State.QUEUED, State.HELD), limit=1)

        return WaitReasons(tx, rows, self._context.prices).reason(rows[0]) if rows else None

    @query
    def _existing(self, tx: ReadTransaction, request: CollectionRequest, owner: str) -> Collection | None:
        if request.collection_id is None:
            return None
        for collection in tx.find_collections(request.collection_id, owner):
            if collection.phase is Phase.STAGING:
                if rules.is_storing(collection, now=tx.now):
                    raise Busy("the same collection is being stored by another request at this moment", retry_after=5)
                return collection
            if collection.job.body_hash == request.body_hash:
                return collection
            raise Conflict(_REUSED.format(request.collection_id))
        for tombstone in tx.tombstones(request.collection_id + MARK, owner):
            if tombstone.body_hash == request.body_hash:
                return rules.purged(purged_job(tombstone), total=len(request.table.rows))
            raise Conflict(_REUSED.format(request.collection_id))

        return None

    def _resolve(
        self, request: CollectionRequest, intake: IntakeContext, *, owner: str, now: float
    ) -> tuple[str | None, dict[str, Any] | None]:
        """The version and the body of its template, which stay those of the collection."""
        if request.template is None:
            return None, None
        if isinstance(request.template, str):
            template, compiled = self._templates.lookup(owner)(request.template)
            check_row_template(template.body, compiled)
            return template.reference, template.body
        compiled = check_template(request.template, now=now, context=intake, at="template")
        check_row_template(request.template, compiled)

        return None, request.template

    @transaction
    def _begin(
        self,
        tx: Transaction,
        request: CollectionRequest,
        template: tuple[str | None, dict[str, Any] | None],
        owner: str,
    ) -> tuple[Collection, CollectionRequest]:
        now = tx.now
        name = request.collection_id or uuid7(now, self._context.rng.randbytes(10))
        if tx.find_collections(name, owner):
            raise Busy("the same collection is being stored by another request at this moment", retry_after=5)
        carrier = self._gone_endpoints.with_warnings(
            Submission(
                request_id=name + MARK,
                body_hash=request.body_hash,
                request={},
                model="",
                prompt_length=0,
                webhook_url=request.webhook_url,
                webhook_headers=request.webhook_headers,
                metadata=request.metadata,
                group=request.group,
                retain=Retain(request.defaults.get("retain", Retain.FULL.value)),
                traceparent=request.traceparent,
            )
        )
        job = new_job(carrier, self._context, owner=owner, request_id=name + MARK, now=now)
        job = replace(job, state=State.COLLECTION, deadline_at=None)
        collection = Collection(
            job=job,
            phase=Phase.STAGING,
            touched_at=now,
            max_cost_usd=request.max_cost_usd,
            each=request.each,
            on_invalid=request.on_invalid,
            kind=request.kind,
            template=template[0],
            template_body=template[1],
            defaults=request.defaults,
        )
        tx.add(transitions.submit(job, now=now), StoredRequest.of(job.id, carrier))
        tx.add_collection(collection)

        return collection, replace(request, warnings=(*request.warnings, *carrier.warnings))

    @transaction
    def _begin_more(
        self, tx: Transaction, ref: CollectionRef, request: CollectionRequest, key: str | None
    ) -> tuple[Collection, bool]:
        collection = get_collection(tx, ref)
        if key and (used_hash := tx.collection_request(collection.id, key)) is not None:
            if used_hash == request.body_hash:
                return collection, True
            raise Conflict(f"the Idempotency-Key {key} was used before, for other rows of this collection")
        if rules.is_storing(collection, now=tx.now):
            raise Busy("another request is storing rows of this collection at this moment", retry_after=2)
        if collection.kind is not None and collection.kind is not request.kind:
            what = collection.kind.value
            raise InvalidRequest.at(what, f"are needed: the collection was made with {what}")
        began = rules.begin_rows(collection, now=tx.now)
        if collection.kind is None:
            if request.kind is not Kind.JOBS:
                raise InvalidRequest.at("jobs", "are needed: the collection was made without a template")
            began = replace(began, kind=Kind.JOBS)
        tx.save_collection(began)

        return began, False

    @transaction
    def _publish(
        self, tx: Transaction, identity: str, request: CollectionRequest, added: int, *, key: str | None = None
    ) -> Collection:
        """Make all rows visible to readers and workers at once."""
        collection = tx.collection(identity)
        if collection is None or collection.phase not in (Phase.STAGING, Phase.OPEN):
            raise Conflict("the collection was cancelled while its rows were being stored")
        published = rules.publish(
            collection, added=added, columns=request.table.columns, stays_open=request.stays_open, now=tx.now
        )
        published = replace(published, kind=collection.kind or request.kind)
        tx.save_collection(published)
        if key:
            tx.add_collection_request(identity, key, request.body_hash)
        settle(tx, identity, self._context)

        return tx.collection(identity) or published

    @transaction
    def _close(self, tx: Transaction, ref: CollectionRef, key: str | None) -> bool:
        collection = get_collection(tx, ref)
        if key and tx.collection_request(collection.id, key) == "close":
            return True
        tx.save_collection(rules.close(collection))
        if key:
            tx.add_collection_request(collection.id, key, "close")
        settle(tx, collection.id, self._context)

        return False

    def _announce(self, collection: Collection) -> None:
        """
        Create the callbacks of invalid rows, before the 202.

        A request that died before its end is repeated, and goes on with them.
        """
        if collection.each and collection.on_invalid == "fail" and collection.visible:
            self._rows.announce_invalid(collection.id)

    def _repeated(self, collection: Collection) -> AcceptedRows:
        return AcceptedRows(
            collection=collection,
            tally=self._tally(collection),
            duplicate=True,
            purged=collection.phase is Phase.PURGING,
        )

    @query
    def _tally(self, tx: ReadTransaction, collection: Collection) -> Tally:
        return tally(tx, collection)


def get_collection(tx: ReadTransaction, ref: CollectionRef) -> Collection:
    """The collection of a reference; raises `NotFound`, or `Ambiguous` where the admin must name the owner."""
    matches = [each for each in tx.find_collections(ref.collection_id, ref.owner) if each.visible]
    if not matches:
        raise NotFound(
            f"There is no collection {ref.collection_id} here. It may never have been accepted, or was purged."
        )
    if len(matches) > 1:
        owners = ", ".join(sorted(each.job.owner for each in matches))
        raise Ambiguous(f"Several owners have a collection {ref.collection_id} ({owners}); name one with ?owner=NAME.")

    return matches[0]


def _status(tx: ReadTransaction, collection: Collection) -> dict[str, Any]:
    delivery = tx.delivery(collection.id)
    if delivery is not None and delivery.run != collection.generation:
        delivery = None
    destination = tx.destination(delivery.destination) if delivery is not None and not delivery.state.final else None

    return bodies.status_body(
        collection,
        tally(tx, collection),
        metadata=tx.metadata(collection.id),
        delivery=delivery,
        destination=destination,
        acked=tx.acked_at(collection.id, collection.generation),
    )
