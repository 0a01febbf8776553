"""Admission of a request by its head: key, rate and size, before the body is read."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

import falcon

from ..core.lazy_dataclass import dataclass
from ..core.text.sizes import format_size
from ..errors import TooLarge

if TYPE_CHECKING:
    from .auth import Caller

#: Key of the admission in the WSGI environment.
ENVIRON = "claude_relay.admission"
#: Largest body where no key is needed, in bytes: no such path reads one, but a client may send one all the same.
OPEN_BODY = 64 * 1024


def limit_headers(req: falcon.Request) -> dict[str, str]:
    """The response headers about the rate limit of a request."""
    headers: dict[str, str] = req.env[ENVIRON].headers

    return headers


@dataclass(kw_only=True)
class Admission:
    """
    The decision about one request, which is made once even if the app sees it twice.

    The app sees a request whose body is still on its way with `head_only` set: it decides, and answers 100 for "send
    the body", or refuses. The complete request then passes with the same decision.
    """

    head_only: bool = False
    decided: bool = False
    caller: Caller | None = None
    #: Response headers about the rate limit, by their names in lower case.
    headers: dict[str, str] = field(default_factory=dict)
    #: Largest body in bytes, if it is smaller than RELAY_MAX_BODY.
    body_limit: int | None = None
    #: Whether the body was over `body_limit`.
    too_large: bool = False

    def limit_body(self, announced: int | None) -> None:
        """Allow no more than a small body; raises `TooLarge` if a larger one is announced."""
        self.body_limit = OPEN_BODY
        if (announced or 0) > OPEN_BODY:
            raise self.too_large_error()

    def too_large_error(self) -> TooLarge:
        return TooLarge(f"The body is too large: this path takes at most {format_size(OPEN_BODY)}.")
