"""The configuration of Prometheus and Alertmanager: checked by their own tools, and loaded by a Prometheus that scrapes our exposition."""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sinks.gauges import Gauges
from stream.alerts import Alert, Evidence
from stream.results import Confidence, Counts, FeatureDrift, FeatureQuality, Latency, Result, Summary, TrafficMetrics, Window, timestamp
from stream.results_performance import (
    Business,
    ClassPerformance,
    Estimate,
    EstimatedPerformance,
    LabelDelay,
    MoneyOfDay,
    Performance,
    ScorePerformance,
)
from stream.results_values import BoundedMetric, Score
from tests.integration.grafana import CONFIG, panel_queries
from tests.services.missing import MissingService
from tests.services.prometheus import Prometheus

RULES = CONFIG / "prometheus" / "rules" / "driftstream.rules.yml"
RULE_TESTS = CONFIG / "prometheus" / "rules" / "driftstream.test.yml"


def run(tool: str, *arguments: str | Path) -> None:
    if shutil.which(tool) is None:
        raise MissingService(f"no {tool}: needs the program `{tool}` on PATH (Debian: prometheus, prometheus-alertmanager)")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration() -> None:
    run("promtool", "check", "config", CONFIG / "prometheus" / "prometheus.yml")


def test_promtool_accepts_the_rules() -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)


def test_rules_fire_when_they_should_and_only_then() -> None:
    run("promtool", "test", "rules", RULE_TESTS)


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    run("amtool", "check-config", CONFIG / "alertmanager" / "alertmanager.yml")


def alert_rules() -> list[Any]:
    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_rule_says_how_bad_it_is_what_is_wrong_and_for_how_long(rule: Any) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert "for" in rule


@pytest.mark.parametrize("rule", alert_rules(), ids=lambda rule: rule["alert"])
def test_rule_has_a_unit_test(rule: Any) -> None:
    assert rule["alert"] in RULE_TESTS.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("severity=critical", "alertname=DriftstreamWorkerDown"), "criticals"),
        (("severity=warning", "alertname=DriftstreamDeadLetters"), "warnings"),
    ],
)
def test_alerts_reach_the_receiver_of_their_severity(labels: tuple[str, ...], receiver: str) -> None:
    run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG / 'alertmanager' / 'alertmanager.yml'}",
        f"--verify.receivers={receiver}",
        *labels,
    )


class Worker:
    """Serves the exposition of `Gauges` as a worker would; with each scrape its counters grow and a window closes."""

    def __init__(self) -> None:
        self.gauges = Gauges(dead_letter_reasons=["not_json"])
        worker = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                worker.live()
                page, content_type = worker.gauges.exposition()
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Page)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def live(self) -> None:
        gauges, now_ms = self.gauges, int(time.time() * 1000)
        window = Window(name="1m", kind="tumbling", start=timestamp(now_ms - 60_000), end=timestamp(now_ms))
        gauges.add_consumed("driftstream.predictions", 100)
        gauges.add_predictions("fraud", "3", 100)
        gauges.add_labels("matched", 50)
        gauges.add_label_delays("fraud", np.array([0, 0, 0, 50, 0, 0, 0, 0, 0, 0]), 3_000.0)
        gauges.add_late("fraud", "traffic", 1)
        gauges.add_duplicates("fraud", 1)
        gauges.add_dead_letters("not_json", 1)
        gauges.add_lost("driftstream.predictions", 1)
        gauges.add_refused("driftstream.late")
        gauges.set_watermark("traffic", now_ms)
        gauges.set_watermark("performance", now_ms)
        gauges.set_consumer_lag("driftstream.predictions", 0, 10)
        gauges.set_units_owned(8)
        gauges.set_sequential({("fraud", "3", "errors", "hddm_a"): True})
        gauges.set_outbox_length(0)
        gauges.observe_checkpoint(0.01)
        gauges.observe_window_close(0.1)
        gauges.observe_result(result(window, subject="traffic"))
        gauges.observe_result(result(window, subject="performance"))
        gauges.observe_alert(
            Alert(
                alert_id=str(now_ms),
                dedup_key="d",
                status="firing",
                severity="critical",
                model="fraud",
                version="3",
                segment=None,
                kind="data_drift",
                metric="psi",
                value=0.3,
                threshold=0.2,
                window=window,
                summary="",
                evidence=Evidence(n=100),
                first_fired_at=window.end,
                emitted_at=window.end,
            )
        )


