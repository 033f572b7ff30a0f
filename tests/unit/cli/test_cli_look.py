import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from backend.cli import look
from backend.cli.progress import LiveView, PlainView
from backend.cli.words import plain

HOSTILE = "evil\x1b[2J\x07\N{RIGHT-TO-LEFT OVERRIDE}[red]\nname"
SHOWN = "evil\N{REPLACEMENT CHARACTER}[2J"


def package(name: str, status: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "version": "1.0.0", "status": status, "failure": None, "error": None,
        "license_identifier": "MIT", "license_status": "allowed", "integrity": "sha512-AAAA",
        "scan_result": "not covered", "findings": [], "attempts": 1,
        "updated_at": "2020-01-01T00:00:00Z",
    } | changes  # fmt: skip


def detail(*packages: dict[str, Any], application: str = "boat") -> dict[str, Any]:
    return {
        "request": {"id": 7, "application_name": application, "version": "1.0.0", "entries": 2},
        "packages": list(packages),
        "excluded": [{"entry": "node_modules/keel", "reason": "git", "detail": "No bytes."}],
        "notices": [],
    }


def printed(what: RenderableType, *, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=160, height=height, markup=False)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand more", "two lines and more"),
        ("a\x1b[31mb\x00c", "a\N{REPLACEMENT CHARACTER}[31mb\N{REPLACEMENT CHARACTER}c"),
        ("abcdefghijk", "abcdefghi…"),
        ("abcdefghij", "abcdefghij"),
        ("naïve 名", "naïve 名"),
    ],
)
def test_a_strangers_text_is_one_short_line_without_control_characters(
    text: str, shown: str
) -> None:
    assert plain(text, limit=10 if text.startswith("abc") else 200) == shown


def test_no_strangers_text_controls_the_terminal() -> None:
    hostile = package(
        HOSTILE, "Rejected", failure="policy", error=HOSTILE, license_identifier=HOSTILE,
        version=HOSTILE, integrity=HOSTILE, scan_result=HOSTILE,
    )  # fmt: skip
    document = detail(hostile, application=HOSTILE)
    document["excluded"][0]["entry"] = HOSTILE

    said = printed(look.summary(document, 1.0))

    assert SHOWN in said
    assert "[red]" in said
    assert {c for c in said if not c.isprintable()} == {"\n"}


def test_a_summary_tells_every_refusal_failure_and_exclusion_with_its_reason() -> None:
    said = printed(
        look.summary(
            detail(
                package("good", "Pending Approval"),
                package("bad", "Rejected", failure="policy", error="licence is blocked"),
                package("ugly", "Rejected", failure="timeout", error="took too long"),
            ),
            2.0,
        )
    )

    lines = [line.split() for line in said.splitlines()]
    assert ["Failed", "in", "processing", "(1)"] in lines
    assert ["ugly", "1.0.0", "took", "too", "long"] in lines
    assert ["bad", "1.0.0", "licence", "is", "blocked"] in lines
    assert ["node_modules/keel", "git:", "No", "bytes."] in lines
    assert "1 Pending Approval · 1 Rejected · 1 Failed in 2.0 s, 1.5 packages/s" in said


def test_a_long_request_shows_only_what_has_something_to_say() -> None:
    many = [package(f"fine-{n}", "Pending Approval") for n in range(look.MANY)]

    said = printed(look.summary(detail(*many, package("bad", "Rejected", failure="policy")), None))

    assert "fine-1" not in said
    assert "bad" in said
    assert f"And {look.MANY} more packages with nothing against them, waiting for approval." in said


def test_a_low_terminal_shows_those_being_worked_on_first() -> None:
    console = Console(file=io.StringIO(), width=120, height=11, force_terminal=True)
    view = LiveView(console)
    view.show(
        detail(
            *(package(f"waiting-{n}", "Requested") for n in range(9)),
            package("old", "Rejected", failure="policy"),
            package("new", "Pending Approval", updated_at="2020-01-02T00:00:00Z"),
            package("busy", "Downloading"),
        )
    )

    said = printed(view.render())

    names = [line.split()[0] for line in said.splitlines() if " 1.0.0 " in line]
    assert names[-4:] == ["busy", "new", "old", "waiting-0"]
    assert "2/12" in said
    assert len(said.splitlines()) <= 11


def test_plain_progress_says_a_thing_once_and_the_end_at_once() -> None:
    console = Console(file=io.StringIO(), width=200)
    view = PlainView(console)

    for status in ("Requested", "Downloading", "Pending Approval", "Pending Approval"):
        view.show(detail(package("oar", status)))

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "0/1 vetted after 0 s: 1 Requested",
        "1/1 vetted after 0 s: 1 Pending Approval",
    ]


def test_a_long_list_has_one_line_for_each_reason() -> None:
    document = detail()
    document["excluded"] = [
        {"entry": f"node_modules/a{n}", "reason": "bundled", "detail": "Inside its parent."}
        for n in range(99)
    ] + [{"entry": "packages/b", "reason": "workspace", "detail": "Its own."}]

    said = printed(look.summary(document, None))

    assert "Excluded (100)" in said
    assert "node_modules/a0 and 98 more  bundled: Inside its parent." in said
    assert "packages/b" in said
    assert "node_modules/a1" not in said
