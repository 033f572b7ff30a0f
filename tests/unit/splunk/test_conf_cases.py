"""Conf files with expected results that are kept outside the repository."""

import json
from pathlib import Path
from typing import Any

import pytest

from backend.workloads.splunk.conf.parsing import parse

FOLDER = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "splunk"
LIST = FOLDER / "cases.json"
CASES = (
    [case for case in json.loads(LIST.read_text()) if case["kind"] == "parse"]
    if LIST.is_file()
    else []
)

pytestmark = [
    pytest.mark.cases,
    pytest.mark.skipif(not CASES, reason="../shared/cases is not there"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_file_says_what_the_case_expects(case: dict[str, Any]) -> None:
    conf = parse((FOLDER / case["file"]).read_bytes())
    assert {stanza.name: stanza.settings for stanza in conf.stanzas} == case["expected"]
    remarks = case["note"] if isinstance(case["note"], list) else []
    assert {*case["warnings"], *remarks} <= {warned.code for warned in conf.warnings}