def result(window: Window, *, subject: Any) -> Result:
    said: dict[str, Any]
    if subject == "traffic":
        score = Score(score=0.3, threshold=0.2, severity="critical")
        expected = dict.fromkeys(("accuracy", "precision", "recall", "f1", "roc_auc"), Estimate(value=0.9, lower=0.8, upper=1.0))
        features = Summary(
            quality_score=0.95, duplicate_ratio=0.0, late_ratio=0.0, features=1, drifted=(), drifted_ratio=0.0, weighted_drift=0.3
        )
        said = {
            "summary": features,
            "traffic": TrafficMetrics(
                predictions_per_second=2.0,
                predictions_by_class={"0": 90, "1": 10},
                latency_ms=Latency(n=100, p50=10.0, p95=20.0, p99=50.0),
                confidence=Confidence(n=100, threshold=0.9, mean=METRIC, high_ratio=METRIC),
                verdicts={"latency_p99": Score(score=50.0, threshold=40.0, severity="critical")},
            ),
            "estimated": EstimatedPerformance(n=100, **expected, verdicts={"accuracy": Score(score=0.9, threshold=0.8, severity="ok")}),
            "drift": {"amount": FeatureDrift(kind="numeric", n=100, reference_n=1000, psi=score)},
            "quality": {
                "amount": FeatureQuality(
                    missing_ratio=0.0, type_violation_ratio=0.0, unseen_ratio=0.0, out_of_range_ratio=0.1, score=0.95, severity="ok"
                )
            },
        }
    else:
        said = {
            "performance": Performance(
                by="label_time",
                coverage=0.5,
                classes=("0", "1"),
                confusion=((40, 2), (4, 4)),
                accuracy=0.88,
                precision=0.67,
                recall=0.5,
                f1=0.57,
                specificity=0.9,
                mcc=0.4,
                lift=4.2,
                maturity=0.5,
                by_class=(ClassPerformance(name="1", support=8, precision=0.67, recall=0.5, f1=0.57, intervals={}),),
                label_delay=LabelDelay(n=50, p50=60.0, p95=600.0, p99=3600.0),
                status="degraded",
                scores=scores(),
                intervals={},
                verdicts={"recall": Score(score=0.5, threshold=0.6, severity="warning")},
            ),
            "business": Business(
                **MONEY,
                cells=((1.0, 1.0), (0.0, 0.0)),
                day=MoneyOfDay(**MONEY, start=window.start),
                verdicts={"net_benefit": Score(score=2.0, threshold=3.0, severity="critical")},
            ),
        }
    return Result(
        result_id=window.end,
        subject=subject,
        model="fraud",
        version="3",
        segment=None,
        window=window,
        revision=0,
        final=True,
        counts=Counts(predictions=100, late=1),
        reference_id="r",
        closed_at=window.end,
        watermark=window.end,
        **said,
    )


MONEY: dict[str, Any] = {
    "rows": 50,
    "alerts": 6,
    **dict.fromkeys(("benefit", "spent", "net_benefit", "expected_value", "roi", "savings"), 2.0),
}
METRIC = BoundedMetric(value=0.5, bounds=(0.4, 0.6))


def scores() -> ScorePerformance:
    losses = {"brier": 0.1, "log_loss": 0.3}
    others = [name for name in ScorePerformance.__struct_fields__ if name not in ("n", "reliability", *losses)]
    return ScorePerformance(n=50, **losses, **dict.fromkeys(others, METRIC))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with the committed configuration, which has scraped a `Worker` often enough for rates, and evaluated its rules."""
    worker = Worker()
    folder = tmp_path_factory.mktemp("prometheus") / "etc"
    shutil.copytree(CONFIG / "prometheus", folder)
    (folder / "targets").mkdir(exist_ok=True)
    (folder / "targets" / "test.yml").write_text(yaml.safe_dump([{"targets": [worker.address]}]), encoding="utf-8")
    thread = threading.Thread(target=worker.server.serve_forever)
    thread.start()
    try:
        with Prometheus(folder / "prometheus.yml") as server:
            deadline = time.monotonic() + 60
            while not (server.query("rate(driftstream_consumed_total[1m])") and all(rule["health"] != "unknown" for rule in rules(server))):
                assert time.monotonic() < deadline, server.get("targets")
                time.sleep(0.5)
            yield server
    finally:
        worker.server.shutdown()
        worker.server.server_close()
        thread.join()


def rules(server: Prometheus) -> list[Any]:
    return [rule for group in server.get("rules")["groups"] for rule in group["rules"]]


def test_a_target_file_is_all_that_is_needed_without_docker(prometheus: Prometheus) -> None:
    assert [value for labels, value in prometheus.query("up") if labels["job"] == "driftstream"] == [1]


def test_all_rules_evaluate(prometheus: Prometheus) -> None:
    assert {rule["name"]: rule.get("lastError", "") for rule in rules(prometheus) if rule["health"] != "ok"} == {}
    assert len(rules(prometheus)) == len(alert_rules())


def test_metrics_that_rules_name_exist(prometheus: Prometheus) -> None:
    named = {name for rule in alert_rules() for name in re.findall(r"\bdriftstream_\w+", rule["expr"])}
    assert named
    assert named <= set(prometheus.get("label/__name__/values"))


@pytest.mark.parametrize(("title", "expression"), panel_queries())
def test_panel_query_returns_data(prometheus: Prometheus, title: str, expression: str) -> None:
    found = prometheus.query(expression)
    assert found, f"{title}: {expression}"
    assert all(value == value for _, value in found), f"{title}: not a number"
