"""What only a look outside can tell, and only on request: whether webhooks and Claude can be reached from here."""

from __future__ import annotations

from collections.abc import Iterator

from ...config import Settings
from ...errors import RelayError
from .finding import Finding, failure, ok, warning
from .system import AGAIN_FOR_SECRETS, System

_ANTHROPIC, _VERSION = "https://api.anthropic.com", "2023-06-01"
_PATIENCE = 15.0  # seconds


def webhooks(settings: Settings) -> Iterator[Finding]:
    """The destinations of the latest callbacks: looked up and connected to, under the guard; nothing is sent."""
    from ...wiring import open_relay, probe_problem

    try:
        with open_relay(settings) as relay:
            destinations = relay.queries.latest_destinations()
    except RelayError:
        return  # the store's own check has said it
    for destination in destinations:
        if (fault := probe_problem(settings, destination)) is None:
            yield ok("webhooks", f"{destination} can be reached")
        else:
            mend = f"curl -sv -o /dev/null {destination} shows what this machine sees of it; once it is up: "
            host = destination.partition("://")[2]
            yield warning("webhooks", f"{destination}: {fault}", f"{mend}claude-relay redeliver --dead --host {host}")
    if not destinations:
        yield ok("webhooks", "no callback was sent yet: there is no address to try")


def upstream(settings: Settings, machine: System) -> Iterator[Finding]:
    """One free call with the worker's key: the list of models."""
    import requests

    if settings.provider == "sandbox":
        yield ok("claude", "the sandbox needs no key")
        return
    key, path = settings.anthropic_api_key, machine.credentials / "ANTHROPIC_API_KEY"
    if key is None:
        try:
            key = path.read_text(encoding="utf-8").strip()
        except OSError as exc:
            found = f"there is no key to try: {path} cannot be read ({exc.strerror})"
            yield failure("claude", found, "sudo claude-relay doctor --upstream")
            return
    base = settings.anthropic_base_url or _ANTHROPIC
    headers = {"x-api-key": key, "anthropic-version": _VERSION}
    try:
        answer = requests.get(
            f"{base}/v1/models", params={"limit": 1}, headers=headers, timeout=_PATIENCE, allow_redirects=False
        )
    except (requests.RequestException, ValueError) as exc:
        why = type(exc).__name__
        found = f"{base} cannot be reached from here ({why})"
        yield failure(
            "claude", found, f"curl -sv -o /dev/null {base}/v1/models shows where it ends: name, firewall, proxy"
        )
        return
    yield judge(answer.status_code, base, path, machine)


def judge(status: int, base: str, path: object, machine: System) -> Finding:
    """What the status of that call says of the key."""
    if status == 200:
        return ok("claude", f"{base} takes the key")
    if status in (401, 403):
        put = f"install -m 600 /dev/stdin {path}   (paste a new key, Enter, Ctrl-D), then: {AGAIN_FOR_SECRETS}"
        mend = put if machine.under_systemd else machine.put("ANTHROPIC_API_KEY=sk-ant-…")
        return failure("claude", f"{base} refuses the key ({status})", mend)
    if status == 429 or status >= 500:
        return warning(
            "claude", f"{base} answers {status}: it is busy, not the key", "claude-relay doctor --upstream, later"
        )

    return failure(
        "claude", f"{base} answers {status}: that is no Messages API", "claude-relay config show | grep BASE_URL"
    )
