"""Login with an API key, and logout."""

from __future__ import annotations

import falcon

from ..api.admission import limit_headers
from ..api.limits import client_address
from ..core.keys import Scope
from ..errors import RateLimited, RelayError
from .forms import read_form
from .site import HOME, Site, check_same_site, own_path, set_headers

_MAX_FORM = 16 * 1024


class Login:
    """`/dashboard/login`: the one page without a session."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        set_headers(resp)
        ended = req.get_param("ended") == "1"
        self._show(req, resp, "Your session has ended. Log in to go on." if ended else None)

    def on_head(self, req: falcon.Request, resp: falcon.Response) -> None:
        self.on_get(req, resp)

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        set_headers(resp)
        try:
            check_same_site(req)
            form = read_form(req, limit=_MAX_FORM)
            address = f"address {client_address(req)}"
            # Before the key is tried: the answer to a guess says nothing once there were too many.
            self._site.wrong_keys.check(address, limit_headers(req))
            login = self._site.sessions.log_in(form.text("key"))
            if login is None:
                self._site.wrong_keys.spend(address, limit_headers(req))
                self._refuse(req, resp, 403, "This key is not valid. Check for a missing character at either end.")
                return
        except RateLimited as exc:
            resp.set_header("Retry-After", str(max(1, round(exc.retry_after))))
            minutes = max(1, round(exc.retry_after / 60))
            self._refuse(req, resp, 429, f"Too many wrong keys from your address. Try again in {minutes} min.")
            return
        except RelayError as exc:
            self._refuse(req, resp, exc.status, str(exc))
            return
        caller, session = login
        if not caller.may(Scope.READ):
            text = "This key may submit and not read. The dashboard needs a key with the scope read."
            self._refuse(req, resp, 403, text)
            return
        self._site.start(req, resp, session)
        resp.status = falcon.HTTP_303
        resp.location = own_path(form.text("next"))

    def _refuse(self, req: falcon.Request, resp: falcon.Response, status: int, text: str) -> None:
        resp.status = status
        self._show(req, resp, text, bad=True)

    def _show(self, req: falcon.Request, resp: falcon.Response, text: str | None, *, bad: bool = False) -> None:
        target = own_path(req.get_param("next") or HOME)
        self._site.send(
            resp,
            "login.html",
            title="Log in",
            layout="base.html",
            visit=None,
            notice=None,
            text=text,
            bad=bad,
            next=target,
        )


class Logout:
    """`POST /dashboard/logout`."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        set_headers(resp)
        # Without a token: to be logged out by a trick costs a login, and a page of another site sends no cookie anyway.
        check_same_site(req)
        self._site.end(resp)
        resp.status = falcon.HTTP_303
        resp.location = "/dashboard/login"
