"""The dashboard over a real store, without a socket or a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import Result, TestClient

from claude_relay import wiring
from claude_relay.api.app import make_app
from claude_relay.config import Settings
from claude_relay.core.keys import Scope
from claude_relay.core.policy import Policy
from claude_relay.dashboard.session import Sealer
from claude_relay.services import Relay
from claude_relay.storage.sqlite.store import SqliteStore
from tests.support.builders import Clock, QuietNotifier

KEY = "the-admin-key-of-these-tests"


@dataclass
class Person:
    """A browser without a screen: keeps cookies, follows redirects, and sends the forms of the page it is on."""

    client: TestClient
    cookies: dict[str, str]
    page: str = ""
    status: int = 0
    path: str = ""
    headers: Any = None

    def get(self, path: str, **headers: str) -> Person:
        return self._take(self.client.simulate_get(path, headers=self._headers(headers)), path)

    def post(self, path: str, *, token: str | None = None, **fields: Any) -> Person:
        """Send a form as the page does, with the token of the page."""
        import urllib.parse

        pairs = {"token": self.token if token is None else token, **fields}
        body = urllib.parse.urlencode(pairs, doseq=True)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._take(self.client.simulate_post(path, body=body, headers=self._headers(kind)), path)

    def log_in(self, key: str) -> Person:
        return self.post("/dashboard/login", token="", key=key, next="/dashboard")

    @property
    def token(self) -> str:
        match = re.search(r'name="token" value="([0-9a-f]+)"', self.page)
        return match[1] if match else ""

    @property
    def session_token(self) -> str:
        """The token of the session, also for a person whose pages have no form to take it from."""
        sealer = Sealer(KEY)
        return sealer.mac("act", sealer.open("session", self.cookies["claude_relay_session"])[1])[:40]

    @property
    def text(self) -> str:
        """The words of the page, without its marks."""
        return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", self.page)))

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {**({"Cookie": cookie} if cookie else {}), **more}

    def _take(self, result: Result, path: str) -> Person:
        for name, cookie in result.cookies.items():
            self.cookies[name] = cookie.value
            if not cookie.value:
                del self.cookies[name]
        self.status, self.path, self.page, self.headers = result.status_code, path, result.text, result.headers
        if self.status == 303:
            return self.get(result.headers["location"])

        return self


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def relay(tmp_path: Path, clock: Clock) -> Iterator[Relay]:
    relay = Relay(SqliteStore(tmp_path / "relay.db", clock=clock), QuietNotifier(), Policy(delivery_delay=0.0))
    yield relay
    relay.close()


@pytest.fixture
def open_site(relay: Relay, clock: Clock):
    """A client of an app with these settings, with nobody logged in."""

    def open_site(**fields: object) -> Person:
        settings = Settings(**{"api_secret_key": KEY, "rate_limit": None, "rate_limit_submit": None, **fields})
        intake = wiring.intake_context(settings, relay)
        mounted = wiring.dashboard(settings, relay, intake, clock=clock)
        return Person(TestClient(make_app(relay, settings, intake=intake, dashboard=mounted, clock=clock)), {})

    return open_site


@pytest.fixture
def stranger(open_site) -> Person:
    return open_site()


@pytest.fixture
def admin(open_site) -> Person:
    return open_site().log_in(KEY)


@pytest.fixture
def named(relay: Relay, open_site):
    """A person who is logged in with a new key of those scopes."""

    def named(name: str, *scopes: Scope) -> Person:
        _, secret = relay.keys.add(name, frozenset(scopes))
        return open_site().log_in(secret)

    return named
