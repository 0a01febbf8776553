"""The frame of every page: login, tokens, headers, notices and errors."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlencode

import falcon

from ..api.admission import limit_headers
from ..api.auth import Caller, KeyVerifier, key_of
from ..api.limits import RateLimiter, client_address
from ..config import Settings
from ..core.intake import IntakeContext
from ..core.keys import Scope
from ..core.text.rates import Rate
from ..errors import Busy, Conflict, Forbidden, InvalidRequest, NotFound, RelayError
from ..services import JobRef, Relay
from .forms import NO_REFUSAL, Form, Refusal, read_form
from .rendering import clipped, environment
from .session import LIFETIME, Sealer, Session, Sessions
from .static_files import StaticFiles

if TYPE_CHECKING:
    import jinja2

log = logging.getLogger(__name__)

HOME = "/dashboard"
LOGIN = "/dashboard/login"
SESSION_COOKIE, NOTICE_COOKIE = "claude_relay_session", "claude_relay_notice"
#: Wrong keys of one address; then no key is tried for a while.
LOGIN_RATE = Rate(10, 900.0)
#: Only files of this server: no inline script or style, no frame, and no form that leads elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_OWN_PATH = re.compile(r"/dashboard(?:[/?][!-~]*)?")
_NAVIGATION = (
    ("Overview", HOME, None),
    ("Jobs", "/dashboard/jobs", None),
    ("Collections", "/dashboard/collections", None),
    ("Templates", "/dashboard/templates", Scope.SUBMIT),
    ("Groups", "/dashboard/groups", Scope.ADMIN),
    ("Destinations", "/dashboard/destinations", Scope.ADMIN),
    ("Keys", "/dashboard/keys", Scope.ADMIN),
    ("Money", "/dashboard/money", None),
    ("Try it", "/dashboard/try", Scope.SUBMIT),
)


class Visit:
    """One request of a person who is logged in."""

    def __init__(
        self, site: Site, req: falcon.Request, resp: falcon.Response, caller: Caller, session: Session | None
    ) -> None:
        self._site, self._session = site, session
        self.req, self.resp, self.caller = req, resp, caller
        self.token = "" if session is None else site.sessions.token(session)
        self.refusal = NO_REFUSAL

    @property
    def owner(self) -> str | None:
        """The owner whose jobs are shown; None for the admin, who sees all."""
        return None if self.caller.sees_all else self.caller.owner

    @property
    def live(self) -> bool:
        """Whether only the changing part of the page is asked for."""
        return self.req.get_header("HX-Request") == "true"

    @property
    def here(self) -> str:
        """The path and query of this page."""
        return self.req.relative_uri[len(self.req.root_path) :]

    @property
    def acts(self) -> bool:
        """Whether it may retry, redeliver and cancel."""
        return self.caller.may(Scope.SUBMIT)

    @property
    def navigation(self) -> list[tuple[str, str, bool]]:
        """The entries of the menu: title, path, and whether it is this one."""
        entries = [(title, path) for title, path, scope in _NAVIGATION if scope is None or self.caller.may(scope)]
        path = self.req.path.rstrip("/")

        return [(title, to, path == to or (to != HOME and path.startswith(f"{to}/"))) for title, to in entries]

    @cached_property
    def form(self) -> Form:
        """The form that was sent; raises `Forbidden` unless this session's page sent it."""
        form = read_form(self.req, limit=self._site.settings.max_body)
        if self._session is None or not self._site.sessions.token_is_valid(self._session, form.text("token")):
            raise Forbidden("This form belongs to another login. Nothing was done: reload the page, and try again.")

        return form

    @property
    def groups(self) -> Sequence[str]:
        """Names of groups that complete what is typed; for the admin, as they are those of all keys."""
        return self._site.relay.dashboard.group_names() if self.caller.sees_all else ()

    @property
    def hosts(self) -> Sequence[str]:
        """Hosts of the latest callbacks, likewise."""
        names = self._site.relay.queries.latest_destinations() if self.caller.sees_all else ()

        return [name.partition("://")[2] for name in names]

    def param(self, name: str) -> str:
        """A parameter of the query, without spaces around it."""
        return (self.req.get_param(name) or "").strip()

    def refuse(self, error: RelayError) -> None:
        """Show the form again, with what was typed and the problems of each field."""
        self.resp.status = error.status
        self.refusal = Refusal.of(error, self.form)

    def refuse_filter(self, error: RelayError) -> str:
        """The same for a filter in the query, whose fields have their values; returns the problem as a text."""
        self.refusal = Refusal.of(error, Form({}))

        return self.refusal.text

    def ref(self, request_id: str) -> JobRef:
        """A job that the page's path names."""
        return self.caller.ref(request_id, self.param("owner") or None)

    def require(self, *scopes: Scope) -> None:
        """Raise `Forbidden` without those scopes."""
        missing = [scope.value for scope in scopes if not self.caller.may(scope)]
        if missing:
            raise Forbidden(f"This key is read-only here: it lacks the scope {' and '.join(missing)}.")

    def render(self, template: str, title: str, **values: Any) -> None:
        """Answer with a page, or with its changing part."""
        notice = None if self.live else self._site.take_notice(self.req, self.resp)
        if self.refusal.text and not {"problem", "problems"} & values.keys():
            notice = {"text": self.refusal.text, "bad": True}
        layout = "part.html" if self.live else "base.html"
        self._site.send(self.resp, template, title=title, visit=self, layout=layout, notice=notice, **values)

    def redirect(self, path: str, notice: str | None = None, *, bad: bool = False) -> None:
        """Answer a form with the page that shows its effect."""
        self.resp.status = falcon.HTTP_303
        self.resp.location = path
        if notice:
            self._site.set_notice(self.req, self.resp, notice, bad=bad)


