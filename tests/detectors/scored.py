"""Raw scores with labels for the oracles: well spread, tied, piled up at 0 and 1, with few positives."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

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
