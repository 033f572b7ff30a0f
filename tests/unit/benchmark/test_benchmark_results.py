"""What the benchmark makes of its observations; the measuring itself is a run of its own."""

import json
from pathlib import Path

import pytest

from tests.benchmark import document, measures, table
from tests.benchmark.plan import Cell, schedule, selected
from tests.benchmark.store import Figures, Result, Store, StoreError
from tests.benchmark.targets import RATE, TARGETS, Target

FACTS = {"run": "full", "machine": "a quiet one"}


def figures(**rates: float) -> Figures:
    return Figures([Result(cell, 1, {RATE: value}) for cell, value in rates.items()])


def cell(name: str, rounds: int = 1000) -> Cell:
    return Cell(name, lambda _server: {}, 1.0, rounds)


def test_a_figure_is_the_median_of_its_rounds_and_varies_by_half_its_range() -> None:
    found = Figures([Result("a", n, {RATE: value}) for n, value in enumerate((80, 100, 120))])

    assert found.value("a", RATE) == 100
    assert found.spread("a", RATE) == pytest.approx(0.2)
    assert Figures([Result("a", 1, {RATE: 80})]).spread("a", RATE) is None


def test_a_cell_that_could_not_be_had_has_no_figure_and_says_why() -> None:
    found = Figures([Result("a", 1, {}, not_run="no node"), Result("b", 1, {RATE: 1})])

    assert found.value("a", RATE) is None
    assert found.not_run == {"a": "no node"}
    assert "no node" in table.render(found)


def test_a_cell_that_failed_once_counts_by_its_other_rounds() -> None:
    found = Figures([Result("a", 1, {RATE: 7}), Result("a", 2, {}, not_run="it was late")])

    assert found.value("a", RATE) == 7
    assert found.not_run == {}


def test_a_target_is_a_ratio_of_figures_of_the_same_run() -> None:
    gain = Target(what="gain", over=(("b", RATE), ("c", RATE)), under=(("a", RATE), ("d", RATE)),
                  least=0.95)  # fmt: skip

    value = gain.value(figures(a=100, b=190, c=10, d=20))

    assert value == pytest.approx(0.95)
    assert gain.met(0.95)
    assert not gain.met(0.949)
    assert gain.value(figures(a=100, b=190, c=10)) is None


def test_a_target_of_what_was_not_run_is_neither_met_nor_missed() -> None:
    names = {ref[0] for target in TARGETS for ref in target.over}
    nothing = Figures([Result(name, 1, {}, not_run="no server") for name in names])

    page = table.render(nothing)

    assert page.count("| not run |") == len(TARGETS)
    assert "| met |" not in page


def test_a_missed_target_is_said_to_be_missed() -> None:
    slow = {"drain.ours.100.1p": 40.0, "drain.floor.100.1p": 100.0}

    (line,) = [one for one in table.render(figures(**slow)).splitlines() if "batch 100 / f" in one]

    assert [part.strip() for part in line.strip("|").split("|")][1:] == ["≥ 0.5", "0.4", "missed"]


def test_a_table_has_as_many_cells_in_each_line() -> None:
    grid = table.grid("Title", ("a", "b"), [("one", "1"), ("longer", "1,000")])

    lines = [line for line in grid.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert table.grid("Title", ("a", "b"), []) == ""


def test_a_run_is_resumed_where_it_was_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    store = Store.begin(path, FACTS)
    store.add(Result("a", 1, {RATE: 5.0}))
    store.add(Result("b", 1, {}, not_run="no node"))
    with path.open("a") as file:
        file.write('{"cell": "c", "rou')

    resumed = Store.resume(path)
    resumed.add(Result("c", 1, {RATE: 6.0}))

    assert resumed.facts == FACTS
    assert resumed.has("a", 1)
    assert not resumed.has("a", 2)
    assert not resumed.has("b", 1)
    assert [r.cell for r in Store.resume(path).results] == ["a", "b", "c"]


@pytest.mark.parametrize("text", ["", "no results\n", json.dumps({"other": 1}) + "\n"])
def test_a_file_of_something_else_is_not_resumed_from_and_left_alone(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "notes"
    path.write_text(text)

    with pytest.raises(StoreError, match="holds no results"):
        Store.resume(path)

    assert path.read_text() == text


def test_rounds_are_interleaved_and_long_cells_are_done_once() -> None:
    plan = schedule([cell("a"), cell("long", rounds=1), cell("b")], rounds=2)

    assert [(n, c.name) for n, c in plan] == [(1, "a"), (1, "long"), (1, "b"), (2, "a"), (2, "b")]


def test_cells_are_chosen_by_whole_parts_of_their_names() -> None:
    cells = [cell("drain.ours.1.1p"), cell("drain.ours.100.1p"), cell("api")]

    assert [c.name for c in selected(cells, "drain.ours.1,api")] == ["drain.ours.1.1p", "api"]
    assert selected(cells, None) == cells


def test_the_last_minute_is_compared_with_the_first() -> None:
    samples = [(second / 10, second * second) for second in range(101)]

    assert measures.rate(samples, 0.0, 2.0) == pytest.approx(200)
    assert measures.rate(samples, 8.0, 10.0) == pytest.approx(1800)


def test_the_statements_of_one_message_count_singly() -> None:
    log = (
        "2026-01-01 00:00:00.000 UTC [7] LOG:  statement: BEGIN\n"
        "2026-01-01 00:00:00.000 UTC [7] LOG:  statement: SET LOCAL a = 1;\n\t SET LOCAL b = 2\n"
        "2026-01-01 00:00:00.000 UTC [7] LOG:  execute <unnamed>: SELECT 1\n"
        "2026-01-01 00:00:00.000 UTC [7] LOG:  checkpoint starting: time\n"
    )

    assert measures.statements_in(log) == 4


def test_only_what_stands_between_the_markers_is_written_anew() -> None:
    page = f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n"

    written = document.replace_section(page, "new")

    assert written == f"before\n{document.BEGIN}\n\nnew\n\n{document.END}\nafter\n"
    with pytest.raises(ValueError, match="marker"):
        document.replace_section("no markers", "new")


def test_the_benchmarks_page_has_its_markers() -> None:
    document.replace_section(document.PAGE.read_text(), "anything")
