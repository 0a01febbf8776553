"""The style sheet, the scripts and the icon: read once, sent compressed, and cached by their hash."""

from __future__ import annotations

import gzip
import hashlib
from functools import cached_property
from importlib import resources

import falcon

_TYPES = {
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class StaticFile:
    """One file."""

    def __init__(self, name: str) -> None:
        self.media_type = _TYPES[name]
        self.data = resources.files("claude_relay.dashboard").joinpath("static", name).read_bytes()
        self.version = hashlib.sha256(self.data).hexdigest()[:16]

    @cached_property
    def compressed(self) -> bytes:
        """The file in gzip's format."""
        return gzip.compress(self.data, mtime=0)


class StaticFiles:
    """`GET /dashboard/static/{name}`: no secret, so that the login page has a style."""

    def __init__(self) -> None:
        self._files = {name: StaticFile(name) for name in _TYPES}

    def url(self, name: str) -> str:
        """The URL of a file, which changes with its content."""
        return f"/dashboard/static/{name}?v={self._files[name].version}"

    def on_get(self, req: falcon.Request, resp: falcon.Response, name: str) -> None:
        file = self._files.get(name)
        if file is None:
            raise falcon.HTTPNotFound
        resp.content_type = file.media_type
        resp.set_headers(
            {
                "ETag": f'"{file.version}"',
                "Cache-Control": "public, max-age=31536000, immutable",
                "Vary": "Accept-Encoding",
            }
        )
        if f'"{file.version}"' in (req.get_header("If-None-Match") or ""):
            resp.status = falcon.HTTP_304
        elif "gzip" in (req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = file.compressed
        else:
            resp.data = file.data
