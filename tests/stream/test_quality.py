"""Ratios, scores and verdicts of data quality against the raw rows, and what the features of a model come to."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from stream.aggregates import Aggregate
from stream.model import DUPLICATES, LATE, PREDICTIONS, Model
from stream.quality import Quality
from stream.reference import Feature, NumericFeature
from stream.reference_bins import fences
from stream.results import FeatureDrift, FeatureQuality
from stream.results_values import Score, Severity
from stream.verdicts import Judged
from tests.builders import MODEL, categorical, coded, reference, settings


def number(name: str, rows: list[float | None], **more: Any) -> NumericFeature:
    """A feature of these reference rows, as `reference build` makes it but for its quantiles."""
    x = np.array([row for row in rows if row is not None])
    low, high = fences(x, x.min(), x.max())
    edges = np.unique([x.min(), np.nextafter(x.max(), np.inf), low, np.nextafter(high, np.inf)])
    counts = np.bincount(np.searchsorted(edges, x, side="right"), minlength=edges.size + 1)
    return NumericFeature(
        name=name,
        edges=edges,
        counts=counts,
        groups=np.minimum(np.arange(edges.size + 1), 1),
        missing=len(rows) - x.size,
        mean=float(np.clip(x.mean(), x.min(), x.max())),
        std=float(x.std()),
        minimum=float(x.min()),
        maximum=float(x.max()),
        fences=(low, high),
        **more,
    )


def quality(*features: Feature, **sections: Any) -> Quality:
    tree = {"classes": ["a", "b"], **{name: {"minimum_sample": 1} | sections.get(name, {}) for name in ("quality", "summary")}}
    return Quality(Model.build(settings({MODEL: tree}).model(MODEL), reference(*features)))


def counted(of: Quality, *columns: list[Any], invalid: dict[str, list[int]] | None = None, late: int = 0, duplicate: int = 0) -> Aggregate:
    """The aggregate of these rows, one column per feature; None where missing or invalid."""
    model = of._model
    codes, _ = coded(model, columns, invalid)
    window = Aggregate.zero(model.traffic)
    for row in codes:
        np.add.at(window.counts, row, 1)
    window.counts[[PREDICTIONS, LATE, DUPLICATES]] = len(columns[0]), late, duplicate
    return window


def verdict(judged: list[Judged], metric: str, feature: str | None = "x") -> Judged:
    return next(one for one in judged if one.metric == metric and one.feature == (UNSET if feature is None else feature))


ROWS = st.lists(st.none() | st.floats(-50, 50) | st.sampled_from([0.0, 1.0, 1e6]), min_size=1, max_size=60)


@given(ROWS.filter(lambda rows: any(row is not None for row in rows)), ROWS, st.integers(0, 10))
@hypothesis_settings(max_examples=80)
def test_ratios_and_score_of_a_number_are_those_of_the_raw_rows(before: list[float | None], now: list[float | None], wrong: int) -> None:
    of = quality(number("x", before))
    invalid = [i for i, row in enumerate(now) if row is None][:wrong]
    found = of.features(counted(of, now, invalid={"x": invalid}))[0]["x"]
    q1, q3 = np.percentile([row for row in before if row is not None], [25, 75])
    least, most = (limit([row for row in before if row is not None]) for limit in (min, max))

    def ratios(rows: list[float | None], violations: int) -> dict[str, float]:
        x, n = np.array([row for row in rows if row is not None]), len(rows)
        outliers = (x < q1 - 1.5 * (q3 - q1)) | (x > q3 + 1.5 * (q3 - q1))
        outside = (x < least) | (x > most)
        return {"m": (n - x.size - violations) / n, "t": violations / n, "r": outside.sum() / n, "o": outliers.sum() / n}

    p, q = ratios(before, 0), ratios(now, len(invalid))
    assert (found.missing_ratio, found.type_violation_ratio, found.unseen_ratio) == (q["m"], q["t"], 0.0)
    assert (found.out_of_range_ratio, found.outlier_ratio) == (q["r"], q["o"])
    more = {name: max(0.0, q[name] - p[name]) for name in q}
    assert found.score == pytest.approx(1 - more["m"] - more["t"] - max(more["r"], more["o"]) / 2, abs=1e-12)
    assert 0 <= found.score <= 1


def test_unseen_categories_cost_half_and_those_of_the_reference_nothing() -> None:
    of = quality(categorical("x", ["a"], [90, 10]), categorical("y", ["a"], [100, 0]))
    found, _ = of.features(counted(of, ["a"] * 7 + ["new"] * 3, ["a"] * 7 + ["new"] * 3))
    assert (found["x"].unseen_ratio, found["x"].score, found["x"].outlier_ratio) == (0.3, pytest.approx(0.9), UNSET)
    assert found["y"].score == pytest.approx(0.85)


def test_without_fences_there_are_no_outliers() -> None:
    of = quality(replace(number("x", [1.0, 2.0, 3.0]), fences=None), quality={"outlier_ratio": {"warning": 0.1}})
    found, judged = of.features(counted(of, [99.0] * 10))
    assert found["x"].outlier_ratio is UNSET
    assert found["x"].out_of_range_ratio == 1.0
    assert "outlier_ratio" not in {one.metric for one in judged}


def test_without_predictions_there_is_no_quality() -> None:
    of = quality(number("x", [1.0]))
    assert of.features(counted(of, [])) == ({}, [])


# thresholds


def test_a_threshold_is_above_the_reference_by_what_is_configured_and_three_standard_errors() -> None:
    of = quality(number("x", [1.0] * 700 + [None] * 300), quality={"missing_ratio": {"warning": 0.05, "critical": 0.2}})
    se = math.sqrt(0.3 * 0.7 * (1 / 100 + 1 / 1000))
    for missing, severity, threshold in [
        (30, "ok", 0.05),
        (49, "ok", 0.05),
        (50, "warning", 0.05),
        (64, "warning", 0.05),
        (65, "critical", 0.2),
    ]:
        found, judged = of.features(counted(of, [None] * missing + [1.0] * (100 - missing)))
        one = verdict(judged, "missing_ratio")
        assert (one.verdict.severity, one.baseline) == (severity, 0.3), missing
        assert one.verdict.threshold == pytest.approx(0.3 + threshold + 3 * se)
        assert found["x"].severity == severity


def test_a_clean_reference_leaves_the_threshold_as_configured() -> None:
    of = quality(number("x", [1.0] * 10))
    for missing, severity in [(0, "ok"), (4, "ok"), (5, "warning"), (19, "warning"), (20, "critical")]:
        assert (
            verdict(of.features(counted(of, [None] * missing + [1.0] * (100 - missing)))[1], "missing_ratio").verdict.severity == severity
        )


def test_a_feature_that_disappears_is_told_even_if_most_of_it_was_missing_before() -> None:
    of = quality(number("x", [1.0] * 50 + [None] * 950))
    assert verdict(of.features(counted(of, [None] * 1000))[1], "missing_ratio").verdict.severity == "critical"
    assert verdict(of.features(counted(of, [None] * 999 + [1.0]))[1], "missing_ratio").verdict.severity == "ok"
    assert verdict(of.features(counted(of, [None] * 190))[1], "missing_ratio").verdict.severity == "ok"  # 9.5 values were to be expected


def test_a_feature_that_never_had_a_value_is_no_defect() -> None:
    never = NumericFeature(name="x", edges=np.zeros(1), counts=np.zeros(2, int), groups=np.zeros(2, int), missing=100)
    of = quality(never)
    found, judged = of.features(counted(of, [None] * 500))
    assert (verdict(judged, "missing_ratio").verdict.severity, found["x"].score) == ("ok", 1.0)


def test_chance_alone_rarely_crosses_a_threshold() -> None:
    """Windows drawn from the reference's own ratio: three standard errors and the configured distance hold."""
    rng = np.random.default_rng(3)
    of = quality(number("x", [1.0] * 700 + [None] * 300))
    severities = []
    for missing in rng.binomial(200, 0.3, 2000).tolist():
        _, judged = of.features(counted(of, [None] * missing + [1.0] * (200 - missing)))
        severities.append(verdict(judged, "missing_ratio").verdict.severity)
    assert set(severities) == {"ok"}


