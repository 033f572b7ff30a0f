from datetime import timedelta

import pytest

from backend.outbound.patience import retry_after
from backend.workloads.packages.registry.answers import failure
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient

URL = "https://registry.example.test/name"
DATE = {"Date": "Wed, 21 Oct 2015 07:28:00 GMT"}


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def test_only_200_is_an_answer() -> None:
    assert failure(200, {}, url=URL) is None
    assert isinstance(failure(204, {}, url=URL), RegistryTransient)
    assert isinstance(failure(302, {}, url=URL), RegistryTransient)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 999])
def test_an_overloaded_or_broken_registry_is_worth_another_attempt(status: int) -> None:
    found = failure(status, {"Retry-After": "7"}, url=URL)
    assert isinstance(found, RegistryTransient)
    assert found.retry_after == seconds(7)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "registry-denied"),
        (403, "registry-denied"),
        (404, "not-found"),
        (410, "not-found"),
        (405, "not-supported"),
        (400, "registry-refused"),
        (451, "registry-refused"),
    ],
)
def test_what_is_missing_denied_or_refused_stays_so(status: int, code: str) -> None:
    found = failure(status, {}, url=URL)
    assert isinstance(found, RegistryPermanent)
    assert (found.code, found.status) == (code, status)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", seconds(0)),
        ("120", seconds(120)),
        ("3601", seconds(3600)),
        ("9" * 5000, seconds(3600)),
        ("Wed, 21 Oct 2015 07:29:30 GMT", seconds(90)),
        ("Wed, 21 Oct 2015 07:27:00 GMT", seconds(0)),
        ("Wed, 21 Oct 2099 07:27:00 GMT", seconds(3600)),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_and_capped_at_an_hour(
    value: str, wait: timedelta | None
) -> None:
    assert retry_after({**DATE, "Retry-After": value}) == wait
