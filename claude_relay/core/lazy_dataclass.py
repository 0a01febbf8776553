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
#: Stands for a value that a field makes for each instance.
_MADE = object()


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
        """Replace the class's `__init__`, in one step: other threads may create an instance meanwhile."""
        with _lock:
            if self._cls.__dict__[_INIT] is placeholder:
                setattr(self._cls, _INIT, _init_of(self._cls))


def _init_of(cls: type) -> Callable[..., None]:
    """
    The `__init__` of a dataclass, which sets all attributes at once.

    That of `dataclasses` sets them one by one where the class is frozen (*measured*: 7.2 µs for the 50 of a job, 5.4
    here), and another class would have to be made for it, as an `__init__` that the class has is left alone.
    """
    positional, keywords, values = ["self"], ["*"], []
    scope: dict[str, Any] = {"_set": object.__setattr__, "_MADE": _MADE}
    for each in (each for each in dataclasses.fields(cls) if each.init):
        name, parameter, value = each.name, each.name, each.name
        if each.default is not dataclasses.MISSING:
            scope[f"_default_{name}"] = each.default
            parameter = f"{name}=_default_{name}"
        elif each.default_factory is not dataclasses.MISSING:
            scope[f"_make_{name}"] = each.default_factory
            parameter, value = f"{name}=_MADE", f"_make_{name}() if {name} is _MADE else {name}"
        (keywords if each.kw_only else positional).append(parameter)
        values.append(f"{name!r}: {value}")
    parameters = ", ".join([*positional, *keywords] if len(keywords) > 1 else positional)
    ending = "; self.__post_init__()" if hasattr(cls, "__post_init__") else ""
    exec(f"def __init__({parameters}): _set(self, '__dict__', {{{', '.join(values)}}}){ending}", scope)
    init: Callable[..., None] = scope[_INIT]
    init.__qualname__ = f"{cls.__qualname__}.{_INIT}"

    return init


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
