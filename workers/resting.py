"""How long a look past dead rows rests: what it costs others is bounded, and so is what waits."""

from typing import Final

SPARING: Final = 100  # such a look takes one hundredth of the time
PATIENCE: Final = 5.0  # seconds that it rests for that, at most


def rest(took: float, *, share: int) -> float:
    """Seconds until it is due again, from its beginning on.

    A look may take long by accident, too: beyond ``PATIENCE`` it rests no longer than it must.

    Args:
        took: seconds of the last one.
        share: it takes one ``share``-th of the time at most.
    """
    return max(share * took, min(SPARING * took, PATIENCE))
