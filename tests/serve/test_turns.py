"""Who may use a device next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from promptseg.serve.lease import Lease
from promptseg.serve.turns import CancelledError, Job, Turns, Urgency


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def started(do: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    return thread


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def slices(turns: Turns, clock: Clock, job: Job, count: int, done: list[str]) -> Callable[[], None]:
    """A job of several slices of one second each, which rests before each of them."""

    def run() -> None:
        with turns.take(job):
            for _ in range(count):
                turns.rest()
                clock.now += 1
                done.append(job.user)

    return run


def waiting(turns: Turns) -> int:
    return len(turns._waiting)


def test_a_click_overtakes_what_is_encoded_and_followed() -> None:
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    gate = threading.Event()

    def first() -> None:
        with turns.take(Job("a", Urgency.SPREAD)):
            done.append("a")
            gate.wait(20)
            turns.rest()
            done.append("a again")

    threads = [started(first)]
    until(lambda: done == ["a"])
    for user, urgency in (("b", Urgency.BACKGROUND), ("c", Urgency.SPREAD), ("d", Urgency.CLICK)):
        before = waiting(turns)
        threads.append(started(slices(turns, clock, Job(user, urgency), 1, done)))
        until(lambda before=before: waiting(turns) == before + 1)  # type: ignore[misc]
    clock.now += 1  # a has had the device for a second, c has not
    gate.set()
    for thread in threads:
        thread.join(180)
    assert done == ["a", "d", "c", "a again", "b"]


def test_two_users_share_the_device_slice_by_slice() -> None:
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    with turns.take(Job("x", Urgency.CLICK)):
        threads = [
            started(slices(turns, clock, Job(user, Urgency.SPREAD), 20, done)) for user in "ab"
        ]
        until(lambda: waiting(turns) == 2)
    for thread in threads:
        thread.join(180)
    for k in range(2, 40, 2):
        assert abs(done[:k].count("a") - done[:k].count("b")) <= 2
    assert done.count("a") == done.count("b") == 20


def test_who_comes_late_does_not_have_saved_up_turns() -> None:
    clock, done = Clock(), list[str]()
    turns = Turns(clock)
    slices(turns, clock, Job("a", Urgency.SPREAD), 50, done)()
    done.clear()
    with turns.take(Job("a", Urgency.CLICK)):
        threads = [
            started(slices(turns, clock, Job(user, Urgency.SPREAD), 10, done)) for user in "ab"
        ]
        until(lambda: waiting(turns) == 2)
    for thread in threads:
        thread.join(180)
    assert "a" in done[:4]


def test_a_job_is_cancelled_at_its_next_slice_or_in_the_queue() -> None:
    turns, seen = Turns(), list[str]()
    running, queued = Job("a", Urgency.CLICK), Job("b", Urgency.SPREAD)
    entered = threading.Event()

    def run() -> None:
        try:
            with turns.take(running):
                entered.set()
                while True:
                    turns.rest()
                    time.sleep(0.001)
        except CancelledError:
            seen.append("running")

    def wait() -> None:
        try:
            with turns.take(queued):
                seen.append("never")
        except CancelledError:
            seen.append("queued")

    one = started(run)
    entered.wait(20)
    two = started(wait)
    until(lambda: waiting(turns) >= 1 or seen != [])
    turns.cancel(queued)
    two.join(180)
    turns.cancel(running)
    one.join(180)
    assert seen == ["queued", "running"]
    with turns.take(Job("c", Urgency.CLICK)):
        assert turns.waits(Urgency.BACKGROUND)
    assert not turns.waits(Urgency.BACKGROUND)


def test_a_device_is_free_again_after_an_error() -> None:
    turns = Turns()
    with pytest.raises(ValueError, match="broken"), turns.take(Job("a", Urgency.CLICK)):
        raise ValueError("broken")
    with turns.take(Job("b", Urgency.CLICK)):
        pass


def test_a_lease_has_two_clocks() -> None:
    clock = Clock()
    lease = Lease(clock, idle_s=600, liveness_s=60)
    clock.now = 59
    lease.touch()
    clock.now = 118
    assert lease.remaining == 1
    clock.now = 119
    assert lease.ended
    lease = Lease(clock, idle_s=600, liveness_s=60)
    lease.connect(1)
    clock.now += 599
    assert lease.remaining == 1
    clock.now += 1
    lease.touch()
    assert lease.ended, "signs of life are no actions"
    lease.act()
    lease.connect(-1)
    clock.now += 60
    assert lease.ended
    assert Lease(clock, 1, 1).token != Lease(clock, 1, 1).token
