"""
Dataclasses whose methods are generated when they are first used.

Generating them is most of the time in which this package is imported (*measured*: 60 of 140 ms of CPU for `services`),
and one command uses a fifth of its classes. Only `__init__` is compiled: the other methods are closures over the fields
(*measured*: without the 80 compiled functions `status ID` takes 8 % less CPU).
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable
from operator import attrgetter
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
                dataclasses.dataclass(init=False, repr=False, eq=False, **self._options)(self._cls)

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


def _comparison(cls: type, *, frozen: bool) -> dict[str, Any]:
    """Equality by the fields that are compared, and for a frozen class the hash."""

    @functools.cache
    def values() -> attrgetter[tuple[Any, ...]]:
        # With two names or more it gives a tuple; the class is the same where values are compared.
        return attrgetter("__class__", "__class__", *(each.name for each in dataclasses.fields(cls) if each.compare))

    def equal(self: Any, other: object) -> bool:
        return values()(self) == values()(other) if other.__class__ is self.__class__ else NotImplemented

    def digest(self: Any) -> int:
        return hash(values()(self))

    return {"__eq__": equal, "__hash__": digest if frozen else None}


def _display(cls: type) -> dict[str, Any]:
    """The name of the class, and the fields that are shown."""

    def show(self: Any) -> str:
        shown = (f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(cls) if each.repr)
        return f"{self.__class__.__qualname__}({', '.join(shown)})"

    return {"__repr__": show}


def _refusals(cls: Any) -> dict[str, Any]:
    """Refuse changes of its instances, and of its fields in instances of a subclass."""

    def refuse(self: Any, name: str, verb: str) -> None:
        if type(self) is cls or name in (each.name for each in dataclasses.fields(cls)):
            raise dataclasses.FrozenInstanceError(f"cannot {verb} field {name!r}")

    def assign(self: Any, name: str, value: Any) -> None:
        refuse(self, name, "assign to")
        super(cls, self).__setattr__(name, value)

    def delete(self: Any, name: str) -> None:
        refuse(self, name, "delete")
        super(cls, self).__delattr__(name)

    return {"__setattr__": assign, "__delattr__": delete}


def _lazy_dataclass(
    cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, repr: bool = True, **options: Any
) -> Callable[[type], type] | type:
    """`dataclasses.dataclass` with the options `frozen`, `kw_only`, `eq` and `repr`, made when it is used."""

    def decorate(cls: type) -> type:
        pending = _Pending(cls, options)
        methods = _comparison(cls, frozen=frozen) if eq else {}
        methods |= _display(cls) if repr else {}
        methods |= _refusals(cls) if frozen else {}
        for name, method in methods.items():
            # Python sets the hash of a class that has an equality of its own to None.
            if vars(cls).get(name) is None:
                setattr(cls, name, method)

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
