"""How well sentences are matched with reviewed claims; the pairs were labelled before the matcher.

    python -m tests.benchmark.edm_matching [--half dev|held-out|all] [--wrong]

Halves as in ``tests.benchmark.edm_claims``. Prints by band of similarity how often claim and stance
are both right: what a finding's confidence is taken from (``dev``) and held against (``held-out``).
"""

import argparse
import json
import sys
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Final

from backend.workloads.tasks.edm.matching import KnownClaims, Match
from tests.benchmark.edm_claims import FOLDER

BANDS: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 1.01)


@dataclass(frozen=True, slots=True)
class Pair:
    """``claim`` is None where the sentence repeats no reviewed claim."""

    sentence: str
    claim: int | None
    stance: str

    def right(self, found: Match | None) -> bool:
        if found is None or self.claim is None:
            return found is None and self.claim is None
        return (found.claim_id, found.stance.value) == (self.claim, self.stance)


def known() -> KnownClaims:
    rows = map(json.loads, (FOLDER / "edm_reviewed.jsonl").read_text().splitlines())
    return KnownClaims((row["id"], row["claim"]) for row in rows)


def pairs(half: str) -> list[Pair]:
    rows = map(json.loads, (FOLDER / "edm_pairs.jsonl").read_text().splitlines())
    every = [Pair(row["sentence"], row["claim"], row["stance"]) for row in rows]
    odd = {"dev": 0, "held-out": 1}.get(half)
    return [p for p in every if odd in (None, sha256(p.sentence.encode()).digest()[0] % 2)]


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("dev", "held-out", "all"), default="held-out")
    parser.add_argument("--wrong", action="store_true", help="print what is wrong; not held-out")
    asked = parser.parse_args()
    claims = known()
    found = [(pair, claims.match(pair.sentence)) for pair in pairs(asked.half)]
    about = [one for one in found if one[0].claim is not None]
    other = [match for pair, match in found if pair.claim is None]
    _say(f"{len(found)} sentences, {asked.half}")
    named = sum(match is not None and match.claim_id == pair.claim for pair, match in about)
    _say(f"claim found: {named}/{len(about)}")
    _say(f"claim and stance: {sum(p.right(m) for p, m in about)}/{len(about)}")
    _say(f"of none, matched with none: {sum(m is None for m in other)}/{len(other)}")
    for low, high in pairwise(BANDS):
        band = [p.right(m) for p, m in found if m is not None and low <= m.similarity < high]
        _say(f"similarity {low:.1f} to {high:.1f}: {sum(band)} of {len(band)} right")
    if asked.wrong and asked.half != "held-out":
        for pair, match in found:
            if not pair.right(match):
                _say(f"{pair.claim} {pair.stance}: {pair.sentence} -> {match}")


if __name__ == "__main__":
    main()
