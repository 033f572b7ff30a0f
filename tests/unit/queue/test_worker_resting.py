"""How long a look past dead rows rests."""

import pytest

from workers.resting import PATIENCE, rest


@pytest.mark.parametrize(
    ("took", "rests"),
    [(0.0, 0.0), (0.01, 1.0), (0.05, PATIENCE), (0.08, PATIENCE), (0.2, 10.0), (1.0, 50.0)],
)
def test_it_takes_a_hundredth_of_the_time_until_others_would_wait_too_long(
    took: float, rests: float
) -> None:
    assert rest(took, share=50) == pytest.approx(rests)
