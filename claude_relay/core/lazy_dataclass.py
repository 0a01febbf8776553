"""
Dataclasses whose methods are generated when they are first used.

Generating them is most of the time in which this package is imported (*measured*: 60 of 140 ms of CPU for `services`),
and one command uses a fifth of its classes.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

_lock = threading.RLock()

_FIELDS, _INIT = "__dataclass_fields__", "__init__"


class _Pending:
    """Stands for the fields of a class: reading them, also for a subclass or by `dataclasses.fields`, makes them."""

    def __init__(self, cls: type, options: dict[str, Any]) -> None:
        self._cls, self._options = cls, options

    def __get__(self, instance: object, owner: type) -> Any:
        with _lock:
            if self._cls.__dict__.get(_FIELDS) is self:
                dataclasses.dataclass(init=False, **self._options)(self._cls)

        return getattr(owner, _FIELDS)

    def make_init(self, placeholder: Callable[..., None]) -> None:
        """
        Replace the class's `__init__`, in one step: other threads may create an instance meanwhile.

        `dataclasses` leaves an `__init__` alone that the class has, so it makes that of a subclass.
        """
        cls = self._cls
        with _lock:
            if cls.__dict__[_INIT] is placeholder:
                getattr(cls, _FIELDS)
                twin = type(cls.__name__, (cls,), {"__qualname__": cls.__qualname__, "__module__": cls.__module__})
                options = {name: value for name, value in self._options.items() if name in ("frozen", "kw_only")}
                dataclasses.dataclass(repr=False, eq=False, **options)(twin)
                setattr(cls, _INIT, twin.__dict__[_INIT])


def _lazy_dataclass(cls: type | None = None, /, **options: Any) -> Callable[[type], type] | type:
    """`dataclasses.dataclass` with the options `frozen`, `kw_only`, `eq` and `repr`, made when it is used."""

    def decorate(cls: type) -> type:
        pending = _Pending(cls, options)

        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            pending.make_init(init)
            self.__init__(*args, **kwargs)

        setattr(cls, _INIT, init)
        setattr(cls, _FIELDS, pending)

        return cls

    return decorate if cls is None else decorate(cls)


if TYPE_CHECKING:
    # A type checker knows the decorator by this name alone.
    from dataclasses import dataclass as dataclass  # noqa: PLC0414 - exported
else:
    dataclass = _lazy_dataclass
