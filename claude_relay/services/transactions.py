"""Decorators that run a method of a use case in one store transaction."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from ..core import damage

if TYPE_CHECKING:
    from ..ports import ReadTransaction, Store, Transaction

P = ParamSpec("P")
R = TypeVar("R")


class Unprepared(Exception):
    """Work that has to read much first: it does so without the lock of all writers, and runs again."""

    def __init__(self, prepare: Callable[[Store], object], release: Callable[[], object]) -> None:
        self.prepare, self.release = prepare, release


class _HasStore(Protocol):
    @property
    def _store(self) -> Store: ...


S = TypeVar("S", bound=_HasStore)


@overload
def transaction(method: Callable[Concatenate[S, Transaction, P], R], /) -> Callable[Concatenate[S, P], R]: ...
@overload
def transaction(
    *, paid: bool = False, patient: bool = False, ahead: Callable[..., object] | None = None
) -> Callable[[Callable[Concatenate[S, Transaction, P], R]], Callable[Concatenate[S, P], R]]: ...
def transaction(
    method: Callable[..., Any] | None = None,
    /,
    *,
    paid: bool = False,
    patient: bool = False,
    ahead: Callable[..., object] | None = None,
) -> Any:
    """
    Run `method(self, tx, …)` in one write transaction of `self._store`; callers leave `tx` out.

    The method may run again when a commit fails, so it has no effects besides those on `tx`. `paid`: the write records
    an answer that was paid for. `patient`: it is not urgent, and may wait some milliseconds for others to
    share their commit. `ahead(self, reads, …)` makes look-ups of the method in advance, for the store to send
    them together; it gets no rows, and what it guesses wrong costs a trip and nothing else.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def run(self: _HasStore, *args: Any, **kwargs: Any) -> Any:
            return write(
                self._store,
                lambda tx: _with_damage(tx, method(self, tx, *args, **kwargs)),
                paid=paid,
                patient=patient,
                ahead=None if ahead is None else lambda reads: ahead(self, reads, *args, **kwargs),
            )

        return run

    return decorate if method is None else decorate(method)


def write_later(
    store: Store,
    work: Callable[[Transaction], R],
    done: Callable[[R | None, BaseException | None], None],
    *,
    ahead: Callable[[ReadTransaction], object],
) -> None:
    """Run `work` as `transaction` does, without waiting: `done` gets its result or error in the writer's thread."""
    store.write_later(lambda tx: _with_damage(tx, work(tx)), done, ahead=ahead)


def write(store: Store, work: Callable[[Transaction], R], **options: Any) -> R:
    """`store.write`, again once it is prepared for work that has to be."""
    with contextlib.ExitStack() as prepared:
        while True:
            try:
                return store.write(work, **options)
            except Unprepared as exc:
                prepared.callback(exc.release)
                exc.prepare(store)


def _with_damage(tx: Transaction, result: R) -> R:
    """Note the damage of rows that were left out, once: sweeps meet the same row every second."""
    if tx.skipped and tx.shared_value(damage.KEY) is None:
        what = str(tx.skipped[0]).partition(":")[0]
        tx.set_shared_value(damage.KEY, damage.add(None, what, now=tx.now))

    return result


def query(method: Callable[Concatenate[S, ReadTransaction, P], R]) -> Callable[Concatenate[S, P], R]:
    """Run `method(self, tx, …)` in one read transaction of `self._store`; callers leave `tx` out."""

    @functools.wraps(method)
    def run(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._store.read(lambda tx: method(self, tx, *args, **kwargs))

    return cast("Callable[Concatenate[S, P], R]", run)
