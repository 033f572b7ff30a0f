"""Results, cell by cell as JSON lines, so that a run that was broken off can be resumed."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median


class StoreError(Exception):
    """The file cannot be resumed from; one line that says why."""


@dataclass(frozen=True)
class Result:
    """What one cell came to in one round: ``values``, or why it could not be had."""

    cell: str
    round: int
    values: Mapping[str, float]
    not_run: str | None = None


class Store:
    """A file with a line that says where the figures were taken, and then a line a result."""

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        self.path, self.facts = path, facts
        self.results: list[Result] = []

    @classmethod
    def begin(cls, path: Path, facts: Mapping[str, str]) -> "Store":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"facts": facts}) + "\n")
        return cls(path, facts)

    @classmethod
    def resume(cls, path: Path) -> "Store":
        """What was measured before; a last line that was cut off is dropped.

        Raises:
            StoreError: there is no such file, or it is none of ours.
        """
        try:
            lines = path.read_text().splitlines(keepends=True)
            store = cls(path, dict(json.loads(lines[0])["facts"]))
            whole = [line for line in lines[1:] if line.endswith("\n")]
            store.results = [Result(**json.loads(line)) for line in whole]
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from None
        except (ValueError, IndexError, KeyError, TypeError):
            raise StoreError(f"{path} holds no results of a benchmark") from None
        path.write_text("".join([lines[0], *whole]))
        return store

    def add(self, result: Result) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        self.results.append(result)

    def has(self, cell: str, number: int) -> bool:
        """Whether ``cell`` has figures of that round; what could not be had is tried again."""
        return any(r.cell == cell and r.round == number and r.not_run is None for r in self.results)

    def figures(self) -> "Figures":
        return Figures(self.results)


class Figures:
    """Medians over the rounds, by cell and name."""

    def __init__(self, results: list[Result]) -> None:
        self._values: dict[str, dict[str, list[float]]] = {}
        self.not_run: dict[str, str] = {}
        for result in results:
            if result.not_run is not None:
                self.not_run[result.cell] = result.not_run
                continue
            cell = self._values.setdefault(result.cell, {})
            for name, value in result.values.items():
                cell.setdefault(name, []).append(value)
        for cell_name in self._values:
            self.not_run.pop(cell_name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def of(self, cell: str) -> dict[str, float]:
        """The medians of one cell by name; empty where it was not run."""
        return {name: median(values) for name, values in self._values.get(cell, {}).items()}

    def value(self, cell: str, name: str) -> float | None:
        return self.of(cell).get(name)

    def spread(self, cell: str, name: str) -> float | None:
        """Half the distance from the least to the greatest round, as a part of the median."""
        values = self._values.get(cell, {}).get(name, [])
        middle = median(values) if values else 0.0
        return (max(values) - min(values)) / 2 / middle if len(values) > 1 and middle else None
