"""What the shell completes beyond verbs and options: ids, groups, models, keys. Imported only when a shell asks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..errors import RelayError

_MOST = 100
#: A relay elsewhere has this long to answer, in seconds.
_PATIENCE = 1.0


class _Known(click.types.StringParamType):
    """A text of which some values are known."""

    def __init__(self, known: Callable[[click.Context, str], Sequence[tuple[str, str]]]) -> None:
        self._known = known

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Those that begin so. Whatever goes wrong: nothing, since the line that is typed must stay whole."""
        try:
            found = self._known(ctx, incomplete)
        except (RelayError, OSError, ValueError, ImportError):
            return []
        # bash takes an id apart at its colons, and would double what stands before them.
        apart = os.environ.get("_CLAUDE_RELAY_COMPLETE", "").startswith("bash")
        return [
            CompletionItem(value, help=told or None)
            for value, told in found
            if value.startswith(incomplete) and not (apart and ":" in value)
        ]


def add_completions(command: click.Command, name: str | None) -> None:
    """Let the parameters of a verb, and of its own verbs, know what they may be."""
    if isinstance(command, click.Group):
        for other, one in command.commands.items():
            add_completions(one, f"{name} {other}")
    for param in command.params:
        if isinstance(param, click.Argument) and param.name in ("ids", "request_id"):
            param.type = _Known(_ids)
        elif param.name == "group":
            param.type = _Known(_groups)
        elif param.name == "model":
            param.type = _Known(_models)
        elif param.name == "status" and name in ("list", "search"):
            param.type = _Known(_statuses)
        elif name == "keys revoke" and param.name == "name":
            param.type = _Known(_keys)


def _ids(ctx: click.Context, text: str) -> Sequence[tuple[str, str]]:
    settings = _settings(ctx)
    if settings.url:
        return [(job["requestId"], job["status"]) for job in _ask(settings, f"/api/jobs?limit={_MOST}")["jobs"]]
    from ..core.jobs.job import State
    from ..core.wire import STATUS

    rows = _engine(settings).complete_request_ids(text, _MOST)

    return [(request_id, STATUS[State(state)]) for request_id, state in rows]


def _statuses(ctx: click.Context, text: str) -> Sequence[tuple[str, str]]:
    from ..core.wire import STATES

    return [(word, "") for word in STATES]


def _groups(ctx: click.Context, text: str) -> Sequence[tuple[str, str]]:
    settings = _settings(ctx)
    if settings.url:
        names = {job["group"] for job in _ask(settings, "/api/jobs?limit=500")["jobs"]}
        return [(name, "") for name in sorted(names)]

    return [(name, "") for name in _engine(settings).complete_groups()]


def _keys(ctx: click.Context, text: str) -> Sequence[tuple[str, str]]:
    return [(name, "") for name in _engine(_settings(ctx)).complete_key_names()]


def _engine(settings: Any) -> Any:
    from ..wiring import engine_of

    return engine_of(settings)


def _models(ctx: click.Context, text: str) -> Sequence[tuple[str, str]]:
    from ..core.models.catalog import BUILT_IN

    settings = _settings(ctx)

    chosen = {settings.model, *settings.fallback_models}

    return [*BUILT_IN.aliases.items(), *((name, "") for name in sorted(BUILT_IN.current | chosen))]


def _settings(ctx: click.Context) -> Any:
    from ..config import load

    url = ctx.find_root().params.get("url")

    return load(overrides={"RELAY_URL": url} if url else {})


def _ask(settings: Any, path: str) -> Any:
    """One GET with the standard library, which loads in half the time that requests takes."""
    from urllib.request import Request, urlopen

    request = Request(settings.url + path, headers={"X-API-Key": settings.api_key or settings.api_secret_key or ""})
    with urlopen(request, timeout=_PATIENCE) as answer:
        return json.load(answer)
