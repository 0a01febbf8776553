"""Checks of the settings: whether they can be read, and whether they suit a relay in production."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from ...config import Settings
from ...config.cautions import cautions
from ...core.keys import MIN_SECRET_LENGTH
from .finding import Finding, failure, ok, warning
from .system import RESTART_FOR_SECRETS, System

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_NEW_API_KEY = "API_SECRET_KEY=$(openssl rand -hex 32)"
_NEW_SECRET = "whsec_$(openssl rand -base64 32)"


def faults(problems: Sequence[str], system: System) -> Iterator[Finding]:
    """Findings for settings that cannot be read, by the problems that loading reported."""
    for problem in problems:
        # A problem reads `fault: cure`; the fault may end in a quoted value.
        match = re.fullmatch(r'(.*?": |.*?: )(.+)', problem, re.DOTALL)
        detail, cure = (match[1].rstrip(": "), match[2]) if match else (problem, f"edit {system.env_file}")
        yield failure("settings", detail, _edit(detail, cure))


def _edit(detail: str, cure: str) -> str:
    """The command or the edit for a problem, whose text names the setting and where it is set."""
    then = "claude-relay config check"
    if unknown := re.fullmatch(r"(RELAY_\w+) in (.+) is not a setting", detail):
        name, file = unknown[1], unknown[2]
        if file == "the environment":
            return f"unset {name}"
        suggestion = re.match(r"did you mean (\w+)\?", cure)
        change = f"s/^{name}=/{suggestion[1]}=/" if suggestion else f"/^{name}=/d"
        return f"sed -i '{change}' {file} && {then}"
    value = re.match(r'(\w+)\b.* from (.+?) (?:is "|cannot be used)', detail)
    if value and value[2] != "the environment":
        return f"edit the line {value[1]}= in {value[2]}: {cure.rstrip('.')}; then: {then}"

    return f"{cure.rstrip('.')}, then: {then}"


def check(settings: Settings, system: System, *, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Check the keys, the signing secret, the public URL and the proxies."""
    yield ok("settings", f"all values are good ({_sources(settings)})")
    for sentence in cautions(settings):
        detail, _, cure = sentence.rstrip(".").rpartition(": ")
        yield warning("settings", detail, cure)
    yield from _keys(settings, system)
    yield _signing(settings, system)
    yield _public_url(settings, system)
    yield from _proxies(settings, system, environ)


def _sources(settings: Settings) -> str:
    origins = dict.fromkeys(given.origin for given in settings.given.values())

    return f"from {', '.join(origins)}" if origins else "all default"


def _keys(settings: Settings, system: System) -> Iterator[Finding]:
    if settings.provider == "sandbox":
        fix = system.set_command("RELAY_PROVIDER=anthropic")
        yield warning("upstream", "the sandbox answers, not Claude (RELAY_PROVIDER)", fix)
    elif settings.anthropic_api_key is not None:
        yield ok("upstream", f"a key is set ({settings.origin('ANTHROPIC_API_KEY')})")
    elif system.elsewhere("worker"):
        yield ok("upstream", "not checked: the worker has the key, in a container of its own")
    elif not system.under_systemd:  # under systemd the keys are credentials, which `permissions` checks
        detail = "ANTHROPIC_API_KEY is not set: the worker does not start"
        yield failure("upstream", detail, system.set_command("ANTHROPIC_API_KEY=sk-ant-…"))

    lengths = [len(key) for key in settings.admin_keys]
    if not lengths:
        if system.elsewhere("api"):
            yield ok("api key", "not checked: the API has the key, in a container of its own")
        elif not system.under_systemd:
            detail = "API_SECRET_KEY is not set: the API does not start"
            has_file = system.dotenv.exists() or system.env_file.exists()
            yield failure(
                "api key", detail, system.set_command(_NEW_API_KEY) if has_file else "claude-relay config init"
            )
    elif min(lengths) < MIN_SECRET_LENGTH:
        detail = f"API_SECRET_KEY has {min(lengths)} characters, fewer than {MIN_SECRET_LENGTH}: it can be guessed"
        yield warning("api key", detail, system.set_command(_NEW_API_KEY))
    else:
        two = "; two keys, for the time of a change" if len(lengths) == 2 else ""
        yield ok("api key", f"set ({settings.origin('API_SECRET_KEY')}){two}")


