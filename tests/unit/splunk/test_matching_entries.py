"""Lists of deployment clients: names are found as each entry by itself would say, and cheaply."""

import re
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.problems import Unsupported
from backend.workloads.splunk.matching.automaton import Work
from backend.workloads.splunk.matching.entries import Client, Entries, Entry, Seen
from backend.workloads.splunk.matching.patterns import CLIENT, ClientPattern, Pattern
from backend.workloads.splunk.matching.serverclass import DeploymentServer, defined
from backend.workloads.splunk.matching.syntax import Unreadable
from backend.workloads.splunk.resolution.context import GLOBAL
from tests.splunk_tree import installation


def seen(texts: list[str], *names: str, work: Work | None = None) -> Seen:
    """What one list of these entries says, whose number is 1."""
    entries = Entries(work or Work())
    of_list = entries.new_list()
    for position, text in enumerate(texts):
        entries.add(of_list, position, Entry(f"whitelist.{position}", text))
    return entries.seen(Client(names[0], names))


def decides(texts: list[str], *names: str) -> str | None:
    found = seen(texts, *names).found.get(1)
    return found.key if found else None


WILDCARDS = st.lists(st.sampled_from(["a", "B", "ab", ".", r"\.", "-", "*"]), max_size=8)
NAMES = st.text("aAbB.-", max_size=10)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(WILDCARDS, NAMES)
def test_names_with_stars_match_as_any_engine_says(pieces: list[str], name: str) -> None:
    expression = "".join(".*" if it == "*" else re.escape(it.replace("\\", "")) for it in pieces)
    expected = re.fullmatch(expression, name, re.IGNORECASE | re.DOTALL) is not None

    assert ClientPattern("".join(pieces), Work()).matches(name) is expected


def one_by_one(text: str, name: str) -> bool | None:
    """What an entry says by itself; None where it cannot be read."""
    try:
        return Pattern(text, CLIENT, Work()).matches(name)
    except Unreadable:
        return None


TEXTS = st.one_of(
    WILDCARDS.map("".join),
    st.text("aB*.|()\\b?{}[]01xd+^$", max_size=8),
    st.sampled_from(
        ["(?-i)aB*", "a(?!b).*", "*a|b", "a\\d", "(?i)A*", "[ab]*", "a\\101", "a*\\x62"]
    ),
)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(TEXTS, max_size=6), st.lists(NAMES, min_size=1, max_size=3))
def test_looking_up_says_what_comparing_with_each_entry_says(
    texts: list[str], names: list[str]
) -> None:
    answers = [one_by_one(text, name) for text in texts for name in names]
    found = seen(texts, *names)

    assert (1 in found.found) is (True in answers)
    if 1 in found.unread:
        assert None in answers


@pytest.mark.parametrize(
    ("texts", "names", "expected"),
    [
        (["w*", "WEB01"], ["web01"], "whitelist.1"),  # a plain name, before any pattern
        (["*01", "w*"], ["web01"], "whitelist.0"),
        (["w*", "*01", "w*"], ["web01"], "whitelist.0"),
        (["*.corp", "w*"], ["web01", "web01.corp"], "whitelist.1"),  # by the first of its names
        (["web01.corp", "w*"], ["10.0.0.1", "web01.corp"], "whitelist.0"),
        (["*b0*", "we*zz*01"], ["web01"], "whitelist.0"),
        (["web0*b01", "we*eb01"], ["web01"], None),  # the parts may not share characters
        ([], ["web01"], None),
    ],
)
def test_the_entry_that_decides(texts: list[str], names: list[str], expected: str | None) -> None:
    assert decides(texts, *names) == expected


def test_what_cannot_be_read_matters_to_those_alone_whom_it_may_match() -> None:
    texts = ["db[", r"web\101", "(a{1000}){1000}"]

    assert list(seen(texts, "db01").unread[1]) == [
        "the pattern of whitelist.0 opens a class that is not closed, at character 4",
        "the pattern of whitelist.2 is larger than 2000 places, its repeats written out",
    ]
    assert [why.split()[3] for why in seen(texts, "webA").unread[1]] == [
        "whitelist.1",
        "whitelist.2",
    ]


def test_a_pattern_that_begins_unlike_the_name_is_not_read() -> None:
    texts = [f"web{number}-[0-9]+{'x?' * 400}" for number in range(50)]

    assert seen(texts, "db01", work=Work(50 * 200)).found == {}
    with pytest.raises(Unsupported):
        seen(texts, *(f"web{number}-1" for number in range(50)), work=Work(50 * 200))


@pytest.mark.parametrize(
    "text",
    [
        lambda n: "a" + "*" * n + "b",
        lambda n: "*a" * (100 + n % 100) + "*" * (1 + n // 100),
        lambda n: "*" * (n % 500) + "a" * (n % 250),
        lambda n: "a" * (n % 250) + "*" + "b" * (n // 250),
        lambda n: f"(a{{1000}}){{{n}}}b",
    ],
)
def test_no_list_of_wildcards_takes_long(text: Callable[[int], str]) -> None:
    names = ["a" * (number % 250) + "b" for number in range(2000)]
    started = time.process_time()

    with suppress(Unsupported):  # that it is too much is an answer
        seen([*map(text, range(1000))], *names, work=Work(200_000))

    assert time.process_time() - started < 5


KINDS: list[Callable[[int], str]] = [
    lambda n: f"host-{n:05d}.example.test",
    lambda n: f"web{n // 20}-*",
    lambda n: f"*-{n:05d}.example.test",
    lambda n: f"*x{n:05d}*",
    lambda n: f"10.{n // 100}.{n % 100}.*",
    lambda n: f"app{n}-[0-9]+",
]


def deployment_server(classes: int, work: Work) -> DeploymentServer:
    """Classes of 20 entries of every common kind and an app each."""
    lines = []
    for number in range(classes):
        lines.append(f"[serverClass:c{number}]")
        each = range(number * 20, number * 20 + 20)
        lines += (f"whitelist.{n % 20} = {KINDS[n % len(KINDS)](n)}" for n in each)
        lines.append(f"[serverClass:c{number}:app:a{number}]")
    configuration = installation({"system/local/serverclass.conf": "\n".join(lines)})
    return DeploymentServer(
        configuration.effective("serverclass", GLOBAL),
        defined(configuration.stanzas("serverclass")),
        repository=None, files={}, work=work,
    )  # fmt: skip


def ask(classes: int, hosts: int, work: Work) -> None:
    """Each host is of one class by its name, and of another one by its address."""
    server = deployment_server(classes, work)
    for number in range(0, classes * 20, classes * 20 // hosts)[:hosts]:
        plain, other = number - number % 6, number // 2
        names = (f"host-{plain:05d}.example.test", f"10.{other // 100}.{other % 100}.7")
        found = server.deployment(Client(names[0], names)).apps(True)
        assert f"a{plain // 20}" in found
        assert (f"a{other // 20}" in found) or other % 6 != 4


def test_plain_names_and_stars_cost_next_to_nothing() -> None:
    ask(classes=100, hosts=50, work=Work(80_000))


@pytest.mark.slow
def test_a_large_deployment_server_is_answered_within_the_budget() -> None:
    ask(classes=1500, hosts=500, work=Work())