class Site:
    """The collaborators of all pages."""

    def __init__(
        self,
        relay: Relay,
        settings: Settings,
        *,
        intake: IntakeContext,
        verifier: KeyVerifier,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.relay, self.settings, self.intake, self.verifier, self.clock = relay, settings, intake, verifier, clock
        self.sealer = Sealer(settings.api_secret_key or secrets.token_hex())
        self.sessions = Sessions(self.sealer, verifier, relay.keys, clock)
        self.static = StaticFiles()
        self.wrong_keys = RateLimiter("login", LOGIN_RATE)

    @cached_property
    def _templates(self) -> jinja2.Environment:
        return environment(self.static.url)

    def has_session(self, req: falcon.Request) -> bool:
        """Whether a request carries a session that has not ended; its key may be revoked all the same."""
        return self._session(req) is not None

    def serve(
        self,
        handler: Callable[..., None],
        req: falcon.Request,
        resp: falcon.Response,
        names: Mapping[str, str],
        *,
        needs: Scope = Scope.READ,
    ) -> None:
        """Run the handler of a page for a person who may see it; any error becomes a page, too."""
        set_headers(resp)
        visit = None
        try:
            visit = self._admit(req, resp)
            if visit is None:
                self._ask_for_login(req, resp)
                return
            if not visit.caller.may(needs):
                raise Forbidden("This page concerns the jobs of all keys: it is for the admin key.")
            if req.method == "POST":
                check_same_site(req)
            handler(visit, **names)
        except RelayError as exc:
            self._answer_error(visit, req, resp, exc)
        except falcon.HTTPError:
            raise
        except Exception as exc:
            error_id = secrets.token_hex(6)
            log.error("page failed", exc_info=exc, extra={"errorId": error_id, "method": req.method, "path": req.path})
            self._error_page(visit, req, resp, 500, f"Internal error. Look for {error_id} in the log.")

    def send(self, resp: falcon.Response, template: str, **values: Any) -> None:
        """Render a template into the response."""
        resp.content_type = "text/html; charset=utf-8"
        page = self._templates.get_template(template).render(now=self.clock(), **values)
        resp.data = page.encode("utf-8", "replace")

    def set_cookie(self, req: falcon.Request, resp: falcon.Response, name: str, value: str, max_age: float) -> None:
        """Set a cookie of this site."""
        public = self.settings.public_url or ""
        resp.set_cookie(
            name,
            value,
            max_age=int(max_age),
            path=HOME,
            http_only=True,
            same_site="Strict",
            secure=public.startswith("https:") or req.scheme == "https",
        )

    def start(self, req: falcon.Request, resp: falcon.Response, session: Session) -> None:
        """Give the browser its session."""
        self.set_cookie(req, resp, SESSION_COOKIE, self.sessions.cookie(session), LIFETIME)

    def end(self, resp: falcon.Response) -> None:
        """Take the session from the browser."""
        resp.unset_cookie(SESSION_COOKIE, path=HOME, same_site="Strict")

    def set_notice(self, req: falcon.Request, resp: falcon.Response, text: str, *, bad: bool = False) -> None:
        """Show a text on the next page."""
        sealed = self.sealer.seal("notice", {"text": clipped(text, 1000), "bad": bad})
        self.set_cookie(req, resp, NOTICE_COOKIE, sealed, 60)

    def take_notice(self, req: falcon.Request, resp: falcon.Response) -> Any:
        """The notice to show, which is shown once."""
        values = req.get_cookie_values(NOTICE_COOKIE)
        if not values:
            return None
        resp.unset_cookie(NOTICE_COOKIE, path=HOME, same_site="Strict")

        return self.sealer.open("notice", values[0])

    def _session(self, req: falcon.Request) -> Session | None:
        values = req.get_cookie_values(SESSION_COOKIE)

        return self.sessions.read(values[0]) if values else None

    def _admit(self, req: falcon.Request, resp: falcon.Response) -> Visit | None:
        """The visit of a session, or of a request that carries a key itself, which may only read."""
        session = self._session(req)
        if session is not None:
            caller = self.sessions.caller(session)
            return None if caller is None else Visit(self, req, resp, caller, session)
        key = key_of(req)
        if key is None:
            return None
        address = f"address {client_address(req)}"
        self.wrong_keys.check(address, limit_headers(req))
        caller = self.verifier.caller(key)
        if caller is None:
            self.wrong_keys.spend(address, limit_headers(req))
            raise Forbidden("The API key is not valid.")

        return Visit(self, req, resp, caller, None)

    def _ask_for_login(self, req: falcon.Request, resp: falcon.Response) -> None:
        ended = bool(req.get_cookie_values(SESSION_COOKIE))
        query = urlencode(
            {"next": own_path(req.relative_uri[len(req.root_path) :]), **({"ended": "1"} if ended else {})}
        )
        if req.get_header("HX-Request") == "true":
            resp.set_header("HX-Redirect", f"{LOGIN}?{query}")
            return
        if "text/event-stream" in (req.get_header("Accept") or ""):
            resp.status = falcon.HTTP_204  # ends the attempts of a browser: the page itself asks for the login
            return
        resp.status = falcon.HTTP_303
        resp.location = f"{LOGIN}?{query}"

    def _answer_error(self, visit: Visit | None, req: falcon.Request, resp: falcon.Response, error: RelayError) -> None:
        """An error page; a form that was refused leads back to its page, which shows why."""
        if isinstance(error, Busy):
            resp.set_header("Retry-After", str(max(1, round(error.retry_after))))
        if req.method == "POST" and visit is not None and not isinstance(error, (Busy, Forbidden, NotFound)):
            visit.redirect(own_path(visit.here), str(error), bad=True)
            return
        self._error_page(visit, req, resp, error.status, str(error), again=isinstance(error, Busy))

    def _error_page(
        self,
        visit: Visit | None,
        req: falcon.Request,
        resp: falcon.Response,
        status: int,
        text: str,
        *,
        again: bool = False,
    ) -> None:
        resp.status = status
        title = {403: "Not allowed", 404: "Not here", 429: "Too many attempts", 503: "Not now"}.get(status, "An error")
        self.send(resp, "error.html", title=title, text=text, again=again, visit=visit, layout="base.html", notice=None)


class Page:
    """One page; a subclass answers `get`, and `post` if it has forms, which are sent to the page's own address."""

    needs = Scope.READ
    #: The acts of forms with fields to type in: a refused one is shown again as it was sent.
    typed: Collection[str] = ()

    def __init__(self, site: Site) -> None:
        self.site, self.relay = site, site.relay

    def get(self, visit: Visit, **names: str) -> None:
        """Show the page."""
        raise NotImplementedError

    def post(self, visit: Visit, **names: str) -> None:
        """Do what a form asks for."""
        raise falcon.HTTPMethodNotAllowed(["GET"])

    def on_get(self, req: falcon.Request, resp: falcon.Response, **names: str) -> None:
        self.site.serve(self.get, req, resp, names, needs=self.needs)

    def on_head(self, req: falcon.Request, resp: falcon.Response, **names: str) -> None:
        self.on_get(req, resp, **names)

    def on_post(self, req: falcon.Request, resp: falcon.Response, **names: str) -> None:
        self.site.serve(self._post, req, resp, names, needs=self.needs)

    def _post(self, visit: Visit, **names: str) -> None:
        try:
            self.post(visit, **names)
        except (InvalidRequest, Conflict) as exc:
            if "form" not in vars(visit) or visit.form.text("act") not in self.typed:
                raise
            visit.refuse(exc)
            self.get(visit, **names)


def set_headers(resp: falcon.Response) -> None:
    """The headers of every page; the middleware adds the others."""
    resp.set_headers({"Content-Security-Policy": POLICY, "Cache-Control": "no-store"})


def check_same_site(req: falcon.Request) -> None:
    """Raise `Forbidden` for a form that a page of another site has sent."""
    if (req.get_header("Sec-Fetch-Site") or "same-origin") not in ("same-origin", "none"):
        raise Forbidden("A page of another site has sent this form. Nothing was done.")


def own_path(text: str) -> str:
    """A path of the dashboard; its first page in place of anything else, such as the address of another site."""
    return text if _OWN_PATH.fullmatch(text) and not text.startswith(LOGIN) else HOME


def job_path(request_id: str, owner: str | None = None) -> str:
    """The page of a job."""
    path = f"/dashboard/jobs/{quote(request_id, safe='')}"

    return f"{path}?{urlencode({'owner': owner})}" if owner else path


def unknown_act(act: str) -> NoReturn:
    """Refuse a form that names no act of its page."""
    raise InvalidRequest(f"There is no act {act[:40]} on this page.")
