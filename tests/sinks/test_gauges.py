"""What a scrape shows, as Prometheus' own parser reads it."""

import shutil
import subprocess
import threading

import numpy as np
from prometheus_client import REGISTRY

from sinks.gauges import Gauges
from stream.alerts import Alert, Evidence
from stream.results import timestamp
from stream.results_values import Score
from tests.services.missing import MissingService
from tests.sinks.shown import ALL, AMOUNT, performance, scrape, traffic, value, window


def alert(model: str) -> Alert:
    return Alert(
        alert_id="a",
        dedup_key="d",
        status="firing",
        severity="critical",
        model=model,
        version="3",
        segment=None,
        kind="data_drift",
        metric="psi",
        value=0.3,
        threshold=0.25,
        window=window(1),
        summary="",
        evidence=Evidence(n=500),
        first_fired_at=timestamp(0),
        emitted_at=timestamp(0),
    )


def test_forgetting_a_model_leaves_the_others_and_the_counts_of_events() -> None:
    gauges = Gauges()
    for model in ("fraud", "churn"):
        gauges.observe_result(traffic(model=model))
        gauges.observe_result(traffic(model=model, segment="country=DE"))
        gauges.observe_alert(alert(model))
        gauges.add_predictions(model, "3", 7)
    gauges.forget_model("fraud")

    with_model = {(name, dict(labels)["model"]) for name, labels in scrape(gauges) if "model" in dict(labels)}
    assert {name for name, model in with_model if model == "fraud"} == {
        "driftstream_predictions_total",
        "driftstream_duplicates_total",
        "driftstream_unknown_features_total",
        "driftstream_late_total",
        *(f"driftstream_matched_label_delay_seconds_{part}" for part in ("bucket", "count", "sum")),
    }
    assert {name for name, model in with_model if model == "churn"} > {"driftstream_drift_score", "driftstream_alerts_total"}
    gauges.forget_model("never seen")


def test_a_model_that_comes_back_is_exported_again_even_with_an_older_window() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic(5))
    gauges.forget_model("fraud")
    gauges.observe_result(traffic(4))
    assert value(gauges, "window_end_seconds", **ALL, subject="traffic") == 240


def test_counters_add_up() -> None:
    gauges = Gauges()
    gauges.add_consumed("driftstream.predictions", 10)
    gauges.add_consumed("driftstream.predictions", 5)
    gauges.add_predictions("fraud", "3", 7)
    gauges.add_labels("matched", 3)
    gauges.add_late("fraud", "performance", 2)
    gauges.add_duplicates("fraud", 1)
    gauges.add_dead_letters("not_json", 4)
    gauges.add_unknown_features("fraud", 5)
    gauges.add_lost("driftstream.labels", 6)
    gauges.add_expired("predictions", 8)
    gauges.observe_alert(alert("fraud"))
    gauges.observe_alert(alert("fraud"))

    assert value(gauges, "consumed_total", topic="driftstream.predictions") == 15
    assert value(gauges, "predictions_total", model="fraud", version="3") == 7
    assert value(gauges, "labels_total", outcome="matched") == 3
    assert value(gauges, "late_total", model="fraud", subject="performance") == 2
    assert value(gauges, "duplicates_total", model="fraud") == 1
    assert value(gauges, "dead_letter_total", reason="not_json") == 4
    assert value(gauges, "unknown_features_total", model="fraud") == 5
    assert value(gauges, "lost_total", topic="driftstream.labels") == 6
    assert value(gauges, "expired_total", side="predictions") == 8
    assert value(gauges, "alerts_total", model="fraud", kind="data_drift", severity="critical", status="firing") == 2


def test_counters_of_known_labels_start_at_zero() -> None:
    gauges = Gauges(dead_letter_reasons=["not_json"])
    assert value(gauges, "labels_total", outcome="waiting") == 0
    assert value(gauges, "expired_total", side="labels") == 0
    assert value(gauges, "dead_letter_total", reason="not_json") == 0

    gauges.add_predictions("fraud", "3", 1)
    assert value(gauges, "late_total", model="fraud", subject="performance") == 0
    assert value(gauges, "duplicates_total", model="fraud") == 0
    assert value(gauges, "unknown_features_total", model="fraud") == 0


def test_alert_counters_of_a_model_start_at_zero_with_its_first_result() -> None:
    gauges = Gauges()
    gauges.observe_result(traffic())
    gauges.observe_alert(alert("fraud"))
    gauges.observe_result(traffic(2))

    def fired(kind: str, severity: str, status: str) -> float | None:
        return value(gauges, "alerts_total", model="fraud", kind=kind, severity=severity, status=status)

    assert fired("data_drift", "critical", "firing") == 1
    assert fired("data_drift", "critical", "resolved") == 0
    assert fired("performance", "warning", "firing") == 0


