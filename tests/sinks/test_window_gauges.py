"""What Prometheus sees of windows: of each series the newest, as a whole."""

from msgspec import UNSET
from msgspec.structs import replace

from sinks.gauges import Gauges
from stream.results import timestamp
from stream.results_performance import (
    Averages,
    ClassPerformance,
    ClassRanking,
    Estimate,
    EstimatedPerformance,
    LabelDelay,
    OneVsRest,
)
from stream.results_values import BoundedMetric, Score
from tests.sinks.shown import ALL, AMOUNT, performance, scrape, traffic, value, window


def test_traffic_result_shows_scores_thresholds_verdicts_quality_and_window_end() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic())

    assert value(gauges, "drift_score", **AMOUNT, method="psi") == 0.31
    assert value(gauges, "drift_threshold", **AMOUNT, method="psi", severity="critical") == 0.25
    assert value(gauges, "drift_severity", **AMOUNT, method="psi") == 2
    assert value(gauges, "drift_score", **AMOUNT, method="js_distance") == 0
    assert value(gauges, "drift_threshold", **AMOUNT, method="js_distance", severity="warning") == 0.1
    assert value(gauges, "drift_severity", **AMOUNT, method="js_distance") == 0
    assert value(gauges, "drift_score", **AMOUNT, method="js_divergence") is None  # not computed
    assert value(gauges, "quality_ratio", **AMOUNT, metric="missing") == 0.02
    assert value(gauges, "quality_ratio", **AMOUNT, metric="out_of_range") == 0.5
    assert value(gauges, "quality_ratio", **AMOUNT, metric="outlier") is None  # the reference has no fences
    assert (value(gauges, "quality_score", **AMOUNT), value(gauges, "quality_severity", **AMOUNT)) == (0.73, 1)
    assert value(gauges, "window_end_seconds", **ALL, subject="traffic") == 60


def test_what_the_features_come_to_is_shown_as_far_as_it_is_defined() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic())
    found = {metric: value(gauges, "model_score", **ALL, metric=metric) for metric in ("quality_score", "duplicate_ratio", "drifted_ratio")}
    assert found == {"quality_score": 0.7, "duplicate_ratio": 0.1, "drifted_ratio": 1.0}
    assert value(gauges, "model_score", **ALL, metric="weighted_drift") is None
    assert value(gauges, "model_severity", **ALL, metric="drifted_ratio") == 1
    gauges.observe_result(replace(traffic(2), quality={}, summary=UNSET))
    assert value(gauges, "model_score", **ALL, metric="drifted_ratio") is None


def test_how_busy_the_model_was_is_shown_until_a_result_does_not_say_so() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic())
    assert value(gauges, "predictions_per_second", **ALL) == 8.5
    assert [value(gauges, "predictions_by_class", **ALL, **{"class": name}) for name in ("0", "1", "(other)")] == [400, 100, 0]
    latency = [value(gauges, "prediction_latency_seconds", **ALL, percentile=percentile) for percentile in ("50", "95", "99")]
    assert latency == [0.0125, 0.25, 1.5]
    gauges.observe_result(replace(traffic(2), traffic=UNSET))
    assert value(gauges, "predictions_per_second", **ALL) is None
    assert value(gauges, "predictions_by_class", **ALL, **{"class": "1"}) is None
    assert value(gauges, "prediction_latency_seconds", **ALL, percentile="50") is None


def test_a_p_value_is_shown_for_methods_that_have_one() -> None:
    gauges = Gauges()
    result = traffic()
    assert result.drift is not UNSET
    ks = Score(score=0.2, threshold=0.1, severity="warning", p_value=0.003, bounds=(0.2, 0.21))
    gauges.observe_result(replace(result, drift={"amount": replace(result.drift["amount"], ks=ks)}))
    assert value(gauges, "drift_score", **AMOUNT, method="ks") == 0.2
    assert value(gauges, "drift_p_value", **AMOUNT, method="ks") == 0.003
    assert value(gauges, "drift_severity", **AMOUNT, method="ks") == 1
    assert value(gauges, "drift_p_value", **AMOUNT, method="psi") is None


