"""The mutants follow the code: one whose text is gone would prove nothing."""

from tests.conftest import REPOSITORY
from tests.mutation.table import MUTANTS


def test_the_text_of_each_mutant_is_there_once() -> None:
    times = {one.name: (REPOSITORY / one.path).read_text().count(one.before) for one in MUTANTS}
    assert {name: count for name, count in times.items() if count != 1} == {}
