"""Workers as processes, on a real Kafka and a real Redis: what comes out, and that nothing is lost or counted twice when they die."""

import base64
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jsonschema
import orjson
import pytest
import redis

from tests.oracle import Recomputed
from tests.services.fraud import FraudLoad, is_readable, make_load
from tests.services.topics import count, wait_until
from tests.services.worker import CONFIG, WorkerProcess

MESSAGES = {"results": "result", "alerts": "alert", "late": "late-event", "dead_letter": "dead-letter"}


@dataclass
class Run:
    """A load that was counted by a worker that died twice on the way, and what the oracle says of it."""

    load: FraudLoad
    expected: Recomputed
    killed_at: list[int]
    pages: dict[str, tuple[int, str]]
    stopped_s: float
    exit_code: int
    log: str


@pytest.fixture
def load(kafka: str, redis_url: str, tmp_path: Path) -> Iterator[FraudLoad]:
    yield from new_load(kafka, redis_url, tmp_path)


def new_load(kafka: str, redis_url: str, folder: Path) -> Iterator[FraudLoad]:
    load = make_load(kafka, redis_url, uuid.uuid4().hex, folder)
    yield load
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(f"{load.namespace}*", count=1000):
            client.unlink(key)


def metric(worker: WorkerProcess, name: str) -> float:
    """The sum of all samples of a metric on /metrics."""
    return sum(float(line.rpartition(" ")[2]) for line in worker.get("metrics")[1].splitlines() if re.match(rf"{name}[ {{]", line))


def settle(load: FraudLoad, messages: int, *workers: WorkerProcess) -> None:
    """Returns when so many messages are counted, and all that came of them is delivered."""

    def done() -> bool:
        assert all(worker.is_running() for worker in workers), [worker.log[-3000:] for worker in workers]
        view = load.view().values()
        return sum(v.counters.get("consumed", 0) for v in view) >= messages and not any(v.outbox for v in view)

    wait_until(done, otherwise=lambda: f"{load.consumed()} of {messages} counted\n" + "\n".join(worker.log[-3000:] for worker in workers))


def all_sent(load: FraudLoad) -> int:
    return count(load.kafka, load.topics["predictions"], load.topics["labels"])