def test_performance_result_shows_defined_metrics_verdicts_and_coverage() -> None:
    gauges = Gauges()
    gauges.observe_result(performance())

    assert value(gauges, "performance", **ALL, by="label_time", metric="accuracy") == 0.75
    assert value(gauges, "performance", **ALL, by="label_time", metric="precision") == 1
    assert value(gauges, "performance", **ALL, by="label_time", metric="f1") is None
    assert value(gauges, "performance", **ALL, by="label_time", metric="coverage") is None  # has its own gauge
    assert value(gauges, "label_coverage_ratio", **ALL, by="label_time") == 0.8
    assert value(gauges, "performance_severity", **ALL, by="label_time", metric="recall") == 1
    assert value(gauges, "status", **ALL, by="label_time") == 2
    assert value(gauges, "window_end_seconds", **ALL, subject="performance", by="label_time") == 60


def test_estimates_are_shown_with_their_bounds_until_a_result_does_not_have_them() -> None:
    gauges = Gauges()
    estimated = EstimatedPerformance(
        n=500,
        accuracy=Estimate(value=0.9, lower=0.87, upper=0.93),
        precision=None,
        recall=Estimate(value=0.5, lower=0.4, upper=0.6),
        f1=None,
        roc_auc=None,
        verdicts={"recall": Score(score=0.5, threshold=0.6, severity="warning")},
    )
    gauges.observe_result(replace(traffic(), estimated=estimated))
    assert value(gauges, "estimated_performance", **ALL, metric="accuracy") == 0.9
    assert value(gauges, "estimated_performance", **ALL, metric="recall") == 0.5
    bounds = [value(gauges, "estimated_performance_bound", **ALL, metric="accuracy", bound=bound) for bound in ("lower", "upper")]
    assert bounds == [0.87, 0.93]
    assert value(gauges, "estimated_performance", **ALL, metric="precision") is None
    assert value(gauges, "estimated_performance_severity", **ALL, metric="recall") == 1
    assert value(gauges, "estimated_performance_severity", **ALL, metric="accuracy") is None
    beside = replace(estimated, accuracy=Estimate(value=0.1, lower=0.0, upper=0.2))  # that of an older window, beside what was realised
    gauges.observe_result(replace(performance(by="prediction_time"), estimated=beside))
    assert value(gauges, "estimated_performance", **ALL, metric="accuracy") == 0.9
    gauges.observe_result(traffic(2))
    assert value(gauges, "estimated_performance", **ALL, metric="accuracy") is None


def test_how_long_labels_took_is_shown_until_there_are_none() -> None:
    gauges = Gauges()
    found = performance()
    assert found.performance is not UNSET
    delay = LabelDelay(n=3, p50=60.0, p95=3600.0, p99=7200.0)
    gauges.observe_result(replace(found, performance=replace(found.performance, label_delay=delay)))
    shown = [value(gauges, "label_delay_seconds", **ALL, by="label_time", percentile=percentile) for percentile in ("50", "95", "99")]
    assert shown == [60.0, 3600.0, 7200.0]
    gauges.observe_result(performance(2))
    assert value(gauges, "label_delay_seconds", **ALL, by="label_time", percentile="50") is None


def test_both_clocks_of_performance_stand_beside_each_other() -> None:
    gauges = Gauges()
    gauges.observe_result(performance(2, by="label_time", recall=0.5))
    gauges.observe_result(performance(1, by="prediction_time", recall=0.9))

    assert value(gauges, "performance", **ALL, by="label_time", metric="recall") == 0.5
    assert value(gauges, "performance", **ALL, by="prediction_time", metric="recall") == 0.9


