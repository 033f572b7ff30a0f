"""A linear classifier of texts: TF-IDF of words and of letters, logistic regression by SGD.

Runs in a child: NumPy and scikit-learn are imported at the top, so that nothing else may import
this module at its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backend.workloads.tasks.numerics import single_threaded

single_threaded()

import numpy as np  # noqa: E402 - how many threads it has is decided while it loads
from numpy.typing import NDArray  # noqa: E402
from scipy.sparse import csr_array, hstack  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.linear_model import SGDClassifier  # noqa: E402

SEED: Final = 0
MOST_TERMS: Final = {"words": 20_000, "letters": 30_000}
MOST_WEIGHTS: Final = 2_000_000
"""In all: with many labels there are fewer terms."""
FEWEST_EPOCHS: Final = 10
MOST_EPOCHS: Final = 200
STEPS: Final = 20_000
"""Steps of gradient descent for each label, give or take what the bounds of epochs say."""
AT_ONCE: Final = 2_000
"""Samples, repeated ones too, that one call of scikit-learn's is given: a call has its price."""
READING: Final = 0.6
"""Of all the work, where there are many samples."""
REGULARISATION: Final = 1e-5

_ANALYSIS: Final[dict[str, dict[str, Any]]] = {
    "words": {"analyzer": "word", "ngram_range": (1, 2)},
    "letters": {"analyzer": "char_wb", "ngram_range": (2, 4)},
}

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The terms of one analysis in the order of their columns, and the weight (IDF) of each."""

    terms: list[str]
    idf: Floats


@dataclass(frozen=True, eq=False)
class Classifier:
    """``weights`` has a row for each label, and only one where there are two labels.

    Its columns are the terms of ``words``, then those of ``letters``; ``biases`` go with its rows.
    """

    labels: list[str]
    words: Vocabulary
    letters: Vocabulary
    weights: Floats
    biases: Floats

    def predictor(self) -> Callable[[Sequence[str]], list[str]]:
        """What tells the label of each text."""
        vectorizers = [_restored("words", self.words), _restored("letters", self.letters)]
        weights = self.weights.T.astype(np.float64)

        def predict(texts: Sequence[str]) -> list[str]:
            features = hstack([vectorizer.transform(texts) for vectorizer in vectorizers])
            scores = features.tocsr() @ weights + self.biases
            if scores.shape[1] == 1:
                return [self.labels[int(score > 0)] for score in scores[:, 0]]
            return [self.labels[best] for best in scores.argmax(axis=1)]

        return predict


def epochs_for(samples: int) -> int:
    """How often each sample is seen."""
    return max(FEWEST_EPOCHS, min(MOST_EPOCHS, STEPS // samples))


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    learning_rate: float,
    told: Callable[[float, str], None] = lambda _share, _doing: None,
) -> Classifier:
    """Learn from texts; the same texts in the same order give the same classifier.

    Args:
        texts: at least one for each of two labels.
        labels: one for each text.
        learning_rate: the constant step of stochastic gradient descent on the logistic loss, where
            a text's features are two vectors of length 1.
        told: hears now and then what share of the work is done, from 0 to 1, and what comes next.

    Raises:
        ValueError: no text has a single term.
    """
    known = sorted(set(labels))
    told(0, f"reading the words of {len(texts)} texts")
    words, of_words = _read("words", texts, len(known))
    told(READING / 3, f"reading the letters of {len(texts)} texts")
    letters, of_letters = _read("letters", texts, len(known))
    features, answers = hstack([of_words, of_letters]).tocsr(), np.array(labels)
    model = SGDClassifier(
        loss="log_loss", learning_rate="constant", eta0=learning_rate, alpha=REGULARISATION,
        shuffle=False, random_state=SEED,
    )  # fmt: skip
    order, epochs = np.random.default_rng(SEED), epochs_for(len(texts))
    at_once = max(1, AT_ONCE // len(texts))
    for begin in range(0, epochs, at_once):
        end = min(epochs, begin + at_once)
        shuffled = np.concatenate([order.permutation(len(texts)) for _ in range(begin, end)])
        model.partial_fit(features[shuffled], answers[shuffled], classes=known)
        told(READING + (1 - READING) * end / epochs, f"epoch {end} of {epochs}")
    return Classifier(known, words, letters, _single(model.coef_), _single(model.intercept_))


def _read(name: str, texts: Sequence[str], labels: int) -> tuple[Vocabulary, csr_array]:
    """The terms of the texts, and a row of weights for each text."""
    most = min(MOST_TERMS[name], MOST_WEIGHTS // (len(MOST_TERMS) * labels))
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=most, **_ANALYSIS[name])
    features = vectorizer.fit_transform(texts)
    terms = vectorizer.get_feature_names_out().tolist()
    return Vocabulary(terms, _single(vectorizer.idf_)), features


def _restored(name: str, vocabulary: Vocabulary) -> TfidfVectorizer:
    columns = {term: column for column, term in enumerate(vocabulary.terms)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, vocabulary=columns, **_ANALYSIS[name])
    vectorizer.idf_ = vocabulary.idf.astype(np.float64)
    return vectorizer


def _single(values: NDArray[np.float64]) -> Floats:
    """As they are kept: the digits beyond are the machine's more than the data's."""
    return values.astype(np.float32)