def test_too_few_predictions_are_not_judged_and_a_feature_may_have_its_own_rules() -> None:
    own = {"minimum_sample": 50, "features": {"y": {"minimum_sample": 5, "score": {"warning": 0.9, "critical": 0.5}}}}
    of = quality(number("x", [1.0]), number("y", [1.0]), quality=own)
    found, judged = of.features(counted(of, [None] * 10, [None] * 6 + [1.0] * 4))
    assert (found["x"].severity, found["y"].severity) == ("insufficient_data", "critical")
    score = verdict(judged, "score", "y")
    assert (score.value, score.verdict.severity, score.below) == (pytest.approx(0.4), "critical", True)
    assert {one.metric for one in judged if one.feature == "x"} == {"missing_ratio", "type_violation_ratio"}  # what has thresholds


# the model


def drifts(**severities: tuple[Severity, float | None]) -> dict[str, FeatureDrift]:
    return {
        name: FeatureDrift(kind="numeric", n=9, reference_n=9, psi=Score(score=psi, threshold=0.1, severity=severity))
        for name, (severity, psi) in severities.items()
    }


def test_the_summary_counts_what_drifted_and_weighs_it_by_importance() -> None:
    of = quality(*(number(name, [1.0], importance=weight) for name, weight in [("x", 3.0), ("y", 1.0), ("z", 0.0)]))
    window = counted(of, [1.0] * 6, [None] * 6, [None] * 6, late=1, duplicate=3)
    summary, judged = of.summary(window, drifts(x=("ok", 0.08), y=("warning", 0.2), z=("critical", 9.0)), of.features(window)[0])
    assert (summary.features, summary.drifted, summary.drifted_ratio) == (3, ("y", "z"), 2 / 3)
    assert summary.weighted_drift == pytest.approx((3 * 0.08 + 0.2) / 4)
    assert summary.worst_feature == "x"  # 0.06 against 0.05 and nothing
    assert (summary.duplicate_ratio, summary.late_ratio) == (0.3, 0.1)
    assert summary.quality_score == pytest.approx(0.75 * 0.6)
    assert judged == []


