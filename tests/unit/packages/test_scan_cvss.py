"""Expected scores are those of FIRST's own published examples and of well-known advisories."""

import pytest

from backend.workloads.packages.scanning.cvss import base_score, severity


@pytest.mark.parametrize(
    ("vector", "score", "word"),
    [
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, "critical"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", 10.0, "critical"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1, "medium"),
        ("CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4, "medium"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", 7.5, "high"),
        ("CVSS:3.1/AV:N/AC:H/PR:H/UI:N/S:U/C:H/I:H/A:H", 6.6, "medium"),
        ("CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", 1.6, "low"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", 0.0, "low"),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H/E:P", 9.8, "critical"),
        ("AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8, "high"),
        ("(AV:N/AC:L/Au:N/C:C/I:C/A:C)", 10.0, "high"),
        ("AV:L/AC:H/Au:N/C:C/I:C/A:C", 6.2, "medium"),
        ("AV:N/AC:L/Au:N/C:N/I:N/A:N", 0.0, "low"),
    ],
)
def test_a_vector_has_the_score_and_severity_of_the_specification(
    vector: str, score: float, word: str
) -> None:
    assert base_score(vector) == score
    assert severity(vector) == word


@pytest.mark.parametrize(
    "vector",
    [
        "", "7.5", "CVSS:3.1", "CVSS:3.1/AV:N", "CVSS:3.1/AV:Z/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", "CVSS:9.9/AV:N", "a/b",
    ],
)  # fmt: skip
def test_a_vector_that_cannot_be_computed_is_no_rating(vector: str) -> None:
    assert base_score(vector) is None
    assert severity(vector) == "unknown"
