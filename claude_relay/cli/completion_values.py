"""Shell completion of ids, groups, models and keys. Imported only when a shell asks for completions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..core.jobs.failure import ErrorType
from ..core.jobs.job import State
from ..core.wire import STATES, STATUS
from ..errors import RelayError

_LIMIT = 100
#: Time limit for a remote relay, in seconds.
_TIMEOUT = 1.0


class _CompletedString(click.types.StringParamType):
    """A string parameter whose possible values are offered with a description each."""

    def __init__(self, candidates: Callable[[click.Context, str], Sequence[tuple[str, str]]]) -> None:
        self._candidates = candidates

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The candidates with that prefix; none after an error, which would garble the line that is being typed."""
        try:
            candidates = self._candidates(ctx, incomplete)
        except (RelayError, OSError, ValueError, ImportError):
            return []
        # bash splits an id at its colons, and would repeat the part in front of them.
        splits_at_colons = os.environ.get("_CLAUDE_RELAY_COMPLETE", "").startswith("bash")
        return [
            CompletionItem(value, help=description or None)
            for value, description in candidates
            if value.startswith(incomplete) and not (splits_at_colons and ":" in value)
        ]


def add_completions(command: click.Command, name: str | None) -> None:
    """Give the parameters of a verb, and of its subcommands, their completions."""
    if isinstance(command, click.Group):
        for subname, subcommand in command.commands.items():
            add_completions(subcommand, f"{name} {subname}")
    for param in command.params:
        if isinstance(param, click.Argument) and param.name in ("ids", "request_id"):
            param.type = _CompletedString(_ids)
        elif param.name == "group":
            param.type = _CompletedString(_groups)
        elif param.name == "model":
            param.type = _CompletedString(_models)
        elif param.name == "status" and name != "listen":
            param.type = _CompletedString(lambda ctx, text: [(word, "") for word in STATES])
        elif param.name == "error":
            param.type = _CompletedString(lambda ctx, text: [(error.value, "") for error in ErrorType])
        elif param.name == "key" or (name == "keys revoke" and param.name == "name"):
            param.type = _CompletedString(_keys)


def _ids(ctx: click.Context, text: str) -> Sequence[tuple[str, str]]:
    settings = _settings(ctx)
    if settings.url:
        return [(job["requestId"], job["status"]) for job in _get(settings, f"/api/jobs?limit={_LIMIT}")["jobs"]]
    rows = _engine(settings).complete_request_ids(text, _LIMIT)

    return [(request_id, STATUS[State(state)]) for request_id, state in rows]


def _groups(ctx: click.Context, _text: str) -> Sequence[tuple[str, str]]:
    settings = _settings(ctx)
    if settings.url:
        names = {job["group"] for job in _get(settings, "/api/jobs?limit=500")["jobs"]}
        return [(name, "") for name in sorted(names)]

    return [(name, "") for name in _engine(settings).complete_groups()]


def _keys(ctx: click.Context, _text: str) -> Sequence[tuple[str, str]]:
    return [(name, "") for name in _engine(_settings(ctx)).complete_key_names()]


def _engine(settings: Any) -> Any:
    from ..wiring import engine_of

    return engine_of(settings)


def _models(ctx: click.Context, _text: str) -> Sequence[tuple[str, str]]:
    from ..core.models.catalog import BUILT_IN

    settings = _settings(ctx)
    configured = {settings.model, *settings.fallback_models}

    return [*BUILT_IN.aliases.items(), *((name, "") for name in sorted(BUILT_IN.current | configured))]


def _settings(ctx: click.Context) -> Any:
    from ..config import load

    url = ctx.find_root().params.get("url")

    return load(overrides={"RELAY_URL": url} if url else {})


def _get(settings: Any, path: str) -> Any:
    """GET with the standard library, which is imported in half the time of `requests`. A redirect is an error."""
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class _NoRedirect(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """Follow none: the key would go along, to any host."""

    key = settings.api_key or next(iter(settings.admin_keys), "")
    request = Request(settings.url + path, headers={"X-API-Key": key})
    with build_opener(_NoRedirect).open(request, timeout=_TIMEOUT) as response:
        return json.load(response)