# window     |--1--|--2--|--3--|
# firing        r0    r0    1 again, with labels enough; 3; 2 again, with labels enough
# exported      1     2     1                            1  2
def test_by_prediction_time_the_newest_window_that_alerts_are_about_is_exported() -> None:
    gauges = Gauges()
    ends = []
    for minute, revision, spoken in ((1, 0, False), (2, 0, False), (1, 1, True), (3, 0, False), (2, 1, True)):
        found = performance(minute, by="prediction_time")
        assert found.performance is not UNSET
        matured = replace(found.performance, maturity=minute / 10)
        gauges.observe_result(replace(found, revision=revision, performance=matured), spoken=spoken)
        ends.append(value(gauges, "window_end_seconds", **ALL, subject="performance", by="prediction_time"))
        shown = value(gauges, "label_maturity_ratio", **ALL, by="prediction_time")
        assert shown == (ends[-1] or 0) / 600
    assert ends == [60, 120, 60, 60, 120]
    assert value(gauges, "performance", **ALL, by="prediction_time", metric="maturity") is None  # has its own gauge


def test_a_score_that_becomes_undefined_disappears_and_its_severity_says_why() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic(1))
    gauges.observe_result(traffic(2, psi=Score(score=None, threshold=None, severity="insufficient_data")))
    gauges.observe_result(performance(1))
    gauges.observe_result(performance(2, recall=None))

    assert value(gauges, "drift_score", **AMOUNT, method="psi") is None
    assert value(gauges, "drift_threshold", **AMOUNT, method="psi", severity="critical") is None
    assert value(gauges, "drift_severity", **AMOUNT, method="psi") == -1
    assert value(gauges, "performance", **ALL, by="label_time", metric="recall") is None
    assert value(gauges, "performance_severity", **ALL, by="label_time", metric="recall") == -1
    assert value(gauges, "status", **ALL, by="label_time") == -1


def test_not_a_number_is_never_exported() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic(1, psi=Score(score=float("nan"), threshold=float("nan"), severity="insufficient_data")))
    assert all(v == v for v in scrape(gauges).values())
    assert value(gauges, "drift_score", **AMOUNT, method="psi") is None


# window     |--1--|--2--|
# firing        r0    r0  then 1 again (r1), 2 again (r1), 2 again (r0, a repetition)
# exported      1     2        2             2 r1         2 r1
def test_only_the_newest_window_and_revision_is_exported() -> None:
    gauges = Gauges()

    def psi_after(end_minute: int, revision: int, score: float) -> float | None:
        gauges.observe_result(traffic(end_minute, revision=revision, psi=Score(score=score, threshold=0.25, severity="ok")))
        return value(gauges, "drift_score", **AMOUNT, method="psi")

    assert psi_after(1, 0, 0.10) == 0.10
    assert psi_after(2, 0, 0.20) == 0.20
    assert psi_after(1, 1, 0.11) == 0.20
    assert psi_after(2, 1, 0.21) == 0.21
    assert psi_after(2, 0, 0.20) == 0.21
    assert value(gauges, "window_end_seconds", **ALL, subject="traffic") == 120


def test_after_a_loss_of_state_what_was_closed_later_is_exported_though_its_revision_is_lower() -> None:
    gauges = Gauges()
    for revision, closed_ms, recall in ((2, 1_000, 0.5), (1, 9_000, 0.25), (0, 2_000, 0.75)):
        found = performance(by="prediction_time", recall=recall)
        gauges.observe_result(replace(found, revision=revision, closed_at=timestamp(closed_ms)))
    assert value(gauges, "performance", **ALL, by="prediction_time", metric="recall") == 0.25


def test_segments_windows_and_versions_do_not_replace_each_other() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic(9))
    gauges.observe_result(traffic(1, segment="country=DE"))
    gauges.observe_result(replace(traffic(1), window=window(1, "1h")))
    gauges.observe_result(replace(traffic(1), version="4"))

    ends = {labels: v for (name, labels), v in scrape(gauges).items() if name == "driftstream_window_end_seconds"}
    assert sorted(ends.values()) == [60, 60, 60, 540]
    assert value(gauges, "window_end_seconds", **ALL, segment="country=DE", subject="traffic") == 60


