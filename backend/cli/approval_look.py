"""How packages look to whoever decides about them: tables for rich. Strangers' text is cleaned."""

from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from backend.cli.report import SEVERITIES, Json
from backend.cli.words import plain


def verdict_table(packages: Iterable[Json]) -> Table:
    """A line for each package: what its verdict rests on."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    headings = ("Id", "Package", "Version", "Status", "Licence", "Score", "Findings", "Verdict")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in {"Id", "Score"} else "left")
    for package in packages:
        score = package["security_score"]
        table.add_row(
            str(package["id"]),
            plain(package["name"]),
            plain(package["version"]),
            plain(package["status"]),
            plain(f"{package['license_identifier'] or 'none'} ({_tier(package)})"),
            str(score) if score is not None else plain(package["scan_result"] or "not scanned"),
            _findings(package),
            (package["verdict_digest"] or "none")[:12],
        )
    return table


def _tier(package: Json) -> str:
    return package["license_status"] or "in no tier"


def _findings(package: Json) -> str:
    found = Counter(finding["severity"] for finding in package["findings"])
    known = [f"{found.pop(word)} {word}" for word in SEVERITIES if found[word]]
    rest = [f"{number} {plain(word)}" for word, number in found.items() if number]
    return ", ".join([*known, *rest]) or "none"


def use_table(uses: Sequence[Json]) -> Table:
    """A line for each path by which an application uses a package."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("Request", "Application", "By", "Package", "Status", "Path"):
        table.add_column(heading, justify="right" if heading == "Request" else "left")
    for use in uses:
        application = plain(f"{use['application_name']} {use['application_version']}")
        package = plain(f"{use['name']} {use['version']}")
        for path in _paths(use):
            table.add_row(
                str(use["request_id"]), application, plain(use["requestor"]), package,
                plain(use["status"] or ""), plain(path, limit=300),
            )  # fmt: skip
    return table


def _paths(use: Json) -> list[str]:
    """Of a bundled copy: where the package lies that brings it, and where in that."""
    paths: list[str] = use["paths"]
    inside = use["bundled"]
    return paths if inside is None else [f"{path}: {copy}" for path in paths for copy in inside]
