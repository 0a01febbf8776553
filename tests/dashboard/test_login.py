"""Login to the dashboard: keys, throttle, cookie, token, end, and what a page may load."""

from __future__ import annotations

import re

import pytest

from claude_relay.core.keys import Scope
from claude_relay.dashboard.session import LIFETIME, Sealer
from claude_relay.dashboard.site import own_path

from .conftest import KEY


def test_there_is_no_dashboard_until_a_key_is_set(open_site):
    """Without API_SECRET_KEY no login could be safe."""
    assert open_site(api_secret_key=None).get("/dashboard").status == 404
    assert open_site(api_secret_key=None).get("/dashboard/login").status == 404


@pytest.mark.parametrize(
    "path", ["/dashboard", "/dashboard/jobs?status=failed", "/dashboard/nothing", "/dashboard/keys"]
)
def test_every_page_asks_a_stranger_for_a_key_and_leads_back_to_it(stranger, path):
    """The login page and its style need no key; everything else does."""
    shown = stranger.get(path)

    assert shown.path.startswith("/dashboard/login?next=")
    assert f'name="next" value="{path}"' in shown.page.replace("&amp;", "&")
    for asset in re.findall(r'(?:href|src)="(/dashboard/static/[^"]+)"', shown.page):
        assert stranger.get(asset).status == 200


def test_a_wrong_key_is_refused_and_ten_of_them_stop_the_right_one_too(stranger, clock):
    """Guesses are slowed, and the answer to a further one says nothing, whatever RELAY_RATE_LIMIT is."""
    for _ in range(10):
        assert stranger.log_in("wrong").status == 403
    refused = stranger.log_in(KEY)

    assert (refused.status, "Too many wrong keys" in refused.text) == (429, True)
    assert int(refused.headers["retry-after"]) > 0


