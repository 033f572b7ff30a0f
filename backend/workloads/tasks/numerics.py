"""The numeric libraries in a child: one thread each, loaded once and before any row.

A rehearsal is what a task type names as its ``rehearse``: each row's fork then finds the libraries
loaded. They are imported nowhere at the top of a module that the API imports, too.
"""

import os
from typing import Final

SINGLE_THREADED: Final = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
)
"""Read by the libraries while they load. A pool of threads does not outlive a fork, each of its
threads reserves address space, and how a sum is split among them is seen in its last digits."""


def single_threaded() -> None:
    """Before the first import of NumPy: what an operator set is left as it is."""
    for name in SINGLE_THREADED:
        os.environ.setdefault(name, "1")


def rehearse_statistics() -> None:
    """Load NumPy and ``scipy.stats``, and use both once."""
    single_threaded()
    import numpy as np
    from scipy import stats

    stats.norm.ppf(np.median(np.array([0.25, 0.5, 0.75])))


def rehearse_learning() -> None:
    """Load NumPy and what a text classifier needs of scikit-learn, and use both once."""
    single_threaded()
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    texts = ["one of them", "the other one"]
    SGDClassifier(loss="log_loss", max_iter=5, tol=None).fit(
        TfidfVectorizer().fit_transform(texts), [0, 1]
    )
