"""Which queues of packages a worker serves, by its settings."""

import pytest

from backend.settings import SettingsError
from tests.callers import make_settings
from workers.main import served

TARGET = {"TARGET_REPOSITORY_URL": "https://registry.example.test/npm"}


@pytest.mark.parametrize(
    ("word", "queues"),
    [
        ("all", ["packages", "package_publisher"]),
        ("packages", ["packages"]),
        ("package_publisher", ["package_publisher"]),
        ("package_publisher, packages", ["packages", "package_publisher"]),
    ],
)
def test_a_word_that_a_queue_bears_means_that_queue_alone(word: str, queues: list[str]) -> None:
    assignments = served(make_settings(WORKER_TYPE=word, **TARGET))
    named = {assigned.pipeline.queue.name for assigned in assignments}
    assert named & {"packages", "package_publisher"} == set(queues)


def test_without_a_registry_to_publish_to_what_was_approved_waits() -> None:
    named = {assigned.pipeline.queue.name for assigned in served(make_settings())}
    assert "packages" in named
    assert "package_publisher" not in named


def test_a_publisher_without_a_registry_to_publish_to_says_what_it_needs() -> None:
    with pytest.raises(SettingsError, match="TARGET_REPOSITORY_URL"):
        served(make_settings(WORKER_TYPE="package_publisher"))
