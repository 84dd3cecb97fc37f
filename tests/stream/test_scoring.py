"""Drift scored from aggregates, and how it is judged, against numpy and scipy on the raw rows."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec import UNSET, json
from msgspec.structs import replace
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

from stream.aggregates import Aggregate, grouped_moments
from stream.model import DUPLICATES, LATE, PREDICTIONS, Model
from stream.reference import Feature
from stream.reference_bins import coarse_groups, fine_edges
from stream.results import FeatureDrift
from stream.results_values import Score
from stream.scoring import Close, Scorer, close_traffic
from tests.builders import MODEL, categorical, coded, numeric, settings, small_reference
from tests.stream.scorers import benjamini_hochberg, counted, judged_of, of_score, score, scorer

# drift

EDGES, GROUPS = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0], [0, 0, 0, 1, 1, 2, 2]
COARSE = [-np.inf, 20.0, 40.0, np.inf]  # where the groups begin and end


def shares_of_rows(rows: Sequence[float | None]) -> np.ndarray[Any, Any]:
    """Counts of raw rows in the coarse bins, then missing."""
    numbers = np.array([row for row in rows if row is not None], float)
    inside = [int(((low <= numbers) & (numbers < high)).sum()) for low, high in pairwise(COARSE)]
    return np.array([*inside, len(rows) - numbers.size])


def numeric_reference(rows: Sequence[float | None]) -> Feature:
    numbers = np.array([row for row in rows if row is not None], float)
    fine = np.bincount(np.searchsorted(EDGES, numbers, side="right"), minlength=len(EDGES) + 1)
    return numeric("x", EDGES, fine.tolist(), GROUPS, missing=len(rows) - numbers.size)


ROWS = st.lists(st.none() | st.floats(-10, 60) | st.sampled_from(EDGES), min_size=1, max_size=60)


@given(ROWS, ROWS)
@hypothesis_settings(max_examples=60)
def test_drift_of_a_number_is_that_of_the_raw_rows(before: list[float | None], now: list[float | None]) -> None:
    of = scorer(numeric_reference(before))
    drift = of.traffic(counted(of, [now])).drift
    p, q = shares_of_rows(before), shares_of_rows(now)
    used = (p + q) > 0
    smooth_p, smooth_q = ((x[used] + 0.5) / (x.sum() + used.sum() / 2) for x in (p, q))
    assert score(drift["x"].psi) == pytest.approx(((smooth_q - smooth_p) * np.log(smooth_q / smooth_p)).sum(), abs=1e-12)
    distance = float(jensenshannon(p, q, base=2))
    assert score(drift["x"].js_distance) ** 2 == pytest.approx(0 if np.isnan(distance) else distance**2, abs=1e-12)
    assert score(drift["x"].js_divergence) == pytest.approx(score(drift["x"].js_distance) ** 2, abs=1e-15)
    assert (drift["x"].n, drift["x"].reference_n, drift["x"].kind) == (len(now), len(before), "numeric")


@given(st.lists(st.sampled_from(["a", "b", "new", None]), min_size=1), st.lists(st.sampled_from(["a", "b", "c", "new", None]), min_size=1))
@hypothesis_settings(max_examples=60)
def test_drift_of_a_category_is_that_of_the_raw_rows(before: list[str | None], now: list[str | None]) -> None:
    known = ["a", "b"]
    p, q = (
        np.array([*(rows.count(k) for k in known), sum(r not in (*known, None) for r in rows), rows.count(None)]) for rows in (before, now)
    )
    of = scorer(categorical("x", known, p[:3].tolist(), missing=int(p[3])))
    drift = of.traffic(counted(of, [now])).drift
    distance = float(jensenshannon(p, q, base=2))
    assert score(drift["x"].js_divergence) == pytest.approx(0 if np.isnan(distance) else distance**2, abs=1e-12)
    assert drift["x"].kind == "categorical"


def test_features_are_scored_apart_and_named() -> None:
    x, y = numeric("x", [0.0, 10.0], [10, 10, 0], [0, 1, 1]), categorical("y", ["a", "b"], [10, 10, 0])
    both, alone = scorer(x, y), scorer(x)
    rows: list[list[Any]] = [[-1.0, 5.0, 5.0, 5.0], ["a", "a", "b", "b"]]
    drift = both.traffic(counted(both, rows)).drift
    assert list(drift) == ["x", "y"]
    assert drift["x"] == alone.traffic(counted(alone, rows[:1])).drift["x"]
    assert score(drift["y"].psi) == 0.0
    assert drift["y"].top_bins == ()


def test_top_bins_show_observed_shares() -> None:
    of = scorer(categorical("x", ["a", "b"], [50, 30, 0], missing=20))
    top = of.traffic(counted(of, [["a"] * 5 + ["new"] * 5])).drift["x"].top_bins
    assert {(b.label, b.reference, b.current) for b in top} == {("(other)", 0.0, 0.5), ("(missing)", 0.2, 0.0), ("b", 0.3, 0.0)}
    assert [b.contribution for b in top] == sorted((b.contribution for b in top), reverse=True)


def test_a_value_of_the_wrong_type_weighs_like_a_missing_one() -> None:
    of = scorer(numeric("x", [0.0, 10.0], [5, 10, 0], [0, 1, 1], missing=5))
    missing = of.traffic(counted(of, [[1.0, None, None]])).drift
    invalid = of.traffic(counted(of, [[1.0, None, None]], {"x": [2]})).drift
    assert invalid == missing


def test_quality_is_shares_of_all_predictions() -> None:
    of = Scorer(Model.build(settings().model(MODEL), small_reference()))
    columns: list[list[Any]] = [
        [None, None, -1.0, 100.0, 50.0],
        ["DE", "ES", "IT", None, None],
        [1, 2, 9, None, None],
        [None, True, True, True, True],
    ]
    quality = of.traffic(counted(of, columns, {"amount": [1], "channel": [3]})).quality
    found = {name: (q.missing_ratio, q.type_violation_ratio, q.unseen_ratio, q.out_of_range_ratio) for name, q in quality.items()}
    assert found == {"amount": (0.2, 0.2, 0, 0.4), "country": (0.4, 0, 0.4, 0), "channel": (0.2, 0.2, 0.2, 0), "new": (0.2, 0, 0, 0)}


def test_a_window_of_late_events_only_has_counts_and_nothing_else() -> None:
    of = scorer(categorical("x", ["a"], [5, 0]))
    window = Aggregate.zero(of.model.traffic)
    window.counts[LATE], window.counts[DUPLICATES] = 3, 2
    events, _, drift, quality, judged = of.traffic(window)
    assert (events.predictions, events.late, events.duplicate, events.labels) == (0, 3, 2, UNSET)
    assert (drift, quality, judged) == ({}, {}, [])


def test_a_model_without_a_reference_has_counts_only() -> None:
    of = scorer()
    window = Aggregate.zero(of.model.traffic)
    window.counts[PREDICTIONS] = 5
    events, _, drift, quality, judged = of.traffic(window)
    assert (events.predictions, drift, quality, judged) == (5, {}, {}, [])


@pytest.mark.parametrize(("n", "severity"), [(1, "insufficient_data"), (9, "insufficient_data"), (10, "critical"), (11, "critical")])
def test_below_the_minimum_sample_there_is_no_drift_score(n: int, severity: str) -> None:
    of = scorer(categorical("x", ["a"], [50, 0]), drift={"minimum_sample": 10, "psi": {"warning": 0.1, "critical": 0.2}})
    _, _, drift, quality, judged = of.traffic(counted(of, [["new"] * n]))
    psi, distance = drift["x"].psi, drift["x"].js_distance
    assert isinstance(psi, Score)
    assert isinstance(distance, Score)
    assert (psi.severity, judged_of(judged, "psi").verdict.severity) == (severity, severity)
    assert (psi.score is None) == (distance.score is None) == (n < 10)
    assert psi.threshold == (0.1 if n < 10 else 0.2)
    assert distance.threshold is None
    assert quality["x"].unseen_ratio == 1.0


def test_a_feature_may_have_thresholds_and_a_minimum_of_its_own() -> None:
    drift = {"psi": {"warning": 5, "critical": 6}, "features": {"y": {"minimum_sample": 100, "psi": {"warning": 0.1}}}}
    of = scorer(categorical("x", ["a"], [50, 0]), categorical("y", ["a"], [50, 0]), drift=drift)
    found = of.traffic(counted(of, [["new"] * 50, ["new"] * 50])).drift
    x, y = found["x"].psi, found["y"].psi
    assert isinstance(x, Score)
    assert isinstance(y, Score)
    assert (x.severity, y.severity, y.threshold) == ("critical", "insufficient_data", 0.1)


# methods that are chosen

CHOSEN: dict[str, Any] = {
    name: {"warning": "off"} for name in ("ks", "chi2", "wasserstein", "hellinger", "total_variation", "kl", "mean_std_drift")
}


def built_reference(rows: Sequence[float | None], bins: int = 256) -> Feature:
    """A numeric feature as `reference build` makes it of these rows."""
    x = np.array([row for row in rows if row is not None], float)
    edges = fine_edges(x, float(x.min()), float(x.max()), bins)
    counts = np.bincount(np.searchsorted(edges, x, side="right"), minlength=edges.size + 1)
    made = numeric("x", edges.tolist(), counts.tolist(), coarse_groups(edges, counts, 10).tolist(), missing=len(rows) - x.size)
    return replace(made, mean=float(x.mean()), std=float(x.std()), minimum=float(x.min()), maximum=float(x.max()))


def with_moments(of: Scorer, columns: Sequence[Sequence[Any]], panes: int = 3) -> Aggregate:
    """The aggregate of these rows as the stream adds it up, pane by pane."""
    window = Aggregate.zero(of.model.traffic)
    for pane in range(panes):
        rows = [column[pane::panes] for column in columns]
        codes, values = coded(of.model, rows, {})
        part = Aggregate.zero(of.model.traffic)
        for row in codes:
            np.add.at(part.counts, row, 1)
        part.counts[PREDICTIONS] = len(rows[0])
        groups = np.zeros(len(rows[0]), np.int64)
        part.moments[1:] = grouped_moments(groups, 1, values)[0]
        window = window.merge(part)
    return window


def chosen(found: FeatureDrift) -> set[str]:
    return {name for name in (*CHOSEN, "psi", "js_distance", "js_divergence") if getattr(found, name) is not UNSET}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "m"), [(2_000, 500), (500, 3_000)])
def test_chosen_methods_of_a_number_are_those_of_the_raw_rows(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, now = rng.normal(50, 10, n).round(1), rng.normal(53, 12, m).round(1)
    rows = [None if rng.random() < 0.1 else float(x) for x in now]
    numbers = np.array([row for row in rows if row is not None])
    of = scorer(built_reference([None, None, *before.tolist()]), drift=CHOSEN)
    found = of.traffic(with_moments(of, [rows])).drift["x"]
    assert chosen(found) == {*CHOSEN, "psi", "js_distance", "js_divergence"} - {"chi2"}

    truth, said = ks_2samp(before, numbers, method="asymp"), of_score(found.ks)
    assert isinstance(said.bounds, tuple)
    assert said.bounds[0] - 1e-12 <= truth.statistic <= said.bounds[1] + 1e-12
    assert (said.score, said.severity, said.threshold) == (said.bounds[0], "ok", None)
    assert isinstance(said.p_value, float)
    assert said.p_value >= truth.pvalue - 1e-12

    said = of_score(found.wasserstein)
    distance = wasserstein_distance(before, numbers)
    assert isinstance(said.bounds, tuple)
    assert said.bounds[0] - 1e-9 <= distance / before.std() <= said.bounds[1] + 1e-9
    assert said.raw == pytest.approx(distance, rel=0.1)
    assert said.score == pytest.approx(said.raw / before.std(), rel=1e-9)

    of_mean, of_std = (abs(f(numbers) - f(before)) / abs(f(before)) for f in (np.mean, np.std))
    said = of_score(found.mean_std_drift)
    assert said.score == pytest.approx((of_mean + of_std) / 2, rel=1e-4)  # eps
    assert said.mean_shift == pytest.approx((numbers.mean() - before.mean()) / before.std())


def test_chosen_methods_of_a_category_are_those_of_the_raw_rows() -> None:
    rng = np.random.default_rng(9)
    before, now = (rng.choice(["a", "b", "c", ""], size, p=p) for size, p in ((4_000, [0.5, 0.3, 0.1, 0.1]), (900, [0.3, 0.3, 0.2, 0.2])))
    p, q = ([int((rows == value).sum()) for value in ("a", "b", "c", "")] for rows in (before, now))
    of = scorer(categorical("x", ["a", "b", "c"], [*p[:3], 0], missing=p[3]), drift=CHOSEN)
    found = of.traffic(counted(of, [[value or None for value in now.tolist()]])).drift["x"]
    assert chosen(found) == {*CHOSEN, "psi", "js_distance", "js_divergence"} - {"ks", "wasserstein", "mean_std_drift"}
    truth, said = chi2_contingency([p, q], correction=False), of_score(found.chi2)
    assert said.statistic == pytest.approx(truth.statistic)
    assert said.p_value == pytest.approx(truth.pvalue)
    assert said.score == pytest.approx(np.sqrt(truth.statistic / (len(before) + len(now))))
    p, q = np.array(p) / len(before), np.array(q) / len(now)
    assert score(found.total_variation) == pytest.approx(np.abs(p - q).sum() / 2)
    assert score(found.hellinger) == pytest.approx(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))
    assert 0 < score(found.kl) < score(found.psi)


def test_without_a_choice_there_are_no_more_scores_than_before() -> None:
    of = scorer(built_reference([1.0, 2.0, 3.0]), categorical("y", ["a"], [3, 0]))
    _, _, found, _, judged = of.traffic(with_moments(of, [[1.0] * 9, ["a"] * 9]))
    assert chosen(found["x"]) == chosen(found["y"]) == {"psi", "js_distance", "js_divergence"}
    assert [one.metric for one in judged if one.kind == "data_drift"] == ["psi", "js_distance", "js_divergence"] * 2
    for of_feature in found.values():
        assert {name for name in chosen(of_feature) if getattr(of_feature, name).p_value is not UNSET} == {"psi"}
    assert {one.metric for one in judged if one.evidence.p_value is not UNSET} == {"psi"}
    assert b"alpha" not in json.encode(found) + json.encode([one.evidence for one in judged])
    assert b"bounds" not in json.encode(found)


def test_one_feature_may_have_a_method_of_its_own() -> None:
    y, z = (replace(built_reference([1.0, 2.0, 3.0]), name=name) for name in ("y", "z"))
    of = scorer(y, z, drift={"features": {"y": {"ks": {"warning": 0.5, "critical": 0.9}, "hellinger": {}}}})
    _, _, found, _, judged = of.traffic(with_moments(of, [[9.0] * 30, [2.0] * 30]))
    assert chosen(found["y"]) - chosen(found["z"]) == {"ks", "hellinger"}
    ks = judged_of(judged, "ks")
    assert (ks.feature, ks.value, ks.verdict.severity, ks.verdict.threshold) == ("y", 1.0, "critical", 0.9)
    assert isinstance(ks.evidence.p_value, float)
    assert ks.evidence.p_value < 1e-3
    assert judged_of(judged, "js_distance").evidence.p_value is UNSET


def test_features_of_a_kind_may_have_a_method_of_their_own() -> None:
    number, (category,) = replace(built_reference([1.0, 2.0, 3.0] * 10), name="y"), halves("z", rows=30)
    of = scorer(number, category, drift={"numeric": {"hellinger": {}}, "categorical": {"minimum_sample": 10**6}})
    rows = [{"y": value, "z": "a"} for value in (1.0, 2.0, 3.0) * 100]
    found = of.traffic(counted(of, [[row[name] for row in rows] for name in ("y", "z")])).drift
    assert chosen(found["y"]) - chosen(found["z"]) == {"hellinger"}
    severities = [found[name].psi.severity for name in ("y", "z")]  # type: ignore[union-attr]
    assert severities == ["ok", "insufficient_data"]


# thresholds that are auto

AUTO: dict[str, Any] = {"psi": {"warning": "auto"}, "chi2": {"warning": "auto", "critical": 0.9}}


def shifted(of: Scorer, *shares: float, n: int = 1_000) -> Aggregate:
    """A window with these shares of "a" in the features, the rest "b"."""
    return counted(of, [["a"] * round(share * n) + ["b"] * (n - round(share * n)) for share in shares])


def halves(*names: str, rows: int = 10_000) -> list[Feature]:
    return [categorical(name, ["a", "b"], [rows // 2, rows // 2, 0]) for name in names]


def test_p_values_are_adjusted_for_all_features_methods_and_windows_of_a_close() -> None:
    of = scorer(*halves("x", "y", "z"), drift=AUTO)
    windows = [(0.5, 0.53, 0.47), (0.55, 0.5, 0.51), (0.5, 0.5, 0.5)]
    (found,) = close_traffic([Close([of] * len(windows), [shifted(of, *shares) for shares in windows])])
    scores = [of_score(getattr(one.drift[name], method)) for one in found for name in "xyz" for method in ("psi", "chi2")]
    p_values = [
        chi2_contingency([[5_000, 5_000], [a := round(share * 1_000), 1_000 - a]], correction=False).pvalue for w in windows for share in w
    ]
    assert [s.p_value for s in scores[1::2]] == pytest.approx(p_values)
    assert [s.p_adjusted for s in scores] == pytest.approx(benjamini_hochberg([s.p_value for s in scores]))  # type: ignore[misc]
    assert {s.alpha for s in scores} == {1 / 2880}
    for one in found:
        for told in one.judged:
            if told.metric in AUTO:
                score = getattr(one.drift[str(told.feature)], told.metric)
                assert (told.evidence.p_value, told.evidence.p_adjusted) == (score.p_value, score.p_adjusted)


def test_what_is_no_chance_alone_may_be_chance_among_many() -> None:
    """A share of 0.565 instead of 0.5 has a p-value of 8e-5: below 1/2880, and above it when it is the least of twenty."""
    drift = {"psi": {"warning": "auto", "floor": 0.001}}
    alone, many = scorer(*halves("x"), drift=drift), scorer(*halves("x", *(f"y{i}" for i in range(19))), drift=drift)
    assert judged_of(alone.traffic(shifted(alone, 0.565)).judged, "psi").verdict.severity == "warning"
    among = judged_of(many.traffic(shifted(many, 0.565, *[0.5] * 19)).judged, "psi")
    assert (among.feature, among.verdict.severity, among.verdict.threshold) == ("x", "ok", 0.001)


def test_a_difference_beyond_chance_but_below_the_floor_is_no_alarm() -> None:
    """A million rows on either side: a share of 0.52 instead of 0.5 is a PSI of 0.0016, 28 standard errors off."""
    of = scorer(*halves("x", rows=10**6), drift=AUTO)
    window = Aggregate.zero(of.model.traffic)
    slot = of.model.slots[0]
    window.counts[[PREDICTIONS, slot.start, slot.start + 1]] = 10**6, 520_000, 480_000
    found = of.traffic(window)
    psi, v = of_score(found.drift["x"].psi), of_score(found.drift["x"].chi2)
    assert isinstance(psi.p_adjusted, float)
    assert psi.p_adjusted < 1e-100
    assert (psi.severity, psi.threshold, v.severity, v.threshold) == ("ok", 0.04, "ok", 0.1)


def test_a_large_score_of_few_rows_is_no_alarm_where_a_fixed_threshold_gives_one() -> None:
    """Of 20 values 100 rows by chance: PSI is about 0.19, as (1/n + 1/m) (bins - 1) says."""
    values = [f"v{i}" for i in range(20)]
    rows = [values[i] for i in np.random.default_rng(1).integers(20, size=100)]
    feature = categorical("x", values, [500] * 20 + [0])
    fixed, auto = scorer(feature), scorer(feature, drift=AUTO)
    judged = [judged_of(of.traffic(counted(of, [rows])).judged, "psi") for of in (fixed, auto)]
    assert judged[0].value == judged[1].value
    assert judged[0].verdict.severity in ("warning", "critical")
    assert judged[1].verdict.severity == "ok"


@pytest.mark.parametrize(
    ("n", "m", "severity"), [(99, 10_000, "insufficient_data"), (100, 10_000, "critical"), (1_000, 98, "insufficient_data")]
)
def test_auto_wants_a_hundred_rows_of_either_side(n: int, m: int, severity: str) -> None:
    of = scorer(*halves("x", rows=m), drift=AUTO)
    psi = of_score(of.traffic(shifted(of, 0.0, n=n)).drift["x"].psi)
    assert (psi.severity, psi.score is None, psi.p_adjusted is UNSET) == (severity, n == 99 or m == 98, n == 99 or m == 98)


@pytest.mark.parametrize(("share", "severity", "threshold"), [(0.5, "ok", 0.04), (0.62, "warning", 0.04), (0.8, "critical", 0.2)])
def test_beyond_chance_the_floor_warns_and_a_number_is_critical(share: float, severity: str, threshold: float) -> None:
    of = scorer(*halves("x"), drift=AUTO)
    psi = of_score(of.traffic(shifted(of, share)).drift["x"].psi)
    assert (psi.severity, psi.threshold) == (severity, threshold)


@pytest.mark.parametrize("rows", [1_000, 10**6])
def test_the_floor_of_chi2_is_the_same_difference_whatever_the_sizes(rows: int) -> None:
    """Shares of 0.5 against 0.58 and 0.64: at equal sizes V is 0.08 and 0.14, and with the larger reference a sixteenth of it."""
    of = scorer(*halves("x", rows=rows), drift={"chi2": {"warning": "auto"}, "false_alarms_per_day": 72})
    small, large = (of_score(of.traffic(shifted(of, share)).drift["x"].chi2) for share in (0.58, 0.64))
    assert (small.severity, large.severity) == ("ok", "warning")
    assert small.threshold == pytest.approx(0.1 * 2 * np.sqrt(1_000 * rows) / (1_000 + rows))


def test_too_small_a_sample_is_not_among_those_that_are_adjusted_for() -> None:
    drift = {"features": {"y": {"minimum_sample": 5_000}}} | AUTO
    of = scorer(*halves("x", "y"), drift=drift)
    found = of.traffic(shifted(of, 0.56, 0.56)).drift
    x, y = of_score(found["x"].psi), of_score(found["y"].psi)
    assert isinstance(x.p_adjusted, float)
    assert x.p_adjusted == pytest.approx(max(benjamini_hochberg([of_score(getattr(found["x"], m)).p_value for m in ("psi", "chi2")])))  # type: ignore[misc]
    assert (y.severity, y.p_value, y.p_adjusted, y.alpha) == ("insufficient_data", UNSET, UNSET, UNSET)


@pytest.mark.parametrize("rows", [[None] * 20, [None] * 15 + [2.0] * 5])
def test_methods_of_numbers_need_the_minimum_sample_of_numbers(rows: list[float | None]) -> None:
    of = scorer(built_reference([1.0, 2.0, 3.0]), drift=CHOSEN | {"minimum_sample": 10})
    found = of.traffic(with_moments(of, [rows])).drift["x"]
    assert score(found.hellinger) > 0.5
    for said in map(of_score, (found.ks, found.wasserstein, found.mean_std_drift)):
        assert (said.score, said.severity) == (None, "insufficient_data")
        assert (said.p_value, said.bounds, said.raw, said.mean_shift) == (UNSET,) * 4


def test_a_reference_without_moments_or_numbers_leaves_what_needs_them_undefined() -> None:
    bare, empty = numeric("x", [1.0, 2.0], [0, 20, 0], [0, 0, 0]), numeric("y", [0.0], [0, 0], [0, 0], missing=20)
    of = scorer(bare, empty, drift=CHOSEN)
    found = of.traffic(with_moments(of, [[1.5] * 20, [1.5] * 20])).drift
    assert score(found["x"].ks) == 0.0
    for said in (found["x"].wasserstein, found["x"].mean_std_drift, found["y"].ks, found["y"].wasserstein, found["y"].mean_std_drift):
        assert (of_score(said).score, of_score(said).severity) == (None, "insufficient_data")


@pytest.mark.parametrize("value", [1e300, -np.inf, np.inf])
def test_values_beyond_all_measure_leave_scores_finite_or_undefined(value: float) -> None:
    wide = replace(numeric("x", [-1e308, 1e308], [0, 9, 0], [0, 0, 0]), mean=0.0, std=1.0, minimum=-1.0, maximum=1.0)
    for feature in (built_reference([1.0, 2.0, 3.0]), wide):
        of = scorer(feature, drift=CHOSEN)
        found = of.traffic(with_moments(of, [[value, 1.0, 2.0] * 5])).drift["x"]
        for name in ("ks", "wasserstein", "mean_std_drift", "kl"):
            said = of_score(getattr(found, name))
            assert said.score is None or np.isfinite(said.score)
