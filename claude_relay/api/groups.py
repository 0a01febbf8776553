"""Groups: what shares a concurrency, a rate and a pause."""

from __future__ import annotations

import math
from typing import Any

import falcon

from ..core.text.ids import GROUP
from ..core.text.json_values import safe_quote
from ..errors import InvalidRequest, NotFound, Problem
from ..services import Relay
from .overview import require_admin
from .request_bodies import Bodies


class Groups:
    """`GET`/`POST /api/groups/{group}`, `POST …/pause` and `…/resume`."""

    def __init__(self, relay: Relay, bodies: Bodies) -> None:
        self._relay, self._bodies = relay, bodies

    def on_get(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        resp.media = self._relay.queries.group(_named(group))

    def on_post(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        require_admin(req)
        known = self._relay.queries.group(_named(group))
        body = self._bodies.optional(req)
        if unknown := sorted(set(body) - {"concurrency", "rate"}):
            known_ones = "is not known here: concurrency and rate are, and /pause and /resume"
            raise InvalidRequest(problems=[Problem(field=safe_quote(name), problem=known_ones) for name in unknown])
        concurrency = _number(body, "concurrency", known["concurrency"], whole=True)
        rate = _number(body, "rate", known["rate"])
        self._relay.set_group(group, concurrency=None if concurrency is None else int(concurrency), rate=rate)
        resp.media = self._relay.queries.group(group)

    def on_post_pause(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        require_admin(req)
        self._relay.pause(_named(group))
        resp.media = self._relay.queries.group(group)

    def on_post_resume(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        require_admin(req)
        self._relay.resume(_named(group))
        resp.media = self._relay.queries.group(group)


def _named(group: str) -> str:
    if not GROUP.fullmatch(group):
        raise NotFound("There is no group by that name: it has 1 to 64 letters, digits, dots, dashes and underscores.")

    return group


def _number(body: dict[str, Any], field: str, known: float | None, *, whole: bool = False) -> float | None:
    """What the body says of it; null takes the limit away, nothing leaves it as it is."""
    if field not in body:
        return known
    value = body[field]
    if value is None or value == "":
        return None
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None or not math.isfinite(number) or (whole and not number.is_integer()):
        kind = "a whole number" if whole else "a number"
        raise InvalidRequest(problems=[Problem(field=field, problem=f"must be {kind}, or null for no limit")])

    return number
