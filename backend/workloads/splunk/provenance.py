"""Where a file of an upload stands in an installation, told from its path.

Folders: Splunk's Admin Manual, "Configuration file directories" and "Configuration file
precedence"; "Create deployment apps" for ``deployment-apps``; "Update common peer configurations"
for ``manager-apps`` and ``peer-apps`` and their names before version 9.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from backend.workloads.splunk.archive.naming import escaped
from backend.workloads.splunk.places import Layer, Place, Scope, UploadType

_SCOPES: Final = {"default": Scope.DEFAULT, "local": Scope.LOCAL, "metadata": Scope.METADATA}
_METADATA: Final = frozenset(("default.meta", "local.meta"))
_AREAS: Final = {
    ("apps",): Layer.APP,
    ("deployment-apps",): Layer.DEPLOYMENT_APP,
    ("shcluster", "apps"): Layer.DEPLOYMENT_APP,
    ("manager-apps",): Layer.MANAGER_APP,
    ("master-apps",): Layer.MANAGER_APP,
    ("peer-apps",): Layer.PEER_APP,
    ("slave-apps",): Layer.PEER_APP,
}
_ARCHIVE_SUFFIXES: Final = (".tar.gz", ".tgz", ".spl", ".tar", ".zip", ".gz")
_UNNAMED: Final = "app"
_MOST_ROOTS: Final = 1000


class _Form(IntEnum):
    """How a tree may be packed; of two readings equally deep, the first holds."""

    ETC = 0
    """Below a folder named ``etc``."""
    INSIDE_ETC = 1
    """What lies in ``etc``: ``apps/…``, ``system/…``."""
    APPS = 2
    """Apps beside each other."""
    INSIDE_APP = 3
    """What lies in one app: ``default/…``, ``local/…``."""
    FLAT = 4
    """Conf files beside each other, without any folder that says more."""


@dataclass(frozen=True, slots=True)
class _Root:
    """A reading of the archive: its form, and the folder that it takes for the root."""

    form: _Form
    folder: tuple[str, ...]


_Reading = tuple[_Root, Place]


class Placing:
    """First told all paths of an archive (:meth:`see`), then asked for the place of each.

    A file stands directly in ``default``, ``local`` or ``metadata``; what lies deeper, in
    ``default.old.*`` or elsewhere, is no configuration. One root is chosen for the whole archive
    and holds for every file: the shallowest, of equally shallow ones that with the most files. Of
    an installation (``ds_etc``, ``instance_etc``) a deeper folder ``etc``, or one that holds what
    lies in it, is preferred if it holds as many files. Flat conf files count where there is nothing
    else.

    Args:
        upload_type: decides how a tree is read that says less than its place in ``etc/``.
        name: the uploaded file's; it names the app where the archive is the inside of one.
    """

    def __init__(self, upload_type: UploadType, name: str = "") -> None:
        self._type = upload_type
        self._app = _app_named(name)
        self._roots: Counter[_Root] = Counter()
        self._chosen: _Root | None = None
        self._folder: str | None = None
        self._of_folder: tuple[_Reading, ...] = ()

    def see(self, path: str) -> None:
        """One file of the archive. ``path`` as ``Member.path``."""
        self._chosen = None
        for root, _ in self._readings(path):
            self._roots[root] += 1
        if len(self._roots) > 2 * _MOST_ROOTS:
            for root in sorted(self._roots, key=self._rank)[_MOST_ROOTS:]:
                del self._roots[root]

    def of(self, path: str) -> Place | None:
        """None for what no instance reads as configuration, and for what is outside the root."""
        chosen = self._root()
        for root, place in self._readings(path):
            if root == chosen:
                return place
        return None

    def strays(self, path: str) -> bool:
        """Whether a file would be configuration if another root had been chosen."""
        return self.of(path) is None and bool(self._readings(path))

    @property
    def root(self) -> str:
        """The folder that stands for ``etc/``; empty where that is the archive's top."""
        chosen = self._root()
        return "/".join(chosen.folder) if chosen else ""

    def below(self, path: str) -> str:
        """``path`` as it is below the root; as it is where it is outside."""
        return path.removeprefix(f"{self.root}/") if self.root else path

    def _root(self) -> _Root | None:
        if self._chosen is None and self._roots:
            self._chosen = min(self._roots, key=self._rank)
            if self._type in {UploadType.DS_ETC, UploadType.INSTANCE_ETC}:
                self._chosen = self._installation(self._chosen)
        return self._chosen

    def _installation(self, shallowest: _Root) -> _Root:
        """The folder ``etc``, unless that is a few files' somewhere inside an app."""
        for form in (_Form.ETC, _Form.INSIDE_ETC):
            named = [root for root in self._roots if root.form is form]
            etc = min(named, key=self._rank, default=shallowest)
            if etc.form is form and self._roots[etc] >= self._roots[shallowest]:
                return etc
        return shallowest

    def _rank(self, root: _Root) -> tuple[bool, int, int, int, tuple[str, ...]]:
        depth = len(root.folder) - (root.form is _Form.ETC) - (root.form is _Form.INSIDE_APP)
        flat = root.form is _Form.FLAT
        return flat, depth, root.form, -self._roots[root], root.folder

    def _readings(self, path: str) -> tuple[_Reading, ...]:
        """What a file could be, one reading for each folder that could be the root."""
        folder, _, name = path.rpartition("/")
        if not _fits(name, folder.rpartition("/")[2]):
            return ()
        if folder != self._folder:  # files mostly come folder by folder
            self._folder = folder
            self._of_folder = tuple(self._of(tuple(folder.split("/")) if folder else ()))
        return self._of_folder

    def _of(self, above: tuple[str, ...]) -> Iterator[_Reading]:
        """``above``: the folders above a file."""
        scope = _SCOPES.get(above[-1]) if above else None
        if scope is not None:
            yield from _in_etc(above, scope)
            yield from self._without_etc(above, scope)
        elif not above or self._type is UploadType.SINGLE_CONF:
            yield _Root(_Form.FLAT, above), Place(Layer.SYSTEM, Scope.LOCAL)

    def _without_etc(self, above: tuple[str, ...], scope: Scope) -> Iterator[_Reading]:
        layer = Layer.DEPLOYMENT_APP if self._type is UploadType.DS_ETC else Layer.APP
        if len(above) > 1:
            yield _Root(_Form.APPS, above[:-2]), Place(layer, scope, above[-2])
        elif self._type in {UploadType.INSTANCE_ETC, UploadType.SINGLE_CONF}:
            yield _Root(_Form.INSIDE_APP, ()), Place(Layer.SYSTEM, scope)
        else:
            yield _Root(_Form.INSIDE_APP, ()), Place(layer, scope, self._app)


