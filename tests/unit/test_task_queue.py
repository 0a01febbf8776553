"""The threads that answer requests, and the pipe that wakes the main loop."""

from __future__ import annotations

import os
import select
import threading

from claude_relay.api.task_queue import TaskQueue, Wakeup


class Work:
    """A task that waits until the test lets it end."""

    def __init__(self, gate: threading.Event | None = None, error: Exception | None = None) -> None:
        self.served, self.cancelled, self.began = threading.Event(), False, threading.Event()
        self._gate, self._error = gate, error

    def service(self) -> None:
        self.began.set()
        if self._gate is not None:
            self._gate.wait(60)
        self.served.set()
        if self._error is not None:
            raise self._error

    def cancel(self) -> None:
        self.cancelled = True


def test_a_task_that_fails_costs_no_thread() -> None:
    tasks = TaskQueue()
    tasks.set_thread_count(1)
    tasks.add_task(Work(error=ValueError("a bug")))
    after = Work()
    tasks.add_task(after)

    assert after.served.wait(60)
    assert tasks.shutdown() is False


def test_a_stop_finishes_the_tasks_that_wait() -> None:
    """A request that was read before the stop is answered."""
    tasks, works = TaskQueue(), [Work() for _ in range(20)]
    tasks.set_thread_count(2)
    for work in works:
        tasks.add_task(work)

    tasks.shutdown(cancel_pending=False, timeout=60)

    assert all(work.served.is_set() for work in works)


def test_a_stop_can_drop_the_tasks_that_wait() -> None:
    tasks, gate = TaskQueue(), threading.Event()
    tasks.set_thread_count(1)
    running, waiting = Work(gate), Work()
    tasks.add_task(running)
    assert running.began.wait(60)
    tasks.add_task(waiting)
    threading.Timer(0.05, gate.set).start()

    assert tasks.shutdown(cancel_pending=True, timeout=60) is True
    assert (running.served.is_set(), waiting.cancelled) == (True, True)


def test_many_wake_ups_before_the_loop_looks_are_one_byte() -> None:
    """None is lost: a pull after the pipe was emptied writes again, and a function to call always does."""
    called: list[str] = []
    wakeup = Wakeup({})
    for _ in range(5):
        wakeup.pull_trigger()
    assert len(os.read(wakeup._fds[0], 100)) == 1
    os.write(wakeup.trigger, b"x")
    wakeup.handle_read()

    wakeup.pull_trigger()
    wakeup.pull_trigger(lambda: called.append("called"))
    assert select.select([wakeup._fds[0]], [], [], 60)[0]
    wakeup.handle_read()

    assert called == ["called"]
    assert not wakeup.pulled
    wakeup.close()


def test_tasks_of_a_round_of_the_main_loop_are_handed_over_at_its_end() -> None:
    """Sixteen at most wait for it, those of other threads do not, and none is lost where the round fails."""
    tasks = TaskQueue()
    tasks.set_thread_count(1)
    works, others = [Work() for _ in range(20)], Work()
    try:
        with tasks.gathering():
            for work in works:
                tasks.add_task(work)
            assert works[15].served.wait(60)
            thread = threading.Thread(target=tasks.add_task, args=(others,))
            thread.start()
            thread.join()
            assert others.served.wait(60)
            assert not any(work.began.is_set() for work in works[16:])
            raise OSError
    except OSError:
        pass

    assert works[-1].served.wait(60)
    assert tasks.shutdown() is False
