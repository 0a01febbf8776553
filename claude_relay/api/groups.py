"""Groups: jobs that share a concurrency limit, a start rate and a pause."""

from __future__ import annotations

import math
from typing import Any

import falcon

from ..core.intake.group import GROUP_RULE, is_group_name
from ..core.text.json_values import safe_quote
from ..errors import InvalidRequest, NotFound, Problem
from ..services import Relay
from .request_bodies import Bodies


class Groups:
    """`GET`/`POST /api/groups/{group}`, `POST …/pause` and `…/resume`."""

    def __init__(self, relay: Relay, bodies: Bodies) -> None:
        self._relay, self._bodies = relay, bodies

    def on_get(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        resp.media = self._relay.queries.group(_group_name(group))

    def on_post(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        current = self._relay.queries.group(_group_name(group))
        body = self._bodies.optional(req)
        if unknown := sorted(set(body) - {"concurrency", "rate"}):
            problem = "is not a field here: use concurrency and rate, or /pause and /resume"
            raise InvalidRequest(problems=[Problem(field=safe_quote(name), problem=problem) for name in unknown])
        concurrency = _parse_limit(body, "concurrency", current["concurrency"], integer=True)
        rate = _parse_limit(body, "rate", current["rate"])
        self._relay.set_group(group, concurrency=None if concurrency is None else int(concurrency), rate=rate)
        resp.media = self._relay.queries.group(group)

    def on_post_pause(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        self._relay.pause(_group_name(group))
        resp.media = self._relay.queries.group(group)

    def on_post_resume(self, req: falcon.Request, resp: falcon.Response, group: str) -> None:
        self._relay.resume(_group_name(group))
        resp.media = self._relay.queries.group(group)


def _group_name(name: str) -> str:
    if not is_group_name(name):
        raise NotFound(f"There is no group by that name: it must be {GROUP_RULE}.")

    return name


def _parse_limit(body: dict[str, Any], field: str, current: float | None, *, integer: bool = False) -> float | None:
    """The limit that the body sets: null removes it, a missing field keeps the current one."""
    if field not in body:
        return current
    value = body[field]
    if value is None or value == "":
        return None
    try:
        number = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        number = None
    if number is None or not math.isfinite(number) or (integer and not number.is_integer()):
        kind = "a whole number" if integer else "a number"
        raise InvalidRequest.at(field, f"must be {kind}, or null for no limit")

    return number
