"""What the doctor says of an installation whose Kafka and Redis no longer agree, or whose parts do not fit."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from stream.doctor import Finding, examine
from stream.embedded import free_port
from stream.settings import Settings, load_settings
from stream.store import Checkpoint, Partitions, Source, UnitId, UnitReport
from stream.store_redis import RedisStore
from stream.watermark import NO_TIME
from stream.worker import wall_clock_ms
from tests.builders import categorical, reference
from tests.services.topics import create_topics, produce
from tests.services.worker import write_config

PREDICTIONS, LABELS = UnitId("predictions", 0), UnitId("labels", 0)


@dataclass
class Installation:
    """One of one partition each, without a worker; its state is written by hand."""

    settings: Settings
    store: RedisStore

    def has_read(self, unit: UnitId, next_offset: int, **counters: int) -> None:
        """The unit has checkpointed and reported."""
        state = self.store.acquire(unit, [])
        self.store.checkpoint([Checkpoint(unit, state.epoch, state.sequence + 1, next_offset, NO_TIME, {}, counters, {}, [])])
        self.store.wake(UnitReport(unit, state.epoch, 1_000, idle=False), wall_clock_ms())

    def finding(self, what: str) -> Finding:
        """The one finding about something."""
        findings = examine(self.settings)
        found = [finding for finding in findings if finding.what == what]
        assert len(found) == 1, findings
        return found[0]


@pytest.fixture
def installation(kafka: str, redis_url: str, redis_namespace: str, topic_names: Callable[[str], str], tmp_path: Path) -> Installation:
    topics = create_topics(kafka, topic_names, predictions=1, labels=1)
    for side in ("predictions", "labels"):
        produce(kafka, topics[side], [(None, b"{}")] * 10)
    path = write_config(
        tmp_path / "driftstream.yaml",
        kafka={"brokers": kafka, "group": topics["predictions"], "topics": topics},
        redis={"url": redis_url, "namespace": redis_namespace},
        models={"m": {"classes": ["a", "b"]}},
        worker={"web_port": free_port()},
    )
    store = RedisStore(redis_url, redis_namespace, max_delay_ms=1_000)
    store.begin(Source("", "", "", Partitions(1, 1)))
    return Installation(load_settings(path, {}), store)


def test_messages_that_kafka_deleted_unread_are_counted(installation: Installation, kafka: str) -> None:
    installation.has_read(PREDICTIONS, 2, consumed=2, counted=2)
    installation.has_read(LABELS, 10, consumed=10, waiting=10)
    admin, before = AdminClient({"bootstrap.servers": kafka}), TopicPartition(installation.settings.kafka.topics.predictions, 0, 7)
    admin.delete_records([before])[before].result(30)
    finding = installation.finding("offsets")
    assert not finding.ok
    assert finding.detail.startswith("5 message(s) of predictions/0 are gone from Kafka and were not read; raise the retention")


def test_topic_that_was_created_anew_is_noticed(installation: Installation) -> None:
    installation.has_read(PREDICTIONS, 11)
    installation.has_read(LABELS, 10)
    finding = installation.finding("offsets")
    assert not finding.ok
    assert finding.detail.startswith("predictions/0 ended before what was read: the topic was created anew")


def test_partition_that_nobody_reads_holds_the_clock(installation: Installation) -> None:
    installation.has_read(PREDICTIONS, 4, consumed=4, counted=4)
    assert installation.finding("traffic clock").ok
    clock = installation.finding("performance clock")
    assert not clock.ok
    assert "held by labels/0, which no worker has reported" in clock.detail
    offsets = installation.finding("offsets")
    assert not offsets.ok
    assert offsets.detail.startswith("state of 1 partition(s), 16 message(s) behind")
    assert "labels/0 without state" in offsets.detail


def test_lost_messages_and_a_sheet_that_does_not_add_up_are_said(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.doctor.SETTLE_S", 0)
    installation.has_read(PREDICTIONS, 10, consumed=5, counted=5, lost=5)
    installation.has_read(LABELS, 10, consumed=10, waiting=9)
    lost, wrong = installation.finding("balance of predictions"), installation.finding("balance of labels")
    assert not lost.ok
    assert "5 were gone from Kafka before they were read" in lost.detail
    assert not wrong.ok
    assert "this does not add up in labels/0" in wrong.detail


def test_redis_that_may_evict_is_refused(installation: Installation) -> None:
    with redis.Redis.from_url(installation.settings.redis.url.get_secret_value()) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            finding = installation.finding("Redis memory")
        finally:
            client.config_set("maxmemory-policy", "noeviction")
    assert not finding.ok
    assert "set maxmemory-policy noeviction" in finding.detail


def test_reference_that_does_not_fit_the_configuration_is_said(installation: Installation, tmp_path: Path) -> None:
    from stream.simulate import write_reference

    write_reference(tmp_path / "fraud.json", seed=7)
    models: dict[str, Any] = {
        "fraud": {"reference": "fraud.json", "drift": {"features": {"height": {"minimum_sample": 9}}}},
        "other": {"reference": "fraud.json"},
        "third": {"reference": "none.json"},
        "fourth": {
            "reference": "fraud.json",
            "drift": {"features": {name: {"ks": {}, "chi2": {}} for name in ("amount", "merchant_category")}},
        },
        "fifth": {"reference": "fraud.json", "performance": {"estimated": True, "accuracy": {"warning": 0.9}}},  # no positive class
        "sixth": {"degradation": {"accuracy": {"drop": {"warning": 0.1}}}},
        "seventh": {"degradation": {"accuracy": {"drop": {"warning": 0.1}}, "against": "7d"}},
    }
    path = write_config(
        tmp_path / "five.yaml",
        base=tmp_path / "driftstream.yaml",
        models={name: {"classes": ["0", "1"], **section} for name, section in models.items()},
    )
    findings = {finding.what: finding for finding in examine(load_settings(path, {}))}
    assert findings["model m"].ok
    assert findings["model seventh"].ok
    said = {"model fraud": "height not in its reference", "model other": "built for model fraud", "model third": "none.json"}
    said["model fourth"] = "amount.chi2, merchant_category.ks not scored"
    said["model fifth"] = "performance.estimated: nothing can be estimated"
    said["model sixth"] = "degradation: accuracy has no baseline"
    for what, detail in said.items():
        assert not findings[what].ok
        assert detail in findings[what].detail


def test_the_reference_of_each_version_is_looked_at(installation: Installation, tmp_path: Path) -> None:
    known = reference(categorical("x", ["a"], [90, 10]), model="m")
    strange = reference(categorical("y", ["a"], [90, 10]), model="other")
    known.save(tmp_path / "7.json")
    strange.save(tmp_path / "8.json")
    section = installation.settings.models["m"].model_copy(update={"references": {"7": tmp_path / "7.json", "8": tmp_path / "8.json"}})
    installation.settings = installation.settings.model_copy(update={"models": {"m": section}})
    assert installation.finding("model m, version 7") == Finding(
        True, "model m, version 7", f"reference {known.reference_id}, 100 rows, 1 features"
    )
    assert "was built for model other" in installation.finding("model m, version 8").detail
