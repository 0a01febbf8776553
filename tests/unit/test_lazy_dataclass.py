"""Dataclasses whose methods are made when they are used."""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
from dataclasses import field
from typing import Any

import pytest

from claude_relay.core.lazy_dataclass import dataclass
from claude_relay.core.lazy_names import lazy_names


def a_class() -> type:
    @dataclass(frozen=True, kw_only=True)
    class Point:
        x: int
        y: int = 0
        names: list[str] = field(default_factory=list, repr=False, compare=False)

    return Point


def test_methods_are_made_on_first_use() -> None:
    point = a_class()
    assert not isinstance(vars(point)["__dataclass_fields__"], dict)

    assert point(x=1) == point(x=1, y=0) != point(x=1, y=2)
    assert repr(point(x=1)).endswith("Point(x=1, y=0)") and hash(point(x=1)) == hash(point(x=1))
    assert point(x=1).names is not point(x=1).names


def test_it_is_frozen_checked_and_replaceable_like_any_dataclass() -> None:
    point = a_class()
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing 1 required keyword-only argument: 'x'"):
        point()
    with pytest.raises(dataclasses.FrozenInstanceError):
        point(x=1).x = 2

    assert dataclasses.replace(point(x=1), y=3) == point(x=1, y=3)
    assert copy.deepcopy(point(x=1)) == point(x=1)
    assert dataclasses.asdict(point(x=1)) == {"x": 1, "y": 0, "names": []}


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("kw_only", [False, True])
def test_its_init_takes_what_that_of_a_dataclass_takes(*, frozen: bool, kw_only: bool) -> None:
    """By position and by name, with the defaults; only the values that a field makes are made for each instance."""

    def classes(decorator: Any) -> Any:
        @decorator(frozen=frozen, kw_only=kw_only)
        class Base:
            a: int
            b: list[int] = field(default_factory=list)
            c: str = field(default="c", kw_only=True)

        @decorator(frozen=frozen, kw_only=kw_only)
        class Place(Base):
            a: int = 7
            self_: None = None
            own: str = field(init=False)

            def __post_init__(self) -> None:
                object.__setattr__(self, "own", "own")

        return Base, Place

    def outcome(made: Any, args: Any, kwargs: Any) -> Any:
        try:
            instance = made(*args, **kwargs)
        except TypeError as exc:
            return str(exc)
        return vars(instance), repr(instance)

    arguments: Any = [
        ((), {}),
        ((1,), {}),
        ((1, [2]), {}),
        ((1, [2], "c"), {}),
        ((), {"a": 1, "c": "d"}),
        ((), {"z": 1}),
    ]
    for lazy, plain in zip(classes(dataclass), classes(dataclasses.dataclass), strict=True):
        for args, kwargs in arguments:
            assert outcome(lazy, args, kwargs) == outcome(plain, args, kwargs)


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"eq": False}, {"frozen": True, "eq": False, "repr": False}])
def test_its_other_methods_do_what_those_of_a_dataclass_do(options: Any) -> None:
    """They are not compiled for each class; equality, hash, repr and refusals are the same."""

    def classes(decorator: Any) -> Any:
        @decorator(**options)
        class Point:
            x: float
            y: int = field(default=0, compare=False)
            z: int = field(default=0, repr=False)

        @decorator(**options)
        class Empty:
            pass

        @decorator(**options)
        class Own:
            x: int = 0

            def __repr__(self) -> str:
                return "own"

            def __eq__(self, other: object) -> bool:
                return True

            def __hash__(self) -> int:
                return 7

        class Sub(Point):
            pass

        return Point, Empty, Own, Sub

    def outcome(act: Any) -> Any:
        try:
            return act()
        except (TypeError, AttributeError) as exc:
            return type(exc).__name__, str(exc).replace(type(exc).__qualname__, "")

    def seen(decorator: Any) -> Any:
        point, empty, own, sub = classes(decorator)
        nan = float("nan")
        first, other = point(1), point(1, y=5)
        return [
            outcome(act)
            for act in (
                lambda: (first == other, first == point(1, z=1), first == 1, first != other, point(nan) == point(nan)),
                lambda: (first == sub(1), sub(1) == sub(1), empty() == empty(), own() == 3, empty() == own()),
                lambda: (hash(first) == hash(other), len({point(1), point(1, y=2)}), hash(own())),
                lambda: len({empty(), empty()}),
                lambda: repr(first) if options.get("repr", True) else None,
                lambda: (repr(empty()), repr(sub(1))) if options.get("repr", True) else None,
                lambda: repr(own()),
                lambda: setattr(first, "x", 2),
                lambda: setattr(first, "new", 2),
                lambda: setattr(sub(1), "x", 2),
                lambda: setattr(sub(1), "new", 2),
                lambda: delattr(first, "x"),
                lambda: delattr(sub(1), "z"),
            )
        ]

    assert seen(dataclass) == seen(dataclasses.dataclass)


def test_fields_of_a_class_are_known_before_its_first_instance() -> None:
    assert [each.name for each in dataclasses.fields(a_class())] == ["x", "y", "names"]
    assert dataclasses.is_dataclass(a_class())


def test_a_subclass_has_the_fields_of_its_base() -> None:
    base = a_class()

    @dataclass(frozen=True, kw_only=True)
    class Place(base):  # type: ignore[valid-type, misc]
        z: int

    class Plain(base):  # type: ignore[valid-type, misc]
        pass

    assert Place(x=1, z=2) == Place(x=1, y=0, z=2) != base(x=1)
    assert Plain(x=1).y == 0


def test_threads_that_make_the_first_instances_all_succeed(request: pytest.FixtureRequest) -> None:
    """A class without its fields or its `__init__` for a moment would refuse its arguments."""
    interval = sys.getswitchinterval()
    request.addfinalizer(lambda: sys.setswitchinterval(interval))
    sys.setswitchinterval(1e-6)
    for _ in range(1000):
        point = a_class()
        barrier, made = threading.Barrier(4), []

        def make(point: type = point, barrier: threading.Barrier = barrier, made: list[object] = made) -> None:
            barrier.wait(60)
            made.append(point(x=1, y=2))

        threads = [threading.Thread(target=make) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join(60) for thread in threads]
        assert made == [point(x=1, y=2)] * 4


def test_a_package_resolves_its_names_when_they_are_used() -> None:
    get = lazy_names("claude_relay.core", {"backoff": ("Backoff", "exponential as growing"), "policy": ("Policy",)})

    assert get("Policy").__module__ == "claude_relay.core.policy"
    with pytest.raises(AttributeError, match=r"module 'claude_relay\.core' has no attribute 'Nothing'"):
        get("Nothing")