def test_watermark_is_in_seconds_and_can_leave() -> None:
    gauges = Gauges()
    gauges.set_watermark("traffic", 1_500)
    assert value(gauges, "watermark_seconds", subject="traffic") == 1.5
    gauges.set_watermark("traffic", None)
    gauges.set_watermark("performance", None)
    assert value(gauges, "watermark_seconds", subject="traffic") is None


def test_forgetting_a_partition_removes_its_lag_only() -> None:
    gauges = Gauges()
    gauges.set_consumer_lag("p", 0, 5)
    gauges.set_consumer_lag("p", 1, 6)
    gauges.forget_partition("p", 0)
    gauges.forget_partition("p", 99)
    assert value(gauges, "consumer_lag", topic="p", partition="0") is None
    assert value(gauges, "consumer_lag", topic="p", partition="1") == 6


def test_latencies_units_and_outbox() -> None:
    gauges = Gauges()
    gauges.observe_checkpoint(0.02)
    gauges.observe_window_close(0.3)
    gauges.set_units_owned(8)
    gauges.set_outbox_length(3)
    values = scrape(gauges)
    assert values["driftstream_checkpoint_seconds_bucket", frozenset({("le", "0.025")})] == 1
    assert values["driftstream_checkpoint_seconds_bucket", frozenset({("le", "0.01")})] == 0
    assert value(gauges, "window_close_seconds_count") == 1
    assert value(gauges, "units_owned") == 8
    assert value(gauges, "outbox_length") == 3


def test_label_delays_are_a_histogram_that_adds_up_over_batches() -> None:
    gauges = Gauges()
    gauges.add_predictions("fraud", "3", 7)
    assert value(gauges, "matched_label_delay_seconds_count", model="fraud") == 0
    gauges.add_label_delays("fraud", np.array([2, 0, 1, 0, 0, 0, 0, 0, 0, 4]), 12.5)
    gauges.add_label_delays("fraud", np.array([1, 3, 0, 0, 0, 0, 0, 0, 0, 0]), 7.0)
    shown = [
        value(gauges, "matched_label_delay_seconds_bucket", model="fraud", le=le) for le in ("1.0", "10.0", "60.0", "2592000.0", "+Inf")
    ]
    assert shown == [3, 6, 7, 7, 11]
    assert value(gauges, "matched_label_delay_seconds_count", model="fraud") == 11
    assert value(gauges, "matched_label_delay_seconds_sum", model="fraud") == 19.5


def test_balance_sheets_are_replaced_as_a_whole() -> None:
    gauges = Gauges()
    gauges.set_balance({("p", "0"): {"consumed": 3, "counted": 3}, ("p", "all"): {"consumed": 9}}, {"matched": 7, "expired": 2})
    assert value(gauges, "balance", topic="p", partition="0", outcome="counted") == 3
    assert value(gauges, "joined_predictions", outcome="expired") == 2
    gauges.set_balance({("p", "1"): {"consumed": 1}}, {})
    assert value(gauges, "balance", topic="p", partition="0", outcome="counted") is None
    assert value(gauges, "joined_predictions", outcome="expired") is None


def test_label_values_from_events_are_escaped() -> None:
    gauges = Gauges()
    hostile = 'a"} 1\ndriftstream_units_owned 99\\'
    gauges.observe_result(traffic(segment=hostile))
    assert value(gauges, "window_end_seconds", **ALL, segment=hostile, subject="traffic") == 60
    assert value(gauges, "units_owned") == 0


def test_two_workers_in_one_process_share_nothing_and_touch_no_global_registry() -> None:
    one, other = Gauges(), Gauges()
    one.add_consumed("t", 1)
    assert value(other, "consumed_total", topic="t") is None
    assert not any(family.name.startswith("driftstream") for family in REGISTRY.collect())


def test_scraping_while_results_arrive_sees_whole_results() -> None:
    gauges = Gauges()
    stop = threading.Event()

    def observe() -> None:
        minute = 0
        while not stop.is_set():
            minute += 1
            gauges.observe_result(traffic(minute, psi=Score(score=float(minute), threshold=0.25, severity="ok")))
            gauges.observe_result(traffic(minute, segment=f"s{minute % 7}"))

    thread = threading.Thread(target=observe)
    thread.start()
    try:
        for _ in range(100):
            values = scrape(gauges)
            score = values.get(("driftstream_drift_score", frozenset({**AMOUNT, "method": "psi"}.items())))
            end = values.get(("driftstream_window_end_seconds", frozenset({**ALL, "subject": "traffic"}.items())))
            assert score is None or score * 60 == end
    finally:
        stop.set()
        thread.join()


def test_promtool_finds_nothing_to_say_about_the_exposition() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        raise MissingService("no promtool: needs the program `promtool` on PATH (Debian: prometheus)")
    gauges = Gauges()
    gauges.observe_result(traffic())
    gauges.observe_result(performance())
    gauges.observe_alert(alert("fraud"))
    page, content_type = gauges.exposition()
    assert content_type.startswith("text/plain")
    checked = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    assert b"_created" not in page
