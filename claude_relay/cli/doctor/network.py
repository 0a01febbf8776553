"""Network checks, made on request only: whether webhooks and Claude can be reached from this machine."""

from __future__ import annotations

from collections.abc import Iterator

from ...config import Settings
from ...errors import RelayError
from .finding import Finding, failure, ok, warning
from .system import RESTART_FOR_SECRETS, System

_ANTHROPIC, _VERSION = "https://api.anthropic.com", "2023-06-01"
_TIMEOUT = 15.0  # seconds


def webhooks(settings: Settings) -> Iterator[Finding]:
    """Resolve and connect to the destinations of the latest callbacks, through the SSRF guard; nothing is sent."""
    from ...wiring import open_relay, probe_problem

    try:
        with open_relay(settings) as relay:
            destinations = relay.queries.latest_destinations()
    except RelayError:
        return  # reported by the check of the store
    for destination in destinations:
        if (problem := probe_problem(settings, destination)) is None:
            yield ok("webhooks", f"{destination} can be reached")
        else:
            host = destination.partition("://")[2]
            yield warning(
                "webhooks",
                f"{destination}: {problem}",
                f"curl -sv -o /dev/null {destination} shows what this machine sees of it; once it is up: "
                f"claude-relay redeliver --dead --host {host}",
            )
    if not destinations:
        yield ok("webhooks", "no callback was sent yet: there is no URL to try")


def upstream(settings: Settings, system: System) -> Iterator[Finding]:
    """List the models with the worker's key, which is a free call."""
    import requests

    if settings.provider == "sandbox":
        yield ok("claude", "the sandbox needs no key")
        return
    key, path = settings.anthropic_api_key, system.credentials / "ANTHROPIC_API_KEY"
    if key is None:
        try:
            key = path.read_text(encoding="utf-8").strip()
        except OSError as exc:
            detail = f"there is no key to try: {path} cannot be read ({exc.strerror})"
            yield failure("claude", detail, "sudo claude-relay doctor --upstream")
            return
    base = settings.anthropic_base_url or _ANTHROPIC
    headers = {"x-api-key": key, "anthropic-version": _VERSION}
    try:
        response = requests.get(
            f"{base}/v1/models", params={"limit": 1}, headers=headers, timeout=_TIMEOUT, allow_redirects=False
        )
    except (requests.RequestException, ValueError) as exc:
        detail = f"{base} cannot be reached from here ({type(exc).__name__})"
        fix = f"curl -sv -o /dev/null {base}/v1/models shows where it ends: name, firewall, proxy"
        yield failure("claude", detail, fix)
        return
    yield classify_status(response.status_code, base, path, system)


def classify_status(status: int, base: str, path: object, system: System) -> Finding:
    """Interpret the HTTP status of that call."""
    if status == 200:
        return ok("claude", f"{base} accepts the key")
    if status in (401, 403):
        replace = f"install -m 600 /dev/stdin {path}   (paste a new key, Enter, Ctrl-D), then: {RESTART_FOR_SECRETS}"
        fix = replace if system.under_systemd else system.set_command("ANTHROPIC_API_KEY=sk-ant-…")
        return failure("claude", f"{base} refuses the key ({status})", fix)
    if status == 429 or status >= 500:
        detail = f"{base} answers {status}: it is busy, the key is not the cause"
        return warning("claude", detail, "claude-relay doctor --upstream, later")

    detail = f"{base} answers {status}: that is not the Messages API"

    return failure("claude", detail, "claude-relay config show | grep BASE_URL")
