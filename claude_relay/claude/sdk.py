"""Import of the `anthropic` SDK without its parts for other APIs, a third of a worker's memory."""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from types import ModuleType
from typing import Any

#: Helpers and models that the SDK imports and that its HTTP client does not need: 2,300 modules with 34 MB.
_UNUSED = (
    *(f"anthropic.lib.{name}" for name in ("aws", "bedrock", "foundry", "google_cloud", "vertex")),
    *(f"anthropic.lib.{name}" for name in ("middleware", "streaming", "threads", "tools")),
    *(f"anthropic.types.{name}" for name in ("beta", "organization")),
)
#: The newest version of the SDK with which the tests of this package have passed so; a later one is imported whole.
_TESTED = (2, 14)

log = logging.getLogger(__name__)
_importing = threading.Lock()


def load() -> ModuleType:
    """
    Import the SDK. Names of `_UNUSED` that it exports are empty classes; the modules themselves can be imported later.

    A version that fails without them, or that is newer than `_TESTED`, is imported as a whole.
    """
    with _importing:
        if "anthropic" not in sys.modules and is_tested():
            try:
                with _left_out(_UNUSED):
                    import anthropic
            except Exception:
                log.debug("the SDK is imported as a whole", exc_info=True)
                for name in [name for name in sys.modules if name.partition(".")[0] == "anthropic"]:
                    del sys.modules[name]
        import anthropic

        return anthropic


def is_tested() -> bool:
    """Whether the installed version is one that the tests have passed with."""
    return tuple(map(int, re.findall(r"\d+", version("anthropic"))[:2])) <= _TESTED


class _Empty(ModuleType):
    """A module whose every name is an empty class of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__all__: list[str] = []
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        return type(name, (), {"__class_getitem__": classmethod(lambda cls, item: cls)})


class _EmptyModules(MetaPathFinder, Loader):
    """Finds an empty module for each of the packages, and for all below them."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """The specification of an empty module; None for another name."""
        if any(name == package or name.startswith(f"{package}.") for package in self._packages):
            return ModuleSpec(name, self, is_package=True)

        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The empty module."""
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has no code."""


@contextmanager
def _left_out(packages: Sequence[str]) -> Iterator[None]:
    """Imports of these packages are empty, until the end of the block, and forgotten after it."""
    finder = _EmptyModules(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Empty)]:
            del sys.modules[name]
            parent, _, child = name.rpartition(".")
            if isinstance(getattr(sys.modules.get(parent), child, None), _Empty):
                delattr(sys.modules[parent], child)
