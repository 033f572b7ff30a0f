"""Which bytes a predecessor's row is about: it had one row for each name and version."""

from collections.abc import Iterator

from backend.workloads.packages.legacy import columns, reading
from backend.workloads.packages.legacy.columns import LeftOut
from backend.workloads.packages.legacy.source import Fields


class Artifacts:
    """The artifacts by what names them there: their package, or a number of their own.

    A key is the number of the package and the integrity that a lock declared of the bytes.

    Attributes:
        invalid: numbers of packages that have no place here.
    """

    def __init__(self) -> None:
        self._named: dict[tuple[str, str], int] = {}
        self._package: dict[int, int] = {}
        self._claims: dict[int, str | None] = {}
        self._of_package: dict[int, str] = {}
        self._numbered: dict[int, str] = {}
        self._keys: dict[str, int] = {}
        self.invalid: set[int | None] = set()

    def of_package(self, row: Fields, package: Fields) -> None:
        """Note a package. Raises LeftOut where another has its name and version; they are one."""
        number = package["id"]
        first = self._named.setdefault((package["name"], package["version"]), number)
        self._package[number] = first
        if first != number:
            raise LeftOut("another row has its name and version: they are one here")
        self._claims[number] = row.get("license_identifier")
        self._of_package[number] = f"{number} {reading.integrity(row)}"

    def declare(self, row: Fields) -> Fields:
        """Note a row of the table of artifacts, where the predecessor had one."""
        number, package = (columns.reference(row, name) for name in ("id", "package_id"))
        first = self._package.get(package or 0)
        if number is None or first is None:
            raise LeftOut("of a package that is not there")
        key = f"{first} {reading.integrity(row)}"
        self._numbered[number] = key
        self._keys.setdefault(key, number)
        return row

    def rows(self) -> Iterator[Fields]:
        """Every artifact; a package that has none of its own is one."""
        with_own = {key.partition(" ")[0]: key for key in reversed(self._keys)}
        for package, key in self._of_package.items():
            own = with_own.get(str(package))
            self._of_package[package] = own or key
            if own is None:
                self._keys[key] = package
        numbers: set[int] = set()
        for key, number in self._keys.items():
            package_id, _, integrity = key.partition(" ")
            # One that has its package's number may have that of another one.
            own_number = None if number in numbers else number
            numbers.add(number)
            yield {"id": own_number, "key": key, "package": int(package_id), "integrity": integrity}

    def about(self, row: Fields) -> Fields:
        """``package``, ``artifact`` (its key) and ``license_claim`` of what a row names.

        Raises:
            LeftOut: it names nothing that is there.
        """
        key = self._numbered.get(columns.reference(row, "artifact_id") or 0)
        if key is None:
            first = self._package.get(columns.reference(row, "package_id") or 0)
            key = self._of_package.get(first or 0)
        if key is None:
            raise LeftOut("of a package that is not there")
        package = int(key.partition(" ")[0])
        return {"package": package, "artifact": key, "license_claim": self._claims.get(package)}