# version 3   |--1--|                     1 again, late
# version 4         |--2--| ... |--11--|--12--|
# exported: 3    x     x     x     x
def test_a_version_without_windows_leaves_when_others_have_had_ten() -> None:
    gauges = Gauges()
    gauges.observe_result(performance(1))
    gauges.observe_result(traffic(1))
    shown = []
    for minute in range(2, 14):
        gauges.observe_result(replace(performance(minute), version="4"))
        shown.append(value(gauges, "status", **ALL, by="label_time") is not None)
    assert shown == [True] * 10 + [False] * 2
    gauges.observe_result(replace(performance(1), revision=1))
    assert value(gauges, "status", **ALL, by="label_time") is None
    assert value(gauges, "window_end_seconds", **ALL, subject="traffic") == 60  # nothing newer of that subject
    gauges.observe_result(performance(14))
    assert value(gauges, "status", **ALL, by="label_time") == 2


def test_by_prediction_time_a_window_that_waits_for_labels_makes_nobody_leave() -> None:
    gauges = Gauges()
    gauges.observe_result(performance(1, by="prediction_time"), spoken=True)
    gauges.observe_result(replace(performance(100, by="prediction_time"), version="4"), spoken=False)
    gauges.observe_result(performance(2, by="prediction_time"), spoken=True)
    ends = [value(gauges, "window_end_seconds", **{**ALL, "version": v}, subject="performance", by="prediction_time") for v in "34"]
    assert ends == [120, 6000]


def test_where_labels_are_never_enough_for_alerts_a_version_without_windows_leaves_too() -> None:
    gauges, left = Gauges(), []
    gauges.observe_result(replace(performance(1, by="prediction_time"), version="2"), spoken=False)
    for minute in (11, 12):
        gauges.observe_result(performance(minute, by="prediction_time"), spoken=False)
        left.append([value(gauges, "label_coverage_ratio", **{**ALL, "version": v}, by="prediction_time") for v in "23"])
    assert left == [[0.8, 0.8], [None, 0.8]]


def test_averages_over_classes_are_shown_by_name_and_undefined_ones_are_not() -> None:
    shown, gauges = performance(), Gauges()
    assert shown.performance is not UNSET
    averages = Averages(precision_macro=0.4, precision_weighted=0.5, recall_macro=0.6, recall_weighted=0.75, f1_macro=None, f1_weighted=0.7)
    gauges.observe_result(replace(shown, performance=replace(shown.performance, averages=averages)))

    assert value(gauges, "performance", **ALL, by="label_time", metric="precision_macro") == 0.4
    assert value(gauges, "performance", **ALL, by="label_time", metric="recall_weighted") == 0.75
    assert value(gauges, "performance", **ALL, by="label_time", metric="f1_macro") is None


def test_each_class_is_shown_and_what_is_undefined_of_it_is_not() -> None:
    shown, gauges, auc = performance(), Gauges(), BoundedMetric(value=0.9, bounds=(0.8, 0.95))
    assert shown.performance is not UNSET
    table = (ClassPerformance(name="cat", support=7, precision=None, recall=0.25, f1=0.4, intervals={}),)
    ranking = OneVsRest(
        n=9,
        roc_auc_macro=auc,
        roc_auc_weighted=None,
        roc_auc_micro=auc,
        average_precision_macro=auc,
        average_precision_weighted=auc,
        average_precision_micro=auc,
        multiclass_log_loss=BoundedMetric(value=1.5, bounds=(1.4, 1.6)),
        by_class=(ClassRanking(name="cat", n=9, support=7, roc_auc=auc, average_precision=None),),
    )
    gauges.observe_result(replace(shown, performance=replace(shown.performance, by_class=table, one_vs_rest=ranking)))

    of_cat = {"by": "label_time", "class": "cat"}
    found = {metric: value(gauges, "class_performance", **ALL, **of_cat, metric=metric) for metric in ("recall", "f1", "roc_auc")}
    assert found == {"recall": 0.25, "f1": 0.4, "roc_auc": 0.9}
    for undefined in ("precision", "average_precision", "support", "n"):
        assert value(gauges, "class_performance", **ALL, **of_cat, metric=undefined) is None
    assert value(gauges, "performance", **ALL, by="label_time", metric="roc_auc_macro") == 0.9
    assert value(gauges, "performance", **ALL, by="label_time", metric="multiclass_log_loss") == 1.5
    assert value(gauges, "performance", **ALL, by="label_time", metric="roc_auc_weighted") is None
