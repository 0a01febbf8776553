"""The pages that need no key: start page, OpenAPI document and its readable page."""

from __future__ import annotations

import functools
from pathlib import Path

import falcon

from ..core import wire
from .openapi import document, page
from .submit import base_url

#: The pages load one style sheet of this server, and nothing else.
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = Path(__file__).parent / "openapi" / "style.css"


class Home:
    """`GET /`: what this is, with links."""

    def __init__(self, public_url: str | None, *, dashboard: bool) -> None:
        self._public_url, self._dashboard = public_url, dashboard

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        base = (self._public_url or base_url(req) or "").rstrip("/")
        _send_html(resp, page.home(base, dashboard=self._dashboard))


class OpenApi:
    """`GET /openapi.json`."""

    def __init__(self, public_url: str | None) -> None:
        self._public_url = public_url

    @functools.cached_property
    def _body(self) -> bytes:
        return wire.encode(document(self._public_url))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type, resp.data = falcon.MEDIA_JSON, self._body


class Docs:
    """`GET /docs` and `GET /docs/style.css`."""

    def __init__(self, public_url: str | None) -> None:
        self._public_url = public_url

    @functools.cached_property
    def _page(self) -> str:
        return page.docs(document(self._public_url))

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        _send_html(resp, self._page)

    def on_get_style(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type, resp.data = "text/css; charset=utf-8", _STYLE.read_bytes()


def _send_html(resp: falcon.Response, text: str) -> None:
    resp.content_type, resp.text = falcon.MEDIA_HTML, text
    resp.set_header("Content-Security-Policy", _POLICY)
