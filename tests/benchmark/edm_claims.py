"""How well the claim checker does, on sentences that were labelled before its rules were written.

    python -m tests.benchmark.edm_claims [--batch 1|2|3|4] [--half dev|held-out|all] [--wrong]

Batch 1 was written before the rules, the others by the same hand later. A sentence of the first
two belongs to one half by a hash of its text. Rules were tuned on the ``dev`` halves and on what
batch 2 showed; the examples are of these, too. Batch 3 was looked at in sums alone, batch 4 once
there was nothing left to tune. Beside each figure stands that of a checker that flags every
sentence with every kind. Ends with 1 where the checker's F1 of a kind, or of any, is not above the
baseline's.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from backend.workloads.tasks.data_model import DebtKind
from backend.workloads.tasks.edm.checking import check
from backend.workloads.tasks.edm.citations import cited

FOLDER: Final = Path(__file__).parents[1] / "unit" / "tasks"
BATCHES: Final = {
    1: FOLDER / "edm_sentences.jsonl",
    2: FOLDER / "edm_sentences_second.jsonl",
    3: FOLDER / "edm_sentences_third.jsonl",
    4: FOLDER / "edm_sentences_fourth.jsonl",
}
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Labelled:
    """``labels``: kinds of debt, or only "none"."""

    sentence: str
    labels: frozenset[str]
    cited: bool

    @property
    def half(self) -> str:
        return "dev" if sha256(self.sentence.encode()).digest()[0] % 2 == 0 else "held-out"


@dataclass(frozen=True, slots=True)
class Score:
    """Of one label: how many were flagged rightly, wrongly, and not at all."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


def labelled(half: str = "all", batch: int = 1) -> list[Labelled]:
    rows = (json.loads(line) for line in BATCHES[batch].read_text().splitlines())
    every = [Labelled(row["sentence"], frozenset(row["labels"]), row["cited"]) for row in rows]
    return [one for one in every if half in ("all", one.half)]


def answered(one: Labelled) -> str:
    found = check(one.sentence, cited=cited(one.sentence))
    return NONE if found is None else found.kind.value


def score(label: str, pairs: list[tuple[frozenset[str], bool]]) -> Score:
    """``pairs``: the true labels of a sentence, and whether it was given ``label``."""
    return Score(
        sum(given and label in true for true, given in pairs),
        sum(given and label not in true for true, given in pairs),
        sum(not given and label in true for true, given in pairs),
    )


def scores(sentences: list[Labelled]) -> dict[str, tuple[Score, Score]]:
    """By label: the checker's, and that of flagging everything."""
    answers = [(one.labels, answered(one)) for one in sentences]
    return {
        label: (
            score(label, [(true, label == given) for true, given in answers]),
            score(label, [(true, label != NONE) for true, _ in answers]),
        )
        for label in (*DebtKind, NONE)
    }


def flagged(sentences: list[Labelled]) -> tuple[Score, Score]:
    """Whether anything is owed at all, of whatever kind."""
    kinds = [(frozenset({"debt"} if NONE not in one.labels else ()), one) for one in sentences]
    return (
        score("debt", [(true, answered(one) != NONE) for true, one in kinds]),
        score("debt", [(true, True) for true, _ in kinds]),
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> int:
    """Print the table; 1 where the checker is not better than flagging everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("dev", "held-out", "all"), default="held-out")
    parser.add_argument("--batch", type=int, choices=BATCHES, default=1)
    parser.add_argument("--wrong", action="store_true", help="print what is wrong; not held-out")
    asked = parser.parse_args()
    sentences = labelled(asked.half, asked.batch)
    table = {**scores(sentences), "any debt": flagged(sentences)}
    _say(f"{len(sentences)} sentences, {asked.half}")
    _say(f"{'':14}{'n':>4}  precision recall  F1    | flag everything: precision recall  F1")
    for label, (own, base) in table.items():
        _say(
            f"{label:14}{own.right + own.missed:>4}  {own.precision:9.2f} {own.recall:6.2f} "
            f"{own.f1:5.2f}  | {base.precision:26.2f} {base.recall:6.2f} {base.f1:5.2f}"
        )
    if asked.wrong:
        for one in (one for one in sentences if asked.half != "held-out"):
            if (given := answered(one)) not in one.labels:
                _say(f"{'/'.join(sorted(one.labels))} taken for {given}: {one.sentence}")
    return int(any(own.f1 <= base.f1 for own, base in table.values()))


if __name__ == "__main__":
    sys.exit(main())
