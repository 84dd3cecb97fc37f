"""Raw scores with labels for the oracles: well spread, tied, piled up at 0 and 1, with few positives."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from detectors.score_bins import SCORE_EDGES, score_counts

Scores = NDArray[np.float64]
Labels = NDArray[np.bool_]
Counts = NDArray[np.int64]

_near_an_edge = st.sampled_from([*SCORE_EDGES[::9], 0.5, np.nextafter(0.5, 0), np.nextafter(0.5, 1)]).map(float)
_score = st.floats(0, 1) | st.just(0.0) | st.just(1.0) | _near_an_edge | st.floats(-14, 14).map(lambda x: float(1 / (1 + np.exp(-x))))


@st.composite
def scored_rows(draw: st.DrawFn) -> tuple[Scores, Labels]:
    """1 to 60 rows, often tied."""
    some = draw(st.lists(_score, min_size=1, max_size=12))
    rows = draw(st.lists(st.tuples(st.sampled_from(some) | _score, st.booleans()), min_size=1, max_size=60))
    return np.array([score for score, _ in rows]), np.array([label for _, label in rows], np.bool_)


def simulated(kind: str, rng: np.random.Generator, n: int) -> tuple[Scores, Labels]:
    """Scores and labels of a named kind of model; in "calibrated" ones a score is the probability of its label."""
    logit = rng.normal(size=n)
    if kind == "rare positives":
        logit = 1.5 * logit - 5.0
    if kind == "sure":
        logit = 12 * logit
    scores = 1 / (1 + np.exp(-logit))
    labels = rng.random(n) < scores
    if kind == "rounded":
        scores = scores.round(1)
    if kind == "piled up":
        scores = np.where(scores < 0.3, 0.0, np.where(scores > 0.8, 1.0, scores))
    if kind == "guessing":
        labels = rng.random(n) < 0.3
    if kind == "distorted":
        scores = scores**3
    return scores, labels


SIMULATED = ["calibrated", "rare positives", "sure", "rounded", "piled up", "guessing", "distorted"]


def counted(scores: Scores, labels: Labels) -> tuple[Counts, Counts]:
    """Negatives and positives in the bins of the product."""
    return score_counts(scores[~labels]), score_counts(scores[labels])


def exactly(scores: Scores, labels: Labels, cuts: Scores | None = None) -> tuple[Counts, Counts, Scores, Labels]:
    """Negatives and positives in bins of one score each, the edges between them, and which bins are points: those of a score."""
    values = np.unique(scores)
    edges = np.unique(np.concatenate((values, np.nextafter(values, 2), [] if cuts is None else cuts)))
    edges = edges[edges <= 1]
    where = np.searchsorted(edges, scores, side="right")
    points = np.isin(np.concatenate(([-1.0], edges)), values)
    negatives, positives = (np.bincount(where[side], minlength=edges.size + 1) for side in (~labels, labels))
    return negatives, positives, edges, points


def wilson_by_roots(value: float, rows: float, confidence: float = 0.95) -> tuple[float, float]:
    """The shares t that `value` of so many rows lies just as far from as chance has it: (value - t)^2 = z^2 t (1 - t) / rows."""
    spread = norm.ppf((1 + confidence) / 2) ** 2 / rows
    lower, upper = sorted(np.roots([1 + spread, -2 * value - spread, value**2]).real.tolist())
    return lower, upper


def auc_by_pairs(labels: Iterable[Any], scores: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """AUC and its interval from every pair of raw rows, ties for half, by the definition of DeLong et al.; two of each class at least.

    The variance is with one more row of each class half way to chance; the interval that of a ratio with this variance.
    """
    truth, said = np.asarray(labels, bool), np.asarray(scores)
    wins = (said[truth][:, None] > said[~truth]) + 0.5 * (said[truth][:, None] == said[~truth])
    auc, variance = float(wins.mean()), 0.0
    for placements in (wins.mean(axis=1), wins.mean(axis=0)):
        variance += (np.var(placements, ddof=1) + ((auc - 0.5) / 2) ** 2 / placements.size) / placements.size
    return auc, *wilson_by_roots(auc, max(auc * (1 - auc) / variance if variance else 0, min(wins.shape)), confidence)
