"""How a request looks on a terminal: tables and sentences for rich. Strangers' text is cleaned."""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, TextIO

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from backend.cli import report
from backend.cli.report import Json
from backend.cli.words import count, plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from backend.queue.doctor import Finding

FILE_WIDTH: Final = 140  # columns where nobody said how wide the paper is
MANY: Final = 120  # packages; of more, the summary's table shows only those with something to say

_FAR: Final = 48  # columns
_LONG: Final = 40  # rows; a longer list has one for each reason
_WEAK: Final = frozenset({"sha1 weak", "none"})
_FINE_LICENCES: Final = frozenset({"always_allowed", "allowed"})

_TIME: Final = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?Z$")

_STATUS_STYLES: Final = {
    "Requested": "dim",
    "Checking Licence": "cyan",
    "Downloading": "cyan",
    "Downloaded": "cyan",
    "Security Scanning": "cyan",
    "Pending Approval": "green",
    "Approved": "green",
    "Publishing": "green",
    "Published": "green",
    "Rejected": "red",
    "Recalled": "red",
    "Failed": "bold magenta",
}
_SEVERITY_STYLES: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}
_LICENCE_STYLES: Final = {"blocked": "red", "avoid": "yellow", "unknown": "yellow"}


def console(*, stderr: bool) -> Console:
    """Of standard output or standard error; plain and wide where that is no terminal."""
    stream: TextIO = sys.stderr if stderr else sys.stdout
    made = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made = Console(
            file=stream, width=FILE_WIDTH, color_system=None, force_terminal=False,
            highlight=False, markup=False, emoji=False,
        )  # fmt: skip
    return made


