"""The generated section of the benchmark's page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.benchmark.store import Figures
from tests.benchmark.table import render

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- written by scripts/bench --docs -->"
END: Final = "<!-- end of what scripts/bench writes -->"


def replace_section(page: str, section: str) -> str:
    """The page with everything between the two markers replaced.

    Raises:
        ValueError: a marker is not there exactly once.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError("the page must hold each marker once, in their order")
    return f"{before}{BEGIN}\n\n{section.strip()}\n\n{END}{after}"


def write(facts: Mapping[str, str], figures: Figures) -> None:
    """Put machine, versions and the tables on the page."""
    said = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    PAGE.write_text(replace_section(PAGE.read_text(), f"{said}\n\n{render(figures)}"))
