"""What is under way is told where it lasts, and only there."""

import threading

from workers.announcing import Announcer

SECONDS = 10.0  # for what is bound to come
AT_ONCE = 0.01  # seconds


def quiet() -> None:
    for thread in threading.enumerate():
        if thread.name == "announcer":
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_what_lasts_is_told_once_and_what_was_over_before_is_not() -> None:
    announcer, told, said = Announcer(AT_ONCE), list[str](), threading.Event()

    def slow() -> None:
        told.append("slow")
        said.set()

    with announcer.during(slow) as began_slow:
        with announcer.during(lambda: told.append("quick")) as began_quick:
            began_quick()
        began_slow()
        assert said.wait(SECONDS)
    quiet()

    assert told == ["slow"]


def test_what_never_began_is_not_told() -> None:
    announcer, told = Announcer(AT_ONCE), list[str]()

    with announcer.during(lambda: told.append("waited only")):
        quiet()

    assert told == []


def test_its_thread_ends_and_comes_again() -> None:
    announcer = Announcer(AT_ONCE)

    for _ in range(2):
        said = threading.Event()
        with announcer.during(said.set) as began:
            began()
            assert said.wait(SECONDS)
        quiet()