def _fits(name: str, folder: str) -> bool:
    if folder == Scope.METADATA:
        return name in _METADATA
    # "._props.conf" is what macOS packs beside "props.conf".
    return name.lower().endswith(".conf") and not name.startswith(".")


def _in_etc(above: tuple[str, ...], scope: Scope) -> Iterator[_Reading]:
    """``above``: the folders above a file, the last of which is its scope's."""
    if above[-2:-1] == ("system",):
        yield _below_etc(above[:-2]), Place(Layer.SYSTEM, scope)
    for area_folders, layer in _AREAS.items():
        begin = len(above) - 2 - len(area_folders)
        if begin >= 0 and above[begin:-2] == area_folders:
            yield _below_etc(above[:begin]), Place(layer, scope, above[-2])
    if above[-4:-3] == ("users",) and scope is not Scope.DEFAULT:
        of_user = Scope.USERS if scope is Scope.LOCAL else scope
        yield _below_etc(above[:-4]), Place(Layer.USER, of_user, above[-2], above[-3])


def _below_etc(folder: tuple[str, ...]) -> _Root:
    return _Root(_Form.ETC if folder[-1:] == ("etc",) else _Form.INSIDE_ETC, folder)


def _app_named(name: str) -> str:
    """An app's name from its archive's: without folders and what says how it is packed."""
    base = name.replace("\\", "/").rpartition("/")[2]
    for suffix in _ARCHIVE_SUFFIXES:
        if base.lower().endswith(suffix):
            base = base[: -len(suffix)]
            break
    return escaped(base) or _UNNAMED
