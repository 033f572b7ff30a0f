"""The results as one page of tables, in Markdown: the same in a terminal and in the docs."""

from collections.abc import Iterable, Sequence
from typing import Final

from tests.benchmark.store import Figures
from tests.benchmark.targets import RATE, TARGETS

NONE: Final = "\N{EN DASH}"
WORKER, SERVER = "worker_cpu_s_per_10k", "server_cpu_s_per_10k"

SPECIAL: Final = {
    "drain.floor.1.8t": "floor, batch 1, 8 threads",
    "drain.ours.100.1p.keys": "ours, batch 100, 20 fairness keys",
}

Row = Sequence[str]


def render(figures: Figures) -> str:
    """Every cell that was run; then the targets; then what could not be run, and why."""
    parts = [
        _drains(figures), _deep(figures), _sustained(figures), _enqueueing(figures),
        _pickup(figures), _idle(figures), *_product(figures), _targets(figures),
        _not_run(figures),
    ]  # fmt: skip
    return "\n".join(part for part in parts if part)


def grid(title: str, heads: Row, rows: Iterable[Row]) -> str:
    """A table with its title, the first column of words; nothing where it has no rows."""
    body = list(rows)
    if not body:
        return ""
    widths = [max(len(row[i]) for row in [heads, *body]) for i in range(len(heads))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_line(heads, widths), _line(rule, widths), *(_line(row, widths) for row in body)]
    return "\n".join([f"**{title}**", "", *lines, ""])


def _line(cells: Row, widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
    return f"| {' | '.join(padded)} |"


def number(value: float | None) -> str:
    """Three significant digits, or whole thousands."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(value: float | None, base: float | None) -> str:
    return NONE if value is None or not base else f"{value / base:.2f}"


def _with_spread(figures: Figures, cell: str, name: str = RATE) -> str:
    value, spread = figures.value(cell, name), figures.spread(cell, name)
    return number(value) + ("" if spread is None else f" ±{100 * spread:.0f} %")


def _drains(figures: Figures) -> str:
    """One line for each contestant and batch; peers are compared with the floor at 100."""
    found = [cell.split(".")[1:] for cell in figures if cell.startswith("drain.")]
    kinds = dict.fromkeys(".".join(parts[:-1]) for parts in found if parts[-1] in ("1p", "2p"))
    rows = []
    for kind in kinds:
        one, two = f"drain.{kind}.1p", f"drain.{kind}.2p"
        who, _, batch = kind.partition(".")
        floor = figures.value(f"drain.floor.{batch or 100}.1p", RATE)
        rate = figures.value(one, RATE)
        rows.append((
            f"{who}, batch {batch.replace('.core', ', a processor each')}" if batch else who,
            _with_spread(figures, one), _with_spread(figures, two), ratio(rate, floor),
            ratio(figures.value(two, RATE), rate),
            number(figures.value(one, WORKER)), number(figures.value(one, SERVER)),
        ))  # fmt: skip
    for cell, title in SPECIAL.items():
        if figures.of(cell):
            floor = figures.value(f"drain.floor.{cell.split('.')[2]}.1p", RATE)
            rows.append((
                title, _with_spread(figures, cell), NONE,
                ratio(figures.value(cell, RATE), floor), NONE,
                number(figures.value(cell, WORKER)), number(figures.value(cell, SERVER)),
            ))  # fmt: skip
    heads = ("drain, rows/s", "1 process", "2 processes", "of the floor", "gain of the second",
             "worker CPU s / 10,000", "server CPU s / 10,000")  # fmt: skip
    return grid("Drain of no-op rows", heads, rows)


def _deep(figures: Figures) -> str:
    backgrounds = dict.fromkeys(cell.split(".")[1] for cell in figures if cell.startswith("deep."))
    rows = []
    for background in backgrounds:
        row = [background.replace("_", " ")]
        for who in ("floor", "ours"):
            cell = f"deep.{background}.{who}"
            empty = figures.value(f"deep.empty.{who}", RATE)
            row += [_with_spread(figures, cell), ratio(figures.value(cell, RATE), empty)]
        rows.append(row)
    heads = (
        "beside a million",
        "floor, rows/s",
        "of empty",
        "ours, rows/s",
        "of empty",
    )
    return grid("Drain beside many other rows, batch 100", heads, rows)


def _sustained(figures: Figures) -> str:
    names = ("first_rows_per_s", "last_rows_per_s", "last_over_first", "table_mb", "indexes_mb",
             "attempts_mb", "rows")  # fmt: skip
    cells = [cell for cell in figures if cell.startswith(("sustained", "pinned"))]
    rows = [
        (cell.replace(".", ", ").replace("_", ", "),
         *(number(figures.value(cell, name)) for name in names))
        for cell in cells
    ]  # fmt: skip
    heads = ("load, batch 100", "first, rows/s", "last, rows/s", "last / first", "table MB",
             "indexes MB", "history MB", "rows in all")  # fmt: skip
    return grid("Sustained load: the first fifth of the time and the last", heads, rows)


def _enqueueing(figures: Figures) -> str:
    names = dict.fromkeys(cell.split(".")[1] for cell in figures if cell.startswith("enqueue_"))
    rows = []
    for who in names:
        row = [who]
        for how in ("single", "bulk"):
            cell, floor = f"enqueue_{how}.{who}", f"enqueue_{how}.floor"
            row += [_with_spread(figures, cell),
                    ratio(figures.value(cell, RATE), figures.value(floor, RATE))]  # fmt: skip
        rows.append(row)
    heads = ("enqueue, rows/s", "one a commit", "of the floor", "bulk", "of the floor")
    return grid("Enqueueing from one client", heads, rows)


def _pickup(figures: Figures) -> str:
    names = ("p50_ms", "p99_ms", "worst_ms")
    rows = [
        (cell.split(".")[1], *(number(figures.value(cell, name)) for name in names),
         ratio(figures.value(cell, "p50_ms"), figures.value("pickup.floor", "p50_ms")))
        for cell in figures if cell.startswith("pickup.")
    ]  # fmt: skip
    heads = ("pickup by an idle worker", "p50 ms", "p99 ms", "worst ms", "p50 of the floor")
    return grid("Pickup", heads, rows)


def _idle(figures: Figures) -> str:
    found = figures.of("idle.ours")
    return grid("An idle worker", ("figure", "value"), _named(found))


def _product(figures: Figures) -> list[str]:
    titles = {"api": "API", "upload": "Upload of a lock", "packages": "Packages pipeline"}
    return [
        grid(title, ("figure", "value"), _named(figures.of(cell))) for cell, title in titles.items()
    ]


def _named(found: dict[str, float]) -> list[Row]:
    return [(name.replace("_", " "), number(value)) for name, value in found.items()]


def _targets(figures: Figures) -> str:
    rows = []
    for target in TARGETS:
        value = target.value(figures)
        if value is None and not target.asked_of(figures):
            continue
        limit = f"≥ {target.least:g}" if target.least is not None else f"≤ {target.most:g}"
        outcome = "not run" if value is None else "met" if target.met(value) else "missed"
        rows.append((target.what, limit, NONE if value is None else f"{value:.3g}", outcome))
    return grid("Targets", ("target", "limit", "value", "outcome"), rows)


def _not_run(figures: Figures) -> str:
    rows = [(cell, why.replace("|", "/")) for cell, why in sorted(figures.not_run.items())]
    return grid("Not run", ("cell", "why"), rows)
