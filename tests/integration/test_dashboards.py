"""Every panel of the dashboard shows something: a real worker under a simulated load, scraped by a real Prometheus."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream.simulate import write_reference
from tests.integration.grafana import panel_queries
from tests.services.prometheus import Prometheus
from tests.services.topics import create_topics, wait_until
from tests.services.worker import CONFIG, WorkerProcess, write_config

# Two drifts in a minute, and within seconds what is rare: late events, duplicates, dead letters.
LOAD = ("simulate", "--rate", "500", "--cycle", "30", "--label-delay", "1")


@pytest.fixture
def worker(
    tmp_path: Path, kafka: str, redis_url: str, redis_namespace: str, topic_names: Callable[[str], str]
) -> Iterator[tuple[WorkerProcess, Path]]:
    """A worker as it is shipped but for short windows, and its configuration."""
    topics = create_topics(kafka, topic_names, predictions=3, labels=3)
    write_reference(tmp_path / "fraud.json", seed=7)
    config = write_config(
        tmp_path / "driftstream.yaml",
        base=CONFIG / "driftstream.yaml",
        kafka={"brokers": kafka, "group": topics["predictions"], "topics": topics},
        redis={"url": redis_url, "namespace": redis_namespace},
        time={"out_of_orderness": "1500ms"},
        windows=[{"size": "2s"}, {"size": "6s", "slide": "2s"}],
        labels={"max_delay": "1h"},
        by_prediction_time={"windows": [{"size": "2s"}], "revise_every": "2s"},
        business={"benefit": {"true_positive": 80, "false_positive": -5, "false_negative": -100}},
        sequential={"errors": ["hddm_a"], "scores": ["page_hinkley"]},
        models={"fraud": {"reference": "fraud.json"}},
    )
    with WorkerProcess(config) as process:
        yield process, config


@pytest.fixture
def prometheus(worker: tuple[WorkerProcess, Path], tmp_path: Path) -> Iterator[Prometheus]:
    """A Prometheus with the committed configuration that scrapes the worker."""
    folder = tmp_path / "etc"
    shutil.copytree(CONFIG / "prometheus", folder)
    (folder / "targets").mkdir(exist_ok=True)
    (folder / "targets" / "worker.yml").write_text(yaml.safe_dump([{"targets": [worker[0].address]}]), encoding="utf-8")
    with Prometheus(folder / "prometheus.yml") as server:
        yield server


@pytest.fixture
def simulator(worker: tuple[WorkerProcess, Path]) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "stream", *LOAD, "--config", str(worker[1])]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        yield process
        process.terminate()


def test_every_panel_shows_data_under_load(
    worker: tuple[WorkerProcess, Path], prometheus: Prometheus, simulator: "subprocess.Popen[bytes]"
) -> None:
    empty: list[tuple[str, str]] = []

    def all_show_something() -> bool:
        assert worker[0].is_running(), worker[0].log[-3000:]
        assert simulator.poll() is None
        empty[:] = [query for query in panel_queries() if not has_numbers(prometheus.query(query[1]))]
        return not empty

    wait_until(all_show_something, within_s=90, every_s=1, otherwise=lambda: empty)
    rules: list[Any] = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule["lastError"] for rule in rules if rule.get("lastError")} == {}
    assert [value for _, value in prometheus.query('up{job="driftstream"}')] == [1]


def has_numbers(found: list[tuple[dict[str, str], float]]) -> bool:
    """Whether there is a series, and no value is NaN."""
    return bool(found) and all(value == value for _, value in found)