def test_a_right_key_opens_a_session_in_a_cookie_that_no_script_and_no_other_site_gets(stranger):
    answer = stranger.client.simulate_post(
        "/dashboard/login",
        body=f"key={KEY}&next=%2Fdashboard%2Fjobs%3Fstatus%3Dfailed",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    cookie = answer.cookies["claude_relay_session"]

    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/jobs?status=failed")
    assert (cookie.http_only, cookie.same_site, cookie.path, cookie.max_age) == (True, "Strict", "/dashboard", 43200)
    assert KEY not in cookie.value


def test_the_cookie_is_for_https_alone_where_the_public_url_is(open_site):
    def is_secure(**settings):
        site = open_site(**settings)
        return site.client.simulate_post("/dashboard/login", body=f"key={KEY}").cookies["claude_relay_session"].secure

    assert is_secure(public_url="https://relay.example")
    assert not is_secure()


def test_a_session_ends_and_the_login_leads_back_to_the_page_asked_for(admin, clock):
    clock.advance(LIFETIME - 1)
    assert admin.get("/dashboard").status == 200
    clock.advance(2)
    asked = admin.get("/dashboard/jobs?group=a")

    assert "Your session has ended" in asked.text
    assert 'value="/dashboard/jobs?group=a"' in asked.page
    # A page that refreshes itself is led there as a whole.
    refreshed = admin.client.simulate_get("/dashboard", headers=admin._headers({"HX-Request": "true"}))
    assert refreshed.headers["hx-redirect"].startswith("/dashboard/login?next=%2Fdashboard")


def test_a_revoked_key_ends_its_sessions_at_once(relay, named):
    person = named("make", Scope.READ)
    assert person.get("/dashboard").status == 200
    relay.keys.revoke("make")

    assert person.get("/dashboard").path.startswith("/dashboard/login")


@pytest.mark.parametrize("forged", ["{0}0", "x{0}", ".", "ø.1", "W10.{0}"])
def test_a_forged_cookie_is_no_session(admin, forged):
    admin.cookies["claude_relay_session"] = forged.format(admin.cookies["claude_relay_session"])

    assert admin.get("/dashboard").path.startswith("/dashboard/login")


def test_a_cookie_is_sealed_for_one_purpose_and_one_secret():
    sealed = Sealer("a").seal("notice", ["admin", "x", 9e12])

    assert Sealer("a").open("notice", sealed) == ["admin", "x", 9e12]
    assert Sealer("a").open("session", sealed) is None
    assert Sealer("b").open("notice", sealed) is None


def test_a_key_that_may_only_submit_cannot_log_in(relay, named):
    person = named("only-submit", Scope.SUBMIT)

    assert person.status == 403
    assert "scope read" in person.text


def test_an_act_needs_the_token_of_its_session(admin, named, relay):
    """Neither without one nor with that of another login, nor from another site."""
    other = named("make", Scope.READ, Scope.ADMIN)
    tokens = {name: person.get("/dashboard").token for name, person in (("own", admin), ("other", other))}
    assert tokens["own"] and tokens["own"] != tokens["other"]
    for token in ("", "0" * 40, tokens["other"], "ø"):
        assert admin.post("/dashboard", token=token, act="pause").status == 403
    cross = {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/x-www-form-urlencoded"}
    body = f"token={tokens['own']}&act=pause"
    assert admin.client.simulate_post("/dashboard", body=body, headers=admin._headers(cross)).status_code == 403
    assert relay.queries.overview()["holds"] == []

    assert "The queue is paused" in admin.post("/dashboard", token=tokens["own"], act="pause").text
    assert relay.queries.overview()["holds"][0]["scope"] == "pause"


def test_a_key_of_its_own_sees_no_page_of_the_whole_relay(named):
    person = named("make", Scope.READ, Scope.SUBMIT)

    assert "Workers" not in person.text
    assert "Keys" not in person.text
    assert person.post("/dashboard", act="pause", token=person.session_token).status == 403


def test_logout_ends_the_session_in_this_browser(admin):
    assert admin.post("/dashboard/logout").path == "/dashboard/login"
    assert admin.get("/dashboard").path.startswith("/dashboard/login")


def test_a_page_loads_only_files_of_this_server_and_has_no_inline_script_or_style(admin, stranger):
    """The strict policy is in force for pages, and the API keeps its own."""
    for person in (admin.get("/dashboard"), stranger.get("/dashboard/login")):
        policy = person.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert (person.headers["cache-control"], person.headers["x-frame-options"]) == ("no-store", "DENY")
        assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", person.page)
        assert set(re.findall(r'(?:src|href|action)="([^"]*)"', person.page)) <= {
            *re.findall(r'"(/dashboard[^"]*|#main)"', person.page)
        }
    assert "script-src" not in admin.client.simulate_get("/health").headers["content-security-policy"]


ELSEWHERE = [
    "//evil.example",
    "https://evil.example",
    "/dashboard/login",
    "/dashboardx",
    "/api/x",
    r"/dashboard\@e",
    "",
]


@pytest.mark.parametrize("text", [*ELSEWHERE, "/dashboard/\r\nx: y"])
def test_a_login_leads_only_to_a_page_of_the_dashboard(text):
    assert own_path(text) == "/dashboard"


def test_a_stranger_sends_small_bodies_only_and_a_person_who_is_logged_in_large_ones(admin, stranger):
    large = "x" * 100_000
    assert stranger.post("/dashboard/login", token="", key=large).status == 413
    assert stranger.post("/dashboard", token="", act=large).status == 413
    assert admin.post("/dashboard", act=large).status == 200  # and an unknown act leads back to the page


def test_a_key_in_a_header_may_read_and_not_act(stranger, relay):
    """So that a script can look at a page; guesses count as wrong logins."""
    assert stranger.get("/dashboard", **{"X-API-Key": KEY}).status == 200
    kind = {"X-API-Key": KEY, "Content-Type": "application/x-www-form-urlencoded"}
    assert stranger.client.simulate_post("/dashboard", body="act=pause&token=", headers=kind).status_code == 403
    for _ in range(10):
        assert stranger.get("/dashboard", **{"X-API-Key": "wrong"}).status == 403
    assert stranger.get("/dashboard", **{"X-API-Key": KEY}).status == 429


def test_an_unknown_page_is_a_404_for_a_person(admin):
    missing = admin.get("/dashboard/nothing/here")

    assert (missing.status, "There is no such page" in missing.text) == (404, True)
