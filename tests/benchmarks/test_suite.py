"""The benchmarks that need services, in small: each runs, counts what it must, and does its sums right."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from benchmarks import closing, latency, scale_out
from benchmarks.data import FAULTS, START_MS, produce
from benchmarks.scale_out import Run, Stage, flatness, measure, table
from stream.embedded import RedisServer
from stream.simulate import FraudScenario
from tests.services.kafka import KafkaBroker


@pytest.fixture(scope="module")
def services() -> Iterator[tuple[KafkaBroker, RedisServer]]:
    with KafkaBroker() as kafka, RedisServer() as server:
        yield kafka, server


def test_every_window_of_every_model_closes_in_steady_state_and_after_a_restart(
    services: tuple[KafkaBroker, RedisServer], tmp_path: Path
) -> None:
    kafka, server = services
    # So many that the buffers of Redis' clients, which come and go, are little beside them.
    config = closing.configure(tmp_path, brokers=kafka.bootstrap, redis_url=server.url, models=8, features=12)
    for topic in (config.kafka.topics.results, config.kafka.topics.alerts):
        kafka.create_topic(topic, 1)
    found = closing.measure(config, redis.Redis.from_url(server.url), partitions=2, events=40, repeat=1)
    assert [len(close.models) for close in (*found.steady, found.cold)] == [8, 8]
    assert [close.results for close in (*found.steady, found.cold)] == [16, 16]
    assert 0 < found.merged_bytes < found.open_bytes
    assert "< 250" in "\n".join(closing.table(found))


def test_two_workers_count_what_one_counts(services: tuple[KafkaBroker, RedisServer], tmp_path: Path) -> None:
    stage = Stage(tmp_path, *services, prefix="two.")
    made = produce(FraudScenario(START_MS, cycle_ms=3_000, faults=FAULTS), stage.kafka.bootstrap, stage.inputs, 3_000)
    run = measure(stage, "two", 2, made.predictions + made.labels)
    assert run.workers == 2
    assert stage.counted("two") == 6_000
    assert run.worker_s > 0


def test_alerts_are_measured_from_the_event_that_ends_their_window() -> None:
    seconds = latency.measure(2, worker={"checkpoint_every": "50ms"})
    assert len(seconds) == 2
    assert 0 < max(seconds) < latency.LATEST_S


def test_speed_up_is_to_the_fewest_workers() -> None:
    rows = table([Run(1, 10.0, 9.0, 3.0, 1.0), Run(2, 8.0, 9.5, 3.0, 1.0)], 1_000)
    assert rows[2:] == ["| 1 | 100 | 1.00 | 9.0 | 3.0 | 1.0 |", "| 2 | 125 | 1.25 | 9.5 | 3.0 | 1.0 |"]


def test_memory_that_grows_by_a_megabyte_a_minute_is_said_to() -> None:
    samples = [(float(second), 100_000_000 + second * 1_000_000 // 60) for second in range(600)]
    assert flatness(samples) == "resident MB: 101 after it settled, 110 at the end, 110 at most; +1.00 MB a minute"
    assert "+0.00 MB a minute" in flatness([(float(second), 10**8) for second in range(60)])


def test_a_worker_that_ends_is_an_error(services: tuple[KafkaBroker, RedisServer], tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as empty:
        path = Path(empty) / "nothing.yaml"
        with pytest.raises(RuntimeError, match="not done"), scale_out.worker_processes(path, 1) as processes:
            scale_out.wait(processes, lambda: False)
