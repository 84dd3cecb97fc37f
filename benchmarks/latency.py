"""Alert latency: from the event that moves the watermark past the end of a window until an independent consumer has the window's alert.

A worker with default settings, on a real Kafka and a real Redis, and nothing else to do. Windows take turns between drifted and not, so
that every one of them announces something. `python -m benchmarks.latency` prints the distribution.
"""

import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.data import PARTITIONS, START_MS
from stream.embedded import RedisServer
from stream.reference_build import build_reference
from tests.services.kafka import KafkaBroker
from tests.services.worker import WorkerProcess, write_config

MODEL: Final = "steady"
WINDOW_MS: Final = 60_000  # of the default windows the shorter one
OUT_OF_ORDERNESS_MS: Final = 5_000  # the default
EVENTS: Final = 400  # in a window, twice the default minimum sample
LATEST_S: Final = 30.0
PAUSE_S: Final = (0.2, 1.7)  # before a window's end, so that it falls anywhere between two ticks of the worker


class Load:
    """Publishes windows of events, and waits for their alerts."""

    def __init__(self, brokers: str, predictions: str, alerts: str) -> None:
        self._producer = Producer({"bootstrap.servers": brokers, "linger.ms": 0})
        self._consumer = Consumer({"bootstrap.servers": brokers, "group.id": "latency", "fetch.wait.max.ms": 10})
        self._consumer.assign([TopicPartition(alerts, p, 0) for p in range(PARTITIONS)])
        self._topic, self._rng, self._sent = predictions, np.random.default_rng(3), 0

    def alert_of(self, window: int) -> float:
        """Publish a window, drifted if its number is odd, then events that end it in every partition; seconds until its alert is there."""
        start_ms = START_MS + window * WINDOW_MS
        for x in self._rng.normal(2.0 * (window % 2), size=EVENTS).tolist():
            self._send(start_ms + int(self._rng.integers(WINDOW_MS - OUT_OF_ORDERNESS_MS - 1)), x, self._sent % PARTITIONS)
        self._producer.flush()
        time.sleep(self._rng.uniform(*PAUSE_S))
        sent = time.perf_counter()
        for partition in range(PARTITIONS):
            self._send(start_ms + WINDOW_MS + OUT_OF_ORDERNESS_MS, 2.0 * ((window + 1) % 2), partition)
        self._producer.flush()
        while time.perf_counter() < sent + LATEST_S:
            message = self._consumer.poll(0.01)
            if message is not None and message.error() is None and self._ends(message.value(), start_ms + WINDOW_MS):
                return time.perf_counter() - sent
        raise RuntimeError(f"no alert of window {window} within {LATEST_S:.0f} s, expected one: it drifted, or went back")

    def _send(self, time_ms: int, x: float, partition: int) -> None:
        self._sent += 1
        event = {"prediction_id": f"id-{self._sent}", "timestamp": time_ms, "model": MODEL, "prediction": "0", "features": {"x": x}}
        self._producer.produce(self._topic, orjson.dumps(event), partition=partition)

    @staticmethod
    def _ends(value: bytes | None, end_ms: int) -> bool:
        alert: dict[str, Any] = orjson.loads(value or b"{}")
        window = alert["window"]
        ended = np.datetime64(window["end"].removesuffix("Z"), "ms").astype(np.int64) == end_ms
        return bool(ended) and alert["feature"] == "x" and window["kind"] == "tumbling"


def measure(windows: int, **sections: Any) -> list[float]:
    """Seconds of each alert; the first two windows, in which everything is begun, are not among them."""
    with tempfile.TemporaryDirectory(prefix="driftstream-bench-") as name, KafkaBroker() as kafka, RedisServer() as server:
        folder = Path(name)
        rows = [orjson.dumps({"x": x}) for x in np.random.default_rng(0).normal(size=5_000).tolist()]
        (folder / "rows.jsonl").write_bytes(b"\n".join(rows))
        build_reference(folder / "rows.jsonl", model=MODEL, version="1").save(folder / "reference.json")
        for topic in ("predictions", "labels", "results", "alerts", "late", "dead-letter"):
            kafka.create_topic(f"driftstream.{topic}", PARTITIONS)
        config = write_config(
            folder / "driftstream.yaml",
            kafka={"brokers": kafka.bootstrap},
            redis={"url": server.url},
            models={MODEL: {"reference": str(folder / "reference.json"), "classes": ["0", "1"], "labels": False}},
            **sections,
        )
        with WorkerProcess(config):
            load = Load(kafka.bootstrap, "driftstream.predictions", "driftstream.alerts")
            load.alert_of(1)
            return [load.alert_of(window) for window in range(2, windows + 2)]


@click.command()
@click.option("--alerts", type=click.IntRange(min=2), default=100, show_default=True)
def main(alerts: int) -> None:
    """Print how long alerts take on an idle machine."""
    seconds = np.array(measure(alerts))
    click.echo("From the event that ends the window to the alert on its topic, default settings.\n")
    click.echo("| alerts | p50, s | p99, s (target < 1) | greatest, s |\n|---:|---:|---:|---:|")
    click.echo(f"| {alerts} | {' | '.join(f'{value:.2f}' for value in (*np.quantile(seconds, (0.5, 0.99)), seconds.max()))} |")


if __name__ == "__main__":
    main()
