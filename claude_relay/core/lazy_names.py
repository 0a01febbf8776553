"""Names of a package that are imported when they are used, for its `__getattr__` (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_names(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose modules have these names; `A as B` gives A the name B."""
    places = {name.split(" as ")[-1]: (module, name.split(" as ")[0]) for module in modules for name in modules[module]}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, attribute = places[name]

        return getattr(import_module(f".{module}", package), attribute)

    return get
