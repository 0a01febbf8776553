"""The operations on collections in the store of this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...core.collections.csv_output import read_form
from ...core.collections.intake import parse_collection, parse_more_rows
from ...core.intake.query import parse_redeliver_url
from ...core.keys import ADMIN
from ...services import CollectionRef, Relay

if TYPE_CHECKING:
    from ...core.intake import IntakeContext


class LocalTables:
    """Implements `TableClient` over an open `Relay`."""

    def __init__(
        self,
        relay: Relay,
        defaults: Callable[[], IntakeContext],
        owner: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._relay, self._defaults, self._owner, self._clock = relay, defaults, owner, clock

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Submit a collection; the body of the 202."""
        context, now = self._defaults(), self._clock()
        request = parse_collection(dict(body), now=now, context=context)
        accepted = self._relay.collections.create(request, context, owner=self._owner or ADMIN, now=now)
        return accepted.body(now=now, base=self._relay.policy.public_url)

    def add_rows(self, name: str, rows: Sequence[Any], *, key: str) -> dict[str, Any]:
        """Add rows to an open collection."""
        request, now = parse_more_rows({"rows": list(rows)}), self._clock()
        accepted = self._relay.collections.add_rows(self._ref(name), request, self._defaults(), key=key, now=now)
        return accepted.body(now=now, base=self._relay.policy.public_url)

    def close(self, name: str, *, key: str | None = None) -> dict[str, Any]:
        """End the intake of rows; the new status."""
        self._relay.collections.close(self._ref(name), key=key)
        return self.show(name)

    def show(self, name: str) -> dict[str, Any]:
        """The status of a collection."""
        return self._relay.collections.show(self._ref(name))

    def list(self, limit: int) -> Sequence[dict[str, Any]]:
        """The newest collections."""
        return self._relay.collections.all(owner=self._owner, limit=limit)[0]

    def results(self, name: str, options: Mapping[str, str]) -> Iterator[bytes]:
        """The results, piece by piece."""
        kind = options.get("format", "json")
        if kind == "json":
            return self._relay.collection_results.json(self._ref(name))
        if kind == "ndjson":
            return self._relay.collection_results.ndjson(self._ref(name))
        form = read_form(
            excel=kind == "excel",
            delimiter=options.get("delimiter"),
            decimal=options.get("decimal"),
            bom=options.get("bom"),
        )
        return self._relay.collection_results.csv(self._ref(name), form)

    def cancel(self, name: str) -> dict[str, Any]:
        """Stop every row; the new status."""
        self._relay.collection_actions.cancel(self._ref(name))
        return self.show(name)

    def retry(self, name: str, rows: Sequence[int] | None) -> dict[str, Any]:
        """Run rows again; the new status."""
        self._relay.collection_actions.retry(self._ref(name), rows)
        return self.show(name)

    def redeliver(self, name: str, url: str | None) -> dict[str, Any]:
        """Send the callback again; the new status."""
        parse_redeliver_url(url, self._defaults().check_url)
        self._relay.collection_actions.redeliver(self._ref(name), url=url)
        return self.show(name)

    def _ref(self, name: str) -> CollectionRef:
        return CollectionRef(collection_id=name, owner=self._owner)
