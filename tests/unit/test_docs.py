"""The documentation says what is there: settings, paths, links, examples; and names no registry."""

import json
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from packageurl.contrib.purl2url import get_download_url, get_repo_url

from backend.db import make_engine
from backend.settings import Settings
from backend.web import openapi
from backend.web.assembly import assemble

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

UNSET = "\N{EN DASH}"
VARIABLE = re.compile(r"`([A-Z][A-Z0-9_]+)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
URL = re.compile(r"[a-z][a-z0-9+]*://[^\s`'\"<>)|]+")

# Pages that the documentation may name: standards, and what the changelog follows.
NAMED_SITES = frozenset({"keepachangelog.com", "semver.org"})
OF_NO_ONE = (".test", ".example", "localhost", "127.0.0.1")  # RFC 2606, RFC 6761
ECOSYSTEMS = ("npm", "pypi", "cargo", "gem", "nuget", "hackage", "golang")
TEXT = (".md", ".py", ".sh", ".toml", ".json", ".js", ".html", ".csv", ".lock", ".yml", "")


def files(*suffixes: str) -> list[Path]:
    """Of the repository; not what a tool made, nor what lies in a hidden folder."""
    made = {"build", "dist", "__pycache__"}
    return sorted(
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and path.suffix in suffixes
        and not any(
            part.startswith(".") or part in made or part.endswith(".egg-info")
            for part in path.relative_to(ROOT).parts
        )
    )


PAGES = files(".md")


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def rows_of(page: Path) -> Iterator[list[str]]:
    """Every table row whose first cell is a variable: its cells."""
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and VARIABLE.fullmatch(cells[0]):
            yield [cells[0].strip("`"), *cells[1:]]


def documented() -> dict[str, list[str]]:
    """The cells after the name, by variable."""
    rows = list(rows_of(DOCS / "configuration.md"))
    assert len(rows) == len({row[0] for row in rows}), "a variable stands there twice"
    return {name: cells for name, *cells in rows}


def settings_fields() -> dict[str, Any]:
    return {str(field.alias): field for field in Settings.model_fields.values()}


def of_the_command_line() -> set[str]:
    sources = [*(ROOT / "backend" / "cli").glob("*.py"), *(ROOT / "scripts").iterdir()]
    return {
        name
        for source in sources
        if source.is_file()
        for name in re.findall(r"\bLOCKKEEPER_[A-Z]+\b", source.read_text())
    }


def shown(default: Any) -> str:
    """A default as the page words it."""
    if default is None or default == ():
        return UNSET
    if isinstance(default, timedelta):
        return f"{default.total_seconds():.12g}"
    if isinstance(default, dict):
        return ",".join(f"{name}={number}" for name, number in default.items())
    return str(default).lower() if isinstance(default, bool) else str(default)


def unit_of(name: str, field: Any) -> str | None:
    """The only right unit; None where any word will do."""
    if isinstance(field.default, timedelta):
        return "seconds"
    if isinstance(field.default, bool):
        return "true or false"
    if isinstance(field.default, tuple | dict):
        return "comma list"
    endings = {"_BYTES": "bytes", "_LENGTH": "bytes", "_PER_MINUTE": "per minute", "_URL": "URL"}
    return next((unit for ending, unit in endings.items() if name.endswith(ending)), None)


def test_every_variable_is_documented_and_nothing_else_is() -> None:
    assert set(documented()) == set(settings_fields()) | of_the_command_line()


@pytest.mark.parametrize(("name", "field"), settings_fields().items())
def test_a_setting_is_documented_with_its_default_and_its_unit(name: str, field: Any) -> None:
    default, unit, meaning = documented()[name]

    assert default == shown(field.default)
    assert unit == (unit_of(name, field) or unit)
    assert unit
    assert meaning.endswith(".")


def test_every_variable_that_another_page_names_in_a_table_or_a_command_exists() -> None:
    known = set(documented())
    exported = re.compile(r"\b(?:export |-e )?([A-Z]+(?:_[A-Z]+)+)=")
    named = {
        name
        for page in PAGES
        for _, code in CODE.findall(page.read_text())
        for name in exported.findall(code)
    }

    assert named
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = CODE.sub("", page.read_text())
    for target in LINK.findall(text):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def test_the_readme_leads_to_every_page() -> None:
    linked = {target.partition("#")[0] for target in LINK.findall((ROOT / "README.md").read_text())}

    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """Of the whole API; its database is never asked."""
    settings = Settings.load(JWT_SECRET=secrets.token_hex(32))
    return openapi.describe(assemble(settings, make_engine("postgresql+psycopg2:///nowhere")))


def test_every_operation_of_the_api_is_documented_with_its_role(
    description: dict[str, Any],
) -> None:
    row = re.compile(r"^\| `([A-Z]+) (/[^`]*)` \| ([^|]*) \|", re.MULTILINE)
    said = {(method, path): role.strip() for method, path, role in row.findall(api_page())}
    expected = {
        (method.upper(), path): role_of(operation)
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    }

    assert said == expected


def role_of(operation: dict[str, Any]) -> str:
    scope = operation.get("x-required-scope")
    role = operation.get("x-required-role", "anybody")
    return f"{role}, key: {scope}" if scope else str(role)


def api_page() -> str:
    return (DOCS / "api.md").read_text()


def test_every_command_with_curl_calls_an_operation_that_there_is(
    description: dict[str, Any],
) -> None:
    paths = [re.sub(r"\{\w+\}", r"[^/?]+", path) for path in description["paths"]]
    undescribed = ["/openapi.json", "/docs"]
    called = re.findall(r"\$LOCKKEEPER_URL(/[^\s?\"']*)", "".join(p.read_text() for p in PAGES))

    assert called
    assert [
        path for path in called if not any(re.fullmatch(p, path) for p in [*paths, *undescribed])
    ] == []


def test_the_example_workload_is_one(tmp_path: Path) -> None:
    """In a process of its own: its table must not reach the other tests' metadata."""
    blocks = re.findall(
        r"^```python\n# (\w+\.py)\n(.*?)^```$",
        (DOCS / "engine.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    folder = tmp_path / "digests"
    folder.mkdir()
    for name, code in [("__init__.py", ""), *blocks]:
        (folder / name).write_text(code)
    program = (
        "import sys, json, backend.workloads\n"
        "backend.workloads.__path__.append(sys.argv[1])\n"
        "from backend.settings import Settings\n"
        "from backend.workloads.digests import pipeline, workload\n"
        "(made,) = pipeline.pipelines(Settings.load())\n"
        "assert workload.QUEUES == (made.queue,)\n"
        "outcome = made.steps[0].run(sys.argv[2], None)\n"
        "print(json.dumps([made.queue.rows.name, list(made.queue.words), outcome.result]))\n"
    )
    (tmp_path / "file").write_bytes(b"abc")
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path, tmp_path / "file"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        "digests",
        ["waiting", "reading", "known", "unreadable"],
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",  # FIPS 180-2, B.1
    ]


def test_no_page_names_a_host_but_examples_and_standards() -> None:
    named = {
        (page_id(page), host)
        for page in PAGES
        for url in URL.findall(page.read_text())
        if (host := urlsplit(url).hostname)
        and host not in NAMED_SITES
        and not host.endswith(OF_NO_ONE)
        and host not in {"host", "user"}  # placeholders
    }

    assert named == set()


def registry_hosts() -> set[str]:
    """Of the ecosystems' public registries, as packageurl-python knows them."""
    urls = [
        url
        for purl in (f"pkg:{ecosystem}/a/b@1.0.0" for ecosystem in ECOSYSTEMS)
        for url in (get_download_url(purl), get_repo_url(purl))
    ]
    return {host for url in urls if url and (host := urlsplit(url).hostname)}


def test_no_file_names_the_host_of_a_package_registry() -> None:
    hosts = registry_hosts()
    named = {
        (page_id(file), host) for file in files(*TEXT) for host in hosts if host in file.read_text()
    }

    assert len(hosts) >= len(ECOSYSTEMS)
    assert named == set()
