"""Settings: whether they can be read, and whether they say what a relay in earnest needs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence

from ...config import Settings
from .finding import Finding, failure, ok, warning
from .system import AGAIN_FOR_SECRETS, System

#: A key with fewer letters than this can be guessed.
_SHORT = 16

_API_KEY = "API_SECRET_KEY=$(openssl rand -hex 32)"
_SECRET = "whsec_$(openssl rand -base64 32)"


def faults(problems: Sequence[str], machine: System) -> Iterator[Finding]:
    """What keeps the settings from being read at all; the sentences end in their cure."""
    for problem in problems:
        told = re.fullmatch(r'(.*?": |.*?: )(.+)', problem, re.DOTALL)
        found, cure = (told[1].rstrip(": "), told[2]) if told else (problem, f"edit {machine.env_file}")
        yield failure("settings", found, _edit(found, cure, machine))


def _edit(found: str, cure: str, machine: System) -> str:
    """The command or the edit; by the words of the sentence, which say which name stands where."""
    then = "claude-relay config check"
    if stranger := re.fullmatch(r"(RELAY_\w+) in (.+) is not a setting", found):
        name, file = stranger[1], stranger[2]
        if file == "the environment":
            return f"unset {name}"
        meant = re.match(r"did you mean (\w+)\?", cure)
        change = f"s/^{name}=/{meant[1]}=/" if meant else f"/^{name}=/d"
        return f"sed -i '{change}' {file} && {then}"
    value = re.match(r'(\w+)\b.* from (.+?) (?:is "|cannot be used)', found)
    if value and value[2] != "the environment":
        return f"edit the line {value[1]}= in {value[2]}: {cure.rstrip('.')}; then: {then}"

    return f"{cure.rstrip('.')}, then: {then}"


def check(settings: Settings, machine: System, *, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Each in its turn."""
    yield ok("settings", f"all values are good ({_sources(settings)})")
    yield from _keys(settings, machine)
    yield _signing(settings, machine)
    yield _public_url(settings, machine)
    yield from _proxy(settings, machine, environ)


def _sources(settings: Settings) -> str:
    origins = dict.fromkeys(given.origin for given in settings.given.values())

    return f"from {', '.join(origins)}" if origins else "all default"


def _keys(settings: Settings, machine: System) -> Iterator[Finding]:
    if settings.provider == "sandbox":
        yield warning(
            "upstream", "the sandbox answers, not Claude (RELAY_PROVIDER)", machine.put("RELAY_PROVIDER=anthropic")
        )
    elif settings.anthropic_api_key is not None:
        yield ok("upstream", f"a key is set ({settings.origin('ANTHROPIC_API_KEY')})")
    elif not machine.under_systemd:  # there they are credentials, which are looked at on their own
        found = "ANTHROPIC_API_KEY is not set: the worker does not start"
        yield failure("upstream", found, machine.put("ANTHROPIC_API_KEY=sk-ant-…"))

    secret = settings.api_secret_key
    if secret is None:
        if not machine.under_systemd:
            found = "API_SECRET_KEY is not set: the API does not start"
            begun = machine.dotenv.exists() or machine.env_file.exists()
            yield failure("api key", found, machine.put(_API_KEY) if begun else "claude-relay config init")
    elif len(secret) < _SHORT:
        found = f"API_SECRET_KEY has {len(secret)} letters: it can be guessed"
        yield warning("api key", found, machine.put(_API_KEY))
    else:
        yield ok("api key", f"set ({settings.origin('API_SECRET_KEY')})")


def _signing(settings: Settings, machine: System) -> Finding:
    if settings.webhook_secret:
        return ok("signing", f"{len(settings.webhook_secret)} secret(s)")
    there = machine.has_credential("RELAY_WEBHOOK_SECRET") if machine.under_systemd else False
    if there is not False:
        told = f"a secret in {machine.credentials}"
        return ok("signing", told if there else f"{told}, if there is one, is for root alone to see")
    found = "RELAY_WEBHOOK_SECRET is not set: receivers cannot tell a callback from a forgery"
    if machine.under_systemd:
        path = machine.credentials / "RELAY_WEBHOOK_SECRET"
        mend = f'echo "{_SECRET}" | install -m 600 /dev/stdin {path} && {AGAIN_FOR_SECRETS}'
        return warning("signing", found, mend)

    return warning("signing", found, machine.put(f"RELAY_WEBHOOK_SECRET={_SECRET}"))


def _public_url(settings: Settings, machine: System) -> Finding:
    if settings.public_url is None:
        found = "RELAY_PUBLIC_URL is not set: ackUrl is null, resultUrl has no host"
        return warning("public url", found, machine.put("RELAY_PUBLIC_URL=https://relay.example.com"))
    if settings.production and settings.public_url.startswith("http://"):
        found = f"{settings.public_url} is not encrypted: keys and answers travel in the open"
        return warning("public url", found, machine.put(f"RELAY_PUBLIC_URL=https{settings.public_url[4:]}"))

    return ok("public url", settings.public_url)


def _proxy(settings: Settings, machine: System, environ: Mapping[str, str]) -> Iterator[Finding]:
    """The one in front of the API, and the one that outgoing calls would take."""
    if settings.trusted_proxy == "*" and settings.host not in ("127.0.0.1", "::1", "localhost"):
        found = f"RELAY_TRUSTED_PROXY is * and RELAY_HOST {settings.host}: whoever reaches the port names its address"
        yield warning("proxy", found, machine.put("RELAY_TRUSTED_PROXY=192.0.2.1"))
    elif settings.trusted_proxy is None and (settings.public_url or "").startswith("https://"):
        found = "RELAY_PUBLIC_URL is https, so a proxy stands in front, and RELAY_TRUSTED_PROXY does not name it"
        yield warning(
            "proxy", f"{found}: wrong keys from anywhere count as one client", machine.put(_proxy_line(settings))
        )
    elif settings.trusted_proxy is not None:
        yield ok("proxy", f"X-Forwarded headers of {settings.trusted_proxy} are believed")

    outgoing = [name for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy") if environ.get(name)]
    if outgoing and not (environ.get("NO_PROXY") or environ.get("no_proxy")):
        found = f"{outgoing[0]} is set here: calls to Claude go through it, callbacks never do"
        yield warning(
            "outgoing proxy", found, f"unset {' '.join(outgoing)}, if that is not meant; else NO_PROXY=127.0.0.1"
        )


def _proxy_line(settings: Settings) -> str:
    local = settings.host in ("127.0.0.1", "::1", "localhost")

    return f"RELAY_TRUSTED_PROXY={'127.0.0.1' if local else '192.0.2.1'}"
