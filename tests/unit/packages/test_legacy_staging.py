"""What is sent to be staged: never much at once, and nothing that PostgreSQL cannot hold."""

import json

from backend.workloads.packages.legacy import staging


def test_rows_go_many_at_once_and_large_ones_alone() -> None:
    small = [{"id": n} for n in range(staging._AT_ONCE + 1)]
    large = [{"lock": "x" * staging._SIZE} for _ in range(3)]

    sizes = [len(json.loads(some)) for some in staging._batches([*small, *large])]

    assert sizes == [staging._AT_ONCE, 1, 1, 1, 1]
    assert list(staging._batches([])) == []


def test_no_text_has_what_postgresql_cannot_hold() -> None:
    (some,) = staging._batches([{"a": "x\0\ud800é", "b": ["\0", 1], "c": None}])

    assert json.loads(some) == [{"a": "x\ufffd?é", "b": ["\ufffd", 1], "c": None}]
