"""Estimated performance against NannyML's published definition on raw rows, and its band against what simulated labels turn out to be.

NannyML's CBPE: of calibrated probabilities p and predictions, expected counts are sums over rows, tp = sum of p where positive is
predicted, fp = sum of 1 - p there, fn = sum of p and tn = sum of 1 - p elsewhere; metrics are those of these counts, and the AUC
is that of the expected ROC curve.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from detectors.estimated import Calibration, calibration, estimated
from detectors.intervals import Measured
from detectors.score_bins import SCORE_EDGES, score_counts
from tests.detectors.scored import Labels, Scores, counted, exactly, scored_rows, simulated

Metrics = dict[str, Measured | None]


def nannyml(p: Scores, scores: Scores, predicted: Labels) -> dict[str, float]:
    """Metrics of the expected counts; each row is positive with weight p and negative with weight 1 - p in the ROC curve."""
    tp, fp, fn, tn = p[predicted].sum(), (1 - p)[predicted].sum(), p[~predicted].sum(), (1 - p)[~predicted].sum()
    with np.errstate(invalid="ignore"):
        found = {"accuracy": (tp + tn) / p.size, "precision": tp / (tp + fp), "recall": tp / (tp + fn), "f1": 2 * tp / (2 * tp + fp + fn)}
    if 0 < p.sum() < p.size:
        labels, weights = np.repeat([True, False], p.size), np.concatenate((p, 1 - p))
        found["roc_auc"] = roc_auc_score(labels, np.tile(scores, 2), sample_weight=weights)
    return {name: float(value) for name, value in found.items()}


def realised(scores: Scores, labels: Labels, predicted: Labels) -> dict[str, float]:
    """What scikit-learn says, but faster: thousands of these are needed."""
    tp, p, q = float((labels & predicted).sum()), float(labels.sum()), float(predicted.sum())
    auc = (rankdata(scores)[labels].sum() - p * (p + 1) / 2) / (p * (labels.size - p))
    found = {"accuracy": (labels == predicted).mean(), "precision": tp / q, "recall": tp / p, "f1": 2 * tp / (p + q), "roc_auc": auc}
    return {name: float(value) for name, value in found.items()}


def of(known: Calibration, scores: Scores, predicted: Labels) -> Metrics:
    return estimated(known, score_counts(scores[~predicted]), score_counts(scores[predicted]))


@settings(deadline=None, max_examples=150)
@given(scored_rows())
def test_estimates_are_nannymls_where_each_score_has_its_bin(rows: tuple[Scores, Labels]) -> None:
    scores, labels = rows
    if labels.all() or not labels.any():
        return
    negatives, positives, edges, _ = exactly(scores, labels)
    ranks = rankdata(scores)  # all that counts here; scikit-learn takes scores less than 1e-15 apart for equal
    p = IsotonicRegression().fit(ranks, labels).predict(ranks)
    predicted = scores >= np.median(scores)
    where = np.searchsorted(edges, scores, side="right")
    counts = (np.bincount(where[side], minlength=negatives.size) for side in (~predicted, predicted))
    found = estimated(calibration(negatives, positives), *counts)
    for name, truth in nannyml(p, ranks, predicted).items():
        ours = found[name]
        if ours is None:
            assert np.isnan(truth), name
        else:
            assert ours.value == pytest.approx(truth, abs=1e-6), name
            assert ours.lower <= ours.value <= ours.upper
            assert ours.n == scores.size


def drifted(rng: np.random.Generator, n: int, shift: float, kind: str) -> tuple[Scores, Labels, Labels]:
    """Scores whose inputs have drifted while they mean what they meant, labels, and predictions at 0.5."""
    logit = (1.5 * rng.normal(size=n) - 2.5) if kind == "rare" else 1.5 * rng.normal(size=n)
    chance = 1 / (1 + np.exp(-logit - shift))
    scores = chance**2 if kind == "distorted" else chance  # no probability, but of the same order
    return scores, rng.random(n) < chance, scores >= 0.5


@pytest.mark.parametrize("kind", ["calibrated", "distorted", "rare"])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_estimates_from_bins_are_near_those_of_nannyml_on_raw_rows(shift: float, kind: str) -> None:
    rng = np.random.default_rng(7)
    scores, labels, _ = drifted(rng, 20_000, 0.0, kind)
    known, isotonic = calibration(*counted(scores, labels)), IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    scores, _, predicted = drifted(rng, 5_000, shift, kind)
    found = of(known, scores, predicted)
    for name, theirs in nannyml(isotonic.predict(scores), scores, predicted).items():
        ours = found[name]
        assert ours is not None
        assert ours.value == pytest.approx(theirs, abs=0.01), name


@pytest.mark.parametrize(("reference", "rows"), [(20_000, 400), (2_000, 2_000)])
@pytest.mark.parametrize("kind", ["calibrated", "distorted", "rare"])
def test_band_holds_the_realised_value_about_as_often_as_asked(kind: str, reference: int, rows: int) -> None:
    rng, times, inside = np.random.default_rng(rows), 200, dict[str, int]()
    for _ in range(times):
        scores, labels, _ = drifted(rng, reference, 0.0, kind)
        known = calibration(*counted(scores, labels))
        scores, labels, predicted = drifted(rng, rows, 0.4, kind)
        found = of(known, scores, predicted)
        for name, truth in realised(scores, labels, predicted).items():
            ours = found[name]
            assert ours is not None
            inside[name] = inside.get(name, 0) + (ours.lower <= truth <= ours.upper)
    for name, hits in inside.items():
        assert hits / times > 0.90, name  # 0.95 less 3.2 standard errors
    assert min(inside.values()) < times


def test_an_estimate_follows_drift_of_the_inputs_and_is_blind_to_that_of_the_concept() -> None:
    rng = np.random.default_rng(5)
    scores, labels, _ = drifted(rng, 20_000, 0.0, "calibrated")
    known = calibration(*counted(scores, labels))
    unsure: NDArray[np.float64] = 0.5 + (scores - 0.5) / 3  # inputs that the model knows less about
    before, after = (of(known, s, s >= 0.5)["accuracy"] for s in (scores, unsure))
    assert before is not None
    assert after is not None
    assert after.upper < before.lower
    flipped = np.where(rng.random(scores.size) < 0.4, ~labels, labels)
    assert before.lower > (flipped == (scores >= 0.5)).mean()


def test_metrics_are_undefined_where_nobody_is_predicted_or_expected_positive() -> None:
    known, none = calibration(np.array([10, 0]), np.array([0, 10])), np.array([0, 0])
    assert set(estimated(known, none, none).values()) == {None}
    found = estimated(known, np.array([5, 0]), none)
    assert {name for name, m in found.items() if m is None} == {"precision", "recall", "f1", "roc_auc"}


def test_a_reference_of_one_class_and_other_bins_are_refused() -> None:
    some, none = np.array([3, 4]), np.array([0, 0])
    for sides in ((some, none), (none, some)):
        with pytest.raises(ValueError, match="expected some of both"):
            calibration(*sides)
    with pytest.raises(ValueError, match="expected one"):
        calibration(some, np.array([1, 2, 3]))
    with pytest.raises(ValueError, match="cannot estimate"):
        estimated(calibration(some, some), np.array([1, 2, 3]), np.array([1, 2, 3]))


def test_simulated_scores_that_are_probabilities_are_learnt_as_such() -> None:
    known = calibration(*counted(*simulated("calibrated", np.random.default_rng(1), 100_000)))
    middles = np.arange(0.205, 0.8, 0.01)
    bins = [int(np.flatnonzero(score_counts(np.array([m])))[0]) for m in middles]
    assert known.rates[bins] == pytest.approx(middles, abs=0.06)
    assert (np.diff(known.rates) >= 0).all()


@pytest.mark.parametrize("kind", ["calibrated", "rare"])
def test_band_is_as_wide_as_metrics_of_drawn_labels_spread(kind: str) -> None:
    rng = np.random.default_rng(6)
    scores, labels, _ = drifted(rng, 200_000, 0.0, kind)
    known = calibration(*(1_000 * side for side in counted(scores, labels)))  # so many rows that nothing is left to learn
    scores, _, predicted = drifted(rng, 4_000, 0.0, kind)
    chances = known.rates[np.searchsorted(SCORE_EDGES, scores, side="right")]
    drawn = [realised(scores, rng.random(scores.size) < chances, predicted) for _ in range(1_000)]
    for name, found in of(known, scores, predicted).items():
        assert found is not None
        spread = np.std([metrics[name] for metrics in drawn])
        assert (found.upper - found.lower) / (2 * 1.959964) == pytest.approx(spread, rel=0.1), name  # of 1,000: four errors are 9 %
