"""Templates: the list, one of them, a new version, and the end of one."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from ..core.intake import IntakeContext
from ..errors import InvalidRequest
from ..services import Relay
from .auth import Caller
from .request_bodies import Bodies


class Templates:
    """`GET /api/templates`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        caller: Caller = req.context.caller
        owner = req.get_param("owner") if caller.sees_all else caller.owner
        resp.media = {"templates": list(self._relay.templates.all(owner=owner))}


class TemplateByName:
    """`GET`, `PUT` and `DELETE /api/templates/{name}`; `name@3` names a version."""

    def __init__(self, relay: Relay, bodies: Bodies, intake: IntakeContext, clock: Callable[[], float]) -> None:
        self._relay, self._bodies, self._intake, self._clock = relay, bodies, intake, clock

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        resp.media = self._relay.templates.show(name, owner=_owner(req))

    def on_put(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        fields, form = self._bodies.object(req)
        if form or not isinstance(fields, dict):
            problem = 'must be a JSON object such as {"body": {"prompt": "Read {{text}}"}}'
            raise InvalidRequest.at("body", problem)
        caller: Caller = req.context.caller
        answer, created = self._relay.templates.save(name, fields, self._intake, owner=caller.owner, now=self._clock())
        resp.status = falcon.HTTP_201 if created else falcon.HTTP_200
        resp.media = answer

    def on_delete(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        self._relay.templates.delete(name, owner=_owner(req))
        resp.status = falcon.HTTP_204


def _owner(req: falcon.Request) -> str:
    """The owner of the template: the caller, or another one that the admin names."""
    caller: Caller = req.context.caller

    return (req.get_param("owner") if caller.sees_all else None) or caller.owner