def test_without_importances_all_features_count_alike() -> None:
    of = quality(number("x", [1.0]), number("y", [1.0]))
    window = counted(of, [1.0] * 6, [None] * 6)
    summary, _ = of.summary(window, drifts(x=("ok", 0.04), y=("warning", 0.3)), of.features(window)[0])
    assert (summary.weighted_drift, summary.worst_feature, summary.quality_score) == (pytest.approx(0.17), "y", 0.5)


def test_features_below_their_minimum_sample_are_left_out_of_the_summary() -> None:
    of = quality(number("x", [1.0]), number("y", [1.0]))
    window = counted(of, [1.0] * 6, [1.0] * 6)
    summary, _ = of.summary(window, drifts(x=("insufficient_data", None), y=("warning", 0.3)), of.features(window)[0])
    assert (summary.features, summary.drifted_ratio, summary.weighted_drift) == (1, 1.0, pytest.approx(0.3))
    nothing, _ = of.summary(window, drifts(x=("insufficient_data", None)), {})
    assert (nothing.features, nothing.drifted_ratio, nothing.weighted_drift, nothing.worst_feature) == (0, None, None, UNSET)


def test_the_summary_is_judged_where_it_has_thresholds() -> None:
    of = quality(
        number("x", [1.0]),
        number("y", [1.0]),
        summary={"drifted_ratio": {"warning": 0.5, "critical": 0.9}, "weighted_drift": {"critical": 1.0}},
        quality={"quality_score": {"warning": 0.7}, "duplicate_ratio": {"warning": 0.2}, "late_ratio": {"warning": 0.2}},
    )
    window = counted(of, [1.0] * 6, [None] * 6, duplicate=4)
    summary, judged = of.summary(window, drifts(x=("ok", 0.0), y=("warning", 0.2)), of.features(window)[0])
    said = {one.metric: (one.kind, one.verdict.severity, one.below) for one in judged}
    assert said == {
        "drifted_ratio": ("data_drift", "warning", False),
        "weighted_drift": ("data_drift", "ok", False),
        "quality_score": ("data_quality", "warning", True),
        "duplicate_ratio": ("data_quality", "warning", False),
        "late_ratio": ("data_quality", "ok", False),
    }
    assert {metric: score.severity for metric, score in summary.verdicts.items()} == {m: severity for m, (_, severity, _) in said.items()}
    assert verdict(judged, "drifted_ratio", None).evidence.drifted == ("y",)


@pytest.mark.parametrize(
    ("predictions", "low", "high"), [(0, "critical", "ok"), (99, "warning", "ok"), (100, "ok", "ok"), (600, "ok", "warning")]
)
def test_volume_is_predictions_a_minute(predictions: int, low: str, high: str) -> None:
    of = quality(quality={"volume_min": {"warning": 10, "critical": 1}, "volume_max": {"warning": 60}})
    judged = of.volume(predictions, size_ms=600_000)
    assert {one.metric: one.verdict.severity for one in judged} == {"volume_min": low, "volume_max": high}
    assert quality().volume(predictions, size_ms=600_000) == []


def test_quality_of_a_category_has_no_numbers() -> None:
    of = quality(categorical("x", ["a"], [10, 0]))
    assert of.features(counted(of, ["a", None]))[0]["x"] == FeatureQuality(
        missing_ratio=0.5, type_violation_ratio=0.0, unseen_ratio=0.0, out_of_range_ratio=0.0, score=0.5, severity="critical"
    )
