"""Whether a classifier can tell drawn rows from real ones, and by which columns."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from diffeo.extras import require
from diffeo.report.views import days, is_category, is_time

if TYPE_CHECKING:
    import pandas

LEAST = 20
"""Rows of each kind that a test needs."""
MOST = 20_000
"""Rows of each kind that are used; of more, so many at random."""
MOST_CATEGORIES = 250
"""Categories that the classifier tells apart; the rest, less frequent, are one to it."""
MOST_COLUMNS = 100
"""Of a wider table no column is shuffled: it would take long, and say little."""
SHUFFLES = 3
"""How often a column is shuffled to see what it was worth."""


@dataclass(frozen=True)
class TwoSample:
    """What a classifier made of a mixture, half of it real rows and half drawn ones."""

    accuracy: float
    """The part of held-out rows that it took for what they are; 0.5: it can't tell them apart."""
    standard_error: float
    rows: int
    """Held-out rows, half of them real."""
    auc: float
    """The probability that it finds a drawn row more suspicious than a real one."""
    columns: tuple[tuple[str, float], ...]
    """What accuracy loses when a column is shuffled, the most telling first;
    nothing for a table of more than a hundred columns."""

    @property
    def in_words(self) -> str:
        """The result in a sentence."""
        told_apart = self.accuracy - 2 * self.standard_error > 0.5
        figure = f"{self.accuracy:.3f} ± {self.standard_error:.3f} of {self.rows:,} held-out rows"
        if not told_apart:
            words = "it can't tell drawn rows from real ones"
        elif self.accuracy <= 0.6:
            words = "it tells drawn rows from real ones a little better than a coin"
        elif self.accuracy <= 0.8:
            words = "it often tells drawn rows from real ones"
        else:
            words = "it nearly always tells drawn rows from real ones"
        telling = [name for name, loss in self.columns if loss > 2 * self.standard_error][:3]
        if not (told_apart and telling):
            return f"The classifier is right about {figure}: {words}."
        return (
            f"The classifier is right about {figure}: {words}, most of all by {', '.join(telling)}."
        )


def two_sample_test(
    real: "pandas.DataFrame", samples: "pandas.DataFrame", seed: int = 0, paired: bool = False
) -> TwoSample:
    """Classifier two-sample test: the accuracy of gradient-boosted trees on rows held out.

    Equal numbers of real and drawn rows; the trees learn from one half of each and are judged by
    the other. Categories are categories to them, points in time numbers. If both come from one
    distribution, the accuracy is 0.5 up to its standard error; so it is if the classifier is too
    weak, or the rows too few, to find the difference.

    Args:
        real: rows that the model was not trained on.
        samples: rows that the model drew, with the same columns.
        seed: of the choice of rows, of the trees and of the shuffling. The same seed gives the
            same result.
        paired: of a conditional model: row i of `samples` was drawn for the context of row i of
            `real`. They are kept in one half: trees that had seen one as real would take its twin,
            with the same context, for real as well.

    Raises:
        ValueError: if the columns differ, there are too few rows, or pairs of unequal numbers.
        ImportError: if scikit-learn is not installed.

    Reference: Lopez-Paz & Oquab, 2017, Revisiting classifier two-sample tests, arXiv:1610.06545.
    """
    ensemble = require("sklearn.ensemble", "two_sample_test")
    metrics = require("sklearn.metrics", "two_sample_test")
    if missing := sorted(set(map(str, real.columns)) ^ set(map(str, samples.columns))):
        raise ValueError(f"two_sample_test: only one of the tables has the column {missing[0]!r}")
    each = min(len(real), len(samples), MOST)
    if each < LEAST:
        raise ValueError(
            f"two_sample_test: needs at least {LEAST} real and drawn rows, "
            f"got {len(real)} and {len(samples)}"
        )
    if paired and len(real) != len(samples):
        raise ValueError(
            f"two_sample_test: pairs need as many drawn rows as real ones, got {len(samples)} and "
            f"{len(real)}"
        )
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(real))
    drawn = chosen if paired else rng.permutation(len(samples))
    real, samples = real.iloc[chosen[:each]], samples.iloc[drawn[:each]]
    names = list(real.columns)
    tables: Any = (real, samples)
    coded = [_codes(*(table[name] for table in tables)) for name in names]
    x = np.stack([codes for codes, _ in coded], axis=1)
    y = np.repeat([0, 1], each)
    held_out = np.tile(np.arange(each) < each // 2, 2)
    trees: Any = ensemble.HistGradientBoostingClassifier(
        categorical_features=[category for _, category in coded],
        random_state=seed % 2**32,
        early_stopping=False,
    )
    trees.fit(x[~held_out], y[~held_out])
    x, y = x[held_out], y[held_out]
    accuracy = float(np.mean(trees.predict(x) == y))
    losses = []
    for i, name in enumerate(names if len(names) <= MOST_COLUMNS else ()):
        shuffled, right = x.copy(), []
        for _ in range(SHUFFLES):
            shuffled[:, i] = rng.permutation(x[:, i])
            right.append(np.mean(trees.predict(shuffled) == y))
        losses.append((str(name), accuracy - float(np.mean(right))))
    return TwoSample(
        accuracy=accuracy,
        # Even where all rows were recognised, one more might not have been.
        standard_error=math.sqrt(max(accuracy * (1 - accuracy), 1 / len(y)) / len(y)),
        rows=len(y),
        auc=float(metrics.roc_auc_score(y, trees.predict_proba(x)[:, 1])),
        columns=tuple(sorted(losses, key=lambda pair: -pair[1])),
    )


def _codes(real: "pandas.Series", samples: "pandas.Series") -> tuple[np.ndarray, bool]:
    """Both columns as numbers, one after the other, and whether those stand for categories."""
    import pandas as pd

    if not is_category(real):
        if is_time(real):
            return np.concatenate([days(real), days(samples)]), False
        parts = (c.to_numpy(dtype=float, na_value=np.nan) for c in (real, samples))
        return np.concatenate([*parts]), False
    texts = [column.astype(object).map(str, na_action="ignore") for column in (real, samples)]
    joined = pd.concat(texts, ignore_index=True)
    # Ties in the order of their names: in that of their appearance, real ones would come first,
    # and what is kept apart and what is not would tell the classifier which is which.
    counts = joined.value_counts().sort_index().sort_values(ascending=False, kind="stable")
    places = {value: i for i, value in enumerate(counts.index)}
    codes = joined.map(places).to_numpy(dtype=float, na_value=np.nan)
    return np.minimum(codes, MOST_CATEGORIES), True
