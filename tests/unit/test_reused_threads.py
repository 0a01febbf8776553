"""Threads that are used again."""

from __future__ import annotations

import threading
import weakref

import pytest

from claude_relay.webhooks.reused_threads import ReusedThreads
from tests.support.eventually import eventually


def _threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_tasks_one_after_the_other_share_a_thread() -> None:
    threads, seen = ReusedThreads("reused-1"), []
    for _ in range(20):
        done = threading.Event()

        def task(done: threading.Event = done) -> None:
            seen.append(threading.get_ident())
            done.set()

        threads.run(task)
        assert done.wait(60)
        eventually(lambda: len(threads._idle) == 1)

    assert len(set(seen)) == 1


def test_a_task_never_waits_for_another() -> None:
    """A look-up that hangs holds its own thread alone."""
    threads, release, ran = ReusedThreads("reused-2"), threading.Event(), threading.Semaphore(0)
    for _ in range(5):
        threads.run(lambda: release.wait(60))
    threads.run(ran.release)

    assert ran.acquire(timeout=60)
    assert _threads("reused-2") >= 5
    release.set()


@pytest.mark.parametrize("tasks", [1, 8])
def test_idle_threads_end(tasks: int) -> None:
    threads = ReusedThreads(f"reused-3-{tasks}", idle=0.01)
    barrier = threading.Barrier(tasks)
    for _ in range(tasks):
        threads.run(lambda: barrier.wait(60) and None)

    eventually(lambda: _threads(f"reused-3-{tasks}") == 0)
    done = threading.Event()
    threads.run(done.set)
    assert done.wait(60)


def test_an_idle_thread_keeps_nothing_of_its_task() -> None:
    """A task holds what it fetched, such as a file of 20 MB."""
    threads, ran = ReusedThreads("reused-4"), threading.Event()

    class Task:
        def __call__(self) -> None:
            ran.set()

    task = Task()
    held = weakref.ref(task)
    threads.run(task)
    del task
    assert ran.wait(60)

    eventually(lambda: held() is None)
    assert _threads("reused-4") == 1
