"""Make a kept child ready for archives, with one of our own."""

import io
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from backend.storage.encryption import decrypted, encrypted, new_key
from backend.workloads.splunk.masking import Masking
from backend.workloads.splunk.places import UploadType
from backend.workloads.splunk.steps.parse import ingest
from backend.workloads.splunk.steps.tables import Tables

_FILES: Final = {
    "app/default/props.conf": "[default]\na = 1\n[one]\npassword = x \\\n y\na = 1\na = 2\n",
    "app/default/inputs.conf": "[monitor:///var/log]\ndisabled = 0\nindex = main\n",
    "app/metadata/default.meta": "[]\nexport = system\n",
    "app/README.txt": "nothing\n",
}


def rehearse() -> None:
    """Ingest a small app, so that each fork finds imported and compiled what that takes.

    Where there is no room for its files it is left out: it only saves time.
    """
    key = new_key()
    stored = io.BytesIO(b"".join(encrypted([_sample()], key)))
    with suppress(OSError), tempfile.TemporaryDirectory() as folder, Tables(Path(folder)) as tables:
        ingest(decrypted(stored, key), "app.tgz", UploadType.APP_BUNDLE, Masking(bytes(32)), tables)


def _sample() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path, content in _FILES.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return packed.getvalue()
