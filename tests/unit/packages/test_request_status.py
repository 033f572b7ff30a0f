"""The truth table of a request's status, row by row."""

import pytest

from backend.workloads.packages.lifecycle import IN_VETTING
from backend.workloads.packages.service import request_status
from backend.workloads.packages.service_sql import FAILED

WAITS, YES, NO = "Pending Approval", "Approved", "Rejected"


@pytest.mark.parametrize("status", IN_VETTING)
@pytest.mark.parametrize("beside", ["Failed", WAITS, YES, "Published", NO, "Recalled"])
def test_a_request_is_processing_while_vetting_works_on_any_package(
    status: str, beside: str
) -> None:
    assert request_status({status: 1, beside: 5}, withdrawn=False) == "processing"


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({FAILED: 1}, "failed"),
        ({FAILED: 1, WAITS: 3, YES: 2, NO: 1}, "failed"),
        ({WAITS: 1}, "pending_approval"),
        ({WAITS: 1, NO: 4, YES: 4, "Published": 4}, "pending_approval"),
        ({}, "rejected"),
        ({NO: 2}, "rejected"),
        ({"Recalled": 2}, "rejected"),
        ({NO: 1, "Recalled": 1}, "rejected"),
        ({NO: 1, YES: 1}, "partially_rejected"),
        ({NO: 1, "Published": 1}, "partially_rejected"),
        ({"Recalled": 1, "Published": 1}, "partially_rejected"),
        ({YES: 1}, "approved"),
        ({YES: 1, "Published": 5}, "approved"),
        ({"Publishing": 1, "Published": 5}, "approved"),
        ({"Published": 1}, "published"),
        ({"Published": 3, NO: 0}, "published"),
    ],
)
def test_the_status_of_a_request_follows_from_its_packages(
    counts: dict[str, int], expected: str
) -> None:
    assert request_status(counts, withdrawn=False) == expected


@pytest.mark.parametrize("counts", [{}, {"Requested": 1}, {FAILED: 1}, {"Published": 1}])
def test_a_withdrawn_request_is_withdrawn_whatever_its_packages(counts: dict[str, int]) -> None:
    assert request_status(counts, withdrawn=True) == "withdrawn"


def test_a_request_whose_lock_names_nothing_has_nothing_to_decide() -> None:
    assert request_status({}, withdrawn=False, empty=True) == "approved"
    assert request_status({}, withdrawn=True, empty=True) == "withdrawn"
