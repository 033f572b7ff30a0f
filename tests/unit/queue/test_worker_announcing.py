"""What is under way is told where it lasts, and only there."""

import threading
from collections.abc import Callable
from functools import partial

from workers.announcing import Announcer

SECONDS = 10.0  # for what is bound to come
AT_ONCE = 0.01  # seconds


def telling(told: list[str], word: str) -> Callable[[], bool]:
    def say() -> bool:
        told.append(word)
        return True

    return say


def tell(said: threading.Event) -> bool:
    said.set()
    return True


def quiet() -> None:
    for thread in threading.enumerate():
        if thread.name == "announcer":
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_what_lasts_is_told_once_and_what_was_over_before_is_not() -> None:
    announcer, told, said = Announcer(AT_ONCE), list[str](), threading.Event()

    def slow() -> bool:
        told.append("slow")
        said.set()
        return True

    with announcer.during(slow) as began_slow:
        with announcer.during(telling(told, "quick")) as began_quick:
            began_quick()
        began_slow()
        assert said.wait(SECONDS)
    quiet()

    assert told == ["slow"]


def test_what_never_began_is_not_told() -> None:
    announcer, told = Announcer(AT_ONCE), list[str]()

    with announcer.during(telling(told, "waited only")):
        quiet()

    assert told == []


def test_its_thread_ends_and_comes_again() -> None:
    announcer = Announcer(AT_ONCE)

    for _ in range(2):
        said = threading.Event()
        with announcer.during(partial(tell, said)) as began:
            began()
            assert said.wait(SECONDS)
        quiet()


def test_what_could_not_be_said_is_said_again_and_keeps_no_other_waiting() -> None:
    announcer, told, said = Announcer(AT_ONCE), list[str](), threading.Event()

    def locked() -> bool:
        told.append("locked")
        if "free" in told:
            said.set()
        return said.is_set()

    with (
        announcer.during(locked) as began_locked,
        announcer.during(telling(told, "free")) as began_free,
    ):
        began_locked()
        began_free()
        assert said.wait(SECONDS)
        quiet()

    assert (told[0], told.count("free"), told[-1]) == ("locked", 1, "locked")


def test_what_is_over_before_it_could_be_said_is_not_said_again() -> None:
    announcer, tries = Announcer(AT_ONCE), threading.Semaphore(0)

    def locked() -> bool:
        tries.release()
        return False

    with announcer.during(locked) as began:
        began()
        assert tries.acquire(timeout=SECONDS)
    quiet()