def _signing(settings: Settings, system: System) -> Finding:
    if settings.webhook_secret:
        return ok("signing", f"{len(settings.webhook_secret)} secret(s)")
    if system.elsewhere("worker"):
        return ok("signing", "not checked: the worker signs, in a container of its own")
    exists = system.has_credential("RELAY_WEBHOOK_SECRET") if system.under_systemd else False
    if exists:
        return ok("signing", f"a secret in {system.credentials}")
    if exists is None:
        return ok("signing", f"not checked: only root can list {system.credentials}")
    detail = "RELAY_WEBHOOK_SECRET is not set: receivers cannot tell a callback from a forgery"
    if system.under_systemd:
        path = system.credentials / "RELAY_WEBHOOK_SECRET"
        fix = f'echo "{_NEW_SECRET}" | install -m 600 /dev/stdin {path} && {RESTART_FOR_SECRETS}'
        return warning("signing", detail, fix)

    return warning("signing", detail, system.set_command(f"RELAY_WEBHOOK_SECRET={_NEW_SECRET}"))


def _public_url(settings: Settings, system: System) -> Finding:
    if settings.public_url is None:
        detail = "RELAY_PUBLIC_URL is not set: ackUrl is null, resultUrl has no host"
        return warning("public url", detail, system.set_command("RELAY_PUBLIC_URL=https://relay.example.com"))
    if settings.production and settings.public_url.startswith("http://"):
        detail = f"{settings.public_url} is not encrypted: keys and answers are sent in plain text"
        return warning("public url", detail, system.set_command(f"RELAY_PUBLIC_URL=https{settings.public_url[4:]}"))

    return ok("public url", settings.public_url)


def _proxies(settings: Settings, system: System, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check the proxy in front of the API, and the one that outgoing calls would use."""
    is_local = settings.host in _LOOPBACK
    address = "172.16.0.0/12" if system.container is not None else "192.0.2.1"  # Docker's default networks
    if settings.trusted_proxy == "*" and environ.get("RAILWAY_ENVIRONMENT"):
        yield ok("proxy", "X-Forwarded headers are trusted: only Railway's proxy reaches the port")
    elif settings.trusted_proxy == "*" and not is_local:
        detail = f"RELAY_TRUSTED_PROXY is * and RELAY_HOST {settings.host}: any client can forge its IP address"
        yield warning("proxy", detail, system.set_command(f"RELAY_TRUSTED_PROXY={address}"))
    elif settings.trusted_proxy is None and (settings.public_url or "").startswith("https://"):
        detail = (
            "RELAY_PUBLIC_URL is https, so there is a proxy in front, and RELAY_TRUSTED_PROXY does not name it: "
            "wrong keys from anywhere count as one client"
        )
        proxy = "127.0.0.1" if is_local else address
        yield warning("proxy", detail, system.set_command(f"RELAY_TRUSTED_PROXY={proxy}"))
    elif settings.trusted_proxy is not None:
        yield ok("proxy", f"X-Forwarded headers of {settings.trusted_proxy} are trusted")

    outgoing = [name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if environ.get(name)]
    if outgoing and not (environ.get("NO_PROXY") or environ.get("no_proxy")):
        detail = f"{outgoing[0]} is set here: calls to Claude use it, callbacks never do"
        fix = f"unset {' '.join(outgoing)}, if that is not intended; otherwise NO_PROXY=127.0.0.1"
        yield warning("outgoing proxy", detail, fix)
