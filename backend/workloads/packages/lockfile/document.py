"""Is this an npm lock file at all, and of which version?"""

from typing import Any, NamedTuple, get_args

from backend import strictjson
from backend.problems import Malformed, TooLarge, Unsupported
from backend.strictjson import shown
from backend.workloads.packages.lockfile.model import LockFormat
from backend.workloads.packages.lockfile.urls import redact_text

EXPECTED = "expected an npm package-lock.json or npm-shrinkwrap.json (lockfileVersion 1, 2 or 3)"
MAX_APPLICATION = 255  # characters of the application's name or version

_FORMATS: tuple[LockFormat, ...] = get_args(LockFormat)
_HEAD = 1024  # bytes in which another tool's lock names itself

_OTHER_TEXTS = {
    b"# yarn lockfile": "a yarn.lock",
    b"__metadata:": "a yarn.lock",
    b"lockfileVersion:": "a pnpm-lock.yaml",
    b"[[package]]": "a TOML lock file",
    b"[[packages]]": "a TOML lock file",
    b"--hash=sha": "a pip requirements file",
}
_OTHER_KEYS = {
    "packages-dev": "a composer.lock",
    "content-hash": "a composer.lock",
    "_meta": "a Pipfile.lock",
    "devDependencies": "a package.json",
    "scripts": "a package.json",
    "main": "a package.json",
}


class Document(NamedTuple):
    """A lock's checked skeleton. Without ``packages``, ``root["dependencies"]`` is what counts."""

    format: LockFormat
    root: dict[str, Any]
    packages: dict[str, Any] | None


def read_document(data: bytes, *, filename: str | None, max_bytes: int) -> Document:
    """Parse and recognise.

    Raises:
        TooLarge: more than ``max_bytes``.
        Malformed: not JSON, or not an npm lock; the sentence says what was expected.
        Unsupported: an npm lock of a version that is not known.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"The lock file is larger than {max_bytes} bytes.", max_bytes=max_bytes)
    root = _load(data, filename)
    if not isinstance(root, dict):
        raise _not_a_lock(filename, "its top level is not an object")
    lock_format = _format(root, filename)
    packages = root.get("packages")
    if packages is not None and not isinstance(packages, dict):
        raise Malformed(f"`packages` must be an object; {EXPECTED}.", code="malformed-lock")
    if packages is None and lock_format == "npm-lock-v3":
        raise _not_a_lock(filename, "version 3 needs `packages`")
    return Document(lock_format, root, packages)


def application(document: Document, field: str) -> str | None:
    """The ``name`` or ``version`` that the lock gives its application."""
    root_entry = (document.packages or {}).get("")
    for source in (document.root, root_entry if isinstance(root_entry, dict) else {}):
        value = source.get(field)
        if isinstance(value, str) and value.strip():
            if len(value) > MAX_APPLICATION:
                raise Malformed(
                    f"The application's `{field}` is longer than {MAX_APPLICATION} characters.",
                    code="malformed-lock",
                )
            return redact_text(value)
    return None


def _load(data: bytes, filename: str | None) -> Any:
    if not data.removeprefix(b"\xef\xbb\xbf").strip():
        raise _not_a_lock(filename, "it is empty")
    try:
        return strictjson.loads(data)
    except Malformed as error:
        head = data[:_HEAD]
        for mark, kind in _OTHER_TEXTS.items():
            if mark in head:
                raise _not_a_lock(filename, f"it looks like {kind}") from None
        raise Malformed(f"{error.detail.removesuffix('.')}; {EXPECTED}.", code=error.code) from None


def _format(root: dict[str, Any], filename: str | None) -> LockFormat:
    if "lockfileVersion" not in root:
        if not _is_v0(root):
            raise _not_a_lock(filename, _what_instead(root))
        return "npm-lock-v0"
    version = root["lockfileVersion"]
    if isinstance(version, bool) or version not in (1, 2, 3):
        raise Unsupported(
            f"lockfileVersion {_shown_version(version)} is not supported; {EXPECTED}.",
            code="unsupported-lock-version",
        )
    return _FORMATS[int(version)]


def _is_v0(root: dict[str, Any]) -> bool:
    """Before npm 5 a shrinkwrap had no version: it is known by its tree alone."""
    dependencies = root.get("dependencies")
    return (
        isinstance(dependencies, dict)
        and "packages" not in root
        and any(isinstance(entry, dict) and "version" in entry for entry in dependencies.values())
    )


def _what_instead(root: dict[str, Any]) -> str:
    for key, kind in _OTHER_KEYS.items():
        if key in root:
            return f"it looks like {kind}"
    dependencies = root.get("dependencies")
    if isinstance(dependencies, dict) and any(isinstance(v, str) for v in dependencies.values()):
        return "it looks like a package.json"
    return "it has no `lockfileVersion`"


def _shown_version(version: Any) -> str:
    if isinstance(version, dict | list):
        return "of this type"
    return shown(version) if isinstance(version, str) else shown(str(version)).strip('"')


def _not_a_lock(filename: str | None, why: str) -> Malformed:
    named = shown(filename) if filename else "The file"
    return Malformed(f"{named} is not an npm lock file: {why}; {EXPECTED}.", code="not-a-lock-file")
