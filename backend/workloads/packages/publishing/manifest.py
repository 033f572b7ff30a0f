"""What a registry is told about a version: from the tarball's own package.json, and no other word.

The fields are those of npm's package.json documentation that an installer or a reader uses. All
else a manifest may hold (``publishConfig``, ``dist``, what begins with an underscore) is a
stranger's wish to a registry, and is left out.
"""

from collections.abc import Mapping
from typing import Any, Final

_AS_IT_IS: Final = (
    "description", "keywords", "homepage", "bugs", "license", "licenses", "author", "contributors",
    "funding", "main", "module", "browser", "type", "types", "typings", "exports", "imports",
    "files", "man", "directories", "repository", "config", "sideEffects", "os", "cpu", "libc",
    "overrides", "peerDependenciesMeta",
)  # fmt: skip
_TEXTS_BY_NAME: Final = (
    "dependencies", "optionalDependencies", "peerDependencies", "devDependencies", "engines",
    "scripts",
)  # fmt: skip


def version_document(
    manifest: Mapping[str, Any],
    *,
    name: str,
    version: str,
    install_scripts: Mapping[str, str],
    dist: Mapping[str, Any],
) -> dict[str, Any]:
    """The document of one version.

    Args:
        manifest: package.json, whose name and version were compared with the package's.
        name: the package's, and ``version``: exactly these stand in the document.
        install_scripts: what npm runs on install, a build that no script names included.
        dist: hashes and address of the bytes.
    """
    document = {
        "_id": f"{name}@{version}",
        "name": name,
        "version": version,
        **{field: manifest[field] for field in _AS_IT_IS if field in manifest},
    }
    for field in _TEXTS_BY_NAME:
        if texts := _texts(manifest.get(field)):
            document[field] = texts
    if commands := _commands(name, manifest):
        document["bin"] = commands
    bundled = manifest.get("bundleDependencies", manifest.get("bundledDependencies"))
    if isinstance(bundled, bool | list):
        document["bundleDependencies"] = bundled
    if install_scripts:
        # npm states a build by binding.gyp alone as a script, too.
        document["scripts"] = {**install_scripts, **document.get("scripts", {})}
        document["hasInstallScript"] = True
    return {**document, "dist": dict(dist)}


def _texts(value: Any) -> dict[str, str]:
    """The entries that npm could use; of a wrong type, none."""
    pairs = value.items() if isinstance(value, dict) else ()
    return {key: text for key, text in pairs if isinstance(text, str)}


def _commands(name: str, manifest: Mapping[str, Any]) -> dict[str, str]:
    """A single command is named as its package."""
    value = manifest.get("bin")
    if isinstance(value, str):
        return {name.rpartition("/")[2]: value} if value else {}
    return _texts(value)
