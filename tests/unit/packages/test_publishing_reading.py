import json

import pytest

from backend.queue.retry import Permanent
from backend.workloads.packages.publishing import reading
from backend.workloads.packages.publishing.reading import manifest_of
from tests.registry_server import npm_package, npm_tarball


def test_a_child_reads_the_whole_manifest_and_what_npm_would_run() -> None:
    packed = npm_package(
        "left", "1.0.0", {"binding.gyp": "{}"}, exports={"a": [1, {"b": "ü\u2028"}]}
    )
    found = manifest_of(packed, "left", "1.0.0")

    assert found.document["exports"] == {"a": [1, {"b": "ü\u2028"}]}
    assert found.install_scripts == {"install": "node-gyp rebuild"}


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (npm_package("right", "1.0.0"), "name-mismatch"),
        (b"no gzip", "not-gzip"),
        (npm_tarball({"package.json": '{"name":"left","version":"1.0.0","x":NaN}'}), "JSON"),
    ],
    ids=["another package", "no tarball", "not JSON's numbers"],
)
def test_what_cannot_be_told_to_a_registry_is_refused_in_one_line(packed: bytes, said: str) -> None:
    with pytest.raises(Permanent, match=said) as refused:
        manifest_of(packed, "left", "1.0.0")
    assert "\n" not in refused.value.detail
    assert "Traceback" not in refused.value.detail


@pytest.mark.parametrize(
    "answer",
    [b"", b"[]", b"{}", b"[[1]]", b'{"manifest": 1, "install_scripts": {}}', b"[" * 100_000],
)
def test_a_child_that_answers_nonsense_is_not_believed(answer: bytes) -> None:
    with pytest.raises(Permanent, match="cannot be told"):
        reading._understood(answer)


def test_a_child_is_understood() -> None:
    answer = {"manifest": {"a": 1}, "install_scripts": {"install": "x"}}
    found = reading._understood(json.dumps(answer).encode())
    assert (found.document, found.install_scripts) == ({"a": 1}, {"install": "x"})
