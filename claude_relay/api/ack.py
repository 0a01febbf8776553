"""Acknowledgement of a result by its receiver. Needs no key: the token in the URL is the credential."""

from __future__ import annotations

import falcon

from ..core import wire
from ..errors import Forbidden
from ..services import Relay

#: Headers with which browsers and link previews say that a request is not their user's.
_PURPOSES = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")


class Ack:
    """
    `GET` or `POST /ack/{token}`: 200, the first time and every other.

    HEAD is refused, and so is a prefetch: link previews and other scanners use them on URLs that they do not mean to
    act on.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response, token: str) -> None:
        if any(
            "prefetch" in (value := (req.get_header(name) or "").lower()) or value == "preview" for name in _PURPOSES
        ):
            raise Forbidden("A prefetch or preview acknowledges nothing: open the URL itself.")
        acked = self._relay.acks.ack(token)
        resp.media = {"status": "acked", "requestId": acked.request_id, "acked": wire.timestamp(acked.at)}

    on_post = on_get
