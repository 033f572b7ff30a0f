"""The client of the target registry against one that answers what each test wants."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from backend.workloads.packages.publishing.npm import Published, TargetRegistry
from backend.workloads.packages.publishing.reading import RootManifest
from backend.workloads.packages.publishing.release import Release
from backend.workloads.packages.registry.errors import RegistryPermanent, RegistryTransient
from backend.workloads.packages.registry.origin import Origin
from tests.registry_server import Answer, RegistryServer, dist

CONTENT = b"the bytes"
PATH = "/left"
HTML = Answer(200, b"<html>please sign in</html>", (("Content-Type", "text/html"),))
NONE = Answer.json({"error": "no such package"}, status=404)
TAKEN = Answer.json({"ok": "created"}, status=201)
DIFFERENT = dist(b"other bytes")


@pytest.fixture
def target(registry: RegistryServer) -> Iterator[TargetRegistry]:
    with Origin(registry.url, token="the token") as origin:
        yield TargetRegistry(origin)


def release(version: str = "1.0.0") -> Release:
    sha512 = hashlib.sha512(CONTENT).hexdigest()
    return Release.of("left", version, CONTENT, RootManifest({}, {}), sha512=sha512)


def package(*versions: str, latest: str = "1.0.0", **fields: Any) -> Answer:
    found = {v: {"version": v, "dist": dist(CONTENT), **fields} for v in versions}
    return Answer.json({"name": "left", "dist-tags": {"latest": latest}, "versions": found})


def methods(registry: RegistryServer) -> list[str]:
    return [request.method for request in registry.requests]


def test_a_new_version_is_sent_once_with_the_token_and_looked_at(
    registry: RegistryServer, target: TargetRegistry
) -> None:
    registry.answer(PATH, NONE, TAKEN, package("1.0.0"))

    assert target.publish(release()) == Published("latest")

    assert methods(registry) == ["GET", "PUT", "GET"]
    sent = registry.requests[1]
    assert sent.headers["authorization"] == "Bearer the token"
    assert json.loads(sent.body)["versions"]["1.0.0"]["dist"]["shasum"] == release().shasum


def test_the_same_bytes_under_the_same_version_are_a_success_without_a_write(
    registry: RegistryServer, target: TargetRegistry
) -> None:
    registry.answer(PATH, package("1.0.0"))
    assert target.publish(release()) == Published(None)
    assert methods(registry) == ["GET"]


def test_an_older_version_leaves_latest_where_it_is(
    registry: RegistryServer, target: TargetRegistry
) -> None:
    registry.answer(PATH, package("2.0.0", latest="2.0.0"), TAKEN, package("1.0.0", "2.0.0"))
    assert target.publish(release()) == Published("vetted")
    assert json.loads(registry.requests[1].body)["dist-tags"] == {"vetted": "1.0.0"}


@pytest.mark.parametrize("status", [403, 409])
def test_a_version_that_came_there_meanwhile_is_compared(
    registry: RegistryServer, target: TargetRegistry, status: int
) -> None:
    refusal = Answer.json({"error": "this package is already present"}, status=status)
    registry.answer(PATH, NONE, refusal, package("1.0.0"))
    assert target.publish(release()) == Published(None)

    registry.answer(PATH, NONE, refusal, package("1.0.0", dist=DIFFERENT))
    with pytest.raises(RegistryPermanent, match="other bytes") as refused:
        target.publish(release())
    assert refused.value.code == "published-differs"


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([package("1.0.0", dist=DIFFERENT)], "published-differs", "other bytes"),
        (
            [package("1.0.0", dist={"shasum": dist(CONTENT)["shasum"]})],
            "published-unverifiable", "no sha512",
        ),
        ([package("1.0.0", dist={"integrity": 7})], "published-unverifiable", "no sha512"),
        ([Answer(401)], "target-denied", "TARGET_TOKEN"),
        ([Answer(403)], "target-denied", "TARGET_TOKEN"),
        ([NONE, Answer(401), NONE], "target-denied", "TARGET_TOKEN"),
        ([NONE, Answer(403), NONE], "target-denied", "TARGET_TOKEN"),
        ([NONE, Answer(413)], "registry-refused", "413"),
        ([NONE, Answer.redirect("http://127.0.0.1:1/")], "redirect-refused", "redirected"),
        ([Answer.json({"name": "right"})], "wrong-package", "another package"),
    ],
)  # fmt: skip
def test_what_another_try_would_not_mend_is_said_at_once(
    registry: RegistryServer, target: TargetRegistry, answers: list[Answer], code: str, said: str
) -> None:
    registry.answer(PATH, *answers)
    with pytest.raises(RegistryPermanent, match=said) as refused:
        target.publish(release())
    assert refused.value.code == code
    assert "the token" not in refused.value.detail


@pytest.mark.parametrize(
    "answers",
    [
        [HTML],
        [Answer(503)],
        [NONE, Answer(502)],
        [NONE, HTML],
        [NONE, HTML, NONE],
        [NONE, TAKEN, NONE],
        [NONE, Answer(409), NONE],
        [NONE, Answer(silent=False, raw=b"")],
    ],
    ids=["html", "503", "502 to the write", "html for good", "html to the write",
         "taken and not shown", "changed meanwhile", "hung up"],
)  # fmt: skip
def test_a_registry_that_is_ill_is_asked_again_later(
    registry: RegistryServer, target: TargetRegistry, answers: list[Answer]
) -> None:
    registry.answer(PATH, *answers)
    with pytest.raises(RegistryTransient):
        target.publish(release())


def test_a_registry_that_is_not_there_is_asked_again_later(registry: RegistryServer) -> None:
    with Origin("http://127.0.0.1:1") as origin, pytest.raises(RegistryTransient):
        TargetRegistry(origin).publish(release())


def test_a_version_that_was_recalled_and_approved_anew_is_no_longer_deprecated(
    registry: RegistryServer, target: TargetRegistry
) -> None:
    registry.answer(PATH, package("1.0.0", deprecated="recalled: bad"), TAKEN)
    assert target.publish(release()) == Published(None)
    assert json.loads(registry.requests[1].body)["versions"]["1.0.0"]["deprecated"] == ""


def test_what_is_not_there_need_not_be_taken_back(
    registry: RegistryServer, target: TargetRegistry
) -> None:
    registry.answer(PATH, NONE)
    assert target.deprecate("left", "1.0.0", "bad") is False
    assert target.unpublish("left", "1.0.0") is False
    assert "PUT" not in methods(registry)


def test_taking_back_that_is_denied_names_the_setting(
    registry: RegistryServer, target: TargetRegistry
) -> None:
    registry.answer(PATH, package("1.0.0"), Answer(403))
    with pytest.raises(RegistryPermanent, match="TARGET_TOKEN"):
        target.deprecate("left", "1.0.0", "bad")
