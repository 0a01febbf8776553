"""Acknowledgement of a result by its receiver. Needs no key: the token in the URL is the credential."""

from __future__ import annotations

import falcon

from ..core import wire
from ..services import Relay


class Ack:
    """
    `GET` or `POST /ack/{token}`: 200, the first time and every other.

    HEAD is refused: link previews and other scanners use it on URLs that they do not mean to act on.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_get(self, req: falcon.Request, resp: falcon.Response, token: str) -> None:
        acked = self._relay.acks.ack(token)
        resp.media = {"status": "acked", "requestId": acked.request_id, "acked": wire.timestamp(acked.at)}

    on_post = on_get
