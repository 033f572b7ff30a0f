import base64
import hashlib
import json

import pytest

from backend.workloads.packages.publishing.reading import RootManifest
from backend.workloads.packages.publishing.release import PIECE, BytesChanged, Release

URL = "https://registry.example.test/npm"


def release(content: bytes, name: str = "left") -> Release:
    manifest = RootManifest({"license": "MIT"}, {})
    sha512 = hashlib.sha512(content).hexdigest()
    return Release.of(name, "1.0.0", content, manifest, sha512=sha512)


@pytest.mark.parametrize("size", [0, 1, 2, 3, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 2])
def test_an_upload_is_one_document_of_the_length_that_it_says(size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    upload = release(content).upload(URL, "latest")

    sent = b"".join(upload)

    assert len(sent) == len(upload)
    attachment = json.loads(sent)["_attachments"]["left-1.0.0.tgz"]
    assert base64.b64decode(attachment["data"], validate=True) == content
    assert attachment["length"] == size
    assert b"".join(upload) == sent  # a lost connection is tried again


def test_a_document_names_the_hashes_of_the_bytes_and_where_they_will_be() -> None:
    content = b"abc"
    upload = release(content, "@acme/left").upload(URL, "vetted")

    document = json.loads(b"".join(upload))

    assert document["_id"] == document["name"] == "@acme/left"
    assert document["dist-tags"] == {"vetted": "1.0.0"}
    assert list(document["_attachments"]) == ["@acme/left-1.0.0.tgz"]
    (version,) = document["versions"].values()
    assert version["license"] == "MIT"
    assert version["dist"] == {
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
        "shasum": "a9993e364706816aba3e25717850c26c9cd0d89d",  # FIPS 180-2, A.1
        "tarball": f"{URL}/@acme/left/-/left-1.0.0.tgz",
    }


def test_other_bytes_than_were_vetted_are_no_release() -> None:
    with pytest.raises(BytesChanged, match="not those that were vetted"):
        Release.of("left", "1.0.0", b"abd", RootManifest({}, {}), sha512="0" * 128)
