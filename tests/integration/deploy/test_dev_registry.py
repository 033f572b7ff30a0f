"""The registry of the development set-up, with its own configuration."""

from pathlib import Path

import pytest

from tests import verdaccio
from tests.compose import REPOSITORY

CONFIG = REPOSITORY / "deploy" / "verdaccio" / "config.yaml"
STORAGE = "/verdaccio/storage"


@pytest.mark.slow
def test_who_has_signed_in_publishes_to_it_and_anybody_reads(tmp_path: Path) -> None:
    config = CONFIG.read_text()
    assert STORAGE in config

    with verdaccio.running(tmp_path, config=config.replace(STORAGE, str(tmp_path))) as registry:
        unknown = registry.put("left-over", {"name": "left-over", "versions": {}})
        registry.sign_in()
        registry.publish("left-over", "1.0.0", b"the bytes of a package")

        assert unknown == 401
        assert registry.tarball("left-over", "1.0.0") == b"the bytes of a package"
        assert registry.document("not-there") is None  # and no other registry is asked
    assert (tmp_path / "data" / "left-over").is_dir()
