"""Decorators that run a method of a use case in one store transaction."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from ..ports import ReadTransaction, Store, Transaction


class HasStore(Protocol):
    """A use case: its decorated methods run in transactions of `_store`."""

    @property
    def _store(self) -> Store: ...


P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=HasStore)


@overload
def transaction(method: Callable[Concatenate[S, Transaction, P], T], /) -> Callable[Concatenate[S, P], T]: ...


@overload
def transaction(
    *, paid: bool
) -> Callable[[Callable[Concatenate[S, Transaction, P], T]], Callable[Concatenate[S, P], T]]: ...


def transaction(method: Any = None, /, *, paid: bool = False) -> Any:
    """
    Run `method(self, tx, ...)` in one write transaction; callers leave `tx` out.

    The store may run it again, so it has no effects of its own. `paid`: it stores a result that cost money.
    """

    def decorate(method: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(method)
        def run(self: HasStore, /, *args: Any, **kwargs: Any) -> T:
            return self._store.write(lambda tx: method(self, tx, *args, **kwargs), paid=paid)

        return run

    return decorate if method is None else decorate(method)


def query(method: Callable[Concatenate[S, ReadTransaction, P], T], /) -> Callable[Concatenate[S, P], T]:
    """Run `method(self, tx, ...)` in one read transaction; callers leave `tx` out."""

    @functools.wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._store.read(lambda tx: method(self, tx, *args, **kwargs))

    return run