@pytest.fixture(scope="module")
def run(kafka: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    for load in new_load(kafka, redis_url, tmp_path_factory.mktemp("fraud")):
        yield counted_with_two_deaths(load)


def counted_with_two_deaths(load: FraudLoad) -> Run:
    """First the labels are in Kafka before their predictions, and both before the worker; then they come while it runs. It dies in both."""
    load.send(40, rate=300, labels_first=True)
    before, killed_at = all_sent(load), []
    with WorkerProcess(load.config) as worker, ThreadPoolExecutor(1) as sender:
        die_in_the_middle(load, worker, 0.3 * before, killed_at)
        settle(load, before, worker)
        sending = sender.submit(load.send, 40, rate=300)
        die_in_the_middle(load, worker, before + 4_000, killed_at)
        sending.result()
        load.close()
        settle(load, all_sent(load), worker)
        pages = {page: worker.get(page) for page in ("metrics", "health", "ready")}
        started = time.monotonic()
        code = worker.end()
        stopped_s = time.monotonic() - started
        return Run(load, load.expected(), killed_at, pages, stopped_s, code, worker.log)


def die_in_the_middle(load: FraudLoad, worker: WorkerProcess, messages: float, killed_at: list[int]) -> None:
    wait_until(partial(has_counted, load, messages), every_s=0.005, otherwise=lambda: worker.log[-3000:])
    worker.kill()
    killed_at.append(load.consumed())
    worker.start()


def has_counted(load: FraudLoad, messages: float) -> bool:
    return load.consumed() >= messages


def test_worker_was_killed_in_the_middle(run: Run) -> None:
    first, second = run.killed_at
    assert 0 < first < second < all_sent(run.load)


def test_final_results_are_exactly_what_the_oracle_says(run: Run) -> None:
    assert len(run.expected.windows) > 100
    assert "\n".join(run.load.mismatches(run.expected)) == ""


def test_balance_adds_up_and_counts_each_message_once(run: Run) -> None:
    balance, expected, last = run.load.balance(), run.expected, run.load.partitions
    unreadable = Counter(unit.side for unit, records in run.load.sent.items() for record in records if not is_readable(record.value))
    assert balance.adds_up
    assert balance.lost == 0
    assert balance.predictions.consumed == expected.predictions["consumed"] + unreadable["predictions"] + last.predictions
    assert balance.predictions.outcomes == {
        "counted": expected.predictions["counted"] + last.predictions,
        "late": expected.predictions["late"],
        "duplicate": expected.predictions["duplicate"],
        "malformed": unreadable["predictions"],
    }
    assert balance.labels.consumed == expected.labels["consumed"] + unreadable["labels"] + last.labels
    assert balance.labels.outcomes == {
        "matched": expected.labels["matched"],
        "pending": expected.labels["waiting"] + last.labels,
        "expired": 0,
        "duplicate": expected.labels["duplicate"],
        "corrected": 0,
        "malformed": unreadable["labels"],
    }
    assert min(expected.predictions.values()) > 0
    assert min(expected.labels["matched"], expected.labels["duplicate"], *unreadable.values()) > 0


def test_labels_came_before_and_after_their_predictions(run: Run) -> None:
    view = run.load.view()
    assert sum(v.counters.get("completed", 0) for v in view.values()) > 0
    assert sum(v.counters.get("matched", 0) for v in view.values()) > 0


@pytest.mark.parametrize("topic", MESSAGES)
def test_what_comes_out_is_as_its_schema_says(run: Run, topic: str) -> None:
    schema = orjson.loads((CONFIG / "schemas" / f"{MESSAGES[topic]}.schema.json").read_bytes())
    validator = jsonschema.Draft202012Validator(schema)
    records = run.load.read(topic)
    assert records
    for record in records:
        validator.validate(record.json)


def test_alerts_tell_of_the_drift_that_was_simulated(run: Run) -> None:
    alerts = [record.json for record in run.load.read("alerts")]
    assert {alert["status"] for alert in alerts} == {"firing", "resolved"}
    assert {alert["kind"] for alert in alerts} == {"data_drift", "prediction_drift", "data_quality", "performance"}
    assert {(alert["feature"], alert["metric"]) for alert in alerts if alert["kind"] == "data_quality"} == {
        ("distance_km", "missing_ratio")
    }
    assert {"amount"} <= {alert.get("feature") for alert in alerts}


def test_dead_letters_say_why_and_hold_the_raw_bytes(run: Run) -> None:
    letters = {
        (letter["origin"]["topic"], letter["origin"]["partition"], letter["origin"]["offset"]): letter
        for letter in (record.json for record in run.load.read("dead_letter"))
    }
    unreadable = {record[:3]: record for records in run.load.sent.values() for record in records if not is_readable(record.value)}
    assert letters.keys() == unreadable.keys()
    for place, record in unreadable.items():
        letter = letters[place]
        assert base64.b64decode(letter["value_base64"]) == record.value
        assert base64.b64decode(letter["key_base64"]) == record.key
        assert letter["reason"]
        assert letter["detail"]
    assert len({letter["reason"] for letter in letters.values()}) > 1


def test_late_events_are_on_the_late_topic_as_they_came(run: Run) -> None:
    late = {
        (event["origin"]["topic"], event["origin"]["partition"], event["origin"]["offset"]): event
        for event in (record.json for record in run.load.read("late"))
    }
    of_predictions = {place: event for place, event in late.items() if event["subject"] == "traffic"}
    assert len(of_predictions) == run.expected.predictions["late"]
    sent = {record[:3]: record.json for records in run.load.sent.values() for record in records if is_readable(record.value)}
    assert all(event["event"] == sent[place] for place, event in late.items())


def test_pages_of_a_working_worker(run: Run) -> None:
    assert run.pages["health"] == (200, '{"status":"alive"}')
    status, ready = run.pages["ready"]
    assert (status, orjson.loads(ready)) == (200, {"owns_units": True, "store": True, "kafka": True})
    status, metrics = run.pages["metrics"]
    assert status == 200
    for name in ("drift_score", "performance", "watermark_seconds", "consumer_lag", "checkpoint_seconds_count", "late_total"):
        assert re.search(rf"^driftstream_{name}[ {{]", metrics, re.MULTILINE), name


def test_worker_that_is_asked_to_stop_commits_everything_and_says_nothing_more(run: Run) -> None:
    assert run.exit_code == 0, run.log[-3000:]
    assert run.stopped_s < 10
    ends = {unit: len(records) + 1 for unit, records in run.load.sent.items()}  # and the one of `close`
    assert {unit: view.next_offset for unit, view in run.load.view().items()} == ends
    assert all(view.outbox == 0 for view in run.load.view().values())


def test_worker_that_finds_nothing_new_emits_nothing(run: Run) -> None:
    out = [run.load.topics[topic] for topic in MESSAGES]
    before, counters = count(run.load.kafka, *out), {unit: view.counters for unit, view in run.load.view().items()}
    with WorkerProcess(run.load.config) as worker:
        checkpoints = metric(worker, "driftstream_checkpoint_seconds_count")
        wait_until(lambda: metric(worker, "driftstream_checkpoint_seconds_count") >= checkpoints + 5)
        assert worker.end() == 0
    assert count(run.load.kafka, *out) == before
    assert {unit: view.counters for unit, view in run.load.view().items()} == counters


def test_two_workers_share_the_work_and_one_takes_over_when_the_other_dies(load: FraudLoad) -> None:
    with WorkerProcess(load.config) as first, WorkerProcess(load.config) as second:
        wait_until(lambda: sorted(metric(w, "driftstream_units_owned") for w in (first, second)) == [3, 4], otherwise=lambda: second.log)
        load.send(30, rate=100)
        settle(load, all_sent(load), first, second)
        shares = [metric(worker, "driftstream_consumed_total") for worker in (first, second)]
        assert min(shares) > 0.2 * sum(shares)
        load.send(20, rate=100)
        first.kill()
        load.send(10, rate=100)
        load.close()
        settle(load, all_sent(load), second)
        assert metric(second, "driftstream_units_owned") == 7
        assert second.end() == 0
    expected = load.expected()
    assert load.mismatches(expected) == []
    assert load.balance().adds_up


def test_worker_that_is_stopped_in_the_middle_leaves_the_rest_to_the_next(load: FraudLoad) -> None:
    load.send(20, rate=400)
    load.close()
    sent = all_sent(load)
    with WorkerProcess(load.config) as worker:
        wait_until(partial(has_counted, load, 0.3 * sent), every_s=0.005)
        assert worker.end() == 0
        assert load.consumed() < sent
        worker.start()
        settle(load, sent, worker)
        assert worker.end() == 0
    assert load.mismatches(load.expected()) == []
    published = [(record.json["result_id"], record.json["revision"]) for record in load.read("results")]
    assert len(published) == len(set(published)), "a worker that stops in order delivers nothing twice"