def package_table(packages: Sequence[Json]) -> Table:
    """Package, version, licence, integrity, findings, status: a line for each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False, header_style="bold")
    table.add_column("Package", overflow="ellipsis", no_wrap=True, ratio=None, max_width=44)
    table.add_column("Version", overflow="ellipsis", no_wrap=True, max_width=16)
    table.add_column("Licence", overflow="ellipsis", no_wrap=True, max_width=24)
    for heading in ("Integrity", "Findings", "Status"):
        table.add_column(heading, no_wrap=True)
    for package in packages:
        table.add_row(
            plain(package["name"]),
            plain(package["version"]),
            _licence(package),
            _integrity(package),
            _findings(package),
            _status(package),
        )
    return table


def _licence(package: Json) -> Text:
    identifier, tier = package["license_identifier"], package["license_status"]
    if identifier is None:
        return Text("none" if report.vetted(package) else "", style="yellow")
    return Text(plain(identifier), style=_LICENCE_STYLES.get(tier or "", ""))


def _integrity(package: Json) -> Text:
    word = report.integrity_word(package)
    return Text(plain(word), style="yellow" if word in _WEAK else "")


def _findings(package: Json) -> Text:
    found = report.severities(package)
    if not found:
        return Text(plain(report.findings_word(package)), style="dim")
    words = [
        Text(f"{number} {plain(word)}", style=_SEVERITY_STYLES.get(word, "yellow"))
        for word, number in found.items()
    ]
    return Text(" ").join(words)


def _status(package: Json) -> Text:
    word = report.status_word(package)
    style = "Failed" if report.failed(package) else package["status"]
    return Text(plain(word), style=_STATUS_STYLES.get(style, ""))


def tally(detail: Json) -> Text:
    """``28 Pending Approval · 5 Rejected``."""
    words = [
        Text(f"{number} {plain(word)}", style=_STATUS_STYLES.get(word, ""))
        for word, number in report.tally(detail).items()
    ]
    return Text(" · ").join(words) if words else Text("no packages")


def summary(detail: Json, seconds: float | None) -> "RenderableType":
    """All of a finished request: its table, and every refusal, failure and exclusion by reason."""
    packages = detail["packages"]
    shown = packages if len(packages) <= MANY else [p for p in packages if _remarkable(p)]
    parts: list[RenderableType] = [package_table(shown)] if shown else []
    if len(shown) < len(packages):
        more = count(len(packages) - len(shown), "more package")
        parts.append(f"And {more} with nothing against them, waiting for approval.\n")
    parts += _reasons("Failed in processing", filter(report.failed, packages))
    parts += _reasons("Rejected", filter(report.refused, packages))
    parts += _list(
        "Excluded", [(e["entry"], f"{e['reason']}: {e['detail']}") for e in detail["excluded"]]
    )
    parts += _list(
        "Notices", [(n["entry"], f"{n['kind']}: {n['detail']}") for n in detail["notices"]]
    )
    parts.append(_last_line(detail, seconds))
    return Group(*parts)


def _remarkable(package: Json) -> bool:
    """Whether a person should see more of it than its number."""
    return bool(
        package["findings"]
        or package["status"] != "Pending Approval"
        or package["license_status"] not in _FINE_LICENCES
        or report.integrity_word(package) in _WEAK
    )


def _reasons(title: str, packages: Iterable[Json]) -> list["RenderableType"]:
    rows = [
        (f"{p['name']} {p['version']}", p["error"] or p["failure"] or p["status"]) for p in packages
    ]
    return _list(title, rows)


def _list(title: str, rows: Sequence[tuple[str, str]]) -> list["RenderableType"]:
    """A title, and below it what and why, the whys below each other where that is not too far."""
    if not rows:
        return []
    shown = [(plain(what), plain(why, limit=500)) for what, why in rows]
    if len(shown) > _LONG:
        shown = _grouped(shown)
    width = min(_FAR, max(len(what) for what, _ in shown))
    lines = [Text(f"{title} ({len(rows)})", style="bold")]
    for what, why in shown:
        line = Text(f"  {what:{width}}  ")
        if len(what) > width:
            line.append(f"\n{'':{width + 4}}")
        lines.append(line.append(why, style="dim"))
    return [*lines, ""]


def _grouped(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """One row per why; of what it is said of, the first and how many more."""
    groups: dict[str, list[str]] = {}
    for what, why in rows:
        groups.setdefault(why, []).append(what)
    return [
        (f"{first} and {len(more)} more" if more else first, why)
        for why, (first, *more) in groups.items()
    ]


def _last_line(detail: Json, seconds: float | None) -> Text:
    request = detail["request"]
    line = Text(f"Request {request['id']}", style="bold")
    line.append(f" {heading(detail)}: ", style="not bold")
    line.append_text(tally(detail))
    if seconds is not None:
        packages = len(detail["packages"])
        rate = f", {packages / seconds:.1f} packages/s" if packages and seconds > 0 else ""
        line.append(f" in {seconds:.1f} s{rate}", style="not bold")
    return line


def heading(detail: Json) -> str:
    """``harbour-portal 1.4.0, 33 packages of 35 entries, 2 excluded``."""
    request = detail["request"]
    name = plain(f"{request['application_name']} {request['version']}")
    excluded = f", {len(detail['excluded'])} excluded" if detail["excluded"] else ""
    entries = count(request["entries"], "entry", "entries")
    return f"{name}, {count(len(detail['packages']), 'package')} of {entries}{excluded}"


def request_table(requests: Sequence[Json]) -> "RenderableType":
    """A line for each request, newest first."""
    if not requests:
        return "There is no request yet."
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading_ in ("Request", "Application", "Status", "Vetted", "Created", "By"):
        table.add_column(heading_, justify="right" if heading_ in {"Request", "Vetted"} else "left")
    for request in requests:
        table.add_row(
            str(request["id"]),
            plain(f"{request['application_name']} {request['version']}"),
            plain(request["status"]),
            f"{request['completed_packages']}/{request['total_packages']}",
            plain(str(request["created_at"])[:19].replace("T", " ")),
            plain(request["requestor"]),
        )
    return table


def explanation(answer: Json) -> "RenderableType":
    """Where a row is, why, and the facts below each other."""
    head = Text(plain(f"{answer['queue']} {answer['id']}: {answer['status']}"), style="bold")
    head.append(f"  {plain(answer['reason'])}", style="not bold cyan")
    known = {**answer["facts"], "next_at": answer["next_at"]}
    known.pop("seconds", None)  # for programs; the sentence has it in words
    facts = {
        name: value for name, value in known.items() if value is not None and value is not False
    }
    width = max(map(len, facts), default=0)
    lines = [
        Text(f"  {plain(name):{width}}  {_fact(value)}", style="dim")
        for name, value in facts.items()
    ]
    return Group(head, Text(plain(answer["sentence"], limit=2000)), *lines)


def _fact(value: object) -> str:
    """Times to the second, as sentences have them."""
    return plain(_TIME.sub(r"\1 \2 UTC", str(value)), limit=500)


def finding_table(findings: "Iterable[Finding]") -> Table:
    """A line for each finding of an examination, errors first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading_ in ("Severity", "Code"):
        table.add_column(heading_, no_wrap=True)
    table.add_column("What is wrong, and what to do")
    for finding in sorted(findings, key=lambda finding: finding.severity):
        style = "bold red" if finding.severity == "error" else "yellow"
        table.add_row(
            Text(finding.severity, style=style),
            plain(finding.code),
            plain(finding.sentence, limit=1000),
        )
    return table


def invitation(url: str, username: str, token: str, credentials: str) -> Text:
    """Where to go from here: URL, token and passwords. To be printed unwrapped, for copying."""
    lines = Text()
    for label, value in (
        ("URL", f"{url}   (what it can do: {url}/docs)"),
        ("Token", token),
        ("", f"of {plain(username)}, for 15 minutes; passwords are in {plain(credentials)}"),
    ):
        lines.append(f"{label:6}", style="bold").append(f"{value}\n")
    return lines.append("Serving until Ctrl-C.", style="dim")
